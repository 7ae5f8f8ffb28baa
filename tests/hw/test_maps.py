"""Column memories and the window of codes."""

import numpy as np
import pytest
from amaranth.lib import stream

from hw.issue import IssueSequencer
from hw.maps import COLUMN_LATENCY, WINDOW_LATENCY, ColumnMemory, Window
from hw.pipeline import IMAGE_SHAPE
from tests.hw.tiny import ARRAYS, schedule_of, unused
from tests.streams import send, simulate

IMAGE = stream.Signature(IMAGE_SHAPE)


@pytest.mark.parametrize("halo", [True, False])
@pytest.mark.parametrize("pixels,parts", [(2, 1), (4, 2)])
def test_a_column_memory_reads_neighbours_at_their_own_addresses(pixels, parts, halo):
    """Bits of a part 5, groups of pixels 7: the left copy is the last bank's, the right one the
    first's."""
    rng, depth, bits = np.random.default_rng(pixels), 7, 5
    unit = ColumnMemory(pixels, parts, bits, depth, halo=halo)
    stored = np.zeros((depth, pixels, parts), int)

    async def bench(ctx):
        for _ in range(150):
            address, part = int(rng.integers(depth)), int(rng.integers(parts))
            mask, values = int(rng.integers(1 << pixels)), rng.integers(0, 1 << bits, pixels)
            ctx.set(unit.w_addr, address)
            ctx.set(unit.w_part, part)
            ctx.set(unit.w_en, mask)
            ctx.set(unit.w_data, values.tolist())
            await ctx.tick()
            for p in range(pixels):
                if mask >> p & 1:
                    stored[address, p, part] = values[p]
        ctx.set(unit.w_en, 0)
        words = (stored << bits * np.arange(parts)).sum(-1)
        for _ in range(60):
            middle, left, right = rng.integers(0, depth, 3).tolist()
            for port, address in ((unit.r_addr, middle), (unit.r_left, left),
                                  (unit.r_right, right)):
                ctx.set(port, address)
            await ctx.tick().repeat(COLUMN_LATENCY)
            want = ([words[left, -1]] * halo + list(words[middle])
                    + [words[right, 0]] * halo)
            assert list(ctx.get(unit.r_data)) == want
    simulate(unit, bench)


@pytest.mark.parametrize("bits", [2, 3, 4, 6, 8])
@pytest.mark.parametrize("lanes", ARRAYS[8][:2], ids=str)
def test_the_window_shows_codes_digits_and_padding(bits, lanes):
    schedule = schedule_of(lanes, act_bits=bits)
    unit = Window(schedule, IMAGE, unused(IssueSequencer(schedule, 8)).signature)
    rng = np.random.default_rng(bits)
    side, width, channels = schedule.side, lanes.pixels, lanes.slice_channels
    image = rng.integers(0, 256, (side * side, 3))
    image[0], image[1] = 0, 255
    codes = rng.integers(0, 1 << bits, (schedule.image_words, width, channels))
    pieces = codes.reshape(-1, width, lanes.subslices, lanes.result_channels)
    packed = (pieces << bits * np.arange(lanes.result_channels)).sum(-1)
    places = rng.permutation(schedule.map_depth)[:schedule.image_words].tolist()
    digits, total = schedule.digits, bits * schedule.digits

    def digit_of(value, digit):
        return value >> total - bits * (digit + 1) & (1 << bits) - 1

    async def load(ctx):
        await send(ctx, unit.image, image.tolist())

    async def bench(ctx):
        ctx.set(unit.w_en, (1 << width) - 1)
        for place, parts in zip(places, packed.transpose(0, 2, 1)):
            for part, values in enumerate(parts):
                ctx.set(unit.w_addr, place)
                ctx.set(unit.w_part, part)
                ctx.set(unit.w_data, values.tolist())
                await ctx.tick()
        ctx.set(unit.w_en, 0)
        while not ctx.get(unit.image_full):
            await ctx.tick()
        for _ in range(80):
            at = rng.integers(0, schedule.image_words, 3).tolist()      # left, middle, right
            source = {"image": int(rng.integers(2)), "digit": int(rng.integers(digits)),
                      "pad_row": int(rng.integers(4) == 0), "pad_left": int(rng.integers(2)),
                      "pad_right": int(rng.integers(2))}
            for port, place in zip((unit.r_left, unit.r_addr, unit.r_right), at):
                ctx.set(port, place if source["image"] else places[place])
            ctx.set(unit.r_digit, source["digit"])
            await ctx.tick().repeat(WINDOW_LATENCY - 3)
            ctx.set(unit.source, source)
            await ctx.tick().repeat(3)
            columns = [(at[0], width - 1), *((at[1], p) for p in range(width)), (at[2], 0)]
            for column, (place, p) in enumerate(columns):
                pad = (source["pad_row"] or column == 0 and source["pad_left"]
                       or column == width + 1 and source["pad_right"])
                want = [1 << schedule.act_frac] * channels if pad else codes[place, p].tolist()
                if source["image"]:
                    values = [128] * 3 if pad else image[place * width + p].tolist()
                    want = ([digit_of(value, source["digit"]) for value in values]
                            + [0] * (channels - 3))
                assert list(ctx.get(unit.codes[column])) == want, (column, source)
    simulate(unit, load, bench)
