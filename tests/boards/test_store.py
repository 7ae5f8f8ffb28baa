import numpy as np
import pytest
from amaranth import DomainRenamer

from boards import store
from tests.streams import STALLS, idle, receive, send, simulate

SIDE = 4
RNG = np.random.default_rng(3)
IMAGES = RNG.integers(0, 256, (3, SIDE * SIDE, 3)).tolist()


def in_one_clock(unit):
    """``unit`` with one clock on both sides; test_link.py has two."""
    return DomainRenamer({"pipeline": "sync"})(unit)


def ImageStore(side):
    return in_one_clock(store.ImageStore(side))


def ScoreStore(classes):
    return in_one_clock(store.ScoreStore(classes))


async def pulse(ctx, signal):
    ctx.set(signal, 1)
    await ctx.tick()
    ctx.set(signal, 0)


async def fill(ctx, dut, data, stall=lambda: 0):
    for byte in data:
        await idle(ctx, stall())
        ctx.set(dut.x.valid, 1)
        ctx.set(dut.x.payload, byte)
        await ctx.tick()
        ctx.set(dut.x.valid, 0)


@pytest.mark.parametrize("in_stall", STALLS)
@pytest.mark.parametrize("out_stall", STALLS)
def test_an_image_leaves_as_it_came(in_stall, out_stall):
    dut, rng = ImageStore(SIDE), np.random.default_rng(0)

    async def bench(ctx):
        for image in IMAGES:
            await fill(ctx, dut, sum(image, []), lambda: STALLS[in_stall](rng))
            await pulse(ctx, dut.start)
            got = await receive(ctx, dut.y, SIDE * SIDE, lambda: STALLS[out_stall](rng))
            assert [list(pixel) for pixel in got] == image
            await pulse(ctx, dut.rewind)

    simulate(dut, bench, watch=[dut.y])


@pytest.mark.parametrize("before", [0, 1, 2, 20, 48, 60])
def test_a_dropped_image_leaves_no_trace(before):
    """Short, whole and overlong ones that are never sent."""
    dut = ImageStore(SIDE)

    async def bench(ctx):
        await fill(ctx, dut, [0xEE] * before)
        await pulse(ctx, dut.rewind)
        await fill(ctx, dut, sum(IMAGES[0], []) + [0xEE] * 7)
        await pulse(ctx, dut.start)
        got = await receive(ctx, dut.y, SIDE * SIDE)
        assert [list(pixel) for pixel in got] == IMAGES[0]
        await ctx.tick().repeat(9)
        assert not ctx.get(dut.y.valid)

    simulate(dut, bench)


def test_the_image_leaves_a_pixel_per_cycle():
    dut, taken = ImageStore(SIDE), []

    async def bench(ctx):
        await fill(ctx, dut, sum(IMAGES[0], []))
        await pulse(ctx, dut.start)
        ctx.set(dut.y.ready, 1)
        for cycle in range(SIDE * SIDE + 9):
            _, _, valid = await ctx.tick().sample(dut.y.valid)
            if valid:
                taken.append(cycle)

    simulate(dut, bench)
    assert taken == list(range(taken[0], taken[0] + SIDE * SIDE))


@pytest.mark.parametrize("stall", STALLS)
@pytest.mark.parametrize("classes", [2, 10, 100])
def test_scores_and_cycles_come_back_as_bytes(classes, stall):
    dut, rng = ScoreStore(classes), np.random.default_rng(classes)
    scores = [rng.integers(-2 ** 31, 2 ** 31, classes).tolist() for _ in range(2)]
    first, last, cycle = [], [], 0      # of each frame: cycles of its first pixel and last score

    async def look(ctx):
        nonlocal cycle
        while True:
            _, _, pixel, taken = await ctx.tick().sample(
                dut.pixel, dut.x.valid & dut.x.ready & dut.x.p.last)
            first.extend([cycle] * (pixel and len(first) == len(last)))
            last.extend([cycle] * taken)
            cycle += 1

    async def bench(ctx):
        for row in scores:
            await pulse(ctx, dut.start)
            assert not ctx.get(dut.done)
            await ctx.tick().repeat(6)
            for _ in range(3):
                await pulse(ctx, dut.pixel)
                await ctx.tick().repeat(11)
            await send(ctx, dut.x, [dict(score=score, last=j == classes - 1)
                                    for j, score in enumerate(row)], lambda: STALLS[stall](rng))
            while not ctx.get(dut.done):
                await ctx.tick()
            got = []
            for index in range(4 * classes + 4):
                ctx.set(dut.index, index)
                await ctx.tick()
                got.append(ctx.get(dut.byte))
            assert np.frombuffer(bytes(got), "<i4").tolist() == [*row, last[-1] - first[-1]]
            assert not ctx.get(dut.x.ready) and len(first) == len(last)

    simulate(dut, bench, background=[look])
