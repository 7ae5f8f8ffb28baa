import shutil

import pytest

from sim.folder import Folder
from sim.images import fit, sample
from sim.run import simulate
from tests.sim.builds import make


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """A build folder, not to be changed (see `changed`) but to be simulated."""
    return make(tmp_path_factory.mktemp("small") / "build")


@pytest.fixture(scope="session")
def compiled(built):
    """`built`, compiled. Copies of it with other weights need no compile: the program reads them
    when it starts."""
    simulate(Folder.load(built), fit(sample().first(1).pixels, 16), seed=0)
    return built


@pytest.fixture
def changed(built, tmp_path):
    """A copy of `built` that a test may damage."""
    return shutil.copytree(built, tmp_path / "changed")
