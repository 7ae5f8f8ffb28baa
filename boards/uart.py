"""Serial bytes, 8N1: one start bit, eight data bits lowest first, one stop bit, no parity."""

from dataclasses import dataclass

from amaranth import *
from amaranth.lib import cdc, stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Uart", "UartReceiver", "UartTransmitter"]

SHORTEST = 4  # clock cycles a bit: three samples and one to spare
TOLERANCE = 0.02  # of the bit rate; a frame of ten bits still has its stop bit in the middle third


@dataclass(frozen=True)
class Uart:
    """A serial line's timing: ``divisor`` clock cycles a bit.

    Raises
    ------
    TypeError, ValueError
        ``divisor`` isn't an integer of at least four.
    """

    divisor: int

    def __post_init__(self):
        if not isinstance(self.divisor, int) or isinstance(self.divisor, bool):
            raise TypeError(f"Divisor must be an integer, not {self.divisor!r}")
        if self.divisor < SHORTEST:
            raise ValueError(f"Divisor must be at least {SHORTEST} clock cycles a bit, "
                             f"not {self.divisor}")

    @classmethod
    def at(cls, baud, clock_hz):
        """The timing nearest ``baud`` bits/s on a clock of ``clock_hz``.

        Raises ``ValueError`` where the nearest is more than two per cent off, with the rate that
        works.
        """
        if baud <= 0:
            raise ValueError(f"Baud rate must be positive, not {baud!r}")
        divisor = round(clock_hz / baud)
        if divisor < SHORTEST:
            raise ValueError(f"Baud rate must be at most {clock_hz / SHORTEST:.0f} on a clock of "
                             f"{clock_hz / 1e6:g} MHz, not {baud}")
        actual = clock_hz / divisor
        if abs(actual / baud - 1) > TOLERANCE:
            raise ValueError(f"Baud rate must divide the clock of {clock_hz / 1e6:g} MHz within "
                             f"{TOLERANCE:.0%}, not {baud}; try {actual:.0f}")
        return cls(divisor)


class UartReceiver(wiring.Component):
    """Bytes from a serial line.

    Each bit is the majority of three samples around its middle. A start bit that doesn't last is
    taken for noise. A byte without its stop bit is dropped, and the next start bit counts only once
    the line has been high again.

    Members
    -------
    rx : ``In(1)``
        The line, high when idle; needn't be synchronous to the clock.
    y : ``Out(stream.Signature(8))``
        Bytes as they come. The line can't wait: a byte that finds the last one untaken is lost.
    lost : ``Out(1)``
        High for one cycle for each byte dropped, for want of a stop bit or of a reader.
    """

    def __init__(self, uart):
        self.uart = uart
        super().__init__({"rx": In(1, init=1), "y": Out(stream.Signature(8)), "lost": Out(1)})

    def elaborate(self, platform):
        m = Module()
        divisor = self.uart.divisor

        rx = Signal(init=1)
        m.submodules.synchroniser = cdc.FFSynchronizer(self.rx, rx, init=1)
        before = Signal(2, init=3)
        m.d.sync += before.eq(Cat(rx, before[0]))
        bit = (rx & before[0]) | (rx & before[1]) | (before[0] & before[1])

        with m.If(self.y.ready):
            m.d.sync += self.y.valid.eq(0)

        timer, count, byte = Signal(range(divisor)), Signal(range(10)), Signal(8)
        with m.FSM():
            with m.State("idle"):
                with m.If(~rx):
                    # The first low sample is number 0 of the bit and the third around the middle
                    # is number divisor // 2 + 1.
                    m.d.sync += [timer.eq(divisor // 2), count.eq(0)]
                    m.next = "bits"

            with m.State("bits"):
                m.d.sync += timer.eq(timer - 1)
                with m.If(timer == 0):
                    m.d.sync += [timer.eq(divisor - 1), count.eq(count + 1),
                                 byte.eq(Cat(byte[1:], bit))]
                    with m.If((count == 0) & bit):
                        m.next = "idle"
                    with m.If(count == 9):
                        with m.If(~bit):
                            m.d.comb += self.lost.eq(1)
                            m.next = "break"
                        with m.Else():
                            m.next = "idle"
                            with m.If(self.y.valid & ~self.y.ready):
                                m.d.comb += self.lost.eq(1)
                            with m.Else():
                                m.d.sync += [self.y.valid.eq(1), self.y.payload.eq(byte)]

            with m.State("break"):
                with m.If(rx):
                    m.next = "idle"

        return m


class UartTransmitter(wiring.Component):
    """Bytes to a serial line, without a gap between bytes that are there in time.

    Members
    -------
    x : ``In(stream.Signature(8))``
        Bytes, one taken every ten bits.
    tx : ``Out(1)``
        The line, high when idle.
    """

    def __init__(self, uart):
        self.uart = uart
        super().__init__({"x": In(stream.Signature(8)), "tx": Out(1, init=1)})

    def elaborate(self, platform):
        m = Module()
        divisor = self.uart.divisor

        bits = Signal(10, init=1)
        timer, left = Signal(range(divisor)), Signal(range(11))
        m.d.comb += self.x.ready.eq((timer == 0) & (left <= 1))
        m.d.sync += self.tx.eq((left == 0) | bits[0])

        with m.If(timer != 0):
            m.d.sync += timer.eq(timer - 1)
        with m.Elif(left > 1):
            m.d.sync += [timer.eq(divisor - 1), left.eq(left - 1), bits.eq(bits >> 1)]
        with m.Elif(self.x.valid):
            m.d.sync += [timer.eq(divisor - 1), left.eq(10),
                         bits.eq(Cat(C(0, 1), self.x.payload, C(1, 1)))]
        with m.Else():
            m.d.sync += left.eq(0)

        return m
