"""Weights from the flash: the reader and the boot alone, then on a virtual board."""

import dataclasses
from math import ceil
from types import SimpleNamespace

import numpy as np
import pytest
from amaranth import *
from amaranth.lib import io
from amaranth.sim import Simulator

from boards import flow
from boards.client import Board, Refused
from boards.flash import FLASH_OFFSET, FLASH_SIZE, PINS, FlashReader, WeightBoot, flash_file
from boards.identity import identity_of
from boards.protocol import LOAD_UNIT, Fault, Kind, padded
from boards.shell import FlashPins
from boards.ulx3s import Board as Kit
from boards.virtual import VirtualBoard, main
from boards.weights import weight_source, weights_crc
from sim.golden import Golden
from tests.boards import tiny
from tests.hw.tiny import unused
from tests.streams import idle, simulate

KIT = Kit.named("ulx3s-25f")
TIMEOUT = 60.0  # seconds
DATA = np.random.default_rng(3).bytes(64)


class Chip:
    """A flash that holds ``data`` from ``address`` on, for :func:`tests.streams.simulate`.

    It asserts that it's read in mode 0, with ``half`` cycles at least between edges of its clock,
    and by the command READ alone. A new bit shows ``late`` cycles after the one in which the clock
    fell; until then it's the wrong one.
    """

    def __init__(self, pins, data, address, half=2, late=0):
        self.pins, self.data, self.address = pins, data, address
        self.half, self.late = half, late
        self.reads = []  # (address, bytes) of each

    def bit(self, place):
        place, bit = divmod(place, 8)
        place += self.reads[-1][0] - self.address
        byte = self.data[place] if 0 <= place < len(self.data) else 0xFF
        return byte >> (7 - bit) & 1

    async def run(self, ctx):
        pins = self.pins
        was_n, was_sck, was_copi, steady, command = 1, 0, 0, 0, ""
        coming, bits, due = 1, 0, -1
        while True:
            _, _, cs_n, sck, copi = await ctx.tick().sample(pins.cs_n, pins.sck, pins.copi)
            if cs_n and not was_n:
                assert not was_sck and bits % 8 == 0 and bits > 32
                self.reads[-1] = (self.reads[-1][0], (bits - 32) // 8)
            if not cs_n and was_n:
                assert not sck, "the clock must be low where the flash is selected"
                bits, command, steady = 0, "", 0
            if not cs_n and sck != was_sck:
                assert steady >= self.half, "the clock is too fast"
                steady = 0
            if not cs_n and sck and not was_sck:
                assert copi == was_copi, "the bit must be there before the clock rises"
                bits += 1
                command += str(copi) if bits <= 32 else ""
                if bits == 8:
                    assert int(command, 2) == 0x03
                if bits == 32:
                    self.reads.append((int(command[8:], 2), None))
            if sck and was_sck:
                assert copi == was_copi, "the bit must stay while the clock is high"
            if not cs_n and was_sck and not sck and bits >= 32:
                coming, due = self.bit(bits - 32), self.late
                ctx.set(pins.cipo, not coming)
            if due == 0:
                ctx.set(pins.cipo, coming)
            due -= 1
            was_n, was_sck, was_copi, steady = cs_n, sck, copi, steady + 1


@pytest.mark.parametrize("clock_mhz, late", [(1, 0), (1, 2), (100, 2), (100.1, 4), (200, 6)])
def test_the_stretch_is_read_in_order_behind_four_zeros(clock_mhz, late):
    address, count = 0xA5C396, 9
    dut = FlashReader(clock_mhz, address, count)
    assert clock_mhz / (2 * dut.half) <= 25 and dut.half == max(2, ceil(clock_mhz / 50))
    chip = Chip(dut.pins, DATA, address, dut.half, late)
    got = []

    async def bench(ctx):
        for _ in range(2):
            await idle(ctx, 5)
            ctx.set(dut.start, 1)
            await ctx.tick()
            ctx.set(dut.start, 0)
            heard, cycles = [], 0
            while True:
                _, _, busy, valid, byte = await ctx.tick().sample(
                    dut.busy, dut.bytes.valid, dut.bytes.payload)
                if valid:
                    heard.append((byte, cycles))
                if not busy:
                    break
                cycles += 1
            got.append(heard)

    simulate(dut, bench, background=[chip.run])
    spacing = 16 * dut.half
    for heard in got:
        assert bytes(byte for byte, _ in heard) == bytes(4) + DATA[:count]
        assert [cycle for _, cycle in heard] == [spacing * (k + 1) for k in range(count + 4)]
    assert spacing >= 32 and len(got) == 2 and chip.reads == [(address, count)] * 2


def test_weights_beyond_the_flash_are_refused():
    most = FLASH_SIZE - FLASH_OFFSET
    unused(WeightBoot(100, most))
    with pytest.raises(ValueError, match=f"at most {most:,} bytes to fit the flash above "
                                         f"0x200000, not {most + LOAD_UNIT:,}"):
        WeightBoot(100, most + 1)


def test_the_pins_that_would_stop_the_flash_are_high():
    inverted = {"cs": True, "copi": False, "hold": True, "wp": True}
    port = SimpleNamespace(
        cipo=io.SimulationPort("i", 1),
        **{name: io.SimulationPort("o", 1, invert=low) for name, low in inverted.items()})
    dut = FlashPins(port, PINS)

    async def bench(ctx):
        for value in (0, 1):
            for pin in (dut.pins.cs_n, dut.pins.copi, port.cipo.i):
                ctx.set(pin, value)
            await ctx.delay(1e-9)
            seen = {name: ctx.get(getattr(port, name).o) for name in inverted}
            assert seen == {"cs": value, "copi": value, "hold": 1, "wp": 1}
            assert ctx.get(dut.pins.cipo) == value

    sim = Simulator(dut)
    sim.add_testbench(bench)
    sim.run()


class Clocked(Elaboratable):
    """A flash whose clock counts."""

    def elaborate(self, platform):
        m = Module()
        port = platform.request("spi_flash", dir={
            wire.name: "-" for wire in platform.lookup("spi_flash").ios})
        m.submodules.flash = flash = FlashPins(port, PINS)
        count = Signal(4)
        m.d.sync += count.eq(count + 1)
        m.d.comb += [flash.pins.sck.eq(count[3]), flash.pins.cs_n.eq(count[2]),
                     flash.pins.copi.eq(flash.pins.cipo)]
        return m


def test_a_bitstream_drives_the_clock_of_the_flash(tmp_path):
    """By the real tools: Yosys removes cells without outputs unless they're kept."""
    flow.run(flow.prepared(KIT.create(), Clocked()), tmp_path, KIT.clock_mhz)
    assert "enum: CCLK.MODE USRMCLK" in (tmp_path / "top.config").read_text()


class Source:
    """Stands in for a WeightSource: notes what it's asked, and judges ``wait`` cycles after."""

    def __init__(self, dut, good, wait=40):
        self.members, self.good, self.wait = dut.source, good, wait
        self.said, self.at = [], []

    async def run(self, ctx):
        source, left, cycle = self.members, 0, 0
        ctx.set(source.checked, 1)
        while True:
            _, _, begin, check, valid, byte = await ctx.tick().sample(
                source.begin, source.check, source.bytes.valid, source.bytes.payload)
            new = ["begin"] * begin + [byte] * valid + ["check"] * check
            assert len(new) <= 1
            self.said += new
            self.at += [cycle] * len(new)
            if check:
                ctx.set(source.checked, 0)
                left = self.wait
            elif left:
                left -= 1
                if not left:
                    ctx.set(source.checked, 1)
                    ctx.set(source.good, self.good)
            cycle += 1


def boot(good, size=20, pause_us=30):
    """``(dut, chip, source)``, all but the host."""
    dut = WeightBoot(1, size, pause_us)
    return (dut, Chip(dut.flash, padded(DATA[:size]), FLASH_OFFSET), Source(dut, good))


async def ask(ctx, dut, payload, gap=0):
    """The bytes of a ``LOAD`` from the host; whether they're lost."""
    for byte in payload:
        ctx.set(dut.bytes.payload, byte)
        ctx.set(dut.bytes.valid, 1)
        await ctx.tick()
        ctx.set(dut.bytes.valid, 0)
        await idle(ctx, gap)
    await ctx.tick()
    return ctx.get(dut.lost)


async def pulse(ctx, signal):
    ctx.set(signal, 1)
    await ctx.tick()
    ctx.set(signal, 0)


RIGHT = weights_crc(padded(DATA[:20]))


@pytest.mark.parametrize("good, expected, fails", [
    (0, RIGHT, 1), (1, RIGHT, 0), (0, RIGHT ^ 1 << 9, 0), (0, 0x12345678, 0)])
def test_everything_is_loaded_and_checked_once_after_the_pause(good, expected, fails):
    dut, chip, source = boot(good)

    async def bench(ctx):
        ctx.set(dut.expected, expected)
        assert not ctx.get(dut.checked)
        while not ctx.get(dut.checked):
            await ctx.tick()
        assert ctx.get(dut.good) == good and ctx.get(dut.source.expected) == expected
        assert ctx.get(dut.memory_fails) == fails
        await idle(ctx, 100)

    simulate(dut, bench, background=[chip.run, source.run])
    assert source.said == ["begin", *bytes(4), *padded(DATA[:20]), "check", "begin"]
    assert source.at[0] >= 30 and source.at[-2] > source.at[-3]
    assert source.at[-1] > source.at[-2] + source.wait
    assert chip.reads == [(FLASH_OFFSET, 32)]


def test_a_host_comes_after_the_flash():
    dut, chip, source = boot(good=0)
    own = ["begin", *bytes(4), *padded(DATA[:20]), "check", "begin"]

    async def bench(ctx):
        assert await ask(ctx, dut, b"early")
        await pulse(ctx, dut.begin)
        await ctx.tick()
        assert not ctx.get(dut.lost)             # that one was answered
        await pulse(ctx, dut.check)              # waits
        while "check" not in source.said:
            await ctx.tick()
        assert not ctx.get(dut.checked)
        assert await ask(ctx, dut, b"across", 20)
        assert ctx.get(dut.checked) and source.said == own
        await pulse(ctx, dut.begin)
        assert not await ask(ctx, dut, b"now")
        await pulse(ctx, dut.check)
        await ctx.tick()
        assert not ctx.get(dut.checked)
        ctx.set(dut.source.lost, 1)
        await ctx.tick()
        assert ctx.get(dut.lost)

    simulate(dut, bench, background=[chip.run, source.run])
    assert source.said == [*own, "begin", *b"now", "check"]


def test_a_first_load_after_the_boot_is_not_lost():
    dut, chip, source = boot(good=0)

    async def bench(ctx):
        while not ctx.get(dut.checked):
            await ctx.tick()
        assert not await ask(ctx, dut, b"first")

    simulate(dut, bench, background=[chip.run, source.run])
    assert source.said[-6:] == ["begin", *b"first"]


@pytest.fixture(scope="module")
def plan():
    return dataclasses.replace(tiny.plan(), weight_words=200, memory_mhz=400 / 3)


@pytest.fixture(scope="module")
def weights(plan, tmp_path_factory):
    """What the build writes for the flash."""
    return flash_file(plan, tmp_path_factory.mktemp("build")).read_bytes()


@pytest.fixture
def board(plan, verilator, tmp_path_factory):
    """``board(flash)`` is the port of a board that was just switched on; compiled once."""
    running = []

    def switch_on(flash, **failing):
        running.append(VirtualBoard(
            plan.create(), identity_of(plan, 100), tmp_path_factory.getbasetemp() / "flash",
            patience=200_000, weights=weight_source(plan, KIT, plan.memory_mhz),
            boot=WeightBoot(100, plan.contents.stream.nbytes), flash=flash, **failing))
        return running[-1].__enter__().port
    yield switch_on
    for one in running:
        one.__exit__()


def refused(call, *arguments):
    with pytest.raises(Refused) as caught:
        call(*arguments)
    return caught.value.fault


def test_the_file_is_what_the_board_checks(plan, weights, tmp_path):
    assert len(weights) % LOAD_UNIT == 0 and weights.startswith(plan.contents.stream.tobytes())
    assert weights_crc(weights) == identity_of(plan, 100).weights_crc
    path = flash_file(plan, tmp_path)
    assert path.name == "weights.flash.bin"
    assert flash_file(tiny.plan(), tmp_path) is None and not path.exists()


def test_the_virtual_board_refuses_a_flash_that_is_not_there(plan, tmp_path, capsys):
    tiny.save(plan, tmp_path)
    command = ["--build", str(tmp_path), "--flash", str(tmp_path / "none.bin")]
    assert main(command) == 2
    assert capsys.readouterr().err.endswith("none.bin: No such file or directory\n")
    tiny.save(tiny.plan(), tmp_path)
    assert main(command) == 2
    assert "streams no weights that could come from a flash" in capsys.readouterr().err


def test_a_board_with_the_right_flash_needs_no_host(plan, board, weights):
    with Board(board(weights), timeout=TIMEOUT) as host:
        assert host.ready()
        want = Golden(plan.package).run(tiny.IMAGES).scores
        assert np.array_equal(host.classify(tiny.IMAGES).scores, want)


def test_a_load_while_the_board_starts_is_busy(plan, board, weights):
    """A load that the memory could take; the check behind it waits for the flash's weights."""
    with Board(board(weights), timeout=TIMEOUT) as host:
        payload = bytes(4) + bytes(LOAD_UNIT)
        assert refused(host._receive, host._send(Kind.LOAD, payload)) == Fault.BUSY
        assert refused(host.classify, tiny.IMAGES[:1]) == Fault.WEIGHTS
        assert host.ready()
        host._receive(host._send(Kind.LOAD, payload))
        assert host.ready()


def test_a_memory_that_fails_later_is_noticed_and_can_be_filled_again(board, weights):
    """Weights are read once for their CRC and then for every frame."""
    with Board(board(weights, fades=len(weights) // 2 - 3), timeout=TIMEOUT) as host:
        assert host.ready()
        for _ in range(6):
            try:
                host.classify(tiny.IMAGES[:1])
            except Refused as error:
                assert error.fault == Fault.WEIGHTS
                break
        else:
            pytest.fail("the board went on with wrong weights")
        assert not host.ready()
        host.load(weights)
        host.classify(tiny.IMAGES[:1])


@pytest.mark.parametrize("flash", ["one bit wrong", "blank"])
def test_a_board_with_another_flash_waits_for_the_host(plan, board, weights, flash):
    spoilt = bytearray(weights)
    spoilt[-LOAD_UNIT - 3] ^= 16
    with Board(board(None if flash == "blank" else bytes(spoilt)), timeout=TIMEOUT) as host:
        assert not host.ready()
        assert refused(host.classify, tiny.IMAGES[:1]) == Fault.WEIGHTS
        host.load(plan.contents.stream.tobytes())
        want = Golden(plan.package).run(tiny.IMAGES).scores
        assert np.array_equal(host.classify(tiny.IMAGES).scores, want)


def test_a_board_whose_memory_fails_says_so(plan, board, weights):
    """And not that its flash holds the wrong weights."""
    with Board(board(weights, broken=len(weights) // 2 - 3), timeout=TIMEOUT) as host:
        with pytest.raises(Refused, match="the memory or its clock fails") as caught:
            host.ready()
        assert caught.value.fault == Fault.MEMORY
        assert refused(host.classify, tiny.IMAGES[:1]) == Fault.MEMORY
