"""Where streamed weights come from: an SDRAM that the host or the flash (:mod:`.flash`) fills once,
read over and over.

::

    link --> questions --> words --> queue --> SDRAM controller --> pieces --> (to the pipeline)
         sync | memory                             |            memory | sync
                                                 CRC-32
"""

import zlib

from amaranth import *
from amaranth.lib import cdc, fifo, stream, wiring
from amaranth.lib.crc import catalog
from amaranth.lib.wiring import In, Out

from hw.sdram import BURST, SdramController
from hw.weights import PIECE_BITS

from .crossing import Crossing
from .protocol import LOAD_UNIT, padded

__all__ = ["WeightSource", "WeightStore", "weight_source", "weights_crc"]

WORD_BITS = 16  # of the SDRAM
CRC = catalog.CRC32_ISO_HDLC(data_width=WORD_BITS)
CROSSING = 16   # places of the queues between the clocks: more than are on their way at a time


def weights_crc(weights):
    """CRC-32 by which a board knows its weights, the bytes of a build's ``weights/sdram.bin``."""
    return zlib.crc32(padded(weights))


def weight_source(plan, board, memory_mhz):
    """The :class:`WeightSource` of a plan on a :class:`boards.ulx3s.Board` with its memory at
    ``memory_mhz``, or ``None`` where all weights stay on the chip."""
    if not plan.schedule.loads:
        return None
    return WeightSource(board.memory, memory_mhz, plan.contents.stream.nbytes)


QUESTION = {
    "bytes": In(stream.Signature(8, always_ready=True)), "begin": In(1), "lost": Out(1),
    "check": In(1), "expected": In(32), "checked": Out(1, init=1), "good": Out(1)}


class WeightSource(wiring.Component):
    """Takes weights, checks them and then gives them without end.

    The memory and everything near it run on a clock of their own, domain ``memory``.

    Parameters
    ----------
    part : hw.sdram.SdramPart
    memory_mhz : float
        Of the domain ``memory``.
    size : int
        Bytes of weights.
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
    expected : ``In(32)``
        The CRC of the right weights (:func:`weights_crc`), constant from the first ``check`` on.
    checked, good : ``Out(1)``
        Whether the weights are all there. Once they are, nothing is written any more.
    pieces : ``Out(stream.Signature(32))``
        The weights over and over, when they are ``good``.
    pins : Out
        See :class:`hw.sdram.SdramController`; in the domain ``memory``.

    Raises
    ------
    ValueError
        The part is too small or doesn't work at this clock.
    """

    def __init__(self, part, memory_mhz, size, read_delay=2):
        self.store = WeightStore(part, memory_mhz, size, read_delay)
        super().__init__({**QUESTION, "pieces": Out(stream.Signature(PIECE_BITS)),
                          "pins": Out(self.store.pins.signature)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.store = DomainRenamer("memory")(self.store)
        store = self.store
        wiring.connect(m, store.pins, wiring.flipped(self.pins))

        # A register on either side: the queue's own logic is deep enough.
        m.submodules.questions = questions = fifo.AsyncFIFO(
            width=11, depth=CROSSING, w_domain="sync", r_domain="memory")
        asked, taken = Signal(11), Signal(11)
        m.d.sync += asked.eq(Cat(self.bytes.payload, self.bytes.valid, self.begin, self.check))
        m.d.memory += taken.eq(Cat(questions.r_data[:8],
                                   questions.r_data[8:] & questions.r_rdy.replicate(3)))
        m.d.comb += [
            questions.w_data.eq(asked), questions.w_en.eq(asked[8:].any()),
            questions.r_en.eq(1), store.bytes.payload.eq(taken[:8]),
            Cat(store.bytes.valid, store.begin, store.check).eq(taken[8:]),
            store.expected.eq(self.expected)]

        # A verdict is there when the toggle behind it arrives.
        was, verdict, arrived, last = Signal(init=1), Signal(), Signal(), Signal()
        m.d.memory += [was.eq(store.checked), verdict.eq(verdict ^ (store.checked & ~was))]
        m.submodules.verdict = cdc.FFSynchronizer(verdict, arrived)
        m.submodules.good = cdc.FFSynchronizer(store.good, self.good)
        m.submodules.lost = cdc.FFSynchronizer(store.lost, self.lost)
        m.d.sync += last.eq(arrived)
        with m.If(self.check):
            m.d.sync += self.checked.eq(0)
        with m.Elif(arrived != last):
            m.d.sync += self.checked.eq(1)

        m.submodules.crossing = crossing = Crossing(PIECE_BITS)
        wiring.connect(m, store.pieces, crossing.w)
        wiring.connect(m, crossing.r, wiring.flipped(self.pieces))
        return m


class WeightStore(wiring.Component):
    """The part of a :class:`WeightSource` on the memory's clock, here called ``sync``; parameters
    and members as there."""

    def __init__(self, part, memory_mhz, size, read_delay=2):
        whole = size + -size % LOAD_UNIT
        if whole > part.words * WORD_BITS // 8:
            raise ValueError(f"{part.name} must hold {whole:,} bytes of weights, "
                             f"not {part.words * WORD_BITS // 8:,}")
        self.part = part
        self.count, self.whole_count = 8 * size // WORD_BITS, 8 * whole // WORD_BITS
        self.controller = SdramController(part, memory_mhz, read_delay)
        super().__init__({**QUESTION, "pieces": Out(stream.Signature(PIECE_BITS)),
                          "pins": Out(self.controller.pins.signature)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.controller = chip = self.controller
        wiring.connect(m, chip.pins, wiring.flipped(self.pins))

        # A word of two bytes; the first four are the offset of what follows.
        m.submodules.queue = queue = ResetInserter(self.begin)(
            fifo.SyncFIFOBuffered(width=WORD_BITS, depth=2 * BURST))
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
        word, low_half = Signal(WORD_BITS), Signal(WORD_BITS)
        upper, padding, final = Signal(), Signal(), Signal()
        with m.If(self.pieces.ready):
            m.d.sync += self.pieces.valid.eq(0)
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
                    m.d.sync += [self.checked.eq(1), self.good.eq(crc.crc == self.expected)]
                    m.next = "idle"
                    with m.If(crc.crc == self.expected):
                        m.next = "again"
            with m.State("again"):
                m.d.sync += [left.eq(self.whole_count), padding.eq(0), final.eq(0)]
                m.d.comb += chip.read.valid.eq(1)
                with m.If(chip.read.ready):
                    m.next = "give"
            with m.State("give"):
                # Two words make a piece; the zeros that fill the last burst make none. A piece is
                # gone before the next one's second word comes, so no ready waits for another.
                taken = Signal()
                m.d.comb += [chip.words.ready.eq(padding | ~upper | ~self.pieces.valid),
                             taken.eq(chip.words.valid & chip.words.ready)]
                with m.If(taken):
                    m.d.sync += [left.eq(left - 1), low_half.eq(chip.words.payload),
                                 upper.eq(~upper & ~padding), final.eq(left == 2),
                                 padding.eq(left <= self.whole_count - self.count + 1)]
                    with m.If(upper & ~padding):
                        m.d.sync += [self.pieces.valid.eq(1),
                                     self.pieces.payload.eq(Cat(low_half, chip.words.payload))]
                    with m.If(final):
                        m.next = "again"
        return m
