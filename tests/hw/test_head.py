"""The head against the golden model's: sums over pixels, then one score after another."""

import numpy as np
import pytest

from gen.layout import contents
from gen.package import Package
from gen.schedule import in_rounds
from hw.head import SUM_DELAY, HeadUnit, head_cycles
from hw.schedule import Lanes
from tests.hw.hostile import HostileRam
from tests.hw.tiny import ARRAYS, SMALLEST, schedule_of, tiny_network
from tests.streams import STALLS, idle, receive, simulate


@pytest.fixture(autouse=True)
def hostile(monkeypatch):
    monkeypatch.setattr("hw.head.Ram", HostileRam)


def codes_of(rng, kind, net):
    shape = (net.side // 4, net.side // 4, net.features)
    return {"random": rng.integers(0, net.top + 1, shape), "all top": np.full(shape, net.top),
            "all zero": np.zeros(shape, int)}[kind]


def words(codes, lanes):
    """``int[word, pixel, channel]`` in the order in which the last layer's results come."""
    side, _, features = codes.shape
    parts = codes.reshape(side, side // lanes.pixels, lanes.pixels,
                          features // lanes.result_channels, lanes.result_channels)
    return parts.transpose(0, 1, 3, 2, 4).reshape(-1, lanes.pixels, lanes.result_channels)


def order_of(schedule, passes=1):
    """``(frame, word)`` of a round's results: the last convolution in as many passes over some of
    the channels, each for one frame after the other."""
    slices = schedule.features // schedule.lanes.result_channels
    share = slices // passes
    return [(frame, group * slices + part * share + k)
            for part in range(passes) for frame in range(schedule.frames)
            for group in range(schedule.head_pixels // schedule.lanes.pixels)
            for k in range(share)]


async def pool(ctx, unit, frames, schedule, stall, passes=1, absent=0):
    """Give the head the codes of a round's frames, as soon as it takes them."""
    while not ctx.get(unit.free):
        await ctx.tick()
    given = [words(codes, schedule.lanes) for codes in frames]
    slices = schedule.features // schedule.lanes.result_channels
    order = order_of(schedule, passes)
    # The steps of a group of pixels take twelve cycles at least, so that a word comes again.
    rest = -(-12 * passes // slices) - 1
    for count, (frame, k) in enumerate(order, 1):
        await idle(ctx, stall() + rest)
        ctx.set(unit.valid, 1)
        ctx.set(unit.frame, frame)
        ctx.set(unit.slice, k % slices)
        ctx.set(unit.start, int(k < slices))
        ctx.set(unit.end, int(count == len(order)))
        ctx.set(unit.absent, absent)
        # The codes are those of this very cycle.
        word = given[frame][k]
        ctx.set(unit.codes, word.tolist())
        await ctx.tick()
        ctx.set(unit.valid, 0)
        ctx.set(unit.codes, [[0] * word.shape[1]] * word.shape[0])
    # `end` without `valid` means nothing.
    ctx.set(unit.end, 1)


def scores_of(package, frames):
    """The golden scores of frames of the head's codes."""
    net = package.network
    pixels = (net.side // 4) ** 2
    return [((codes.sum((0, 1)) - pixels * net.zero) @ package.weights["head"].T.astype(int))
            .tolist() for codes in frames]


def taking(unit, want, stall):
    """A process that receives the scores ``want``, frame by frame."""
    async def take(ctx):
        for scores in want:
            got = await receive(ctx, unit.scores, len(scores), stall)
            assert [int(payload.score) for payload in got] == scores
            assert [int(payload.last) for payload in got] == [0] * (len(scores) - 1) + [1]
    return take


CASES = [(SMALLEST, {}), (Lanes(2, 16, 16, 16), {}), (ARRAYS[8][2], {"classes": 10, "act_bits": 8}),
         (ARRAYS[16][1], {"classes": 2, "act_bits": 2, "side": 16}),
         (ARRAYS[16][0], {"act_bits": 3, "act_frac": 2, "side": 16})]


@pytest.mark.parametrize("stall", STALLS)
@pytest.mark.parametrize("lanes,fields", CASES)
def test_scores_are_the_golden_ones(lanes, fields, stall):
    net, schedule = tiny_network(**fields), schedule_of(lanes, **fields)
    package, rng = Package.random(net, 3), np.random.default_rng(5)
    unit = HeadUnit(schedule, contents(package, schedule).head)
    frames = [codes_of(rng, kind, net) for kind in ("random", "all top", "random", "all zero")]
    want = scores_of(package, frames)

    async def feed(ctx):
        for codes in frames:
            await pool(ctx, unit, [codes], schedule, lambda: STALLS[stall](rng))
            await ctx.tick().repeat(SUM_DELAY - 1)

    simulate(unit, feed, taking(unit, want, lambda: STALLS[stall](rng)), watch=[unit.scores])


@pytest.mark.parametrize("stall", STALLS)
@pytest.mark.parametrize("passes", [1, 4, 16])
def test_two_frames_are_summed_side_by_side(passes, stall):
    """Rounds with both frames and without either, whose codes then count for nothing."""
    net, schedule = tiny_network(), in_rounds(schedule_of(SMALLEST))
    package, rng = Package.random(net, 3), np.random.default_rng(5)
    unit = HeadUnit(schedule, contents(package, schedule).head)
    rounds = [([codes_of(rng, kind, net) for kind in kinds], absent) for kinds, absent in
              [(("random", "all top"), 0b00), (("random", "random"), 0b10),
               (("all zero", "random"), 0b00), (("random", "random"), 0b01),
               (("all top", "random"), 0b11), (("random", "random"), 0b00)]]
    want = scores_of(package, [codes for frames, absent in rounds
                               for k, codes in enumerate(frames) if not absent >> k & 1])

    async def feed(ctx):
        for frames, absent in rounds:
            await pool(ctx, unit, frames, schedule, lambda: STALLS[stall](rng), passes, absent)
            await ctx.tick().repeat(SUM_DELAY - 1)

    simulate(unit, feed, taking(unit, want, lambda: STALLS[stall](rng)), watch=[unit.scores])


@pytest.mark.parametrize("lanes,fields", CASES)
def test_a_frame_takes_the_promised_cycles(lanes, fields):
    net, schedule = tiny_network(**fields), schedule_of(lanes, **fields)
    unit = HeadUnit(schedule, contents(Package.random(net, 3), schedule).head)
    rng, cycles = np.random.default_rng(1), {}

    async def feed(ctx):
        await pool(ctx, unit, [codes_of(rng, "random", net)], schedule, lambda: 0)

    async def monitor(ctx):
        ctx.set(unit.scores.ready, 1)
        cycle = 0
        while True:
            _, _, valid, end, taken, last = await ctx.tick().sample(
                unit.valid, unit.end, unit.scores.valid, unit.scores.payload.last)
            if valid and end:
                cycles["codes"] = cycle
            if taken and last:
                cycles["score"] = cycle
            cycle += 1

    async def wait(ctx):
        await ctx.tick().repeat(schedule.head_pixels * schedule.features + 60 * net.classes + 200)
    simulate(unit, feed, wait, background=[monitor])
    assert cycles["score"] - cycles["codes"] == head_cycles(schedule)
