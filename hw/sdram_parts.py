"""16-bit single-data-rate SDRAM chips as data."""

from dataclasses import dataclass, fields, replace

__all__ = ["PARTS", "SdramPart", "common_part"]


@dataclass(frozen=True)
class SdramPart:
    """Organisation and timing of a 16-bit SDR SDRAM, in its data sheet's terms.

    Parameters
    ----------
    name : str
    banks, row_bits, column_bits : int
    trcd_ns, trp_ns, tras_ns, trc_ns, trfc_ns, trrd_ns, twr_ns : float
        Minimum times in ns: ACTIVE to READ or WRITE, PRECHARGE, ACTIVE to PRECHARGE, ACTIVE to
        ACTIVE of the same bank, REFRESH, ACTIVE to ACTIVE of another bank, write recovery.
    tras_max_ns : float
        Longest time a row may stay open, in ns.
    tmrd_cycles : int
        LOAD MODE REGISTER to the next command, in clock cycles.
    startup_us : float
        Pause with a stable clock before the first command, in us.
    startup_refreshes : int
        REFRESH commands before use.
    mhz_cl2, mhz_cl3 : float
        Highest clock with CAS latency 2 and 3, in MHz.
    refreshes, refresh_ms : int, float
        REFRESH commands due in so many ms.

    Raises
    ------
    ValueError
        If the organisation doesn't fit the command set: A10 must be free of column bits.
    """

    name: str
    banks: int
    row_bits: int
    column_bits: int
    trcd_ns: float
    trp_ns: float
    tras_ns: float
    tras_max_ns: float
    trc_ns: float
    trfc_ns: float
    trrd_ns: float
    twr_ns: float
    tmrd_cycles: int
    startup_us: float
    startup_refreshes: int
    mhz_cl2: float
    mhz_cl3: float
    refreshes: int = 8192
    refresh_ms: float = 64

    def __post_init__(self):
        if self.banks not in (2, 4):
            raise ValueError(f"{self.name}: banks must be 2 or 4, not {self.banks!r}")
        if not 4 <= self.column_bits <= 10:
            raise ValueError(f"{self.name}: column bits must be 4 to 10, not {self.column_bits!r}")
        if not 11 <= self.row_bits <= 13:
            raise ValueError(f"{self.name}: row bits must be 11 to 13, not {self.row_bits!r}")

    @property
    def bank_bits(self):
        return self.banks.bit_length() - 1

    @property
    def address_bits(self):
        """Bits of a word address: row, bank, column from the top."""
        return self.row_bits + self.bank_bits + self.column_bits

    @property
    def words(self):
        return 1 << self.address_bits


PARTS = {part.name: part for part in [
    # ISSI IS42S16160G data sheet, grade -7. Seen in other projects' tables only, which don't give
    # the clock for CAS latency 2: what every grade of the family does is taken.
    SdramPart("IS42S16160G-7", banks=4, row_bits=13, column_bits=9, trcd_ns=15, trp_ns=15,
              tras_ns=37, tras_max_ns=100_000, trc_ns=60, trfc_ns=60, trrd_ns=14, twr_ns=14,
              tmrd_cycles=2, startup_us=100, startup_refreshes=8, mhz_cl2=100, mhz_cl3=1000 / 7),
    # Micron "256Mb: x4, x8, x16 SDRAM", table 12. tWR with auto precharge is 1 CLK + 7 ns (7.5 ns
    # for -75), which rounds up to as many cycles as these 14 and 15 ns for PRECHARGE.
    SdramPart("MT48LC16M16A2-7E", banks=4, row_bits=13, column_bits=9, trcd_ns=15, trp_ns=15,
              tras_ns=37, tras_max_ns=120_000, trc_ns=60, trfc_ns=66, trrd_ns=14, twr_ns=14,
              tmrd_cycles=2, startup_us=100, startup_refreshes=2, mhz_cl2=1000 / 7.5,
              mhz_cl3=1000 / 7),
    SdramPart("MT48LC16M16A2-75", banks=4, row_bits=13, column_bits=9, trcd_ns=20, trp_ns=20,
              tras_ns=44, tras_max_ns=120_000, trc_ns=66, trfc_ns=66, trrd_ns=15, twr_ns=15,
              tmrd_cycles=2, startup_us=100, startup_refreshes=2, mhz_cl2=100,
              mhz_cl3=1000 / 7.5),
    # Alliance AS4C16M16SA-C&I, rev. 3.0 of March 2015, table 16; tMRD is 14 and 12 ns there.
    SdramPart("AS4C16M16SA-7", banks=4, row_bits=13, column_bits=9, trcd_ns=21, trp_ns=21,
              tras_ns=42, tras_max_ns=120_000, trc_ns=63, trfc_ns=63, trrd_ns=14, twr_ns=14,
              tmrd_cycles=2, startup_us=200, startup_refreshes=2, mhz_cl2=100, mhz_cl3=1000 / 7),
    SdramPart("AS4C16M16SA-6", banks=4, row_bits=13, column_bits=9, trcd_ns=18, trp_ns=18,
              tras_ns=42, tras_max_ns=120_000, trc_ns=60, trfc_ns=60, trrd_ns=12, twr_ns=12,
              tmrd_cycles=2, startup_us=200, startup_refreshes=2, mhz_cl2=100, mhz_cl3=1000 / 6),
    # Alliance AS4C32M16SB, rev. 1.0 of June 2016, table 16.
    SdramPart("AS4C32M16SB-7", banks=4, row_bits=13, column_bits=10, trcd_ns=21, trp_ns=21,
              tras_ns=42, tras_max_ns=120_000, trc_ns=63, trfc_ns=63, trrd_ns=14, twr_ns=14,
              tmrd_cycles=2, startup_us=200, startup_refreshes=2, mhz_cl2=100, mhz_cl3=1000 / 7),
]}


def common_part(parts):
    """The :class:`SdramPart` that demands the most of each of ``parts`` and offers the least of
    any: a controller for it works with all of them."""
    parts = list(parts)
    least = {"banks", "row_bits", "column_bits", "tras_max_ns", "mhz_cl2", "mhz_cl3", "refresh_ms"}
    common = {}
    for name in (field.name for field in fields(SdramPart)):
        values = [getattr(part, name) for part in parts]
        common[name] = (" or ".join(values) if name == "name"
                        else (min if name in least else max)(values))
    return replace(parts[0], **common)
