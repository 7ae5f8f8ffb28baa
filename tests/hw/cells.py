"""The ECP5 carry cell for the Amaranth simulator, so that carry chains run beside word-level code.

``test_carry.py`` proves it equal to Yosys' model of the cell.
"""

from types import SimpleNamespace

from amaranth import *
from amaranth.hdl import Fragment

__all__ = ["ECP5", "CarryCell", "Mapped", "instance"]


class ECP5:
    """As a target of elaboration: asks for carry cells, keeps the files it's given."""

    device = "LFE5U-85F"

    def __init__(self):
        self.extra_files = {}

    def add_file(self, name, content):
        """Keep a file beside the top level."""
        self.extra_files[name] = content


class CarryCell(Elaboratable):
    """``CCU2C`` with ``INJECT1`` off: ``S = LUT4 ^ CIN``, ``COUT = LUT4 ? CIN : LUT2(A, B)``."""

    def __init__(self, init0, init1):
        self.inits = init0, init1
        self.cin, self.cout = Signal(), Signal()
        self.halves = [SimpleNamespace(pins=Signal(4, name=f"pins{k}"), s=Signal(name=f"s{k}"))
                       for k in range(2)]

    def elaborate(self, platform):
        m = Module()
        carry = self.cin
        for k, (init, half) in enumerate(zip(self.inits, self.halves)):
            lut4, lut2, after = (Signal(name=f"{name}{k}") for name in ("lut4", "lut2", "carry"))
            m.d.comb += [lut4.eq(Const(init, 16).bit_select(half.pins, 1)),
                         lut2.eq(Const(init, 16).bit_select(half.pins[:2], 1)),
                         half.s.eq(lut4 ^ carry), after.eq(Mux(lut4, carry, lut2))]
            carry = after
        m.d.comb += self.cout.eq(carry)
        return m


def instance(cell, **arguments):
    """Takes the place of ``amaranth.Instance`` where nothing but carry cells are instantiated."""
    assert cell == "CCU2C", cell
    assert arguments.pop("p_INJECT1_0") == arguments.pop("p_INJECT1_1") == "NO"
    unit = CarryCell(arguments.pop("p_INIT0").value, arguments.pop("p_INIT1").value)
    m = Module()
    m.submodules.unit = unit
    for k, half in enumerate(unit.halves):
        m.d.comb += half.pins.eq(Cat(arguments.pop(f"i_{pin}{k}") for pin in "ABCD"))
        m.d.comb += arguments.pop(f"o_S{k}").eq(half.s)
    m.d.comb += [unit.cin.eq(arguments.pop("i_CIN")), arguments.pop("o_COUT").eq(unit.cout)]
    assert not arguments, f"pins that the cell doesn't have: {sorted(arguments)}"
    return m


class Mapped(Elaboratable):
    """A unit as ECP5 gets it, for the simulator (with :func:`instance` in place)."""

    def __init__(self, unit):
        self.unit = unit

    def elaborate(self, platform):
        return Fragment.get(self.unit, ECP5())
