"""What a design is elaborated for: the Amaranth simulator, Verilog, or an ECP5 board.

For the simulator every unit is a submodule and every ROM an Amaranth memory. For Verilog and ECP5
the units that occur a hundred times are converted once and instantiated, and ROMs read their
contents from hex files. Both kinds of target collect files through ``add_file``.
"""

from types import SimpleNamespace

from amaranth import *
from amaranth.back import verilog

__all__ = ["VerilogTarget", "has_carry_cells", "is_netlist", "repeated"]


class VerilogTarget:
    """Elaborate for Verilog simulation; ``extra_files`` collects what the top level needs."""

    def __init__(self):
        self.extra_files = {}

    def add_file(self, name, content):
        """Keep a file beside the top level."""
        self.extra_files[name] = content


def has_carry_cells(platform):
    """True on ECP5, where adders are written as carry cells (``CCU2C``)."""
    return str(getattr(platform, "device", "")).startswith("LFE5")


def is_netlist(platform):
    """True for Verilog and ECP5, false in the Amaranth simulator."""
    return isinstance(platform, VerilogTarget) or has_carry_cells(platform)


def repeated(m, label, module, signature, create, platform):
    """One of many equal units: a submodule, or an instance of a module converted once.

    Parameters
    ----------
    m : Module
    label, module : str
        Names of the instance and of the Verilog module.
    signature : wiring.Signature
        Of the unit: flat members only.
    create : function
        Makes the unit.
    platform
        Target of the elaboration.

    Returns the unit, or an object with the same members.
    """
    if not is_netlist(platform):
        m.submodules[label] = unit = create()
        return unit
    if f"{module}.v" not in platform.extra_files:
        platform.add_file(f"{module}.v", verilog.convert(
            create(), name=module, platform=platform, strip_internal_attrs=True, emit_src=False))
    ports = {name: Signal(member.shape, name=f"{label}_{name}")
             for name, member in signature.members.items()}
    m.submodules[label] = Instance(
        module, i_clk=ClockSignal(), i_rst=ResetSignal(allow_reset_less=True),
        **{f"{'i' if signature.members[name].flow.name == 'In' else 'o'}_{name}": port
           for name, port in ports.items()})
    return SimpleNamespace(**ports)
