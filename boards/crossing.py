"""A queue between two clocks that neither may wait for in one cycle."""

from amaranth import *
from amaranth.lib import cdc, stream, wiring
from amaranth.lib.wiring import In, Out

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
        A power of two. A slot comes back after two crossings, some four clock cycles of either
        side.
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
        self.width, self.slots, self.ahead = width, slots, ahead
        super().__init__({"w": In(stream.Signature(width, always_ready=True)), "room": Out(1),
                          "r": Out(stream.Signature(width))})

    def elaborate(self, platform):
        m = Module()
        count = self.slots
        slots = Array(Signal(self.width, name=f"slot{k}", reset_less=True) for k in range(count))
        filled, emptied = Signal(count), Signal(count)
        filled_here, emptied_there = Signal(count), Signal(count)
        for k in range(count):
            m.submodules[f"filled{k}"] = cdc.FFSynchronizer(filled[k], filled_here[k])
            m.submodules[f"emptied{k}"] = cdc.FFSynchronizer(emptied[k], emptied_there[k],
                                                             o_domain="memory")

        # Slots come back in order: if one is free, so are those before it.
        w_slot, far = Signal(range(count)), Signal(range(count), init=self.ahead)
        m.d.memory += self.room.eq(~(filled ^ emptied_there).bit_select(far, 1))
        with m.If(self.w.valid):
            m.d.memory += [slots[w_slot].eq(self.w.payload), w_slot.eq(w_slot + 1),
                           far.eq(far + 1), filled.eq(filled ^ (1 << w_slot))]

        r_slot = Signal(range(count))
        there = (filled_here ^ emptied).bit_select(r_slot, 1)
        with m.If(self.r.ready | ~self.r.valid):
            m.d.sync += [self.r.valid.eq(there), self.r.payload.eq(slots[r_slot])]
            with m.If(there):
                m.d.sync += [r_slot.eq(r_slot + 1), emptied.eq(emptied ^ (1 << r_slot))]
        return m
