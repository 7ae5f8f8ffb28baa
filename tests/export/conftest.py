"""A data set and a run that the tests of training share."""

import numpy as np
import pytest


@pytest.fixture(autouse=True)
def one_thread():
    """Tiny layers gain nothing from threads, and float sums keep their order."""
    torch = pytest.importorskip("torch")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """Image folders of three classes that differ in colour and pattern, 16x16."""
    image = pytest.importorskip("PIL.Image")
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    ramp = np.arange(16)
    patterns = (ramp[:, None] % 4 < 2, ramp[None] % 4 < 2, (ramp[:, None] + ramp) % 8 < 4)
    for part, count in (("train", 20), ("test", 8)):
        for name, pattern in zip(("rows", "columns", "slopes"), patterns):
            (folder / part / name).mkdir(parents=True)
            for k in range(count):
                a = np.broadcast_to(pattern, (16, 16))[..., None] * 120.0 + 60
                a = a + rng.normal(0, 25, (16, 16, 3))
                image.fromarray(a.clip(0, 255).astype(np.uint8)).save(
                    folder / part / name / f"{k}.png")
    return folder


@pytest.fixture(scope="session")
def trained(data, tmp_path_factory):
    """A finished run of six epochs."""
    torch = pytest.importorskip("torch")
    from tests.export.runs import train

    out = tmp_path_factory.mktemp("run") / "run.pt"
    torch.set_num_threads(1)
    assert train(data, out, "--epochs", 6, "--cutout", 4) == 0
    return out
