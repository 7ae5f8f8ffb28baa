"""Registers in a row and side by side, and counters that need no comparison."""

from amaranth import *

from .target import has_carry_cells

__all__ = ["FAR", "copies", "count_up", "delayed", "far"]

FAR = 1  # cycles of :func:`far`


def delayed(m, value, cycles, *, state=False):
    """``value`` as it was ``cycles`` ago.

    Data needs no reset, and none is spent on it; where the value starts something (a valid
    bit), pass ``state=True``.
    """
    for _ in range(cycles):
        held = Signal(value.shape(), reset_less=not state)
        m.d.sync += held.eq(value)
        value = held
    return value


def far(m, value):
    """``value`` of another unit as it was ``FAR`` cycles ago.

    For what one unit tells another and what may come a cycle later. A bit or two don't draw units
    together that have hundreds of wires to others: placed in two corners, they were 10 ns apart.
    """
    return delayed(m, value, FAR, state=True)


def count_up(m, count, end, total):
    """Count from 0 to ``total - 1`` and again from 0; the register ``end`` tells the last, so that
    nothing is compared before something follows from it."""
    m.d.sync += [count.eq(Mux(end, 0, count + 1)), end.eq(count == (total - 2) % total)]


def copies(m, value, count, platform, *, state=False):
    """``count`` registers that all hold ``value`` as it was a cycle ago, as a list; ``state`` as in
    :func:`delayed`.

    For what steers hundreds of cells: one net to all of them crosses the chip in more than a
    clock cycle (65 MHz was the estimate after placement with nets of 400 to 900 sinks). Yosys
    merges equal registers, so on ECP5 they are instances that it has to keep.
    """
    value, registers = Value.cast(value), []
    for _ in range(count):
        held = Signal(len(value), reset_less=not state)
        if has_carry_cells(platform):
            m.submodules += [Instance(
                "TRELLIS_FF", a_keep=1, p_GSR="DISABLED", p_CEMUX="1", p_CLKMUX="CLK",
                p_LSRMUX="LSR", p_REGSET="RESET", i_CLK=ClockSignal(),
                i_LSR=ResetSignal(allow_reset_less=True) if state else Const(0),
                i_DI=value[i], o_Q=held[i]) for i in range(len(value))]
        else:
            m.d.sync += held.eq(value)
        registers.append(held)
    return registers
