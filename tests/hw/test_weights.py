"""Streamed weights: loader, hops and memories against a consumer that reads every word."""

import dataclasses
import itertools

import numpy as np
import pytest
from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from gen.residency import place_weights
from gen.schedule import make_schedule
from hw.memory import READ_LATENCY
from hw.schedule import Lanes
from hw.weights import PIECE_BITS, WeightHop, WeightLoader, pieces
from tests.hw.tiny import tiny_network
from tests.streams import STALLS, send, simulate


class Memories(wiring.Component):
    """The loader and all groups, whose words are read side by side."""

    def __init__(self, schedule):
        self.loader = WeightLoader(schedule)
        self.hops = [WeightHop(schedule, f"weights{g}", [])
                     for g in range(schedule.lanes.weight_memories)]
        super().__init__({
            "pieces": In(stream.Signature(PIECE_BITS)), "addr": In(self.hops[0].addr.shape()),
            "data": Out(len(self.hops) * self.hops[0].ram.width),
            "layer_done": In(1), "layer_start": In(1), "there": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.loader = loader = self.loader
        wiring.connect(m, wiring.flipped(self.pieces), loader.pieces)
        m.d.comb += [loader.layer_done.eq(self.layer_done), self.there.eq(loader.there),
                     loader.layer_start.eq(self.layer_start),
                     self.data.eq(Cat(hop.data for hop in self.hops))]
        x = loader.y
        for hop in self.hops:
            m.submodules += hop
            m.d.comb += [hop.x.eq(x), hop.addr.eq(self.addr)]
            x = hop.y
        return m


PACE = 2.1   # cycles a piece that the plan counts on; any will do
CASES = [(Lanes(2, 4, 8, 4), 0.05), (Lanes(2, 4, 8, 4), 0.5), (Lanes(2, 16, 16, 4), 0),
         (Lanes(2, 4, 16, 2), 0.2)]


@pytest.mark.parametrize("stall", STALLS)
@pytest.mark.parametrize("lanes,share,queue", [*((*case, 0) for case in CASES), (*CASES[0], 100)])
def test_every_layer_reads_the_words_that_were_streamed_for_it(lanes, share, queue, stall):
    """Other contents in each of three frames, so that a word of another frame shows."""
    whole = make_schedule(tiny_network(), lanes)
    least = max(layer.weight_words for layer in whole.layers)
    schedule = place_weights(
        whole, least + int(share * (whole.weight_depth - least)), PACE).schedule
    schedule = dataclasses.replace(schedule, queue_words=queue)
    rng, memories, bits = np.random.default_rng(1), lanes.weight_memories, lanes.weight_bits
    streamed = [load.layer for load in schedule.loads]
    words = {(frame, index): [[int.from_bytes(rng.bytes(bits), "little") & (1 << bits) - 1
                               for _ in range(memories)]
                              for _ in range(schedule.layers[index].weight_words)]
             for frame in range(3) for index in streamed}
    sent = [word >> PIECE_BITS * k & (1 << PIECE_BITS) - 1
            for frame, index in itertools.product(range(3), streamed)
            for row in words[frame, index] for word in row for k in range(pieces(schedule))]
    unit = Memories(schedule)

    async def source(ctx):
        await send(ctx, unit.pieces, sent, lambda: STALLS[stall](rng))

    async def consumer(ctx):
        for frame, (index, layer) in itertools.product(range(3), enumerate(schedule.layers)):
            if index in streamed:
                while not ctx.get(unit.there):
                    await ctx.tick()
                ctx.set(unit.layer_start, 1)
                await ctx.tick()
                ctx.set(unit.layer_start, 0)
                await ctx.tick().repeat(memories + 4)   # the last memories' words are on their way
                for k, row in enumerate(words[frame, index]):
                    ctx.set(unit.addr, layer.weights + k)
                    await ctx.tick().repeat(READ_LATENCY)
                    got = ctx.get(unit.data)
                    assert [got >> bits * g & (1 << bits) - 1 for g in range(memories)] == row, (
                        frame, layer.name, k)
            else:
                await ctx.tick().repeat(int(rng.integers(1, 20)))
            ctx.set(unit.layer_done, 1)
            await ctx.tick()
            ctx.set(unit.layer_done, 0)
    simulate(unit, source, consumer)
