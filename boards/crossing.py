"""A queue between two clocks that neither may wait for in one cycle."""

from amaranth import *
from amaranth.lib import cdc, stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Crossing"]

SLOTS = 8  # a slot comes back after two crossings, some four clock cycles of either side


class Crossing(wiring.Component):
    """Words from the domain ``memory`` to ``sync``, in order.

    Every slot has a flag on either side, which toggle when it's filled and emptied: it holds a word
    where they differ. Only flags cross, each on its own, so there's no pointer to decode and to
    compare, as in ``amaranth.lib.fifo.AsyncFIFO``: 11 ns from the reader's ready through compare,
    count and memory back to the word, the longest path of WRN-20-2 on the 25F.

    Members
    -------
    w : ``In(stream.Signature(width))``
        In the domain ``memory``.
    r : ``Out(stream.Signature(width))``
        In the domain ``sync``.
    """

    def __init__(self, width):
        self.width = width
        super().__init__({"w": In(stream.Signature(width)), "r": Out(stream.Signature(width))})

    def elaborate(self, platform):
        m = Module()
        slots = Array(Signal(self.width, name=f"slot{k}", reset_less=True) for k in range(SLOTS))
        filled, emptied = Signal(SLOTS), Signal(SLOTS)
        filled_here, emptied_there = Signal(SLOTS), Signal(SLOTS)
        for k in range(SLOTS):
            m.submodules[f"filled{k}"] = cdc.FFSynchronizer(filled[k], filled_here[k])
            m.submodules[f"emptied{k}"] = cdc.FFSynchronizer(emptied[k], emptied_there[k],
                                                             o_domain="memory")

        w_slot = Signal(range(SLOTS))
        m.d.comb += self.w.ready.eq((filled ^ emptied_there).bit_select(w_slot, 1) == 0)
        with m.If(self.w.valid & self.w.ready):
            m.d.memory += [slots[w_slot].eq(self.w.payload), w_slot.eq(w_slot + 1),
                           filled.eq(filled ^ (1 << w_slot))]

        r_slot = Signal(range(SLOTS))
        there = (filled_here ^ emptied).bit_select(r_slot, 1)
        with m.If(self.r.ready | ~self.r.valid):
            m.d.sync += [self.r.valid.eq(there), self.r.payload.eq(slots[r_slot])]
            with m.If(there):
                m.d.sync += [r_slot.eq(r_slot + 1), emptied.eq(emptied ^ (1 << r_slot))]
        return m
