"""The whole pipeline on tiny networks: every word of every layer, the streams and the cycles.

Its memories for maps and for the head's sums are hostile: no result depends on a word that's read
in the cycle that writes it.
"""

import dataclasses
import itertools

import numpy as np
import pytest
from amaranth import *

from hw.schedule import Lanes
from sim.golden import Golden
from sim.taps import FrameTaps, TapSorter
from tests.hw.hostile import HostileRam
from tests.hw.tiny import ARRAYS, SMALLEST, late_plan, plan_of
from tests.streams import STALLS, receive, send, simulate


@pytest.fixture(autouse=True)
def hostile(monkeypatch):
    for module in ("maps", "head"):
        monkeypatch.setattr(f"hw.{module}.Ram", HostileRam)


class Monitor:
    """Sorts the tap's words into frames, notes when pixels and scores pass."""

    def __init__(self, plan, dut):
        self.dut = dut
        self.taps = TapSorter(lambda: FrameTaps(
            plan.network, plan.lanes.pixels, plan.lanes.result_channels, plan.schedule.act_bits,
            plan.schedule.res_bits))
        self.pixels, self.scores = [], []

    async def watch(self, ctx):
        tap, image, scores = self.dut.tap, self.dut.image, self.dut.scores
        cycle = 0
        while True:
            _, _, taken, ready, given, accepted, last, valid, *word = await (
                ctx.tick().sample(
                    image.valid, image.ready, scores.valid, scores.ready, scores.payload.last,
                    tap.valid, tap.frame, tap.layer, tap.row, tap.group, tap.slice, tap.mask,
                    tap.codes, tap.residual))
            if taken and ready:
                self.pixels.append(cycle)
            if given and accepted and last:
                self.scores.append(cycle)
            if valid:
                self.taps.add(*word)
            cycle += 1


def pictures(network, count, seed=0):
    """Random ones, and one of only the darkest and the brightest pixels."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, 3, network.side, network.side), dtype=np.uint8)
    images[-1] = 255 * (images[-1] > 127)
    return images


def pixels(images):
    """Payloads of the image stream: row by row, channels innermost."""
    return images.transpose(0, 2, 3, 1).reshape(-1, 3).tolist()


def check(plan, images, stalls=("never", "never"), seed=1):
    """Run ``images`` back to back and hold everything to the golden model; the monitor."""
    dut, golden = plan.create(), Golden(plan.package).run(images, taps=True)
    monitor = Monitor(plan, dut)
    rngs = [np.random.default_rng(seed + k) for k in range(2)]
    got = []

    async def feed(ctx):
        await send(ctx, dut.image, pixels(images), lambda: STALLS[stalls[0]](rngs[0]))

    async def drain(ctx):
        got.extend(await receive(ctx, dut.scores, len(images) * plan.network.classes,
                                 lambda: STALLS[stalls[1]](rngs[1])))
        if len(images) % plan.batch:        # the frame that isn't there gives none
            await ctx.tick().repeat(2 * plan.residency.cycles)
            assert not ctx.get(dut.scores.valid), "scores of an absent frame"
    background = [monitor.watch]
    if plan.schedule.loads:
        async def weights(ctx):
            rng = np.random.default_rng(seed + 2)
            await send(ctx, dut.weights, itertools.cycle(plan.contents.stream.tolist()),
                       lambda: STALLS[stalls[0]](rng))
        background.append(weights)
    simulate(dut, feed, drain, watch=[dut.scores], background=background)
    for k in range(len(images)):
        found = monitor.taps.frames[k].first_difference(
            {name: maps[k] for name, maps in golden.maps.items()})
        assert found is None, f"frame {k}: {found}"
    classes = plan.network.classes
    assert [int(p.score) for p in got] == golden.scores.reshape(-1).tolist()
    assert [int(p.last) for p in got] == ([0] * (classes - 1) + [1]) * len(images)
    return monitor


def pairs(plan):
    """``plan`` with two frames at a time."""
    return dataclasses.replace(plan, batch=2)


def varied(codes):
    """Whether a map of codes would show a mistake: neither constant nor saturated."""
    return len(np.unique(codes)) > 2


# Lanes and network; shifts and entries of all kinds: to the left, none, to the right.
THREE_BITS = (ARRAYS[8][1], {"act_bits": 3, "shifts": (0, 5, 1, 4, -1, 6, 1),
                             "entries": (6, 5, 4, 3)})
EIGHT_BITS = (ARRAYS[8][2], {"act_bits": 8, "res_bits": 16, "shifts": (-1, 2, -2, 3, 0, 3, -1),
                             "entries": (0, 2, 1, -1)})


@pytest.mark.parametrize("lanes,fields", [THREE_BITS, EIGHT_BITS, (SMALLEST, {})])
def test_the_cases_would_show_a_mistake(lanes, fields):
    """No map is constant or all at the ends."""
    plan = plan_of(lanes, **fields)
    golden = Golden(plan.package).run(pictures(plan.network, 2), taps=True)
    assert all(len(np.unique(maps)) > 2 for name, maps in golden.maps.items())


def test_frames_back_to_back_are_exact_in_the_planned_cycles():
    plan = plan_of(THREE_BITS[0], **THREE_BITS[1])
    monitor = check(plan, pictures(plan.network, 2))
    assert np.diff(monitor.scores).tolist() == [plan.cycles_per_frame]
    assert monitor.scores[0] - monitor.pixels[0] == plan.latency_cycles


@pytest.mark.parametrize("rounds", [lambda plan: plan, pairs, late_plan])
def test_a_head_with_many_classes_takes_the_planned_cycles(rounds):
    """It's still at one frame's scores when the next one's last convolution could begin."""
    plan = rounds(plan_of(Lanes(2, 16, 16, 16), classes=50))
    assert plan.cycles_per_frame > plan.schedule.cycles / plan.batch
    monitor = check(plan, pictures(plan.network, 2 * plan.batch))
    assert (monitor.scores[-1] - monitor.scores[-1 - plan.batch]
            == plan.batch * plan.cycles_per_frame)


@pytest.mark.parametrize("stalls", [
    ("bursts", "always"), pytest.param(("always", "bursts"), marks=pytest.mark.slow)])
def test_stalls_on_both_sides_change_no_number(stalls):
    plan = plan_of(EIGHT_BITS[0], **EIGHT_BITS[1])
    check(plan, pictures(plan.network, 2), stalls)


@pytest.mark.parametrize("stalls", [
    ("never", "never"), pytest.param(("bursts", "bursts"), marks=pytest.mark.slow)])
def test_streamed_weights_change_no_number(stalls):
    """Three frames: the buffer is used over and over, and its layers follow each other closely."""
    plan = dataclasses.replace(plan_of(ARRAYS[8][1], act_bits=2), weight_words=60,
                               memory_mhz=1000)
    loads = plan.schedule.loads
    assert len(loads) > 3 and any(load.after > 0 for load in loads)
    monitor = check(plan, pictures(plan.network, 3), stalls)
    if stalls[0] == "never":
        # The plan allows for a fetch between two loads, and counts on a piece every cycle.
        distance = np.diff(monitor.scores)[-1]
        assert 0.9 * plan.cycles_per_frame < distance <= plan.cycles_per_frame


@pytest.mark.parametrize("rounds", [pairs, late_plan])
def test_two_frames_at_a_time_are_exact_in_the_planned_cycles(rounds):
    plan = rounds(plan_of(THREE_BITS[0], **THREE_BITS[1]))
    assert plan.schedule.late == (rounds is late_plan)
    monitor = check(plan, pictures(plan.network, 4))
    assert monitor.scores[2] - monitor.scores[0] == 2 * plan.cycles_per_frame
    assert monitor.scores[3] - monitor.scores[1] == 2 * plan.cycles_per_frame
    assert monitor.scores[0] - monitor.pixels[0] == plan.latency_cycles


@pytest.mark.parametrize("stalls", [
    ("bursts", "bursts"), pytest.param(("always", "always"), marks=pytest.mark.slow)])
@pytest.mark.parametrize("rounds", [pairs, late_plan])
def test_streamed_weights_serve_two_frames_and_a_single_one(rounds, stalls):
    """An odd number of images, so the last one has to go without a second; where images come
    slowly others do too."""
    plan = rounds(dataclasses.replace(plan_of(ARRAYS[8][1], act_bits=2), weight_words=60,
                                      memory_mhz=1000))
    assert any(y.reuses and y.part in plan.schedule.streamed for y in plan.schedule.layers)
    check(plan, pictures(plan.network, 3), stalls)


def test_scores_that_nobody_takes_stop_the_pipeline_without_loss():
    plan = plan_of(THREE_BITS[0], **THREE_BITS[1])
    dut, images = plan.create(), pictures(plan.network, 4)
    golden, got = Golden(plan.package).run(images), []

    async def feed(ctx):
        await send(ctx, dut.image, pixels(images))

    async def drain(ctx):
        await ctx.tick().repeat(int(3.2 * plan.cycles_per_frame))
        assert ctx.get(dut.scores.valid)
        # The head holds one frame, the last layer of the next waits, the third image is loaded, and
        # of the fourth as many pixels wait as fit the queue.
        assert not ctx.get(dut.image.ready)
        got.extend(await receive(ctx, dut.scores, 4 * plan.network.classes))
    simulate(dut, feed, drain, watch=[dut.scores])
    assert [int(p.score) for p in got] == golden.scores.reshape(-1).tolist()


@pytest.mark.parametrize("share", [
    0.4, *(pytest.param(share, marks=pytest.mark.slow) for share in (0.02, 0.97, 1.3))])
def test_a_reset_in_mid_frame_leaves_no_trace(share):
    """While an image is loaded, in the first layers, and while scores are given."""
    plan = plan_of(THREE_BITS[0], **THREE_BITS[1])
    dut, reset = plan.create(), Signal()
    images = pictures(plan.network, 2)
    golden, got = Golden(plan.package).run(images[1:]), []

    async def bench(ctx):
        feed = iter(pixels(images[:1]) * 2)
        for _ in range(int(share * plan.cycles_per_frame)):
            if ctx.get(dut.image.ready):
                payload = next(feed, None)
                ctx.set(dut.image.valid, payload is not None)
                ctx.set(dut.image.payload, payload or [0, 0, 0])
            await ctx.tick()
        ctx.set(reset, 1)
        ctx.set(dut.image.valid, 0)
        await ctx.tick()
        ctx.set(reset, 0)
        await send(ctx, dut.image, pixels(images[1:]))

    async def drain(ctx):
        while not ctx.get(reset):
            await ctx.tick()
        await ctx.tick()
        got.extend(await receive(ctx, dut.scores, plan.network.classes))
    simulate(ResetInserter(reset)(dut), bench, drain)
    assert [int(p.score) for p in got] == golden.scores.reshape(-1).tolist()
