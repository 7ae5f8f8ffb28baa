import pytest

from sim.verilator import ToolError, check_compiler, find
from tests.boards.fake_tools import folder, tools

__all__ = ["folder", "tools", "verilator"]


@pytest.fixture(scope="session")
def verilator():
    """What a virtual board is made with; skips with the reason where it's missing."""
    try:
        find()
        check_compiler()
    except ToolError as error:
        pytest.skip(str(error))
