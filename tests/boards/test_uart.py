import numpy as np
import pytest

from boards.uart import Uart, UartReceiver, UartTransmitter
from tests.boards.line import listen, talk
from tests.streams import STALLS, receive, send, simulate

BYTES = [0x00, 0xFF, 0xA5, 0x5A, 0x01, 0x80, *np.random.default_rng(0).bytes(20)]


@pytest.mark.parametrize("divisor, theirs", [(4, 4), (5, 5), (16, 16), (50, 51), (50, 49)])
def test_receiver_hears_every_byte(divisor, theirs):
    dut, got = UartReceiver(Uart(divisor)), []

    async def speak(ctx):
        await ctx.tick().repeat(3)
        await talk(ctx, dut.rx, BYTES, theirs)

    async def drain(ctx):
        got.extend(await receive(ctx, dut.y, len(BYTES)))

    simulate(dut, speak, drain, watch=[dut.y])
    assert got == BYTES


def test_a_bit_is_the_majority_of_three_samples():
    # The pin gets the complement for one cycle in the middle of every bit.
    dut, got, divisor = UartReceiver(Uart(16)), [], 16

    async def speak(ctx):
        for byte in BYTES:
            for bit in [0, *((byte >> n) & 1 for n in range(8)), 1]:
                for cycle in range(divisor):
                    ctx.set(dut.rx, bit ^ (cycle == divisor // 2))
                    await ctx.tick()

    async def drain(ctx):
        got.extend(await receive(ctx, dut.y, len(BYTES)))

    simulate(dut, speak, drain)
    assert got == BYTES


def test_noise_and_breaks_make_no_bytes():
    dut, got, lost, divisor = UartReceiver(Uart(8)), [], [], 8

    async def speak(ctx):
        ctx.set(dut.rx, 0)  # shorter than half a start bit
        await ctx.tick().repeat(3)
        ctx.set(dut.rx, 1)
        await ctx.tick().repeat(4 * divisor)
        ctx.set(dut.rx, 0)  # a break: no stop bit
        await ctx.tick().repeat(25 * divisor)
        ctx.set(dut.rx, 1)
        await ctx.tick().repeat(divisor)
        await talk(ctx, dut.rx, [0x42], divisor)
        await ctx.tick().repeat(4 * divisor)

    async def count(ctx):
        ctx.set(dut.y.ready, 1)
        while True:
            _, _, valid, byte, drop = await ctx.tick().sample(dut.y.valid, dut.y.payload, dut.lost)
            if valid:
                got.append(byte)
            lost.append(drop)

    simulate(dut, speak, background=[count])
    assert got == [0x42] and sum(lost) == 1


def test_a_byte_nobody_reads_keeps_its_place():
    dut, lost, divisor = UartReceiver(Uart(4)), [], 4

    async def speak(ctx):
        await talk(ctx, dut.rx, [0x11, 0x22], divisor)
        await ctx.tick().repeat(2 * divisor)
        assert await receive(ctx, dut.y, 1) == [0x11]
        assert sum(lost) == 1

    async def count(ctx):
        while True:
            lost.append((await ctx.tick().sample(dut.lost))[2])

    simulate(dut, speak, background=[count])


@pytest.mark.parametrize("stall", STALLS)
@pytest.mark.parametrize("divisor", [4, 7])
def test_transmitter_says_every_byte(divisor, stall):
    rng = np.random.default_rng(divisor)
    dut, got = UartTransmitter(Uart(divisor)), []

    async def feed(ctx):
        await send(ctx, dut.x, BYTES, lambda: STALLS[stall](rng))
        await ctx.tick().repeat(11 * divisor)

    async def hear(ctx):
        await listen(ctx, dut.tx, divisor, got.append)

    simulate(dut, feed, background=[hear])
    assert got == BYTES


def test_a_byte_takes_ten_bits():
    dut, divisor, ends = UartTransmitter(Uart(5)), 5, []

    async def feed(ctx):
        ctx.set(dut.x.valid, 1)
        for cycle in range(200):
            _, _, ready = await ctx.tick().sample(dut.x.ready)
            if ready:
                ends.append(cycle)

    simulate(dut, feed)
    assert set(np.diff(ends)) == {10 * divisor}


@pytest.mark.parametrize("baud, clock, divisor", [
    (2_000_000, 100e6, 50), (3_000_000, 100e6, 33), (115_200, 25e6, 217),
    (1_000_000, 112.5e6, 112)])
def test_divisor_is_the_nearest(baud, clock, divisor):
    assert Uart.at(baud, clock) == Uart(divisor)


@pytest.mark.parametrize("make, error, words", [
    (lambda: Uart(3), ValueError, "at least 4 clock cycles a bit, not 3"),
    (lambda: Uart(4.0), TypeError, "must be an integer, not 4.0"),
    (lambda: Uart.at(3_000_000, 25e6), ValueError, "within 2%, not 3000000; try 3125000"),
    (lambda: Uart.at(30_000_000, 100e6), ValueError, "at most 25000000 on a clock of 100 MHz"),
    (lambda: Uart.at(0, 100e6), ValueError, "must be positive, not 0"),
])
def test_refuses(make, error, words):
    with pytest.raises(error, match=words):
        make()
