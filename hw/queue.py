"""Streams on long ways: a queue at the end of one, registers on one."""

from amaranth import *
from amaranth.lib import fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from .memory import Ram
from .pipe import FAR, count_up, delayed, far

__all__ = ["QUEUE_LATENCY", "FarQueue", "Relay"]

DEPTH = 17               # 16 in LUT RAM, which has no less, and one in a register
QUEUE_LATENCY = FAR + 2  # cycles through an empty queue
NOTICE = 2 * (FAR + 1)   # words that may come after there's no room


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

    Parameters
    ----------
    shape : ShapeLike
        Of the payload.
    stored : int
        Words that wait in block RAM, beside the few that the queue has in any case: none, or
        enough for a word a cycle.

    Raises
    ------
    ValueError
        If it's a few.
    """

    def __init__(self, shape, stored=0):
        if 0 < stored < 4 * NOTICE:
            raise ValueError(f"Words stored in block RAM must be none or at least {4 * NOTICE}, "
                             f"not {stored!r}")
        super().__init__(shape)
        self.stored = stored

    def elaborate(self, platform):
        m = Module()
        payload = Value.cast(self.x.payload)
        m.submodules.queue = queue = fifo.SyncFIFOBuffered(width=len(payload), depth=DEPTH)
        data, valid = delayed(m, payload, FAR), far(m, self.x.valid & self.x.ready)
        if self.stored:
            ram = Ram(len(payload), self.stored, style="block", spread=True)
            taken = queue.level < DEPTH - (ram.read_latency + 1)    # those on the way out of there
            data, valid, room = self._store(m, ram, data, valid, taken)
        else:
            room = queue.level < DEPTH - NOTICE
        m.d.comb += [
            self.x.ready.eq(far(m, room)), queue.w_data.eq(data), queue.w_en.eq(valid),
            self.y.payload.eq(queue.r_data), self.y.valid.eq(queue.r_rdy),
            queue.r_en.eq(self.y.ready)]
        return m

    def _store(self, m, ram, data, valid, taken):
        """``(data, valid, room)``: what comes out of the block RAM, into which words go until they
        are ``taken``, and whether it has room for those on their way."""
        m.submodules.ram = ram
        w_end, r_end = Signal(), Signal()
        # A word less than there are, so that its sign tells whether there is one.
        level = Signal(range(-1, self.stored), init=-1)
        leaves, room = Signal(), Signal()
        m.d.comb += [leaves.eq(taken & ~level[-1]), ram.w_en.eq(valid), ram.w_data.eq(data)]
        m.d.sync += [level.eq(level + valid - leaves), room.eq(level < self.stored - 2 * NOTICE)]
        for moves, address, end in ((valid, ram.w_addr, w_end), (leaves, ram.r_addr, r_end)):
            count = Signal.like(address)
            m.d.comb += address.eq(count)
            with m.If(moves):
                count_up(m, count, end, self.stored)
        return ram.r_data, delayed(m, leaves, ram.read_latency, state=True), room


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
