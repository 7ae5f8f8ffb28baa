"""ECP5 devices: what nextpnr reports as available (Project Trellis; Lattice FPGA-DS-02012)."""

from dataclasses import dataclass

__all__ = ["DEVICES", "Device", "bank_depths", "bank_names", "block_rams"]

# Shapes of one block RAM: bits of a word by words. 36 bits need one port to write, one to read.
EBR_SHAPES = ((36, 512), (18, 1024), (9, 2048), (4, 4096), (2, 8192), (1, 16384))
EBR_BITS = 18432
# Preferred first: Yosys puts no multiplexer into banks of at most 2,048 words (boards/shapes.py).
_DEPTHS = [words for _, words in EBR_SHAPES]
BANK_DEPTHS = (*reversed(_DEPTHS[:3]), *_DEPTHS[3:])


@dataclass(frozen=True)
class Device:
    """Resources of one ECP5: LUT sites (``TRELLIS_COMB``), flip-flops, 18-kbit block RAMs,
    multipliers."""

    name: str
    comb: int
    ebr: int
    dsp: int

    @property
    def ff(self):
        """Flip-flops: one beside every LUT site."""
        return self.comb


DEVICES = {device.name: device for device in (
    Device("12f", 24288, 56, 28),   # the same die as the 25F
    Device("25f", 24288, 56, 28),
    Device("45f", 43848, 108, 72),
    Device("85f", 83640, 208, 156))}


def bank_depths(width, depth):
    """Words of each bank of a memory of ``depth`` words of ``width`` bits.

    A memory deeper than one block RAM needs multiplexers; in banks they come after the block RAMs'
    output registers. As few block RAMs as can be, then as few banks.
    """
    def banks(words):
        return [min(words, depth - first) for first in range(0, depth, words)]

    def cost(words):
        return sum(_side_by_side(width, bank) for bank in banks(words))
    return banks(min(BANK_DEPTHS, key=cost))


def bank_names(name, width, depth):
    """Names of the banks of :func:`bank_depths`, that of the memory where there's one."""
    count = len(bank_depths(width, depth))
    return [name] if count == 1 else [f"{name}_{number}" for number in range(count)]


def block_rams(width, depth):
    """Block RAMs that a memory of ``depth`` words of ``width`` bits takes."""
    return sum(_side_by_side(width, bank) for bank in bank_depths(width, depth))


def _side_by_side(width, depth):
    """Block RAMs where each has all words of some bits."""
    return min(-(-width // bits) for bits, words in EBR_SHAPES if words >= depth)
