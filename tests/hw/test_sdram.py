"""The SDRAM controller, against a model that fails on a broken rule."""

from dataclasses import replace

import numpy as np
import pytest
from amaranth import *

from hw.sdram import SdramController, read_share
from hw.sdram_parts import PARTS
from tests.hw.sdram_chip import RuleBroken, SdramChip
from tests.streams import STALLS, idle, receive, send, simulate

# A refused controller is an Elaboratable that nothing elaborates.
pytestmark = pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")

ISSI, SLOW, WIDE = (PARTS[name] for name in ("IS42S16160G-7", "MT48LC16M16A2-75", "AS4C32M16SB-7"))
SPEEDS = [(name, mhz) for name, part in PARTS.items() for mhz in (100, min(part.mhz_cl3, 166))]


def soon(part):
    """The part with a short start-up pause, to keep simulations short."""
    return replace(part, startup_us=0.5)


class Bench:
    """A controller, the model of its chip and what goes between them."""

    def __init__(self, part, clock_mhz=100, read_delay=2, cas_latency=3, chip=None, delayed=None):
        self.dut = SdramController(part, clock_mhz, read_delay, cas_latency)
        self.chip = SdramChip(chip or part, clock_mhz, read_delay if delayed is None else delayed)
        self.module = Module()
        self.module.submodules.dut = self.dut
        self.model = self.chip.attach(self.module, self.dut.pins)

    def run(self, *benches, **options):
        simulate(self.module, *benches, background=[self.model], **options)

    async def store(self, ctx, address, words, stall=lambda: 0):
        await send(ctx, self.dut.write, [{"address": address, "count": len(words)}])
        await send(ctx, self.dut.data, words, stall)

    async def load(self, ctx, address, count, stall=lambda: 0):
        await send(ctx, self.dut.read, [{"address": address, "count": count}])
        return await receive(ctx, self.dut.words, count, stall)

    def expected(self, address, count):
        return [self.chip.word((address + i) % self.chip.part.words) for i in range(count)]


async def flow(ctx, words, count):
    """Take ``count`` words from a consumer that is always ready; returns them and the cycles."""
    got, cycles = [], 0
    ctx.set(words.ready, 1)
    while len(got) < count:
        _, _, valid, word = await ctx.tick().sample(words.valid, words.payload)
        cycles += bool(got or valid)
        if valid:
            got.append(word)
    ctx.set(words.ready, 0)
    return got, cycles


@pytest.mark.parametrize("address, count", [
    pytest.param(0, 8, id="first words"),
    pytest.param(512 - 8, 8, id="end of a page"),
    pytest.param(512 - 16, 32, id="across banks"),
    pytest.param(4 * 512 - 8, 24, id="across rows"),
    pytest.param(3 * 512 + 64, 528, id="more than a page"),
    pytest.param(ISSI.words - 16, 16, id="last words"),
    pytest.param(ISSI.words - 8, 16, id="around the end"),
])
def test_what_was_written_is_read_back(address, count):
    bench = Bench(soon(ISSI))
    words = np.random.default_rng(count).integers(0, 1 << 16, count).tolist()

    async def traffic(ctx):
        await bench.store(ctx, address, words)
        assert await bench.load(ctx, address, count) == words

    bench.run(traffic, watch=[bench.dut.words])
    assert bench.expected(address, count) == words  # in the chip too, and nowhere else:
    assert len(bench.chip.words) == count


@pytest.mark.parametrize("in_stall", STALLS)
@pytest.mark.parametrize("out_stall", STALLS)
def test_stalls_lose_no_word(in_stall, out_stall):
    bench, rng = Bench(soon(ISSI), 133), np.random.default_rng(4)
    words = rng.integers(0, 1 << 16, 96).tolist()

    async def traffic(ctx):
        await bench.store(ctx, 464, words, lambda: STALLS[in_stall](rng))
        got = await bench.load(ctx, 456, 112, lambda: STALLS[out_stall](rng))
        assert got[8:-8] == words

    bench.run(traffic, watch=[bench.dut.words])


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("part", [ISSI, WIDE], ids=lambda part: part.name)
def test_commands_in_a_row_meet_in_the_same_banks_and_rows(part, seed):
    """Short commands with few banks and rows to choose from, writes offered along with reads."""
    bench, rng = Bench(soon(part), 133, cas_latency=3), np.random.default_rng(seed)
    page = 1 << part.column_bits
    image, commands = {}, []
    for _ in range(24):
        address = int(rng.integers(6)) * page + 8 * int(rng.integers(-3, 3)) + 4 * page
        commands.append((bool(rng.integers(3)), address, 8 * int(rng.integers(1, 6))))
    taken = []

    async def issue(ctx):
        for reads, address, count in commands:
            if reads:
                await send(ctx, bench.dut.read, [{"address": address, "count": count}])
                taken.append([image.get(i, bench.chip.word(i))
                              for i in range(address, address + count)])
            else:
                words = rng.integers(0, 1 << 16, count).tolist()
                await bench.store(ctx, address, words)
                image.update(zip(range(address, address + count), words))
        await idle(ctx, 4)  # the last word is on its way to the pins

    async def consume(ctx):
        total = sum(count for reads, _, count in commands if reads)
        got = await receive(ctx, bench.dut.words, total, lambda: STALLS["bursts"](rng))
        assert got == sum(taken, [])

    bench.run(issue, consume)
    assert all(bench.chip.word(address) == word for address, word in image.items())


def test_of_two_commands_at_once_the_write_goes_first():
    bench = Bench(soon(ISSI))

    async def store(ctx):
        await bench.store(ctx, 64, list(range(8)))

    async def load(ctx):
        assert await bench.load(ctx, 64, 8) == list(range(8))

    bench.run(store, load)


@pytest.mark.parametrize("name, mhz", SPEEDS)
def test_every_part_works_at_its_clocks(name, mhz):
    bench = Bench(soon(PARTS[name]), mhz)
    page = 1 << bench.dut.part.column_bits

    async def traffic(ctx):
        await bench.store(ctx, page - 16, list(range(1000, 1032)))
        assert await bench.load(ctx, page - 24, 48) == bench.expected(page - 24, 48)
        # An open bank again, another row of it, and a write on the heels of a read.
        for address in (page, 0, 4 * page, 0):
            assert await bench.load(ctx, address, 8) == bench.expected(address, 8)
            await bench.store(ctx, address, list(range(8)))
        await idle(ctx, 2 * bench.dut.refresh_cycles)

    bench.run(traffic)


@pytest.mark.parametrize("cas_latency", [2, 3])
@pytest.mark.parametrize("read_delay", [0, 1, 5, 8])
def test_words_are_taken_when_they_arrive(cas_latency, read_delay):
    bench = Bench(soon(ISSI), 100, read_delay, cas_latency)

    async def traffic(ctx):
        await send(ctx, bench.dut.read, [{"address": 0, "count": 512}])
        got, cycles = await flow(ctx, bench.dut.words, 512)
        assert got == bench.expected(0, 512)
        assert cycles <= 512 + 30  # a refresh may fall into it

    bench.run(traffic)


@pytest.mark.parametrize("delayed", [1, 3])
def test_a_wrong_read_delay_shows(delayed):
    bench = Bench(soon(ISSI), delayed=delayed)

    async def traffic(ctx):
        assert await bench.load(ctx, 0, 8) != bench.expected(0, 8)

    bench.run(traffic)


def test_a_slower_chip_than_planned_shows():
    bench = Bench(soon(PARTS["AS4C16M16SA-6"]), 133, chip=replace(soon(SLOW), mhz_cl3=166))

    async def traffic(ctx):
        await bench.load(ctx, 0, 8)

    with pytest.raises(RuleBroken, match="^tR"):
        bench.run(traffic)


@pytest.mark.parametrize("mhz", [25, 50, 75, 100, 400 / 3])
@pytest.mark.parametrize("name", PARTS)
def test_a_long_read_gives_the_promised_share(name, mhz):
    """And with the slowest part no more than 2 % above it: plans count on the share."""
    count = 4096
    bench = Bench(soon(PARTS[name]), mhz)

    async def traffic(ctx):
        await send(ctx, bench.dut.read, [{"address": 256, "count": count}])
        got, cycles = await flow(ctx, bench.dut.words, count)
        assert got == bench.expected(256, count)
        refreshes = sum(cycle > bench.chip.cycle - cycles for cycle in bench.chip.refreshed)
        assert refreshes >= cycles // bench.dut.refresh_cycles
        assert count >= read_share(mhz) * cycles
        assert name != "AS4C16M16SA-7" or count <= (read_share(mhz) + 0.02) * cycles

    bench.run(traffic)


def refresh_gaps(bench):
    return np.diff(bench.chip.refreshed[bench.chip.part.startup_refreshes:])


@pytest.mark.parametrize("mhz", [25, 100, 133])
def test_refreshes_are_on_time_while_nothing_is_asked_for(mhz):
    bench = Bench(soon(ISSI), mhz)

    async def traffic(ctx):
        await idle(ctx, 8000)

    bench.run(traffic)
    gaps = refresh_gaps(bench)
    assert len(gaps) >= 6
    assert max(gaps) <= 7.8125 * mhz


@pytest.mark.parametrize("waits_for", ["consumer", "data"])
def test_refreshes_are_on_time_while_a_command_waits(waits_for):
    bench = Bench(soon(ISSI))
    words = list(range(16))

    async def traffic(ctx):
        if waits_for == "consumer":
            await send(ctx, bench.dut.read, [{"address": 480, "count": 128}])
            await idle(ctx, 6000)
            assert await receive(ctx, bench.dut.words, 128) == bench.expected(480, 128)
        else:
            await send(ctx, bench.dut.write, [{"address": 504, "count": 16}])
            await send(ctx, bench.dut.data, words[:11])
            await idle(ctx, 6000)
            await send(ctx, bench.dut.data, words[11:])
            assert await bench.load(ctx, 504, 16) == words

    bench.run(traffic, watch=[bench.dut.words])
    assert len(refresh_gaps(bench)) >= 6
    assert max(refresh_gaps(bench)) <= 781


def test_the_refreshes_of_a_window_are_made_under_load():
    """A chip of 8 rows in 8 / 8192 of the time: its window is short enough to simulate."""
    part = replace(soon(ISSI), refreshes=8, refresh_ms=64 * 8 / 8192)
    bench = Bench(part, 133)

    async def traffic(ctx):
        for pause in (0, 150, 6000, 0):
            await send(ctx, bench.dut.read, [{"address": 500 * 8, "count": 3072}])
            got, _ = await flow(ctx, bench.dut.words, 3072)
            assert got == bench.expected(500 * 8, 3072)
            await idle(ctx, pause)

    bench.run(traffic)
    assert len(bench.chip.refreshed) > 8 + 2 * 8


@pytest.mark.parametrize("name", ["IS42S16160G-7", "AS4C16M16SA-6"])
def test_the_true_start_up_pause_is_kept(name):
    part = PARTS[name]
    bench = Bench(part, 100)

    async def traffic(ctx):
        assert await bench.load(ctx, 0, 8) == bench.expected(0, 8)
        assert ctx.get(bench.dut.ready)

    async def early(ctx):
        await idle(ctx, int(part.startup_us * 100) - 1)
        assert not ctx.get(bench.dut.ready)

    bench.run(traffic, early)
    start, first = bench.chip.commands[0]
    assert first == "precharge"
    assert part.startup_us * 100 <= start <= part.startup_us * 100 + 8
    assert [name for _, name in bench.chip.commands].index("mode") == part.startup_refreshes + 1


def test_the_order_of_the_start_up():
    bench = Bench(soon(ISSI))

    async def traffic(ctx):
        await idle(ctx, 200)

    bench.run(traffic)
    assert [name for _, name in bench.chip.commands] == ["precharge"] + 8 * ["refresh"] + ["mode"]


@pytest.mark.parametrize("arguments, message", [
    ((ISSI, 150), "Clock of IS42S16160G-7 must be at most 142.86 MHz with CAS latency 3, not 150"),
    ((ISSI, 133, 2, 2), "100 MHz with CAS latency 2, not 133; CAS latency 3 allows 142.86"),
    ((ISSI, 10), "Clock of IS42S16160G-7 must be at least 20 MHz, not 10"),
    ((ISSI, 100, 9), "Read delay must be 0 to 8 cycles, not 9"),
    ((ISSI, 100, -1), "Read delay must be 0 to 8 cycles, not -1"),
    ((ISSI, 100, 2, 1), "CAS latency must be 2 or 3, not 1"),
])
def test_what_cannot_work_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        SdramController(*arguments)


@pytest.mark.parametrize("change, message", [
    (dict(banks=3), "banks must be 2 or 4, not 3"),
    (dict(column_bits=11), "column bits must be 4 to 10, not 11"),
    (dict(row_bits=14), "row bits must be 11 to 13, not 14"),
])
def test_odd_organisations_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        replace(ISSI, **change)
