"""A model of an SDR SDRAM that reads its pins once a clock and refuses what the data sheet does.

Times are compared in ns, so that the model shares no rounding with the controller under test.
"""

from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

from amaranth import *

__all__ = ["COMMANDS", "Pins", "RuleBroken", "SdramChip"]

# RAS#, CAS#, WE# of each command.
COMMANDS = {"nop": (1, 1, 1), "active": (0, 1, 1), "read": (1, 0, 1), "write": (1, 0, 0),
            "precharge": (0, 1, 0), "refresh": (0, 0, 1), "mode": (0, 0, 0), "stop": (1, 1, 0)}
NAMES = {levels: name for name, levels in COMMANDS.items()}
BURST = 8
POSTPONED = 8  # refreshes that may be late at any time, as JEDEC allows for later generations
NEVER = float("-inf")
ROUNDING = 1e-6  # ns


class RuleBroken(AssertionError):
    """The pins broke a rule of the data sheet; the message starts with the rule's name."""


class Pins(NamedTuple):
    """Levels of the chip's pins at a clock edge; a NOP unless told otherwise."""

    cke: int = 1
    cs_n: int = 0
    ras_n: int = 1
    cas_n: int = 1
    we_n: int = 1
    ba: int = 0
    a: int = 0
    dqm: int = 0
    dq_o: int = 0
    dq_oe: int = 0


@dataclass
class Bank:
    """State of a bank; times in ns."""

    row: int | None = None
    opened: float = NEVER
    written: float = NEVER
    idle: float = NEVER  # end of the precharge
    closing: bool = False  # by auto precharge


class SdramChip:
    """An SDRAM with the registers between it and the controller.

    Words never written hold a number made of their address.

    Parameters
    ----------
    part : SdramPart
    clock_mhz : float
    read_delay : int
        Cycles by which the controller sees a word later than the chip gives it.

    Attributes
    ----------
    cycle : int
        Of the last step, from 0.
    now : float
        Its time in ns.
    refreshed : list of int
        Cycles of the REFRESH commands.
    commands : list of (int, str)
        Cycle and name of each command.
    """

    def __init__(self, part, clock_mhz, read_delay=0):
        self.part, self.mhz, self.tck = part, clock_mhz, 1000 / clock_mhz
        self.cycle, self.now, self.refreshed, self.commands = -1, NEVER, [], []
        self.banks = [Bank() for _ in range(part.banks)]
        self.words = {}
        self.latency = None  # set by the mode register
        self.powered = self.clocked = False
        self.in_use = None  # time
        self.activated = self.refresh_done = self.mode_set = NEVER
        self.recent = deque(maxlen=part.refreshes)
        self.since_use = 0  # refreshes
        self.reading = None  # bank of the last read
        self.burst = {}  # words on the data pins by cycle
        self.auto = (NEVER, None)  # last word's cycle and bank of a read with auto precharge
        self.drove = deque([False, False], maxlen=2)  # the chip, a cycle ago and now
        self.dqm = deque([0, 0], maxlen=2)
        self.delay = deque([None] * read_delay)

    # ------------------------------------------------------------------------------------ memory

    def word(self, address):
        """The word at ``address``."""
        return self.words.get(address, (address * 40503 >> 4 ^ address) & 0xFFFF)

    def address(self, bank, column):
        """Word address of a column of the open row, as the controller counts."""
        part = self.part
        page = self.banks[bank].row << part.bank_bits | bank
        return page << part.column_bits | column

    # -------------------------------------------------------------------------------------- time

    def refuse(self, rule, text):
        raise RuleBroken(f"{rule}: {text} (cycle {self.cycle})")

    def require(self, holds, rule, text):
        if not holds:
            self.refuse(rule, text)

    def least(self, rule, since, ns, text):
        """Hold the time that has passed since ``since`` to at least ``ns``."""
        passed = self.now - since
        self.require(passed >= ns - ROUNDING, rule, f"{text} after {passed:.1f} ns, not {ns:g}")

    def attach(self, m, pins):
        """A background testbench that stands in for the chip at the controller's ``pins``.

        Adds one signal to module ``m``: sampling each pin took half of the simulation's time.
        """
        signals = [getattr(pins, name) for name in Pins._fields]
        levels = Signal(sum(len(signal) for signal in signals))
        m.d.comb += levels.eq(Cat(*signals))

        async def bench(ctx):
            last, step = None, None
            while True:
                _, _, value = await ctx.tick().sample(levels)
                if value != last:
                    last, rest, split = value, value, []
                    for signal in signals:
                        split.append(rest & (1 << len(signal)) - 1)
                        rest >>= len(signal)
                    step = Pins(*split)
                ctx.set(pins.dq_i, self.step(step))
        return bench

    def step(self, pins):
        """Take the levels at the end of a cycle; returns the controller's ``dq_i`` in the next."""
        self.cycle += 1
        self.now = self.cycle * self.tck
        self._background(pins)
        name = "nop" if pins.cs_n else NAMES[pins.ras_n, pins.cas_n, pins.we_n]
        if name != "nop":
            self._between(name)
            getattr(self, f"_{name}")(pins)
            self.commands.append((self.cycle, name))
        self.clocked = bool(pins.cke)

        word = self.burst.pop(self.cycle + 1, None)
        masked = self.dqm[-1]  # DQM hides words two cycles later
        self.dqm.append(pins.dqm)
        if word is not None and masked:
            noise = self.cycle * 0x9E37
            hidden = 0xFF * (masked & 1) | 0xFF00 * (masked >> 1)
            word = None if masked == 3 else (word & ~hidden | noise & hidden) & 0xFFFF
        self.drove.append(word is not None)
        self.delay.append(word)
        word = self.delay.popleft()
        return self.cycle * 0x9E37 & 0xFFFF if word is None else word

    # ------------------------------------------------------------------------------------- rules

    def _background(self, pins):
        """What holds in every cycle; written out, as it runs in every cycle."""
        part, now = self.part, self.now
        if self.powered and not pins.cke:
            self.refuse("CKE", "low in use")
        # The chip lets go of the pins within the cycle after its last word (tHZ).
        if pins.dq_oe and any(self.drove):
            self.refuse("contention", "the controller drives the data pins while the chip does")
        for number, bank in enumerate(self.banks):
            if bank.closing and now >= bank.idle - ROUNDING:
                bank.closing = False
            if bank.row is not None and now - bank.opened > part.tras_max_ns + ROUNDING:
                self.refuse("tRAS max", f"bank {number} is open for more than "
                                        f"{part.tras_max_ns:g} ns")
        if self.in_use is None:
            return
        window = part.refresh_ms * 1e6
        since = self.recent[0] if len(self.recent) == part.refreshes else self.in_use
        if now - since > window + ROUNDING:
            self.refuse("refresh window", f"fewer than {part.refreshes} refreshes in "
                                          f"{part.refresh_ms:g} ms")
        # 64 ms are too long to simulate, hence this.
        due = (now - self.in_use) * part.refreshes / window
        if due - self.since_use > POSTPONED + 1:
            self.refuse("refresh pace", f"more than {POSTPONED} refreshes late")

    def _between(self, name):
        """What holds between any two commands."""
        part = self.part
        self.require(self.clocked, "CKE", f"{name.upper()} without CKE in the cycle before")
        if not self.powered:
            self.require(self.now >= part.startup_us * 1000 - ROUNDING, "start-up pause",
                         f"{name.upper()} after {self.now / 1000:.2f} us, not {part.startup_us:g}")
            self.require(name == "precharge", "start-up", f"{name.upper()} before PRECHARGE")
        self.least("tRFC", self.refresh_done, part.trfc_ns, f"{name.upper()} after REFRESH")
        self.require(self.cycle - self.mode_set >= part.tmrd_cycles, "tMRD",
                     f"{name.upper()} after LOAD MODE REGISTER")

    def _idle(self, name):
        """All banks precharged and the time for it over."""
        for number, bank in enumerate(self.banks):
            self.require(bank.row is None, "bank state", f"{name} with bank {number} open")
            self.require(self.now >= bank.idle - ROUNDING, "tRP",
                         f"{name} while bank {number} is precharged")

    def _stop(self, pins):
        self.refuse("BURST TERMINATE", "not modelled")

    def _mode(self, pins):
        self._idle("LOAD MODE REGISTER")
        self.require(pins.ba == 0, "mode register", "BA must be 0")
        latency = pins.a >> 4 & 7
        limit = {2: self.part.mhz_cl2, 3: self.part.mhz_cl3}.get(latency, 0)
        self.require(self.mhz <= limit * (1 + 1e-9), "mode register",
                     f"CAS latency {latency} at {self.mhz:g} MHz")
        self.require(pins.a & ~0x70 == 0x203, "mode register",
                     "this model does bursts of 8 in sequence and single writes")
        self.latency, self.mode_set = latency, self.cycle
        self._used()

    def _refresh(self, pins):
        self._idle("REFRESH")
        self.refresh_done = self.now
        self.refreshed.append(self.cycle)
        if self.in_use is None:
            self._used()
        else:
            self.since_use += 1
            self.recent.append(self.now)

    def _used(self):
        """The start-up sequence ends with the mode register set and all its refreshes made."""
        done = self.latency and len(self.refreshed) >= self.part.startup_refreshes
        if done and self.in_use is None:
            self.in_use = self.now

    def _precharge(self, pins):
        part, every = self.part, pins.a >> 10 & 1
        self.require(self.powered or every, "start-up", "the first PRECHARGE must be of all banks")
        self.powered = True
        for number, bank in enumerate(self.banks):
            if not every and number != pins.ba:
                continue
            self.require(not bank.closing, "auto precharge",
                         f"PRECHARGE while bank {number} closes itself")
            self._uninterrupted(number)
            if bank.row is None:
                continue
            self.least("tRAS", bank.opened, part.tras_ns, f"PRECHARGE of bank {number}")
            self.least("tWR", bank.written, part.twr_ns, f"PRECHARGE of bank {number}")
            if number == self.reading:
                self._cut()
            bank.row, bank.idle = None, self.now + part.trp_ns

    def _active(self, pins):
        part, bank = self.part, self.banks[pins.ba]
        self.require(self.in_use is not None, "start-up", "ACTIVE before the end of the start-up")
        self.require(bank.row is None, "bank state", f"ACTIVE of the open bank {pins.ba}")
        self.require(self.now >= bank.idle - ROUNDING, "tRP",
                     f"ACTIVE while bank {pins.ba} is precharged")
        self.least("tRC", bank.opened, part.trc_ns, f"ACTIVE of bank {pins.ba} again")
        self.least("tRRD", self.activated, part.trrd_ns, "ACTIVE of another bank")
        self.activated = bank.opened = self.now
        bank.row = pins.a

    def _column(self, pins, name):
        bank = self.banks[pins.ba]
        self.require(bank.row is not None, "bank state", f"{name} of the closed bank {pins.ba}")
        self.least("tRCD", bank.opened, self.part.trcd_ns, f"{name} of bank {pins.ba}")
        end, busy = self.auto
        self.require(end < self.cycle, "auto precharge", f"{name} cuts the read of bank {busy}")
        return bank, pins.a & (1 << self.part.column_bits) - 1, pins.a >> 10 & 1

    def _read(self, pins):
        bank, column, auto = self._column(pins, "READ")
        self._cut()
        self.reading = pins.ba
        for beat in range(BURST):
            address = self.address(pins.ba, column & ~7 | (column + beat) & 7)
            self.burst[self.cycle + self.latency + beat] = self.word(address)
        if auto:
            # The precharge starts a burst after the command, whatever the CAS latency.
            self.auto = self.cycle + BURST - 1, pins.ba
            self._close(bank, BURST * self.tck)

    def _write(self, pins):
        bank, column, auto = self._column(pins, "WRITE")
        self.require(pins.dq_oe, "data", "WRITE while the controller doesn't drive the data pins")
        self._cut()
        address = self.address(pins.ba, column)
        kept = 0xFF * (pins.dqm & 1) | 0xFF00 * (pins.dqm >> 1)
        self.words[address] = self.word(address) & kept | pins.dq_o & ~kept & 0xFFFF
        bank.written = self.now
        if auto:
            self._close(bank, self.part.twr_ns)

    def _close(self, bank, after):
        """Auto precharge that starts ``after`` ns from now."""
        start = self.now + after
        self.require(start - bank.opened >= self.part.tras_ns - ROUNDING, "tRAS",
                     f"auto precharge {start - bank.opened:.1f} ns after ACTIVE")
        bank.row, bank.closing, bank.idle = None, True, start + self.part.trp_ns

    def _uninterrupted(self, number):
        end, busy = self.auto
        self.require(busy != number or end < self.cycle, "auto precharge",
                     f"PRECHARGE cuts the read of bank {number}")

    def _cut(self):
        """A READ, WRITE or PRECHARGE ends the burst under way, a CAS latency later."""
        for cycle in [cycle for cycle in self.burst if cycle >= self.cycle + self.latency]:
            del self.burst[cycle]
