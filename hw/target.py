"""What a design is elaborated for: the Amaranth simulator, Verilog, or an ECP5 board."""

from pathlib import Path

__all__ = ["ROM_SOURCE", "VerilogTarget", "has_carry_cells", "reads_init_files"]

ROM_SOURCE = Path(__file__).with_name("rom.v")


class VerilogTarget:
    """Elaborate for Verilog simulation: memories take their contents from init files."""


def has_carry_cells(platform):
    """True on ECP5, where adders are written as carry cells (``CCU2C``)."""
    return str(getattr(platform, "device", "")).startswith("LFE5")


def reads_init_files(platform):
    """True where a ROM is ``hw/rom.v`` with a hex file, false in the Amaranth simulator."""
    return isinstance(platform, VerilogTarget) or has_carry_cells(platform)
