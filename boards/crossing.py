"""A queue between two clocks that neither may wait for in one cycle."""

from amaranth import *
from amaranth.lib import cdc, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.pipe import delayed

__all__ = ["Crossing"]


class Crossing(wiring.Component):
    """Words from the domain ``memory`` to ``sync``, in order; ``DomainRenamer`` makes it others.

    Every slot has a flag on either side, which toggle when it's filled and emptied: it holds a word
    where they differ. Only flags cross, each on its own, so there's no pointer to decode and to
    compare, as in ``amaranth.lib.fifo.AsyncFIFO``: 11 ns from the reader's ready through compare,
    count and memory back to the word, the longest path of WRN-20-2 on the 25F.

    Parameters
    ----------
    width : int
    slots : int
        A power of two, 4 at least. A slot comes back after two crossings, some five clock cycles
        of either side.
    ahead : int
        Words that fit from a cycle on in which ``room`` is high, one in that cycle included: what
        the writer has on its way when it's told to stop.

    Members
    -------
    w : ``In(stream.Signature(width, always_ready=True))``
        In the domain ``memory``.
    room : ``Out(1)``
        In the domain ``memory``.
    r : ``Out(stream.Signature(width))``
        In the domain ``sync``.
    """

    def __init__(self, width, slots, ahead=1):
        if slots < 4 or slots & slots - 1:
            raise ValueError(f"Slots must be a power of two and at least 4, not {slots}")
        self.width, self.slots, self.ahead = width, slots, ahead
        super().__init__({"w": In(stream.Signature(width, always_ready=True)), "room": Out(1),
                          "r": Out(stream.Signature(width))})

    def elaborate(self, platform):
        m = Module()
        count = self.slots
        # In LUTs: a slot is written long before its flag is seen on the other side.
        m.submodules.words = words = memory.Memory(shape=self.width, depth=count, init=[])
        write, read = words.write_port(domain="memory"), words.read_port(domain="comb")
        filled, emptied = Signal(count), Signal(count)
        filled_here, emptied_there = Signal(count), Signal(count)
        for k in range(count):
            m.submodules[f"filled{k}"] = cdc.FFSynchronizer(filled[k], filled_here[k])
            m.submodules[f"emptied{k}"] = cdc.FFSynchronizer(emptied[k], emptied_there[k],
                                                             o_domain="memory")

        # Slots come back in order: if one is free, so are those before it. Words come from afar, so
        # there's a register, and one word more that isn't in its slot yet.
        w_slot, far = Signal(range(count)), Signal(range(count), init=self.ahead + 1)
        # A cycle late, but a slot so far ahead can only have become free meanwhile.
        free = Signal(count)
        m.d.memory += [free.eq(~(filled ^ emptied_there)), self.room.eq(free.bit_select(far, 1))]
        valid, word = Signal(), Signal(self.width, reset_less=True)
        m.d.memory += [valid.eq(self.w.valid), word.eq(self.w.payload)]
        m.d.comb += [write.addr.eq(w_slot), write.data.eq(word), write.en.eq(valid)]
        with m.If(valid):
            m.d.memory += [w_slot.eq(w_slot + 1), far.eq(far + 1),
                           filled.eq(filled ^ (1 << w_slot))]

        r_slot = Signal(range(count))
        m.d.comb += read.addr.eq(r_slot)
        # Two cycles late, and one more below, but a slot isn't looked at again before all others.
        occupied = Signal(count)
        m.d.sync += occupied.eq(filled_here ^ emptied)
        # Which slot is next follows from what the reader takes in this cycle: too late to look
        # there. So both are looked at that it may be, a cycle ahead.
        same, other, moved = Signal(), Signal(), Signal()
        m.d.sync += [same.eq(occupied.bit_select(r_slot, 1)), moved.eq(0),
                     other.eq(occupied.bit_select((r_slot + 1)[:len(r_slot)], 1))]
        there = Mux(moved, other, same)
        of = delayed(m, r_slot, 1)
        with m.If(self.r.ready | ~self.r.valid):
            m.d.sync += [self.r.valid.eq(there), self.r.payload.eq(read.data), moved.eq(there)]
            with m.If(there):
                m.d.sync += r_slot.eq(r_slot + 1)
        # The flags may lie far from the reader: a cycle for themselves, as nobody waits for them.
        with m.If(moved):
            m.d.sync += emptied.eq(emptied ^ (1 << of))
        return m
