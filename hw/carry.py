"""ECP5 carry chains that hold several adders each (``CCU2C``).

A half of a ``CCU2C`` computes ``S = LUT4(A,B,C,D) ^ CIN`` and
``COUT = LUT4 ? CIN : LUT2(A,B)``, where LUT2 is ``INIT[3:0]``, that is LUT4 at C = D = 0
(Yosys ``techlibs/ecp5/cells_sim.v``). A half with INIT 0 between two adders puts the carry of the
first on its own S and stops it, so short adders share a chain.

nextpnr spends 2 LUT sites on entering a chain with a constant, and 2 on leaving it. A chain that
begins with such a half stops whatever the cell beside it has on its carry output, so it needs no
constant, and :mod:`boards.netlist` leaves both of its ends open.
"""

from amaranth import *

__all__ = ["ACCUMULATE", "ADD", "ADD_XOR", "CarryChain"]


def _init(function):
    """INIT of ``function(a, b, c, d)``."""
    return sum(function(*(i >> k & 1 for k in range(4))) << i for i in range(16))


# (a ^ b) + (c ^ d): the addends are activations, b and d the inversions.
ADD_XOR = _init(lambda a, b, c, d: a ^ b ^ c ^ d)
# a + b, with d tied to 1 so that LUT2 can be a, the carry generated where a = b.
ADD = _init(lambda a, b, c, d: a ^ b if d else a)
# a + (b ? d : c): sum, shift select, accumulator, accumulator shifted.
ACCUMULATE = _init(lambda a, b, c, d: a ^ (d if b else c))
STOP = 0


class CarryChain:
    """Collects adders and emits them as one chain of ``CCU2C``."""

    def __init__(self):
        self.first, self.rest = [], []      # adders: ``(init, pins, total, carry)``

    @property
    def adders(self):
        """How many there are."""
        return len(self.first) + len(self.rest)

    def add(self, init, a, b, c, d, carry=True, first=False):
        """Sum of two numbers given as equally long lists of cell inputs, lowest bit first.

        Returns the sum as a ``Signal``, one bit longer than the inputs where ``carry``. Adders
        added ``first`` lie before the others, for sums that another adder takes in the same cycle:
        while it places, nextpnr knows nothing of halves that stop the carry, so for it a sum comes
        after all that lies before it in the chain (:func:`boards.netlist.cut_stopped_carries`).
        """
        total = Signal(len(a) + carry)
        (self.first if first else self.rest).append((init, list(zip(a, b, c, d)), total, carry))
        return total

    def _halves(self):
        halves, is_open = [], True  # something would come in: a carry, or the neighbour's
        for init, pins, total, carry in self.first + self.rest:
            if is_open:
                halves.append((STOP, 0, 0, 0, 0, Signal()))
            halves += [(init, *each, total[i]) for i, each in enumerate(pins)]
            if carry:
                halves.append((STOP, 0, 0, 0, 0, total[len(pins)]))
            is_open = not carry
        return halves

    def emit(self, m):
        """Instantiate the chain in ``m``."""
        halves = self._halves()
        if len(halves) % 2:
            halves.append((STOP, 0, 0, 0, 0, Signal()))
        carry = Const(0)
        for low, high in zip(halves[::2], halves[1::2]):
            carry_in, carry = carry, Signal()
            pins = {f"i_{pin}{k}": value for k, half in enumerate((low, high))
                    for pin, value in zip("ABCD", half[1:5])}
            m.submodules += Instance(
                "CCU2C", p_INIT0=Const(low[0], 16), p_INIT1=Const(high[0], 16),
                p_INJECT1_0="NO", p_INJECT1_1="NO", i_CIN=carry_in, o_COUT=carry,
                o_S0=low[5], o_S1=high[5], **pins)
