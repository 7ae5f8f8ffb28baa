"""What a stream goes through on a long way: every word comes out, in order and at full speed."""

from functools import partial

import numpy as np
import pytest

from hw.queue import FarQueue, Relay
from tests.streams import STALLS, receive, send, simulate

WORDS = np.random.default_rng(2).integers(0, 1 << 12, 300).tolist()


def stored(words):
    """A queue with as many of its words in block RAM."""
    return pytest.param(partial(FarQueue, stored=words), id=f"FarQueue-{words}")


UNITS = [FarQueue, stored(21), stored(64), Relay]


def test_a_few_words_in_block_ram_are_refused():
    with pytest.raises(ValueError, match="none or at least 16, not 15"):
        FarQueue(12, stored=15)


@pytest.mark.parametrize("slow", STALLS)
@pytest.mark.parametrize("stall", STALLS)
@pytest.mark.parametrize("unit", UNITS)
def test_every_word_comes_out_in_order(unit, stall, slow):
    dut, rng = unit(12), np.random.default_rng(1)
    got = []

    async def source(ctx):
        await send(ctx, dut.x, WORDS, lambda: STALLS[stall](rng))

    async def sink(ctx):
        got.extend(await receive(ctx, dut.y, len(WORDS), lambda: STALLS[slow](rng)))
    simulate(dut, source, sink, watch=[dut.y])
    assert got == WORDS


@pytest.mark.parametrize("unit", UNITS)
def test_a_word_a_cycle_goes_through(unit):
    dut = unit(12)

    async def bench(ctx):
        ctx.set(dut.x.valid, 1)
        ctx.set(dut.y.ready, 1)
        for _ in range(20):
            await ctx.tick()
        for _ in range(50):
            assert ctx.get(dut.x.ready) and ctx.get(dut.y.valid)
            await ctx.tick()
    simulate(dut, bench, watch=[dut.y])


@pytest.mark.parametrize("unit", UNITS)
def test_ready_comes_back_through_a_register(unit):
    """Full or not, what the taker says is seen a cycle later at the earliest."""
    dut = unit(12)

    async def bench(ctx):
        ctx.set(dut.x.valid, 1)
        for _ in range(100):
            before = ctx.get(dut.x.ready)
            ctx.set(dut.y.ready, 1)
            assert ctx.get(dut.x.ready) == before
            ctx.set(dut.y.ready, 0)
            await ctx.tick()
        assert not ctx.get(dut.x.ready)
    simulate(dut, bench)
