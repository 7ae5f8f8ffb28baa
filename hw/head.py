"""Global pooling and the 1x1 head: the sums of every channel, then one class after another.

Pooling commutes with the 1x1 convolution, so a score is
``sum over channels of w * (sum over pixels of u - n * z)``.
"""

from amaranth import *
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from .memory import READ_LATENCY, Rom
from .pipe import delayed
from .results import codes_layout

__all__ = ["SCORE_SHAPE", "HeadUnit", "head_cycles"]

SCORE_SHAPE = data.StructLayout({"score": signed(32), "last": 1})


SUM_DELAY = 3  # from the codes of the last word to the sums


def _total_delay(channels):
    """Cycles from a word's address to its products' total, two of them added in a cycle."""
    return READ_LATENCY + 1 + ceil_log2(channels)


def head_cycles(schedule):
    """Cycles from the codes of a frame's last word to its last score, nothing waiting."""
    channels = schedule.lanes.result_channels
    slices = schedule.features // channels
    return SUM_DELAY + schedule.classes * (slices + _total_delay(channels) + 1) - 1


class HeadUnit(wiring.Component):
    """Sums the codes of the last convolution, then scores the classes, a word of channels a cycle.

    Parameters
    ----------
    schedule : Schedule
    words : sequence of int
        Head weights, class by class, ``result_channels`` bits a word, set where the weight is -1.

    Members
    -------
    valid, start, end, slice, codes : In
        Codes of the last convolution: word ``slice`` of these pixels; ``start`` with the words
        of the first pixels of a frame, ``end`` with its last word.
    free : ``Out(1)``
        The sums may be overwritten.
    scores : ``Out(stream)``
        Class after class.
    """

    def __init__(self, schedule, words):
        self.schedule = schedule
        self.slices = schedule.features // schedule.lanes.result_channels
        self.rom = Rom("head", schedule.lanes.result_channels, words)
        super().__init__({
            "valid": In(1), "start": In(1), "end": In(1), "slice": In(range(max(2, self.slices))),
            "codes": In(codes_layout(schedule)), "free": Out(1),
            "scores": Out(stream.Signature(SCORE_SHAPE))})

    def elaborate(self, platform):
        m = Module()
        y, channels = self.schedule, self.schedule.lanes.result_channels
        pixels = y.head_pixels
        sum_shape = unsigned((pixels * ((1 << y.act_bits) - 1)).bit_length())
        word_shape = data.ArrayLayout(sum_shape, channels)
        m.submodules.sums = sums = memory.Memory(shape=word_shape, depth=max(2, self.slices),
                                                 init=[])
        write, read = sums.write_port(), sums.read_port(domain="comb")

        # Over the pixels of a word in two cycles, beside the second of which the sum so far is
        # read. A word of channels comes again only after all others, so it's written by then.
        half = [Signal(word_shape, name=f"half{k}", reset_less=True) for k in range(2)]
        added = Signal(word_shape, reset_less=True)
        for j in range(channels):
            column = [codes[j] for codes in self.codes]
            m.d.sync += [half[0][j].eq(sum(column[0::2])), half[1][j].eq(sum(column[1::2])),
                         added[j].eq(half[0][j] + half[1][j])]
        valid, start, end = delayed(m, Cat(self.valid, self.start, self.end & self.valid), 2,
                                    state=True)

        scoring = Signal()
        k = Signal(range(max(2, self.slices)))
        address = delayed(m, self.slice, 1)
        before = delayed(m, read.data, 1)
        m.d.comb += [
            write.addr.eq(delayed(m, address, 1)), write.en.eq(valid),
            read.addr.eq(Mux(scoring, k, address)),
            *(write.data[j].eq(added[j] + Mux(start, 0, before[j])) for j in range(channels))]

        # Scores: a word of channels a cycle, then the class's score waits until it's taken.
        class_end = k == self.slices - 1
        j_class = Signal(range(y.classes))
        issue, word = Signal(), Signal(range(max(2, y.classes * self.slices)))
        m.submodules.rom = self.rom
        m.d.comb += self.rom.addr.eq(word)
        with m.FSM() as fsm:
            with m.State("SUM"):
                m.d.sync += [k.eq(0), j_class.eq(0), word.eq(0)]
                with m.If(end):
                    m.next = "CLASS"
            with m.State("CLASS"):
                m.d.comb += [scoring.eq(1), issue.eq(1)]
                m.d.sync += [k.eq(k + 1), word.eq(word + 1)]
                with m.If(class_end):
                    m.d.sync += k.eq(0)
                    m.next = "SCORE"
            with m.State("SCORE"):
                with m.If(self.scores.valid & self.scores.ready):
                    m.d.sync += j_class.eq(j_class + 1)
                    m.next = "CLASS"
                    with m.If(self.scores.payload.last):
                        m.next = "SUM"
        m.d.comb += self.free.eq(fsm.ongoing("SUM"))

        adding, first, last = delayed(m, Cat(issue, issue & (k == 0), issue & class_end),
                                      _total_delay(channels), state=True)
        centred = [delayed(m, (before[j] - pixels * (1 << y.act_frac)).as_signed(),
                           READ_LATENCY - 1) for j in range(channels)]
        terms = [delayed(m, Mux(self.rom.data[j], -v, v), 1) for j, v in enumerate(centred)]
        while len(terms) > 1:
            terms = [delayed(m, sum(terms[i + 1:i + 2], terms[i]), 1)
                     for i in range(0, len(terms), 2)]
        total, = terms
        score = self.scores.payload.score
        with m.If(adding):
            m.d.sync += score.eq(Mux(first, 0, score) + total)
        m.d.comb += self.scores.payload.last.eq(j_class == y.classes - 1)
        with m.If(last):
            m.d.sync += self.scores.valid.eq(1)
        with m.Elif(self.scores.ready):
            m.d.sync += self.scores.valid.eq(0)
        return m
