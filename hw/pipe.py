"""Registers in a row."""

from amaranth import *

__all__ = ["delayed"]


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
