"""Result units against ``sim.arithmetic``; their sequencer against the layers' loops."""

import itertools

import numpy as np
import pytest
from amaranth import *
from amaranth.lib import data

from gen.layout import contents
from gen.package import Package
from hw import results
from hw.array import word_layout
from hw.maps import COLUMN_LATENCY
from hw.results import ResultSequencer, ResultUnit, clip_code, saturated
from hw.schedule import Lanes
from sim import arithmetic
from tests.hw.tiny import ARRAYS, SMALLEST, schedule_of, tiny_network, unused
from tests.streams import simulate

CONVS, BLOCKS = 7, 4                     # of depth 8: shifts, and entries with the head's


def numbers(**fields):
    """Network numbers with every kind of shift: left, none, right."""
    return {"shifts": (2, 5, -1, 0, 4, 9, -2), "entries": (4, 0, -1, 3), **fields}


CASES = [
    (SMALLEST, numbers()),
    (Lanes(2, 4, 4, 4), numbers(act_bits=2, act_frac=0, res_bits=4, res_frac=0)),
    (Lanes(2, 8, 8, 8), numbers(act_bits=8, act_frac=7, res_bits=16)),
    (Lanes(4, 4, 4, 4), numbers(act_bits=3, act_frac=2, res_bits=9, side=16)),
    (SMALLEST, numbers(act_bits=6, shifts=(24, -3, 1, 2, 3, 13, 14), entries=(12, 1, 2, -6))),
    (SMALLEST, numbers(shifts=(6,) * CONVS, entries=(4,) * BLOCKS)),
    (SMALLEST, numbers(shifts=(0,) * CONVS, entries=(0,) * BLOCKS)),
    (SMALLEST, numbers(shifts=(-2,) * CONVS, entries=(-1,) * BLOCKS)),
]


def drawn(rng, low, high, shape):
    """Integers of a range, its ends and the middle more often than others."""
    values = rng.integers(low, high + 1, shape)
    ends = rng.choice([low, high, 0, -1 if low < 0 else 1, (low + high) // 2], shape)
    near = np.clip(rng.integers(-40, 41, shape), low, high)
    kind = rng.integers(0, 3, shape)
    return np.where(kind == 0, values, np.where(kind == 1, np.clip(ends, low, high), near))


@pytest.mark.parametrize("lanes,fields", CASES)
def test_every_word_is_the_arithmetics(lanes, fields):
    net, schedule = tiny_network(**fields), schedule_of(lanes, **fields)
    bits = unused_constant_bits(net, schedule)
    sequencer = unused(ResultSequencer(schedule))
    unit = ResultUnit(sequencer, word_layout(schedule), bits)
    rng, steps = np.random.default_rng(len(fields)), 200
    shape = (steps, lanes.pixels, lanes.result_channels)
    sums = drawn(rng, 0, (1 << schedule.acc_bits) - 1, shape)
    # Half of the constants are near the sums, so that small accumulators come as well.
    constants = rng.integers(-(1 << bits - 2), 1 << bits - 2, (steps, lanes.result_channels))
    near = rng.random(constants.shape) < 0.5
    constants[near] = (sums[:, 0] + rng.integers(-300, 301, constants.shape))[near]
    half = 1 << net.res_bits - 1
    old = drawn(rng, -(half * 513 >> 9), (half * 513 >> 9) - 1, shape)
    word = {name: rng.integers(0, high, steps) for name, high in {
        "shift": len(sequencer.shifts), "entry": len(sequencer.entries), "has_residual": 2,
        "first_conv": 2, "stride2": 2}.items()}
    got_residual, got_codes = [], []

    async def bench(ctx):
        for t in range(steps + results.CODES_DELAY):
            if t < steps:
                ctx.set(unit.word, {"valid": 1, **{name: int(v[t]) for name, v in word.items()}})
            at = t - results.CONSTANTS_DELAY
            if 0 <= at < steps:
                s = sequencer.shifts[word["shift"][at]]
                rounding = 1 << s - 1 if s > 0 else 0
                ctx.set(unit.constants, (constants[at] - rounding).tolist())
            at = t - results.WORD_DELAY
            if 0 <= at < steps:
                ctx.set(unit.sums, sums[at].tolist())
            at = t - results.RESIDUAL_READ_DELAY - COLUMN_LATENCY
            if 0 <= at < steps:
                ctx.set(unit.residual, old[at].tolist())
            if t >= results.RESIDUAL_WRITE_DELAY:
                got_residual.append([list(pixel) for pixel in ctx.get(unit.new_residual)])
            if t >= results.CODES_DELAY:
                got_codes.append([list(pixel) for pixel in ctx.get(unit.codes)])
            await ctx.tick()
    simulate(unit, bench)

    seen = set()
    for t in range(steps):
        acc = sums[t] - constants[t]
        s, e = sequencer.shifts[word["shift"][t]], sequencer.entries[word["entry"][t]]
        if word["first_conv"][t]:
            codes = arithmetic.shifted(acc, s, net.zero, net.top)
        else:
            before = old[t] if word["has_residual"][t] else np.zeros_like(old[t])
            r = arithmetic.residual(before, acc, s, net.res_bits)
            assert got_residual[t] == r.tolist(), (t, s)
            codes = arithmetic.activate(r, e, net.zero, net.top)
        seen |= set(codes.flat)
        if word["stride2"][t]:                  # every other pixel, in both halves
            codes = np.concatenate([codes[::2]] * 2)
        assert got_codes[t] == codes.tolist(), (t, s, e, word["first_conv"][t])
    assert {0, net.top} <= seen


def unused_constant_bits(net, schedule):
    return contents(Package.random(net, 1), schedule).constant_bits


@pytest.mark.parametrize("bits,into", [(7, 4), (5, 5), (3, 6), (9, 2)])
def test_saturation_keeps_what_fits(bits, into):
    value, result, m = Signal(signed(bits)), Signal(signed(16)), Module()
    m.d.comb += result.eq(saturated(m, value, into))

    async def bench(ctx):
        for v in range(-(1 << bits - 1), 1 << bits - 1):
            ctx.set(value, v)
            assert ctx.get(result) == arithmetic.saturate(np.array(v), into)
    simulate(clocked(m), bench)


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("width", [2, 5, 12])
def test_codes_clip_at_both_ends(bits, width):
    value, result, m = Signal(signed(width)), Signal(bits), Module()
    m.d.comb += result.eq(clip_code(m, value, bits))

    async def bench(ctx):
        for v in range(-(1 << width - 1), 1 << width - 1):
            ctx.set(value, v)
            assert ctx.get(result) == min(max(v, 0), (1 << bits) - 1)
    simulate(clocked(m), bench)


def clocked(m):
    m.d.sync += Signal().eq(1)
    return m


def words_of(schedule):
    """Every result word of a frame in order, from the loops and the memories' layouts."""
    lanes = schedule.lanes
    for number, layer in enumerate(schedule.layers):
        words = layer.out_groups * lanes.groups
        for row, x, index in itertools.product(range(layer.rows), range(layer.x_groups),
                                               range(words)):
            place = row * layer.x_groups // layer.stride + x // layer.stride
            yield {
                "group": index % lanes.groups, "constant": layer.constants + index,
                "has_residual": index < layer.residual_words,
                "address": layer.target + place * (words // lanes.subslices)
                + index // lanes.subslices,
                "part": index % lanes.subslices, "layer": number, "row": row,
                "x_group": x // layer.stride, "slice": index, "odd": x % 2,
                "first_conv": layer.first_conv, "stride2": layer.stride == 2,
                "last": layer.last, "start": (row, x) == (0, 0),
                "frame_end": layer.last and (row, x, index) == (
                    layer.rows - 1, layer.x_groups - 1, words - 1),
                "residual": (row * layer.x_groups + x) * words + index, "entry": layer.entry,
                "shift": layer.shift,
                "pool_start": layer.pool and (row, x, index) == (0, 0, 0)}


@pytest.mark.parametrize("lanes,fields", [
    (SMALLEST, numbers()), (ARRAYS[8][1], {}), (ARRAYS[8][0], {"depth": 14}),
    (ARRAYS[16][1], {"side": 16}),
    (Lanes(2, 16, 16, 16), {}), (Lanes(2, 16, 8, 8), {})])     # one word, or two, for all channels
def test_words_come_in_the_order_of_the_loops(lanes, fields):
    schedule = schedule_of(lanes, **fields)
    unit, rng = ResultSequencer(schedule), np.random.default_rng(7)
    frame, seen = list(words_of(schedule)), []
    steps = len(frame) // lanes.groups

    async def emit(ctx):
        for _ in range(steps + 5):
            ctx.set(unit.emit, 1)
            await ctx.tick()
            idle = lanes.groups - 1 + int(rng.integers(0, 2))
            if idle:
                ctx.set(unit.emit, 0)
                await ctx.tick().repeat(idle)
        ctx.set(unit.emit, 0)
        await ctx.tick().repeat(lanes.groups)

    async def monitor(ctx):
        while True:
            _, _, word, start = await ctx.tick().sample(unit.word, unit.pool_start)
            if word.valid:
                seen.append((data.Const(unit.word_layout, word.as_bits()), start))
            else:
                assert not start
    simulate(unit, emit, background=[monitor])
    assert len(seen) == len(frame) + 5 * lanes.groups
    for k, (want, (word, start)) in enumerate(zip(frame + frame, seen)):
        got = {name: int(word[name]) for name in want if name != "pool_start"}
        got |= {"shift": unit.shifts[got["shift"]], "entry": unit.entries[got["entry"]],
                "pool_start": start}
        if want["first_conv"]:                  # there's no residual and no entry then
            for name in ("residual", "entry", "has_residual"):
                want, got = ({**d, name: None} for d in (want, got))
        assert got == want, k
