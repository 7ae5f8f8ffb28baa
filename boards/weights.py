"""Where streamed weights come from: an SDRAM that the host fills once, read over and over.

::

    link --> words --> queue --> SDRAM controller --> pieces   (to the pipeline)
                                     |
                                   CRC-32                      (before the first frame)
"""

import dataclasses
import zlib

from amaranth import *
from amaranth.lib import fifo, stream, wiring
from amaranth.lib.crc import catalog
from amaranth.lib.wiring import In, Out

from hw.sdram import BURST, SdramController
from hw.weights import PIECE_BITS

from .protocol import padded

__all__ = ["WeightSource", "common_part", "weight_source"]

CRC = catalog.CRC32_ISO_HDLC(data_width=PIECE_BITS)
PIECE_BYTES = PIECE_BITS // 8


def common_part(parts):
    """The :class:`hw.sdram.SdramPart` that demands the most of each of ``parts`` and offers the
    least of any: a controller for it works with all of them."""
    parts = list(parts)
    least = {"banks", "row_bits", "column_bits", "tras_max_ns", "mhz_cl2", "mhz_cl3", "refresh_ms"}
    fields = {}
    for field in dataclasses.fields(parts[0]):
        values = [getattr(part, field.name) for part in parts]
        if field.name == "name":
            fields["name"] = " or ".join(values)
        else:
            fields[field.name] = (min if field.name in least else max)(values)
    return dataclasses.replace(parts[0], **fields)


def weight_source(plan, board, clock_mhz):
    """The :class:`WeightSource` of a plan on a :class:`boards.ulx3s.Board`, or ``None`` where all
    weights stay on the chip."""
    if not plan.schedule.loads:
        return None
    return WeightSource(board.memory, clock_mhz, plan.contents.stream.tobytes())


class WeightSource(wiring.Component):
    """Takes weights, checks them and then gives them without end.

    Parameters
    ----------
    part : hw.sdram.SdramPart
    clock_mhz : float
    weights : bytes
        What's expected: only weights with this length and CRC-32 are given.
    read_delay : int
        See :class:`hw.sdram.SdramController`.

    Members
    -------
    bytes : ``In(stream.Signature(8, always_ready=True))``
        Payload of a ``LOAD`` question: a byte offset, uint32, and bytes for there on.
    begin : ``In(1)``
        Pulse: the next byte is the first of a question.
    lost : ``Out(1)``
        Bytes of this question came faster than the memory takes them, or before it was ready.
    check : ``In(1)``
        Pulse: read everything and compare the CRC; ``checked`` is low until that's done.
    checked, good : ``Out(1)``
        Whether the weights are all there. Once they are, nothing is written any more.
    pieces : ``Out(stream.Signature(16))``
        The weights over and over, when they are ``good``.
    pins : Out
        See :class:`hw.sdram.SdramController`.

    Raises
    ------
    ValueError
        The part is too small or doesn't work at this clock.
    """

    def __init__(self, part, clock_mhz, weights, read_delay=2):
        whole = padded(weights)
        if len(whole) > PIECE_BYTES * part.words:
            raise ValueError(f"{part.name} must hold {len(whole):,} bytes of weights, "
                             f"not {PIECE_BYTES * part.words:,}")
        self.part, self.count = part, len(weights) // PIECE_BYTES
        self.whole_count, self.crc = len(whole) // PIECE_BYTES, zlib.crc32(whole)
        self.controller = SdramController(part, clock_mhz, read_delay)
        super().__init__({
            "bytes": In(stream.Signature(8, always_ready=True)), "begin": In(1),
            "lost": Out(1), "check": In(1), "checked": Out(1, init=1), "good": Out(1),
            "pieces": Out(stream.Signature(PIECE_BITS)),
            "pins": Out(self.controller.pins.signature)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.controller = chip = self.controller
        wiring.connect(m, chip.pins, wiring.flipped(self.pins))

        # A word of two bytes; the first four are the offset of what follows.
        m.submodules.queue = queue = ResetInserter(self.begin)(
            fifo.SyncFIFOBuffered(width=PIECE_BITS, depth=2 * BURST))
        low, half, place = Signal(8), Signal(), Signal(2)
        offset, target = Signal(32), Signal(chip.write.payload.address.shape())
        m.d.comb += [queue.w_data.eq(Cat(low, self.bytes.payload)),
                     queue.w_en.eq(self.bytes.valid & half & (place == 2) & ~self.good)]
        with m.If(queue.w_en & ~queue.w_rdy):
            m.d.sync += self.lost.eq(1)
        with m.If(self.begin):
            m.d.sync += [half.eq(0), place.eq(0), self.lost.eq(0)]
        with m.Elif(self.bytes.valid):
            m.d.sync += [half.eq(~half), low.eq(self.bytes.payload)]
            with m.If(place != 2):
                m.d.sync += [offset.eq(Cat(offset, self.bytes.payload)[8:]),
                             target.eq(Cat(offset, self.bytes.payload)[9:]),
                             place.eq(place + half)]

        # Whole bursts only.
        writing, sent = Signal(), Signal(range(BURST))
        m.d.comb += [
            chip.write.payload.address.eq(target), chip.write.payload.count.eq(BURST),
            chip.write.valid.eq(~writing & (queue.level >= BURST)),
            chip.data.payload.eq(queue.r_data), chip.data.valid.eq(writing & queue.r_rdy),
            queue.r_en.eq(writing & chip.data.ready)]
        with m.If(chip.write.valid & chip.write.ready):
            m.d.sync += [writing.eq(1), target.eq(target + BURST)]
        with m.If(chip.data.valid & chip.data.ready):
            m.d.sync += sent.eq(sent + 1)
            with m.If(sent == BURST - 1):
                m.d.sync += writing.eq(0)

        # Reading: everything in one command, once for the CRC, then over and over.
        m.submodules.crc = crc = CRC.create()
        left, arrived = Signal(range(self.whole_count + 1)), Signal()
        word = Signal(PIECE_BITS)
        m.d.comb += [chip.read.payload.address.eq(0), chip.read.payload.count.eq(self.whole_count),
                     crc.data.eq(word), crc.valid.eq(arrived)]
        m.d.sync += [arrived.eq(0), word.eq(chip.words.payload)]
        with m.FSM():
            with m.State("idle"):
                m.d.comb += crc.start.eq(1)
                with m.If(self.check):
                    m.d.sync += self.checked.eq(0)
                    m.next = "ask"
            with m.State("ask"):
                m.d.sync += left.eq(self.whole_count)
                m.d.comb += chip.read.valid.eq(~writing & (queue.level == 0))
                with m.If(chip.read.valid & chip.read.ready):
                    m.next = "read"
            with m.State("read"):
                m.d.comb += chip.words.ready.eq(1)
                with m.If(chip.words.valid):
                    m.d.sync += [left.eq(left - 1), arrived.eq(1)]
                    with m.If(left == 1):
                        m.next = "judge"
            with m.State("judge"):
                with m.If(~arrived):                # the last word is in the CRC
                    m.d.sync += [self.checked.eq(1), self.good.eq(crc.crc == self.crc)]
                    m.next = "idle"
                    with m.If(crc.crc == self.crc):
                        m.next = "again"
            with m.State("again"):
                m.d.sync += left.eq(self.whole_count)
                m.d.comb += chip.read.valid.eq(1)
                with m.If(chip.read.ready):
                    m.next = "give"
            with m.State("give"):
                padding = left <= self.whole_count - self.count
                m.d.comb += [self.pieces.payload.eq(chip.words.payload),
                             self.pieces.valid.eq(chip.words.valid & ~padding),
                             chip.words.ready.eq(self.pieces.ready | padding)]
                with m.If(chip.words.valid & chip.words.ready):
                    m.d.sync += left.eq(left - 1)
                    with m.If(left == 1):
                        m.next = "again"
        return m
