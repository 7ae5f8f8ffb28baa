"""On-chip memories with registered outputs: data follows the address by two cycles.

An ECP5 block RAM needs 5.6 ns from clock to output, or 1 ns with a second register of its own
(:mod:`boards.netlist` moves the one behind it in there); `READ_LATENCY` counts both. That register
is in the way of a multiplexer, so a memory of several block RAMs one above the other consists of
banks, with the multiplexer behind their registers.
"""

from functools import cached_property
from pathlib import Path

from amaranth import *
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from gen.device import bank_depths, bank_names

from .pipe import copies, delayed
from .target import is_netlist

__all__ = ["READ_LATENCY", "Ram", "Rom"]

READ_LATENCY = 2  # cycles
SOURCE = Path(__file__).with_name("memory.v")


class BlockMemory:
    """What both kinds have in common: the contents, ``words`` of ``width`` bits, as a file of the
    build folder, and the banks of which each has its own."""

    spread = False
    read_latency = READ_LATENCY

    @property
    def path(self):
        """Init file, relative to the build folder."""
        return f"weights/{self.name}.hex"

    def hex(self):
        """Contents of the init file: a word a line, as ``$readmemh`` reads it."""
        digits = (self.width + 3) // 4
        return "".join(f"{word:0{digits}x}\n" for word in self.words)

    @cached_property
    def banks(self):
        """Memories of the same kind that this one consists of, by address; itself where it's one.

        All but the last have the same depth, a power of two.
        """
        depths = bank_depths(self.width, self.depth)
        if len(depths) == 1 and not self.spread:
            return [self]
        starts = range(0, self.depth, depths[0])
        return [self._bank(name, depth, self.words[start:start + depth]) for name, depth, start in
                zip(bank_names(self.name, self.width, self.depth), depths, starts)]

    def _bank(self, name, depth, words):
        raise NotImplementedError

    def _split(self, addr):
        """``addr`` as the address in a bank and the bank's number."""
        within = (self.banks[0].depth - 1).bit_length()
        return addr[:within], addr[within:]

    def _read(self, m, number, read):
        """What the bank ``number``, the one read now, gives of all that are ``read``."""
        return Array(read)[delayed(m, number, self.read_latency)]


class Rom(BlockMemory, wiring.Component):
    """Read-only memory whose contents are an init file ``weights/NAME.hex``, or one a bank.

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
        self.depth = len(self.words)
        super().__init__({"addr": In(range(max(2, self.depth))), "data": Out(width)})

    def _bank(self, name, depth, words):
        return Rom(name, self.width, words)

    def elaborate(self, platform):
        m = Module()
        if len(self.banks) > 1:
            addr, number = self._split(self.addr)
            for i, bank in enumerate(self.banks):
                m.submodules[f"bank{i}"] = bank
                m.d.comb += bank.addr.eq(addr)
            m.d.comb += self.data.eq(self._read(m, number, [bank.data for bank in self.banks]))
        elif is_netlist(platform):
            platform.add_file(self.path, self.hex())
            platform.add_file(SOURCE.name, SOURCE.read_text())
            m.submodules.rom = Instance(
                "signstream_rom", p_WIDTH=self.width, p_DEPTH=self.depth,
                p_ADDR=len(self.addr), p_FILE=self.path,
                i_clk=ClockSignal(), i_addr=self.addr, o_data=self.data)
        else:
            m.submodules.rom = rom = memory.Memory(
                shape=self.width, depth=self.depth, init=self.words)
            port = rom.read_port()
            m.d.comb += port.addr.eq(self.addr)
            m.d.sync += self.data.eq(port.data)
        return m


class Ram(BlockMemory, wiring.Component):
    """One writer, one reader. A word must never be read in the cycle that writes it: that row's
    data is undefined on the chip (block RAM without collision logic).

    Parameters
    ----------
    width, depth : int
    name : str, optional
        Of the init file, where there is one.
    words : sequence of int
        Its contents: the first words.
    style : str
        What Yosys makes it of: ``"block"`` RAM, ``"distributed"`` RAM or what it prefers.
    spread : bool
        The banks lie wherever there's room: each has registers of its own on the way to it and
        back. Reading takes two cycles more.

    Members
    -------
    w_addr, w_data, w_en : In
        The word is stored at the end of a cycle with ``w_en``.
    r_addr : In
    r_data : Out
        The word at ``r_addr``, ``read_latency`` cycles later.
    """

    def __init__(self, width, depth, name=None, words=(), style="auto", spread=False):
        self.width, self.depth, self.style, self.spread = width, depth, style, spread
        self.name, self.words = name, [int(word) for word in words]
        self.read_latency = READ_LATENCY + 2 * spread
        super().__init__({"w_addr": In(range(max(2, depth))), "w_data": In(width), "w_en": In(1),
                          "r_addr": In(range(max(2, depth))), "r_data": Out(width)})

    def _bank(self, name, depth, words):
        return Ram(self.width, depth, name, words, self.style)

    def elaborate(self, platform):
        m = Module()
        if self.banks != [self]:
            (r_addr, r_number), (w_addr, w_number) = map(self._split, (self.r_addr, self.w_addr))
            read = []
            for i, bank in enumerate(self.banks):
                m.submodules[f"bank{i}"] = bank
                ports = r_addr, w_addr, self.w_data, self.w_en & (w_number == i)
                if self.spread:
                    ports = [copies(m, port, 1, platform)[0] for port in ports]
                m.d.comb += [to.eq(port) for to, port in zip(
                    (bank.r_addr, bank.w_addr, bank.w_data, bank.w_en), ports)]
                read.append(delayed(m, bank.r_data, int(self.spread)))
            m.d.comb += self.r_data.eq(self._read(m, r_number, read))
        elif is_netlist(platform):
            platform.add_file(SOURCE.name, SOURCE.read_text())
            first = {}
            if self.words:
                platform.add_file(self.path, self.hex())
                first = {"p_WORDS": len(self.words), "p_FILE": self.path}
            m.submodules.ram = Instance(
                "signstream_ram", p_WIDTH=self.width, p_DEPTH=self.depth, p_ADDR=len(self.r_addr),
                p_STYLE=self.style, **first,
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
