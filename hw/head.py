"""Global pooling and the 1x1 head: the sums of every channel, then one class after another.

Pooling commutes with the 1x1 convolution, so a score is
``sum over channels of w * (sum over pixels of u - n * z)``.
"""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for, ceil_log2

from .memory import READ_LATENCY, Ram, Rom
from .pipe import FAR, count_up, delayed, far
from .results import codes_layout

__all__ = ["SCORE_SHAPE", "HeadUnit", "busy_cycles", "head_cycles", "sums_memory"]

SCORE_SHAPE = data.StructLayout({"score": signed(32), "last": 1})

ADDRESSED = READ_LATENCY + 2   # cycles from a word's address to its sums: a register on either way
SUM_DELAY = ADDRESSED + 2      # from the codes of the last word to the sums
# LUT RAM has 16 words a cell: more take more cells and multiplexers than two block RAMs are worth.
LUT_RAM_WORDS = 64


def _sum_shape(schedule):
    """Of a channel's codes over all pixels."""
    return unsigned((schedule.head_pixels * ((1 << schedule.act_bits) - 1)).bit_length())


def sums_memory(schedule):
    """``(width, depth, style)`` of the memory for the sums of a round's frames, a word of channels
    each; see :class:`.memory.Ram`."""
    channels = schedule.lanes.result_channels
    slices = schedule.features // channels
    depth = schedule.frames << bits_for(max(2, slices) - 1)
    return (channels * _sum_shape(schedule).width, depth,
            "distributed" if depth <= LUT_RAM_WORDS else "block")


def _total_delay(channels):
    """Cycles from a word's address to its products' total, two of them added in a cycle."""
    return ADDRESSED + 1 + ceil_log2(channels)


def _frame_cycles(schedule):
    """Cycles from one frame's last score to the next one's, nothing waiting."""
    channels = schedule.lanes.result_channels
    slices = schedule.features // channels
    return schedule.classes * (slices + _total_delay(channels) + 2 + FAR)


def head_cycles(schedule):
    """Cycles from the codes of a round's last word to the last score of its first frame, nothing
    waiting."""
    return SUM_DELAY + _frame_cycles(schedule) - 2 - FAR


def busy_cycles(schedule):
    """Cycles from the codes of a round's last word until the head is free again, nothing
    waiting."""
    return SUM_DELAY + schedule.frames * _frame_cycles(schedule)


class HeadUnit(wiring.Component):
    """Sums the codes of the last convolution, then scores the classes, a word of channels a cycle.
    The frames of a round are summed side by side and scored one after the other.

    Parameters
    ----------
    schedule : Schedule
    words : sequence of int
        Head weights, class by class, ``result_channels`` bits a word, set where the weight is -1.

    Members
    -------
    valid, frame, start, end, slice, codes : In
        Codes of the last convolution: word ``slice`` of these pixels of this frame; ``start`` with
        the words of the first pixels of a frame, ``end`` with the last word of a round.
    absent : ``In(frames)``
        Frames of the round that ends which aren't there to be scored.
    free : ``Out(1)``
        The sums may be overwritten; up to date ``SUM_DELAY`` cycles after ``end``.
    scores : ``Out(stream)``
        Class after class.
    """

    def __init__(self, schedule, words):
        self.schedule = schedule
        self.slices = schedule.features // schedule.lanes.result_channels
        self.rom = Rom("head", schedule.lanes.result_channels, words)
        width, depth, style = sums_memory(schedule)
        self.sums = Ram(width, depth, style=style)
        super().__init__({
            "valid": In(1), "frame": In(range(schedule.frames)), "start": In(1), "end": In(1),
            "slice": In(range(max(2, self.slices))), "codes": In(codes_layout(schedule)),
            "absent": In(schedule.frames), "free": Out(1),
            "scores": Out(stream.Signature(SCORE_SHAPE))})

    def elaborate(self, platform):
        m = Module()
        y, channels = self.schedule, self.schedule.lanes.result_channels
        pixels = y.head_pixels
        word_shape = data.ArrayLayout(_sum_shape(y), channels)
        m.submodules.sums = sums = self.sums

        # Over the pixels of a word in the cycles that the sum so far takes to be read. The same
        # word comes again with the next pixels, three kernel rows of four slices of channels and so
        # twelve cycles later or more: it's written by then.
        half = [Signal(word_shape, name=f"half{k}", reset_less=True) for k in range(2)]
        added = Signal(word_shape, reset_less=True)
        arrived = delayed(m, self.codes, ADDRESSED - 2)
        for j in range(channels):
            column = [codes[j] for codes in arrived]
            m.d.sync += [half[0][j].eq(sum(column[0::2])), half[1][j].eq(sum(column[1::2])),
                         added[j].eq(half[0][j] + half[1][j])]
        valid, start, end = delayed(m, Cat(self.valid, self.start, self.end & self.valid),
                                    ADDRESSED, state=True)
        written, end = delayed(m, Cat(valid, end), 1, state=True)

        scoring, scored, more = Signal(), Signal(self.frame.shape()), Signal()
        k = Signal(self.slice.shape())
        address = Cat(self.slice, self.frame)
        # The memory may lie far from the sums: a register between them, there and back.
        before, after = delayed(m, data.View(word_shape, sums.r_data), 1), Signal(word_shape)
        m.d.comb += [
            sums.r_addr.eq(delayed(m, Mux(scoring, Cat(k, scored), address), 1)),
            sums.w_en.eq(written), sums.w_addr.eq(delayed(m, address, ADDRESSED + 1)),
            sums.w_data.eq(delayed(m, after, 1)),
            *(after[j].eq(added[j] + Mux(start, 0, before[j])) for j in range(channels))]

        # Scores: a word of channels a cycle, then the class's score waits until it's taken.
        class_end = Signal(init=self.slices == 1)
        j_class, class_last = Signal(range(y.classes)), Signal(init=y.classes == 1)
        issue, word = Signal(), Signal(range(max(2, y.classes * self.slices)))
        m.submodules.rom = self.rom
        m.d.comb += self.rom.addr.eq(delayed(m, word, 1))
        negative = delayed(m, self.rom.data, 1)
        taken = far(m, self.scores.valid & self.scores.ready)
        # A frame's last class waits for its score long enough to begin anew all over the unit.
        anew = Signal()
        with m.If(anew):
            m.d.sync += [word.eq(0), scored.eq(1)]
        with m.FSM() as fsm:
            with m.State("SUM"):
                m.d.sync += [word.eq(0), scored.eq(self.absent[0])]
                with m.If(end & ~self.absent.all()):
                    m.d.sync += more.eq(~self.absent.any() if y.frames > 1 else 0)
                    m.next = "CLASS"
            with m.State("CLASS"):
                m.d.comb += [scoring.eq(1), issue.eq(1)]
                count_up(m, k, class_end, self.slices)
                m.d.sync += word.eq(word + 1)
                with m.If(scored):
                    m.d.sync += more.eq(0)
                with m.If(class_end):
                    m.next = "SCORE"
            with m.State("SCORE"):
                with m.If(taken):
                    m.next = "NEXT"
            with m.State("NEXT"):       # a cycle for what follows from it, all over the unit
                count_up(m, j_class, class_last, y.classes)
                m.next = "CLASS"
                with m.If(class_last & ~more):
                    m.next = "SUM"
        m.d.comb += self.free.eq(fsm.ongoing("SUM"))
        m.d.sync += anew.eq(fsm.ongoing("SCORE") & class_last)

        adding, first, last = delayed(m, Cat(issue, issue & (k == 0), issue & class_end),
                                      _total_delay(channels), state=True)
        zero = pixels * (1 << y.act_frac)
        terms = [delayed(m, Mux(negative[j], zero - before[j], before[j] - zero), 1)
                 for j in range(channels)]
        while len(terms) > 1:
            terms = [delayed(m, sum(terms[i + 1:i + 2], terms[i]), 1)
                     for i in range(0, len(terms), 2)]
        total, = terms
        score = self.scores.payload.score
        with m.If(adding):
            m.d.sync += score.eq(Mux(first, 0, score) + total)
        with m.If(last):    # who takes the scores may be far from the count: they have their own
            m.d.sync += [self.scores.valid.eq(1), self.scores.payload.last.eq(class_last)]
        with m.Elif(self.scores.ready):
            m.d.sync += self.scores.valid.eq(0)
        return m
