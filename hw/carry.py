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
        self.adders, self.halves = 0, []
        self.open = True  # something would come in: the last adder's carry, or the neighbour's

    def add(self, init, a, b, c, d, carry=True):
        """Sum of two numbers given as equally long lists of cell inputs, lowest bit first.

        Returns the sum as a ``Signal``, one bit longer than the inputs where ``carry``.
        """
        total = Signal(len(a) + carry)
        self.adders += 1
        if self.open:
            self.halves.append((STOP, 0, 0, 0, 0, Signal()))
        self.halves += [(init, *pins, total[i]) for i, pins in enumerate(zip(a, b, c, d))]
        if carry:
            self.halves.append((STOP, 0, 0, 0, 0, total[len(a)]))
        self.open = not carry
        return total

    def emit(self, m):
        """Instantiate the chain in ``m``."""
        halves = list(self.halves)
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
