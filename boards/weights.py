"""Where streamed weights come from: an SDRAM that the host or the flash (:mod:`.flash`) fills once,
read over and over.

::

    link --> questions --> words --> queue --> SDRAM controller --> pieces --> (to the pipeline)
         sync | memory                             |            memory | pipeline
                                                 CRC-32
"""

import zlib

from amaranth import *
from amaranth.lib import cdc, fifo, stream, wiring
from amaranth.lib.crc import catalog
from amaranth.lib.wiring import In, Out

from hw.pipe import delayed, far
from hw.sdram import BURST, SdramController
from hw.weights import PIECE_BITS

from .crossing import Crossing
from .protocol import LOAD_UNIT, padded

__all__ = ["QUESTION", "WeightSource", "WeightStore", "same_crc", "weight_source", "weights_crc"]

WORD_BITS = 16  # of the SDRAM
CRC = catalog.CRC32_ISO_HDLC(data_width=WORD_BITS)
CRC_BYTES = 4
QUESTION_SLOTS = 8
PIECE_SLOTS = 32
# Registers between the memory and the crossing, which are the chip's width apart where the pipeline
# begins at the other edge: 95 columns, 12 ns, in WRN-20-4's placement.
HOPS = 3
# Pieces at most, of the words that come after the queue has said to wait.
ON_THEIR_WAY = 4 + HOPS


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


def same_crc(m, crc, expected):
    """Whether two CRCs of 32 bits are equal, two cycles later: byte by byte, then altogether."""
    same, right = Signal(CRC_BYTES), Signal()
    m.d.sync += [right.eq(same.all()),
                 same.eq(Cat(crc.word_select(k, 8) == expected.word_select(k, 8)
                             for k in range(CRC_BYTES)))]
    return right


class WeightSource(wiring.Component):
    """Takes weights, checks them and then gives them without end.

    The memory and everything near it run on a clock of their own, domain ``memory``; the link's is
    ``sync``, and ``pieces`` are in ``pipeline``.

    Parameters
    ----------
    part : hw.sdram_parts.SdramPart
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
        Whether the weights are all there. Once they are, nothing is written any more, unless the
        memory gives back something else in a later reading.
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

        # The right CRC goes the way of the weights, byte by byte before its check: 32 wires of its
        # own drew the memory's CRC to the link, at the other edge of the chip.
        left = Signal(range(CRC_BYTES + 2))
        told, tell, check = Signal(8), left > 1, left == 1
        m.d.comb += told.eq(self.expected.word_select((CRC_BYTES + 1 - left)[:2], 8))
        with m.If(self.check):
            m.d.sync += left.eq(CRC_BYTES + 1)
        with m.Elif(left != 0):
            m.d.sync += left.eq(left - 1)

        # Bytes are cycles apart, and a check with its CRC fits: the queue is never full.
        m.submodules.questions = questions = DomainRenamer(
            {"memory": "sync", "sync": "memory"})(Crossing(12, QUESTION_SLOTS))
        # The link may lie at one edge of the chip and the memory's pins at the other.
        asked = far(m, far(m, Cat(Mux(tell, told, self.bytes.payload), self.bytes.valid,
                                  self.begin, check, tell)))
        taken = questions.r.payload
        m.d.sync += [questions.w.payload.eq(asked), questions.w.valid.eq(asked[8:].any())]
        m.d.comb += questions.r.ready.eq(1)
        m.d.memory += [
            store.bytes.payload.eq(taken[:8]),
            Cat(store.bytes.valid, store.begin, store.check, store.tell).eq(
                taken[8:] & questions.r.valid.replicate(4))]

        # A verdict is there when the toggle behind it arrives. The registers before all of them may
        # lie where the link is.
        was, verdict, arrived, last = Signal(init=1), Signal(), Signal(), Signal()
        checked, good, lost = Signal(init=1), Signal(), Signal()
        m.d.memory += [checked.eq(store.checked), good.eq(store.good), lost.eq(store.lost),
                       was.eq(checked), verdict.eq(verdict ^ (checked & ~was))]
        m.submodules.verdict = cdc.FFSynchronizer(verdict, arrived)
        m.submodules.good = cdc.FFSynchronizer(good, self.good)
        m.submodules.lost = cdc.FFSynchronizer(lost, self.lost)
        m.d.sync += last.eq(arrived)
        with m.If(self.check):
            m.d.sync += self.checked.eq(0)
        with m.Elif(arrived != last):
            m.d.sync += self.checked.eq(1)

        m.submodules.crossing = crossing = DomainRenamer({"sync": "pipeline"})(
            Crossing(PIECE_BITS, PIECE_SLOTS, ON_THEIR_WAY))
        wiring.connect(m, store.pieces, crossing.w)
        m.d.comb += store.room.eq(crossing.room)
        wiring.connect(m, crossing.r, wiring.flipped(self.pieces))
        return m


class WeightStore(wiring.Component):
    """The part of a :class:`WeightSource` on the memory's clock, here called ``sync``; parameters
    and members as there, but that pieces don't wait (when ``room`` is low at most ``ON_THEIR_WAY``
    come), and that the right CRC comes in ``bytes.payload``, lowest byte first, with ``tell``."""

    def __init__(self, part, memory_mhz, size, read_delay=2):
        whole = size + -size % LOAD_UNIT
        if whole > part.words * WORD_BITS // 8:
            raise ValueError(f"{part.name} must hold {whole:,} bytes of weights, "
                             f"not {part.words * WORD_BITS // 8:,}")
        self.part = part
        self.count, self.whole_count = 8 * size // WORD_BITS, 8 * whole // WORD_BITS
        self.controller = SdramController(part, memory_mhz, read_delay)
        asked = {name: member for name, member in QUESTION.items() if name != "expected"}
        super().__init__({**asked, "tell": In(1), "room": In(1),
                          "pieces": Out(stream.Signature(PIECE_BITS, always_ready=True)),
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
                     queue.w_en.eq(self.bytes.valid & half & (place == 2)
                                   & ~delayed(m, self.good, 1, state=True))]
        with m.If(queue.w_en & ~queue.w_rdy):
            m.d.sync += self.lost.eq(1)
        with m.If(self.begin):
            m.d.sync += [half.eq(0), place.eq(0), self.lost.eq(0)]
        with m.Elif(self.bytes.valid):
            m.d.sync += [half.eq(~half), low.eq(self.bytes.payload)]
            with m.If(place != 2):
                m.d.sync += place.eq(place + half)
        with m.If(delayed(m, self.bytes.valid & (place != 2), 1, state=True)):
            m.d.sync += [offset.eq(Cat(offset, low)[8:]), target.eq(Cat(offset, low)[9:])]

        # Whole bursts only, so the queue has a word while one is being written. The memory takes
        # one in every other cycle at most: time to go on to the next.
        writing, burst, empty = Signal(), Signal(), Signal(init=1)
        sent, popped, accepted = Signal(range(BURST)), Signal(), Signal()
        m.d.comb += accepted.eq(chip.write.valid & chip.write.ready)
        m.d.sync += [burst.eq((queue.level >= BURST) & ~writing & ~popped & ~accepted),
                     popped.eq(chip.data.valid & chip.data.ready),
                     empty.eq(~writing & (queue.level == 0))]
        m.d.comb += [
            chip.write.payload.address.eq(target), chip.write.payload.count.eq(BURST),
            chip.write.valid.eq(burst),
            chip.data.payload.eq(queue.r_data), chip.data.valid.eq(writing),
            queue.r_en.eq(popped)]
        with m.If(accepted):
            m.d.sync += [writing.eq(1), target.eq(target + BURST)]
        with m.If(chip.data.valid & chip.data.ready):
            m.d.sync += sent.eq(sent + 1)
            with m.If(sent == BURST - 1):
                m.d.sync += writing.eq(0)

        # Reading: everything in one command, once for the CRC alone, then over and over with it. A
        # word waits in a register first.
        # Reset instead of started, for a level of logic less: its sum is this clock's longest path.
        start = Signal()
        m.submodules.crc = crc = ResetInserter(start)(CRC.create())
        left, final, padding, upper = (Signal(range(self.whole_count + 1)), Signal(), Signal(),
                                       Signal())
        arrived, word, low_half = Signal(), Signal(WORD_BITS), Signal(WORD_BITS)
        giving = Signal()
        room = delayed(m, self.room, HOPS, state=True)
        piece, whole, expected = Signal(PIECE_BITS), Signal(), Signal(8 * CRC_BYTES)
        with m.If(self.tell):
            m.d.sync += expected.eq(Cat(expected, self.bytes.payload)[8:])
        m.d.comb += [chip.read.payload.address.eq(0), chip.read.payload.count.eq(self.whole_count),
                     chip.words.ready.eq(room), crc.data.eq(delayed(m, word, 1)),
                     crc.valid.eq(delayed(m, arrived, 1, state=True))]
        m.d.sync += [arrived.eq(chip.words.valid & room), word.eq(chip.words.payload),
                     start.eq(0), whole.eq(0)]
        right = same_crc(m, crc.crc, expected)
        with m.If(arrived):
            # Two words make a piece; the zeros that fill the last burst make none.
            m.d.sync += [left.eq(left - 1), final.eq(left == 2), low_half.eq(word),
                         upper.eq(~upper & ~padding),
                         padding.eq(left <= self.whole_count - self.count + 1),
                         piece.eq(Cat(low_half, word)), whole.eq(giving & upper & ~padding)]
        m.d.comb += [self.pieces.payload.eq(delayed(m, piece, HOPS - 1)),
                     self.pieces.valid.eq(delayed(m, whole, HOPS - 1, state=True))]
        # The controller lies at the chip's pins, the words go to the pipeline, and the states are
        # somewhere between: registers on both ways.
        asking, over = Signal(), delayed(m, arrived & final, 1, state=True)
        m.d.comb += chip.read.valid.eq(asking)
        with m.If(chip.read.ready):
            m.d.sync += asking.eq(0)
        with m.FSM():
            with m.State("idle"):
                with m.If(self.check):
                    m.d.sync += [self.checked.eq(0), start.eq(1)]
                    m.next = "ask"
            with m.State("ask"):
                m.d.sync += left.eq(self.whole_count)
                with m.If(empty):
                    m.d.sync += asking.eq(1)
                    m.next = "read"
            with m.State("read"):
                with m.If(over):
                    m.next = "add"
            with m.State("add"):                    # the last word comes to the CRC,
                m.next = "added"
            with m.State("added"):                  # is in it,
                m.next = "compare"
            with m.State("compare"):                # which is compared byte by byte,
                m.next = "agree"
            with m.State("agree"):                  # then altogether
                m.next = "judge"
            with m.State("judge"):
                m.d.sync += [self.checked.eq(1), self.good.eq(right), giving.eq(right)]
                m.next = "idle"
                with m.If(right):
                    m.next = "again"
            with m.State("again"):
                m.d.sync += [left.eq(self.whole_count), padding.eq(0), upper.eq(0), asking.eq(1),
                             start.eq(1)]
                m.next = "read"
        return m
