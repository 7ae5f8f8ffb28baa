"""The generated Verilog under Verilator: arrays and precisions other than the usual ones."""

import dataclasses

import numpy as np
import pytest

pytest.importorskip("cocotb")

from gen.build import write_build
from hw.schedule import Lanes
from sim.folder import Folder
from sim.run import simulate
from sim.verilator import ToolError, check_compiler, find
from tests.hw.tiny import plan_of

try:
    check_compiler()
    find()
except ToolError as error:
    pytest.skip(str(error), allow_module_level=True)


def slow(*case):
    return pytest.param(*case, marks=pytest.mark.slow)


def verdicts(plan, folder):
    """Both runs of two random images, everything exact."""
    write_build(plan, folder)
    images = np.random.default_rng(1).integers(
        0, 256, (2, 3, plan.network.side, plan.network.side), dtype=np.uint8)
    steady, stalled = simulate(Folder.load(folder), images, say=lambda line: None)
    for verdict in (steady, stalled):
        assert verdict.exact, verdict.frames
    return steady


@pytest.mark.parametrize("lanes,fields,words,batch", [
    (Lanes(4, 8, 8, 4), {"side": 16, "act_bits": 2}, 30, 1),
    slow(Lanes(8, 8, 16, 8), {"side": 32, "depth": 20}, 60, 1),
    (Lanes(4, 8, 8, 4), {"side": 16, "act_bits": 2, "depth": 14}, 30, 2)])
def test_streamed_weights_come_in_the_planned_cycles(lanes, fields, words, batch, tmp_path):
    plan = dataclasses.replace(plan_of(lanes, **fields), weight_words=words, batch=batch)
    assert plan.residency.stalls
    steady = verdicts(plan, tmp_path / "build")
    # The pace of the stream is an average.
    assert abs(steady.cycles_per_frame / plan.cycles_per_frame - 1) < 0.01


@pytest.mark.parametrize("lanes,fields", [
    (Lanes(4, 8, 8, 8), {"side": 16, "act_bits": 2, "depth": 14}),
    slow(Lanes(2, 16, 16, 16), {"act_bits": 6, "classes": 2}),
    slow(Lanes(8, 16, 16, 4), {"side": 32, "act_bits": 3}),
    slow(Lanes(8, 8, 16, 8), {"side": 32, "act_bits": 8, "res_bits": 16}),
    slow(Lanes(2, 4, 64, 4), {"width": 4}),                # 16 groups
    slow(Lanes(2, 8, 32, 8), {"width": 2, "act_bits": 4, "depth": 20}),
    slow(Lanes(4, 32, 8, 4), {"width": 2, "side": 16, "act_bits": 6, "res_bits": 10,
                              "shifts": (24, 3, 17, -2, 6, 20, 2), "entries": (0, 6, -3, 1)}),
])
def test_whole_frames_are_exact_in_the_planned_cycles(lanes, fields, tmp_path):
    plan = plan_of(lanes, **fields)
    steady = verdicts(plan, tmp_path / "build")
    assert set(steady.distances) == {plan.cycles_per_frame}
    assert steady.latency == plan.latency_cycles
