"""On-chip memories with registered outputs: data follows the address by two cycles.

An ECP5 block RAM needs 5.6 ns from clock to output; the fabric register behind it is what lets
the pipeline run at 100 MHz and more (`READ_LATENCY` counts both).
"""

from pathlib import Path

from amaranth import *
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from .target import is_netlist

__all__ = ["READ_LATENCY", "Ram", "Rom"]

READ_LATENCY = 2  # cycles
SOURCE = Path(__file__).with_name("memory.v")


class InitFile:
    """Contents of a memory, ``words`` of ``width`` bits, as a file of the build folder."""

    @property
    def path(self):
        """Init file, relative to the build folder."""
        return f"weights/{self.name}.hex"

    def hex(self):
        """Contents of the init file: a word a line, as ``$readmemh`` reads it."""
        digits = (self.width + 3) // 4
        return "".join(f"{word:0{digits}x}\n" for word in self.words)


class Rom(InitFile, wiring.Component):
    """Read-only memory whose contents are an init file ``weights/NAME.hex``.

    Parameters
    ----------
    name : str
        Of the init file.
    width : int
        Bits of a word.
    words : sequence of int
        Contents.

    Members
    -------
    addr : ``In(range(len(words)))``
    data : ``Out(width)``
        The word at ``addr``, ``READ_LATENCY`` cycles later.
    """

    def __init__(self, name, width, words):
        self.name, self.width, self.words = name, width, [int(word) for word in words]
        super().__init__({"addr": In(range(max(2, len(self.words)))), "data": Out(width)})

    def elaborate(self, platform):
        m = Module()
        if is_netlist(platform):
            platform.add_file(self.path, self.hex())
            platform.add_file(SOURCE.name, SOURCE.read_text())
            m.submodules.rom = Instance(
                "signstream_rom", p_WIDTH=self.width, p_DEPTH=len(self.words),
                p_ADDR=len(self.addr), p_FILE=self.path,
                i_clk=ClockSignal(), i_addr=self.addr, o_data=self.data)
        else:
            m.submodules.rom = rom = memory.Memory(
                shape=self.width, depth=len(self.words), init=self.words)
            port = rom.read_port()
            m.d.comb += port.addr.eq(self.addr)
            m.d.sync += self.data.eq(port.data)
        return m


class Ram(InitFile, wiring.Component):
    """One writer, one reader. A word must never be read in the cycle that writes it: that row's
    data is undefined on the chip (block RAM without collision logic).

    Parameters
    ----------
    width, depth : int
    name : str, optional
        Of the init file, where there is one.
    words : sequence of int
        Its contents: the first words.

    Members
    -------
    w_addr, w_data, w_en : In
        The word is stored at the end of a cycle with ``w_en``.
    r_addr : In
    r_data : Out
        The word at ``r_addr``, ``READ_LATENCY`` cycles later.
    """

    def __init__(self, width, depth, name=None, words=()):
        self.width, self.depth = width, depth
        self.name, self.words = name, [int(word) for word in words]
        super().__init__({"w_addr": In(range(max(2, depth))), "w_data": In(width), "w_en": In(1),
                          "r_addr": In(range(max(2, depth))), "r_data": Out(width)})

    def elaborate(self, platform):
        m = Module()
        if is_netlist(platform):
            platform.add_file(SOURCE.name, SOURCE.read_text())
            first = {}
            if self.words:
                platform.add_file(self.path, self.hex())
                first = {"p_WORDS": len(self.words), "p_FILE": self.path}
            m.submodules.ram = Instance(
                "signstream_ram", p_WIDTH=self.width, p_DEPTH=self.depth, p_ADDR=len(self.r_addr),
                **first,
                i_clk=ClockSignal(), i_w_en=self.w_en, i_w_addr=self.w_addr,
                i_w_data=self.w_data, i_r_addr=self.r_addr, o_r_data=self.r_data)
        else:
            m.submodules.ram = ram = memory.Memory(shape=self.width, depth=self.depth,
                                                   init=self.words)
            write, read = ram.write_port(), ram.read_port()
            m.d.comb += [
                write.addr.eq(self.w_addr), write.data.eq(self.w_data), write.en.eq(self.w_en),
                read.addr.eq(self.r_addr),
            ]
            m.d.sync += self.r_data.eq(read.data)
        return m
