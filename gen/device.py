"""ECP5 devices: what nextpnr reports as available (Project Trellis; Lattice FPGA-DS-02012)."""

from dataclasses import dataclass

__all__ = ["DEVICES", "Device", "block_rams"]

# Shapes of one block RAM: bits of a word by words. 36 bits need one port to write, one to read.
EBR_SHAPES = ((36, 512), (18, 1024), (9, 2048), (4, 4096), (2, 8192), (1, 16384))
EBR_BITS = 18432


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


def block_rams(width, depth):
    """Block RAMs that a memory of ``depth`` words of ``width`` bits takes."""
    return min(-(-width // bits) * -(-depth // words) for bits, words in EBR_SHAPES)
