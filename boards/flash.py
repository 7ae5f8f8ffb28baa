"""Streamed weights from the flash that the bitstream comes from, without a host.

::

    link -----> WeightBoot -----> WeightSource
                    |
                FlashReader <---> flash
"""

from math import ceil
from pathlib import Path

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .protocol import BODY_CRC, LOAD_UNIT, padded
from .weights import QUESTION, same_crc

__all__ = ["FLASH_OFFSET", "FLASH_SIZE", "FLASH_WEIGHTS", "PAUSE_US", "FlashReader", "WeightBoot",
           "flash_file"]

# Bytes: where the weights lie. WRN-20-4's bitstream, which fills an 85F, has 1.7 MB, and the first
# boards' flash 4 MiB.
FLASH_OFFSET = 0x200000
FLASH_SIZE = 1 << 24  # bytes: IS25LP128 or W25Q128, and what 24 bits of address reach
FLASH_WEIGHTS = "weights.flash.bin"  # beside the bitstream: what to write there
READ = 0x03  # the one read command without dummy cycles; both parts take it up to 50 MHz
COMMAND = 4  # bytes: READ and the address
SCK_MHZ = 25  # at most: half of what READ allows, for the way there and back
PAUSE_US = 1000  # after power-up: the SDRAM's own pause is 200 us, then come its refreshes


def flash_file(plan, folder):
    """Write the file of ``plan`` for the flash into ``folder``, where its bitstream is, or remove
    it where all weights stay on the chip. Returns its path or ``None``."""
    path = Path(folder) / FLASH_WEIGHTS
    if not plan.schedule.loads:
        path.unlink(missing_ok=True)
        return None
    path.write_bytes(padded(plan.contents.stream.tobytes()))
    return path


PINS = wiring.Signature({"cs_n": Out(1, init=1), "sck": Out(1), "copi": Out(1), "cipo": In(1)})


class FlashReader(wiring.Component):
    """Reads a stretch of a SPI flash, mode 0, once for each ``start``.

    A bit takes ``2 * half`` clock cycles, so a byte at least 32. It's taken where the clock falls
    again: the flash has a whole period from the edge before, wires included.

    Parameters
    ----------
    clock_mhz : float
        Of the domain ``sync``.
    address, count : int
        The stretch, in bytes.

    Members
    -------
    start : ``In(1)``
        Pulse.
    busy : ``Out(1)``
        High from the cycle after ``start`` until after the last byte.
    bytes : ``Out(stream.Signature(8, always_ready=True))``
        Four zeros, while command and address go out, and then the bytes read.
    pins : Out
        ``cs_n``, ``sck``, ``copi`` and ``cipo``.

    Raises
    ------
    ValueError
        The stretch ends beyond ``FLASH_SIZE``.

    Source: ISSI IS25LP128 and Winbond W25Q128JV data sheets, "Normal read" and "Read data (03h)".
    """

    def __init__(self, clock_mhz, address, count):
        if address + count > FLASH_SIZE:
            raise ValueError(f"Weights must be at most {FLASH_SIZE - address:,} bytes to fit the "
                             f"flash above {address:#x}, not {count:,}")
        self.address, self.count = address, count
        self.half = max(2, ceil(clock_mhz / (2 * SCK_MHZ)))
        super().__init__({"start": In(1), "busy": Out(1), "pins": Out(PINS),
                          "bytes": Out(stream.Signature(8, always_ready=True))})

    def elaborate(self, platform):
        m = Module()
        pins = self.pins
        # What goes out leaves at the top, what comes in enters at the bottom.
        shift = Signal(8 * COMMAND)
        timer, bit = Signal(range(self.half)), Signal(3)
        left, over = Signal(range(COMMAND + self.count + 1)), Signal()
        command = Signal(range(COMMAND + 1))           # bytes of it to come
        m.d.comb += [self.busy.eq(~pins.cs_n), pins.copi.eq(shift[-1]),
                     self.bytes.payload.eq(shift[:8])]
        m.d.sync += [self.bytes.valid.eq(0), over.eq(left == 0)]

        with m.If(self.start):
            m.d.sync += [pins.cs_n.eq(0), shift.eq(READ << 24 | self.address),
                         timer.eq(self.half - 1), bit.eq(0), command.eq(COMMAND),
                         left.eq(COMMAND + self.count)]
        with m.Elif(self.busy):
            m.d.sync += timer.eq(timer - 1)
            with m.If(timer == 0):
                m.d.sync += timer.eq(self.half - 1)
                with m.If(over):
                    m.d.sync += pins.cs_n.eq(1)
                with m.Else():
                    m.d.sync += pins.sck.eq(~pins.sck)
                with m.If(pins.sck):
                    m.d.sync += [shift.eq(Cat(pins.cipo & (command == 0), shift)), bit.eq(bit + 1)]
                    with m.If(bit == 7):
                        m.d.sync += [self.bytes.valid.eq(1), left.eq(left - 1)]
                        with m.If(command != 0):
                            m.d.sync += command.eq(command - 1)
        return m


class WeightBoot(wiring.Component):
    """Fills a :class:`boards.weights.WeightSource` from the flash after power-up, then leaves it to
    the host.

    What it does is what a host does: one ``LOAD`` of everything, then ``CHECK``. If that proves the
    weights wrong (the flash is blank, or holds another build's) the host's come as if nothing had
    been. Until it's done a host's ``LOAD`` is ``lost``, however it ends, and its ``CHECK`` waits
    and then tells what came out. The CRC of what the flash gave says whose fault it is.

    Parameters
    ----------
    clock_mhz : float
        Of the domain ``sync``.
    size : int
        Bytes of weights, as for the source.
    pause_us : float
        From power-up on, until the source's memory surely takes weights.

    Members
    -------
    bytes, begin, lost, check, expected, checked, good
        To the link, as if this were the source.
    memory_fails : ``Out(1)``
        The flash's weights were the right ones, and the source's memory gave back others.
    source : In
        The same members, of the source.
    flash : Out
        See :class:`FlashReader`.

    Raises
    ------
    ValueError
        The weights don't fit the flash.
    """

    def __init__(self, clock_mhz, size, pause_us=PAUSE_US):
        self.pause = max(1, ceil(clock_mhz * pause_us))  # cycles
        self.reader = FlashReader(clock_mhz, FLASH_OFFSET, size + -size % LOAD_UNIT)
        super().__init__({**QUESTION, "source": In(wiring.Signature(QUESTION)),
                          "memory_fails": Out(1), "flash": Out(PINS)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.reader = reader = self.reader
        source = self.source
        wiring.connect(m, reader.pins, wiring.flipped(self.flash))

        # A host's question that began before the end stays out of the source as a whole.
        booting, cut = Signal(init=1), Signal()
        with m.If(booting & self.bytes.valid):
            m.d.sync += cut.eq(1)
        with m.Elif(self.begin):
            m.d.sync += cut.eq(0)
        m.d.comb += [
            self.lost.eq(cut | source.lost), self.good.eq(source.good),
            self.checked.eq(source.checked & ~booting), source.expected.eq(self.expected)]

        with m.If(~booting):
            m.d.comb += [
                source.bytes.payload.eq(self.bytes.payload), source.begin.eq(self.begin),
                source.bytes.valid.eq(self.bytes.valid & ~cut), source.check.eq(self.check)]
        with m.Else():
            # The zeros that the reader gives for its command are the offset.
            m.d.comb += [source.bytes.payload.eq(reader.bytes.payload),
                         source.bytes.valid.eq(reader.bytes.valid)]

        # Bytes are many cycles apart, and the last is long past when this is asked for.
        m.submodules.crc = crc = BODY_CRC.create()
        right = same_crc(m, crc.crc, self.expected)
        command = Signal(range(COMMAND + 1), init=COMMAND)
        m.d.comb += [crc.data.eq(reader.bytes.payload),
                     crc.valid.eq(reader.bytes.valid & (command == 0))]
        with m.If(reader.bytes.valid & (command != 0)):
            m.d.sync += command.eq(command - 1)

        timer, over = Signal(range(self.pause), init=self.pause - 1), Signal()
        started = Signal()
        m.d.sync += over.eq(timer == 0)
        m.d.comb += reader.start.eq(started)
        with m.FSM():
            with m.State("pause"):
                m.d.sync += timer.eq(timer - 1)
                with m.If(over):
                    m.next = "start"
            with m.State("start"):
                m.d.comb += source.begin.eq(1)
                m.d.sync += started.eq(1)
                m.next = "started"
            with m.State("started"):
                m.d.sync += started.eq(0)
                m.next = "load"
            with m.State("load"):
                with m.If(~reader.busy):
                    m.next = "check"
            with m.State("check"):
                m.d.comb += source.check.eq(1)
                m.next = "checking"
            with m.State("checking"):          # `checked` is low from this cycle on
                with m.If(source.checked):
                    m.next = "leave"
            with m.State("leave"):
                m.d.comb += source.begin.eq(1)  # the host's next byte is an offset's
                m.d.sync += [booting.eq(0), self.memory_fails.eq(right & ~source.good)]
                m.next = "done"
            with m.State("done"):
                pass
        return m
