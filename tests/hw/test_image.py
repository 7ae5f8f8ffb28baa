"""The image memory: every digit of every pixel, and no image over one that's still needed."""

import numpy as np
import pytest
from amaranth.lib import stream

from hw.image import ImageMemory, load_cycles
from hw.maps import COLUMN_LATENCY
from hw.pipeline import IMAGE_SHAPE
from hw.schedule import Lanes
from tests.hw.tiny import schedule_of
from tests.streams import STALLS, idle, send, simulate

IMAGE = stream.Signature(IMAGE_SHAPE)
# Fewer digits than pixels in a group, as many, and more: 4 digits of pairs.
CASES = [(Lanes(4, 4, 4, 4), 4), (Lanes(2, 4, 4, 4), 4), (Lanes(2, 4, 4, 4), 3),
         (Lanes(2, 4, 4, 4), 2), (Lanes(4, 4, 4, 4), 8)]


@pytest.mark.parametrize("stall", STALLS)
@pytest.mark.parametrize("lanes,bits", CASES)
def test_an_image_is_taken_and_kept_until_it_was_read(lanes, bits, stall):
    schedule = schedule_of(lanes, act_bits=bits, side=16)
    unit, rng = ImageMemory(schedule, IMAGE), np.random.default_rng(1)
    pixels, width, digits = schedule.side ** 2, lanes.pixels, schedule.digits
    frames = [np.random.default_rng(k).integers(0, 256, (pixels, 3)) for k in range(3)]
    accepted = []

    def words(frame):
        """``[group, pixel, digit]``, a digit of all channels."""
        groups = frame.reshape(-1, width, 3, 1)
        at = bits * np.arange(digits - 1, -1, -1)
        return ((groups >> at & (1 << bits) - 1)
                << bits * np.arange(3)[:, None]).sum(2)

    async def source(ctx):
        for frame in frames:
            await send(ctx, unit.image, frame.tolist(), lambda: STALLS[stall](rng))

    async def reader(ctx):
        for k, frame in enumerate(frames):
            full = False
            while not full:
                _, _, full = await ctx.tick().sample(unit.full)
            assert len(accepted) == (k + 1) * pixels
            if stall == "never":
                assert accepted[-1] - accepted[-pixels] + 1 == load_cycles(schedule)
            await idle(ctx, digits + 2)          # the last group's words are on their way
            want = words(frame)
            for _ in range(60):
                left, middle, right = rng.integers(0, schedule.image_words, 3).tolist()
                digit = int(rng.integers(digits))
                for port, value in ((unit.r_left, left), (unit.r_addr, middle),
                                    (unit.r_right, right), (unit.r_digit, digit)):
                    ctx.set(port, value)
                await ctx.tick().repeat(COLUMN_LATENCY)
                assert list(ctx.get(unit.r_data)) == [
                    want[left, -1, digit], *want[middle, :, digit], want[right, 0, digit]]
            assert len(accepted) == (k + 1) * pixels
            ctx.set(unit.done, 1)
            await ctx.tick()
            ctx.set(unit.done, 0)
            assert not ctx.get(unit.full)

    async def monitor(ctx):
        cycle = 0
        while True:
            _, _, valid, ready = await ctx.tick().sample(unit.image.valid, unit.image.ready)
            if valid and ready:
                accepted.append(cycle)
            cycle += 1
    simulate(unit, source, reader, background=[monitor])
