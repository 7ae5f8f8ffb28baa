"""The model of an SDRAM chip: each rule of the data sheets, kept by a cycle and broken by one."""

from dataclasses import replace

import pytest

from hw.sdram_parts import SdramPart
from tests.hw.sdram_chip import COMMANDS, Pins, RuleBroken, SdramChip

# At 100 MHz every time is a different number of whole cycles, so that one rule breaks at a time.
PART = SdramPart("test", banks=4, row_bits=13, column_bits=9, trcd_ns=30, trp_ns=20, tras_ns=100,
                 tras_max_ns=2000, trc_ns=150, trfc_ns=170, trrd_ns=40, twr_ns=50, tmrd_cycles=6,
                 startup_us=1, startup_refreshes=2, mhz_cl2=100, mhz_cl3=100)
MODE = 0x200 | 3 << 4 | 3
ALL = AUTO = 1 << 10


class Driver:
    """Hand-made pins: each command comes ``after`` so many cycles, with NOPs before it."""

    def __init__(self, part=PART, clock_mhz=100):
        self.chip = SdramChip(part, clock_mhz)
        self.seen = {}  # dq_i by cycle

    def __call__(self, command="nop", after=1, **levels):
        for _ in range(after - 1):
            self._step(Pins())
        self._step(Pins(**dict(zip(("ras_n", "cas_n", "we_n"), COMMANDS[command]), **levels)))
        return self.chip.cycle

    def _step(self, pins):
        self.seen[self.chip.cycle + 2] = self.chip.step(pins)

    def start(self):
        self("precharge", after=200, a=ALL)
        for after in (10, 20):
            self("refresh", after=after)
        self("mode", after=20, a=MODE)
        self("nop", after=30)
        return self


def power_up(n=101, refreshes=2, mode=MODE, precharge=ALL):
    """The start-up sequence, the first command in cycle ``n`` - 1, then ACTIVE."""
    d = Driver()
    d("precharge", after=n, a=precharge)
    for _ in range(refreshes):
        d("refresh", after=20)
    if mode is not None:
        d("mode", after=20, a=mode)
    d("active", after=20)


def read(d, after=3, **levels):
    d("active", **levels)
    return d("read", after=after, **levels)


# The rule, the fewest cycles that it allows, and a sequence that breaks no other rule.
LEAST = {
    "start-up pause": (101, lambda d, n: power_up(n)),
    "tRCD": (3, lambda d, n: (d("active"), d("read", after=n))),
    "tRCD ": (3, lambda d, n: (d("active"), d("write", after=n, dq_oe=1))),
    "tRP": (2, lambda d, n: (d("active"), d("precharge", after=20), d("active", after=n))),
    "tRP ": (2, lambda d, n: (d("active"), d("precharge", after=20, a=ALL),
                              d("refresh", after=n))),
    "tRP  ": (2, lambda d, n: (d("active"), d("precharge", after=20), d("mode", after=n, a=MODE))),
    "tRP of auto precharge": (8 + 2, lambda d, n: (
        read(d, after=10, a=AUTO), d("active", after=n))),
    "tRP after a write": (5 + 2, lambda d, n: (
        d("active"), d("write", after=15, a=AUTO, dq_oe=1), d("active", after=n))),
    "tRAS": (10, lambda d, n: (d("active"), d("precharge", after=n))),
    "tRAS of all banks": (10, lambda d, n: (d("active", ba=2), d("precharge", after=n, a=ALL))),
    "tRAS of auto precharge": (5, lambda d, n: (
        d("active"), d("write", after=n, a=AUTO, dq_oe=1))),
    "tRC": (15, lambda d, n: (d("active"), d("precharge", after=10), d("active", after=n - 10))),
    "tRRD": (4, lambda d, n: (d("active"), d("active", after=n, ba=1))),
    "tRFC": (17, lambda d, n: (d("refresh"), d("active", after=n))),
    "tRFC ": (17, lambda d, n: (d("refresh"), d("refresh", after=n))),
    "tWR": (5, lambda d, n: (d("active"), d("write", after=15, dq_oe=1),
                             d("precharge", after=n))),
    "tMRD": (6, lambda d, n: (d("mode", a=MODE), d("active", after=n))),
    # CAS latency 3, eight words, and one cycle to let go.
    "contention": (12, lambda d, n: (read(d), d("write", after=n, dq_oe=1))),
    "auto precharge": (8, lambda d, n: (
        d("active"), d("active", after=4, ba=1), d("read", after=8, a=AUTO),
        d("read", after=n, ba=1))),
    "auto precharge ": (10, lambda d, n: (
        read(d, after=10, a=AUTO), d("precharge", after=n, a=ALL))),
}
MOST = {
    "tRAS max": (200, lambda d, n: (d("active"), d("precharge", after=n))),
}


@pytest.mark.parametrize("rule", LEAST)
def test_the_model_refuses_what_comes_too_soon(rule):
    least, sequence = LEAST[rule]
    for cycles in (least, least + 1):
        sequence(Driver().start(), cycles)
    with pytest.raises(RuleBroken, match=f"^{rule.split(' of ')[0].split(' after ')[0].strip()}:"):
        sequence(Driver().start(), least - 1)


@pytest.mark.parametrize("rule", MOST)
def test_the_model_refuses_what_comes_too_late(rule):
    most, sequence = MOST[rule]
    sequence(Driver().start(), most)
    with pytest.raises(RuleBroken, match=f"^{rule}:"):
        sequence(Driver().start(), most + 1)


@pytest.mark.parametrize("rule, right, wrong", [
    ("start-up", lambda d: power_up(refreshes=2), lambda d: power_up(refreshes=1)),
    ("start-up", lambda d: power_up(), lambda d: power_up(mode=None)),
    ("start-up", lambda d: power_up(), lambda d: power_up(precharge=0)),
    ("start-up", lambda d: Driver()("precharge", after=200, a=ALL),
     lambda d: Driver()("refresh", after=200)),
    ("CKE", lambda d: (Driver()("nop"), Driver()("precharge", after=200, a=ALL)),
     lambda d: Driver(replace(PART, startup_us=0))("precharge", a=ALL)),
    ("CKE", lambda d: d("nop", cke=1), lambda d: d("nop", cke=0)),
    ("mode register", lambda d: d("mode", a=MODE), lambda d: d("mode", a=MODE | 8)),
    ("mode register", lambda d: d("mode", a=MODE), lambda d: d("mode", a=MODE & ~1)),
    ("mode register", lambda d: d("mode", a=MODE), lambda d: d("mode", a=MODE ^ 0x200)),
    ("mode register", lambda d: d("mode", a=MODE), lambda d: d("mode", a=MODE, ba=1)),
    ("mode register", lambda d: d("mode", a=0x223), lambda d: d("mode", a=0x213)),
    ("mode register", lambda d: d("mode", a=0x233),
     lambda d: Driver(replace(PART, mhz_cl3=99)).start()),
    ("bank state", lambda d: read(d, ba=3), lambda d: d("read", ba=3)),
    ("bank state", lambda d: (d("active"), d("write", after=9, dq_oe=1)),
     lambda d: d("write", dq_oe=1)),
    ("bank state", lambda d: (d("active"), d("active", after=20, ba=1)),
     lambda d: (d("active"), d("active", after=20))),
    ("bank state", lambda d: (d("active"), d("precharge", after=20), d("refresh", after=9)),
     lambda d: (d("active"), d("refresh", after=20))),
    ("bank state", lambda d: (d("active"), d("precharge", after=20), d("mode", after=9, a=MODE)),
     lambda d: (d("active"), d("mode", after=20, a=MODE))),
    ("bank state", lambda d: (read(d, after=9), d("read", after=9)),
     lambda d: (read(d, after=9, a=AUTO), d("read", after=9))),
    ("data", lambda d: (d("active"), d("write", after=9, dq_oe=1)),
     lambda d: (d("active"), d("write", after=9))),
    ("contention", lambda d: (read(d), d("nop", after=12, dq_oe=1)),
     lambda d: (read(d), d("nop", after=3, dq_oe=1))),
    ("BURST TERMINATE", lambda d: d("nop"), lambda d: d("stop")),
], ids=lambda value: value if isinstance(value, str) else "")
def test_the_model_refuses_what_may_not_be(rule, right, wrong):
    right(Driver().start())
    with pytest.raises(RuleBroken, match=f"^{rule}:"):
        wrong(Driver().start())


@pytest.mark.parametrize("cycles", [400, 401])
def test_the_model_counts_the_refreshes_of_a_window(cycles):
    """Four in 4 us: the fifth must come 400 cycles after the first."""
    d = Driver(replace(PART, refreshes=4, refresh_ms=0.004)).start()
    for after in (1, 100, 100, 100):
        d("refresh", after=after)
    if cycles == 400:
        d("refresh", after=cycles - 300)
        d("nop")
    else:
        with pytest.raises(RuleBroken, match="^refresh window:"):
            d("refresh", after=cycles - 300 + 1)


def test_the_model_refuses_a_backlog_of_refreshes():
    part = replace(PART, refreshes=1000, refresh_ms=1)
    d = Driver(part).start()
    used = int(d.chip.in_use / 10)
    d("nop", after=used + 900 - d.chip.cycle)
    with pytest.raises(RuleBroken, match="^refresh pace:"):
        d("nop")


@pytest.mark.parametrize("latency", [2, 3])
def test_the_model_gives_words_after_the_cas_latency(latency):
    d = Driver(replace(PART, column_bits=8)).start()
    d("mode", a=0x203 | latency << 4)
    d("active", after=20, ba=1, a=5)
    at = d("read", after=20, ba=1, a=16)
    d("nop", after=30)
    address = (5 << 2 | 1) << 8 | 16
    assert [d.seen[at + latency + 1 + i] for i in range(8)] == [d.chip.word(address + i)
                                                             for i in range(8)]
    assert d.seen[at + latency] != d.chip.word(address)


def test_the_model_obeys_the_data_mask():
    d = Driver().start()
    d("active")
    for column, mask in enumerate([0, 1, 2, 3]):
        d("write", after=3, a=column, dq_o=0xABCD, dq_oe=1, dqm=mask)
    low, high = [d.chip.word(i) & 0xFF for i in range(4)], [d.chip.word(i) >> 8 for i in range(4)]
    fresh = SdramChip(PART, 100)
    assert low == [0xCD, fresh.word(1) & 0xFF, 0xCD, fresh.word(3) & 0xFF]
    assert high == [0xAB, 0xAB, fresh.word(2) >> 8, fresh.word(3) >> 8]
    at = d("read", after=9)
    d("nop", after=2, dqm=3)  # hides the word two cycles later
    d("nop", after=30)
    assert d.seen[at + 4] == 0xABCD
    assert d.seen[at + 5] != d.chip.word(1)
    assert d.seen[at + 6] == d.chip.word(2)


def test_the_model_cuts_a_read_at_the_next():
    d = Driver().start()
    at = read(d)
    d("read", after=4, a=64)
    d("nop", after=30)
    words = [*range(4), *range(64, 72)]
    assert [d.seen[at + 4 + i] for i in range(12)] == [d.chip.word(i) for i in words]
