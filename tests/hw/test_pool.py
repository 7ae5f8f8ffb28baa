"""The pool unit in place on its residual memory, against ``sim.arithmetic.pool``."""

import numpy as np
import pytest
from amaranth import *
from amaranth.lib import data

from hw.maps import COLUMN_LATENCY, ColumnMemory
from hw.pool import PoolUnit, pool_cycles
from hw.results import residual_layout
from hw.schedule import Lanes
from sim import arithmetic
from tests.hw.tiny import schedule_of
from tests.streams import simulate


class Bench(Elaboratable):
    """Pool unit and residual memory; the test writes and reads while the unit isn't busy."""

    def __init__(self, schedule):
        self.schedule, self.lanes = schedule, schedule.lanes
        self.layout = residual_layout(schedule)
        self.unit = PoolUnit(schedule)
        self.memory = ColumnMemory(self.lanes.pixels, 1, self.layout.elem_shape.size,
                                   schedule.residual_depth, halo=False)
        address = self.memory.w_addr.shape()
        self.w_en, self.w_addr, self.r_addr = Signal(), Signal(address), Signal(address)
        self.w_data, self.r_data = Signal(self.layout), Signal(self.layout)

    def elaborate(self, platform):
        m = Module()
        m.submodules.unit, m.submodules.memory = unit, memory = self.unit, self.memory
        width = self.lanes.pixels
        m.d.comb += [
            memory.r_addr.eq(Mux(unit.busy, unit.r_addr, self.r_addr)),
            memory.w_en.eq(Mux(unit.busy, unit.w_en, self.w_en.replicate(width))),
            memory.w_addr.eq(Mux(unit.busy, unit.w_addr, self.w_addr)),
            *(unit.r_data[i].eq(data.View(self.layout.elem_shape, column))
              for i, column in enumerate(memory.r_data)),
            *(memory.w_data[p].eq(Mux(unit.busy, unit.w_data[p].as_value(),
                                      self.w_data[p].as_value())) for p in range(width)),
            *(self.r_data[p].eq(memory.r_data[p]) for p in range(width))]
        return m


def words_of(maps, lanes, stride):
    """``int[words, pixels, channels]`` of a map ``int[row, column, channel]`` as it's stored;
    a pixel's channels take ``stride`` words."""
    side, _, channels = maps.shape
    groups, slices = side // lanes.pixels, channels // lanes.result_channels
    words = maps.reshape(side, groups, lanes.pixels, slices, lanes.result_channels)
    words = words.transpose(0, 1, 3, 2, 4)
    padded = np.zeros((side, groups, stride, *words.shape[3:]), int)
    padded[:, :, :slices] = words
    return padded.reshape(-1, lanes.pixels, lanes.result_channels)


def residuals(rng, kind, shape, bits):
    low, high = -(1 << bits - 1), (1 << bits - 1) - 1
    if kind == "random":
        return rng.integers(low, high + 1, shape)
    if kind == "lowest":
        return np.full(shape, low)
    if kind == "highest":
        return np.full(shape, high)
    return rng.choice([low, high], shape)


CASES = [(Lanes(2, 4, 4, 4), 8, 12), (Lanes(2, 8, 16, 8), 8, 12), (Lanes(2, 4, 16, 4), 16, 16),
         (Lanes(4, 16, 16, 8), 16, 8), (Lanes(4, 4, 4, 4), 32, 12), (Lanes(8, 8, 8, 8), 32, 12)]


@pytest.mark.parametrize("lanes,side,bits", CASES)
def test_both_pools_are_the_arithmetics_in_the_promised_cycles(lanes, side, bits):
    """The pools of a network one after another, twice, with the ends of the range among them."""
    schedule = schedule_of(lanes, side=side, res_bits=bits, res_frac=bits - 7 if bits > 7 else 0)
    rng, bench = np.random.default_rng(side), Bench(schedule)
    unit = bench.unit
    kinds = iter(["random", "mixed ends", "highest", "lowest"])

    async def run(ctx):
        for layer in unit.layers * 2:
            size, channels = layer.rows * 2, layer.slices * lanes.slice_channels
            slices = channels // lanes.result_channels
            maps = residuals(rng, next(kinds), (size, size, channels), bits)
            for address, word in enumerate(words_of(maps, lanes, slices)):
                ctx.set(bench.w_en, 1)
                ctx.set(bench.w_addr, address)
                ctx.set(bench.w_data, word.tolist())
                await ctx.tick()
            ctx.set(bench.w_en, 0)
            last = await pooled(ctx)
            assert last + 1 == pool_cycles(layer, lanes)
            want = words_of(arithmetic.pool(maps[None])[0], lanes, 2 * slices)
            for address, word in enumerate(want):
                if address % (2 * slices) >= slices:    # channels that have no residual yet
                    continue
                ctx.set(bench.r_addr, address)
                await ctx.tick().repeat(COLUMN_LATENCY)
                got = [list(pixel) for pixel in ctx.get(bench.r_data)]
                assert got == word.tolist(), (layer.name, address)

    async def pooled(ctx):
        """Cycle of the last write, that of the start being 0."""
        ctx.set(unit.start, 1)
        last = cycle = quiet = 0
        while quiet < 20:
            _, _, busy, writing = await ctx.tick().sample(unit.busy, unit.w_en)
            ctx.set(unit.start, 0)
            if writing:
                last = cycle
                assert busy
            quiet = 0 if busy or not last else quiet + 1
            cycle += 1
        return last
    simulate(bench, run)
