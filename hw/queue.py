"""Streams on long ways: a queue at the end of one, registers on one."""

from amaranth import *
from amaranth.lib import fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from .pipe import FAR, delayed, far

__all__ = ["QUEUE_LATENCY", "FarQueue", "Relay"]

DEPTH = 17               # 16 in LUT RAM, which has no less, and one in a register
QUEUE_LATENCY = FAR + 2  # cycles through an empty queue


class Passage(wiring.Component):
    """What a stream goes through.

    Parameters
    ----------
    shape : ShapeLike
        Of the payload.

    Members
    -------
    x, y : ``In(stream)``, ``Out(stream)``
    """

    def __init__(self, shape):
        super().__init__({"x": In(stream.Signature(shape)), "y": Out(stream.Signature(shape))})


class FarQueue(Passage):
    """Takes a stream from another corner of the chip.

    There are registers on the way here and on the way back, for no signal goes there and back in a
    cycle; and room for all that is taken until the word that there's no more has gone there.
    """

    def elaborate(self, platform):
        m = Module()
        payload = Value.cast(self.x.payload)
        m.submodules.queue = queue = fifo.SyncFIFOBuffered(width=len(payload), depth=DEPTH)
        m.d.comb += [
            self.x.ready.eq(far(m, queue.level < DEPTH - 2 * (FAR + 1))),
            queue.w_data.eq(delayed(m, payload, FAR)),
            queue.w_en.eq(far(m, self.x.valid & self.x.ready)),
            self.y.payload.eq(queue.r_data), self.y.valid.eq(queue.r_rdy),
            queue.r_en.eq(self.y.ready)]
        return m


class Relay(Passage):
    """A stream through registers, so that ``y.ready`` says nothing to ``x`` in the same cycle: what
    comes while nobody takes it waits in a second register.
    """

    def elaborate(self, platform):
        m = Module()
        payload = Value.cast(self.x.payload)
        first, second = (Signal(len(payload), reset_less=True) for _ in range(2))
        waits = Signal()                # the second one holds a word
        m.d.comb += [self.x.ready.eq(~waits), Value.cast(self.y.payload).eq(first)]
        with m.If(~waits):
            m.d.sync += second.eq(payload)
        with m.If(self.y.ready | ~self.y.valid):
            m.d.sync += [first.eq(Mux(waits, second, payload)),
                         self.y.valid.eq(waits | self.x.valid), waits.eq(0)]
        with m.Elif(self.x.valid):
            m.d.sync += waits.eq(1)
        return m
