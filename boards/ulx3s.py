"""Radiona ULX3S: an ECP5 of any size, 25 MHz, a serial line over USB (FT231X), eight LEDs."""

from dataclasses import dataclass

from hw.sdram_parts import PARTS, common_part

from .pll import Pll

__all__ = ["BOARDS", "Board"]

# MHz. A word is taken half a cycle after the chip may have changed it again, so the way to the chip
# and back, some 3 to 6 ns that nobody analyses, less the 2.5 ns that it holds a word, must be
# longer than that: at 90 MHz 3.1 ns, at 50 MHz 7.5. (Setup, 5.4 ns behind the chip's edge, leaves
# 5.85 ns at 133 MHz.)
SLOWEST_MEMORY = 90


@dataclass(frozen=True)
class Board:
    """A board that a design can be built for.

    ``name`` is what the command line calls it, ``platform`` the class in
    ``amaranth_boards.ulx3s``, ``clock_mhz`` the crystal, ``loader`` the name of the board in
    openFPGALoader, ``sdram`` the memory chips that it comes with, ``high`` the pins to hold high:
    while its GPIO0 is low, the ESP32 on the board may reset it. That's ``gpio0`` up to v3.0.8, and
    since v3.1.0 the pin that was its enable before, which is high as well (emard/ulx3s,
    ``doc/constraints``).
    """

    name: str
    device: str
    platform: str
    clock_mhz: float = 25.0
    loader: str = "ulx3s"
    sdram: tuple = ("IS42S16160G-7", "MT48LC16M16A2-75", "AS4C16M16SA-7", "AS4C32M16SB-7")
    high: tuple = (("esp32", "gpio0"), ("esp32", "en"))

    @property
    def size(self):
        """The device as :data:`gen.device.DEVICES` calls it."""
        return self.device.removeprefix("LFE5U-").lower()

    @property
    def full_name(self):
        """The name with the size of its device, such as ``ulx3s-85f``."""
        return self.name if self.name.endswith(self.size) else f"{self.name}-{self.size}"

    @property
    def memory(self):
        """The part whose timing and size suit every chip that the board comes with."""
        return common_part(PARTS[name] for name in self.sdram)

    def clocks(self, mhz, memory_mhz=None):
        """The :class:`.pll.Pll` for a pipeline at ``mhz`` and a memory at ``memory_mhz`` at most,
        by default what :attr:`memory` allows.

        Raises ``ValueError`` where the memory doesn't work at ``memory_mhz``, or the PLL can't.
        """
        limit = self.memory.mhz_cl3
        if memory_mhz is not None and memory_mhz > limit + 0.01:
            raise ValueError(f"Memory clock of {self.name} must be at most {limit:.5g} MHz, what "
                             f"all of its chips allow, not {memory_mhz:g}")
        there_are = self.memory_clocks(mhz)
        if memory_mhz is not None and memory_mhz < there_are[0]:
            raise ValueError(f"Memory clock of {self.name} must be at least {there_are[0]:.5g} MHz "
                             f"beside a pipeline at {mhz:g}: below {SLOWEST_MEMORY} a word is gone "
                             f"before it's taken; not {memory_mhz:g}")
        return Pll.at(self.clock_mhz, mhz).with_beside(memory_mhz or limit)

    def create(self):
        """A new Amaranth platform; each can be built once."""
        import amaranth_boards.ulx3s
        return getattr(amaranth_boards.ulx3s, self.platform)()

    def memory_clocks(self, mhz):
        """Clocks in MHz that the memory may have beside a pipeline at ``mhz``, slowest first."""
        plls = Pll.at(self.clock_mhz, mhz).all_beside(SLOWEST_MEMORY, self.memory.mhz_cl3)
        return [pll.beside_mhz for pll in plls]

    @classmethod
    def of_report(cls, report):
        """The board of a build's report: the one it was built for, else one with its device."""
        made = report["provenance"].get("bitstream")
        return (cls.named(made["board"]) if made else
                next(board for board in BOARDS.values() if board.size == report["device"]))

    @classmethod
    def named(cls, name):
        """The board called ``name``; raises ``ValueError`` with the names there are."""
        if name not in BOARDS:
            raise ValueError(f"Board must be one of {', '.join(BOARDS)}, not {name!r}")
        return BOARDS[name]


BOARDS = {board.name: board for board in (
    Board("ulx3s", "LFE5U-85F", "ULX3S_85F_Platform"),
    Board("ulx3s-45f", "LFE5U-45F", "ULX3S_45F_Platform"),
    Board("ulx3s-25f", "LFE5U-25F", "ULX3S_25F_Platform"),
    Board("ulx3s-12f", "LFE5U-12F", "ULX3S_12F_Platform"),
)}
BOARDS["ulx3s-85f"] = BOARDS["ulx3s"]
