"""Controller of a 16-bit single-data-rate SDRAM, for long sequential reads.

The controller decides in even cycles and acts in odd ones. A burst of eight words keeps the data
pins busy for four such turns, which leaves three for opening the next page, and every decision
sees the state that the last one left: no long chain of logic, and still a word per clock.
"""

from math import ceil

from amaranth import *
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from .pipe import delayed
from .sdram_parts import PARTS, common_part

__all__ = ["BURST", "SdramController", "read_share"]

BURST = 8  # words of a READ; a WRITE is of one word
GROUPS = 4  # bursts in the FIFO: about 20 cycles pass from a READ until its last word leaves
MARGIN = 8  # cycles by which refreshes come early, in case the clock is slow (0.6 % at 166 MHz)
LOST_CYCLES, LOST_NS = 10, 120  # of a long read for each refresh, with the slowest of the parts
COMMANDS = ["read", "write", "open_page", "open_next", "move", "precharge", "refresh", "mode"]


def read_share(clock_mhz):
    """Words per clock that a long read gives at least, with any of the parts."""
    part = common_part(PARTS.values())
    between = part.refresh_ms * 1000 * clock_mhz / part.refreshes
    return 1 - (LOST_CYCLES + LOST_NS * clock_mhz / 1000) / between


def _timer(m, name, starts):
    """High once a command may be decided: ``starts`` has cycles by command signal, from decision
    to decision. The sign of a counter, so that what waits for it reads one flip-flop."""
    loads = [(signal, max(cycles, 2) - 3) for signal, cycles in starts]
    most = max(1, *(load for _, load in loads))
    count = Signal(range(-most - 1, most + 1), init=-1, name=name)
    with m.If(~count[-1]):
        m.d.sync += count.eq(count - 1)
    for signal, load in loads:
        with m.If(signal):
            m.d.sync += count.eq(load)
    return count[-1]


class SdramController(wiring.Component):
    """Reads and writes runs of words of an SDRAM and refreshes it.

    Consecutive pages lie in different banks, and a page is opened while the one before is read:
    a long read gives nearly a word per clock (:func:`read_share`), refreshes included, as long as
    the consumer takes it. Writes are made at a word per two clocks.

    ::

        read, write -> next page -> this page -> commands -> pins
        data ------------------------------------------> dq_o
        words <- FIFO of 32 <------------------- dq_i

    Commands are carried out one after the other, in the order they are taken; of two offered at
    once, the write goes first. One that waits for its consumer or for its data holds up those
    behind it, never the refreshes.

    Parameters
    ----------
    part : hw.sdram_parts.SdramPart
        Chip.
    clock_mhz : float
        Of the ``sync`` domain and of the chip, in MHz.
    read_delay : int
        Cycles from when the chip gives a word (its CAS latency after the cycle in which the pins
        show READ) to when ``dq_i`` shows it: the registers at the pins, 0 to 8.
    cas_latency : int
        2 or 3. A latency of 3 costs one cycle a command and gives more time for the data to
        arrive.

    Members
    -------
    pins : Out
        ``cke``, ``cs_n``, ``ras_n``, ``cas_n``, ``we_n``, ``ba``, ``a``, ``dqm``, ``dq_o``,
        ``dq_oe``, straight from flip-flops, and ``dq_i``.
    ready : ``Out(1)``
        The chip is initialised; commands offered before wait.
    read : ``In(stream.Signature(COMMAND))``
        ``address`` and ``count`` in words, both multiples of 8, count at least 8. Beyond the
        chip's last word follows its first.
    words : ``Out(stream.Signature(16))``
        The words of all reads in order.
    write : ``In(stream.Signature(COMMAND))``
        As ``read``.
    data : ``In(stream.Signature(16))``
        The words of all writes in order.

    Raises
    ------
    ValueError
        If the part doesn't work at ``clock_mhz``, or for any other latency.

    Source: the data sheets at :data:`hw.sdram_parts.PARTS`.
    """

    def __init__(self, part, clock_mhz, read_delay=2, cas_latency=3):
        if cas_latency not in (2, 3):
            raise ValueError(f"CAS latency must be 2 or 3, not {cas_latency!r}")
        limit = part.mhz_cl2 if cas_latency == 2 else part.mhz_cl3
        if clock_mhz > limit * (1 + 1e-9):
            raise ValueError(
                f"Clock of {part.name} must be at most {limit:.5g} MHz with CAS latency "
                f"{cas_latency}, not {clock_mhz!r}"
                + (f"; CAS latency 3 allows {part.mhz_cl3:.5g}" if clock_mhz <= part.mhz_cl3
                   else ""))
        if clock_mhz < 20:
            raise ValueError(f"Clock of {part.name} must be at least 20 MHz, not {clock_mhz!r}: "
                             "refreshes would take most of the time")
        if read_delay not in range(9):
            raise ValueError(f"Read delay must be 0 to 8 cycles, not {read_delay!r}")
        self.part, self.clock_mhz = part, clock_mhz
        self.read_delay, self.cas_latency = read_delay, cas_latency
        command = data.StructLayout({"address": part.address_bits, "count": part.address_bits + 1})
        super().__init__({
            "pins": Out(wiring.Signature({
                "cke": Out(1), "cs_n": Out(1, init=1), "ras_n": Out(1, init=1),
                "cas_n": Out(1, init=1), "we_n": Out(1, init=1), "ba": Out(part.bank_bits),
                "a": Out(part.row_bits), "dqm": Out(2, init=0b11), "dq_o": Out(16),
                "dq_oe": Out(1), "dq_i": In(16)})),
            "ready": Out(1),
            "read": In(stream.Signature(command)),
            "words": Out(stream.Signature(16)),
            "write": In(stream.Signature(command)),
            "data": In(stream.Signature(16)),
        })

    def cycles(self, ns):
        """Fewest clock cycles that last ``ns`` at least."""
        return ceil(ns * self.clock_mhz / 1000 - 1e-6)

    @property
    def refresh_cycles(self):
        """Clock cycles between two refreshes."""
        part = self.part
        return int(part.refresh_ms * 1000 * self.clock_mhz / part.refreshes) - MARGIN

    def elaborate(self, platform):
        m = Module()
        op = {name: Signal(name=f"op_{name}") for name in COMMANDS}
        m.d.sync += [signal.eq(0) for signal in op.values()]
        op["close"] = Signal()  # with the page's last read or write
        room = self._receive(m, op)
        page, following = self._pages(m, op)
        self._schedule(m, op, page, following, room)
        self._drive(m, op, page, following)
        return m

    def _pages(self, m, op):
        """Cut commands into pages: the one being read or written, and the one after it."""
        part = self.part
        page_bits = part.bank_bits + part.row_bits
        column_bits = part.column_bits - 3  # counts bursts
        layout = data.StructLayout({
            "bank": part.bank_bits, "row": part.row_bits, "column": column_bits, "word": 3,
             "last": column_bits, "write": 1, "open": 1, "valid": 1})
        page, following = Signal(layout), Signal(layout)

        # A command becomes the following page in two cycles: count - 1, then + column.
        empty, fresh = Signal(init=1), Signal()
        size, pages = Signal(page_bits + column_bits), Signal(page_bits + 1)
        m.d.comb += [self.write.ready.eq(empty), self.read.ready.eq(empty & ~self.write.valid)]
        payload = Mux(self.write.valid, self.write.payload.as_value(),
                      self.read.payload.as_value())
        payload = data.View(self.read.payload.shape(), payload)
        with m.If(empty):
            m.d.sync += [
                following.column.eq(payload.address[3:]),
                Cat(following.bank, following.row).eq(payload.address[part.column_bits:]),
                following.write.eq(self.write.valid), following.open.eq(0),
                size.eq(payload.count[3:] - 1),
            ]
            with m.If(self.write.valid | self.read.valid):
                m.d.sync += [empty.eq(0), fresh.eq(1)]
        with m.If(fresh):
            m.d.sync += [Cat(following.last, pages).eq(size + following.column), fresh.eq(0),
                         following.valid.eq(1)]

        final, at_last = Signal(), Signal()
        m.d.sync += [final.eq(pages == 0), at_last.eq(page.column == page.last)]
        with m.If(op["move"]):
            m.d.sync += [
                page.eq(following),
                Cat(following.bank, following.row).eq(Cat(following.bank, following.row) + 1),
                following.column.eq(0), following.open.eq(0), pages.eq(pages - 1),
            ]
            with m.If(final):
                m.d.sync += [following.valid.eq(0), empty.eq(1)]
            with m.Else():
                m.d.sync += page.last.eq(~0)
        with m.If(op["open_page"]):
            m.d.sync += page.open.eq(1)
        with m.If(op["open_next"]):
            m.d.sync += following.open.eq(1)
        with m.If(op["precharge"]):
            m.d.sync += [page.open.eq(0), following.open.eq(0)]

        # Each page is closed by auto precharge with its last command.
        step = op["read"] | (op["write"] & page.word.all())
        m.d.comb += op["close"].eq(at_last & step)
        with m.If(op["write"]):
            m.d.sync += page.word.eq(page.word + 1)
        with m.If(step):
            m.d.sync += page.column.eq(page.column + 1)
        with m.If(op["close"]):
            m.d.sync += page.valid.eq(0)
        return page, following

    def _schedule(self, m, op, page, following, room):
        """Decide the next command in every other cycle; it's in ``op`` in the cycle after."""
        part, cycles = self.part, self.cycles
        rcd, rp, ras = cycles(part.trcd_ns), cycles(part.trp_ns), cycles(part.tras_ns)
        recovery = max(2, cycles(part.twr_ns)) + rp
        # With auto precharge a bank closes itself a burst after READ, and tRAS must be over then.
        opened = _timer(m, "opened", [
            (op[name], max(rcd, cycles(part.trrd_ns), ras - BURST))
            for name in ("open_page", "open_next")])
        gap = _timer(m, "gap", [(op["read"], BURST)])
        # The chip lets go of the pins within the cycle after its last word.
        turned = _timer(m, "turned", [(op["read"], BURST + self.cas_latency + 1)])
        closed = max(BURST + rp, recovery, cycles(part.trc_ns) - rcd)
        # A cycle late: in the one after its last command a page is no longer valid, and only the
        # next one takes its place.
        closing = Signal(part.banks)
        m.d.sync += closing.eq(Mux(op["close"], 1 << page.bank, 0))
        idle = Array([_timer(m, f"idle{bank}", [(closing[bank], closed - 1)])
                      for bank in range(part.banks)])
        # One time serves all that must be over before PRECHARGE; it's at most tRP too long.
        calm = _timer(m, "calm", [(op[name], max(closed, ras))
                                  for name in ("read", "write", "open_page", "open_next")])
        settled = _timer(m, "settled", [
            (op["precharge"], rp), (op["refresh"], cycles(part.trfc_ns)),
            (op["mode"], part.tmrd_cycles)])

        acting, may_run, may_refresh, due = Signal(), Signal(), Signal(), self._due(m, op)
        left = Signal(range(-2, part.startup_refreshes + 1), init=part.startup_refreshes - 2)
        m.d.sync += acting.eq(~acting)
        with m.FSM() as fsm:
            with m.State("run"):
                with m.If(may_refresh & calm):
                    m.d.sync += op["precharge"].eq(1)
                    m.next = "precharge"
            with m.State("precharge"):
                with m.If(~acting & settled):
                    m.d.sync += op["refresh"].eq(1)
                    m.next = "refresh"
            with m.State("refresh"):
                with m.If(~acting & settled):
                    with m.If(self.ready):
                        m.next = "run"
                    with m.Elif(left[-1]):
                        m.d.sync += op["mode"].eq(1)
                        m.next = "mode"
                    with m.Else():
                        m.d.sync += [op["refresh"].eq(1), left.eq(left - 1)]
            with m.State("mode"):
                with m.If(~acting & settled):
                    m.d.sync += self.ready.eq(1)
                    m.next = "run"
            running = fsm.ongoing("run")
        m.d.sync += [may_run.eq(acting & running & self.ready & ~due),
                     may_refresh.eq(acting & running & due)]

        with m.If(may_run):
            usable = page.valid & page.open & opened
            m.d.sync += [
                op["read"].eq(usable & ~page.write & gap & room),
                op["write"].eq(usable & page.write & turned & self.data.valid),
                op["move"].eq(~page.valid & following.valid),
                op["open_page"].eq(page.valid & ~page.open & opened & idle[page.bank]),
                # Only between two READs, so that it can't meet one, nor a WRITE.
                op["open_next"].eq(usable & ~gap & following.valid & ~following.open
                                   & (following.bank != page.bank) & idle[following.bank]),
            ]

    def _due(self, m, op):
        """High when a REFRESH is due; first when the start-up pause is over."""
        pause = ceil(self.part.startup_us * self.clock_mhz)
        periods, rest = divmod(pause, self.refresh_cycles)
        count = Signal(range(-self.refresh_cycles, self.refresh_cycles), init=rest)
        pauses = Signal(range(-periods - 1, periods + 1), init=periods - 1)
        due = Signal()
        with m.If(op["refresh"]):
            m.d.sync += due.eq(0)
        m.d.sync += count.eq(count - 1)
        with m.If(count[-1]):
            m.d.sync += count.eq(self.refresh_cycles - 2)
            with m.If(pauses[-1]):
                m.d.sync += due.eq(1)
            with m.Else():
                m.d.sync += pauses.eq(pauses - 1)
        return due

    def _drive(self, m, op, page, following):
        """Put ``op`` on the pins, a cycle later."""
        pins = self.pins
        opens = op["open_page"] | op["open_next"]
        m.d.sync += [
            pins.cke.eq(1), pins.cs_n.eq(0), pins.dqm.eq(~self.ready.replicate(2)),
            pins.ras_n.eq(~(opens | op["precharge"] | op["refresh"] | op["mode"])),
            pins.cas_n.eq(~(op["read"] | op["write"] | op["refresh"] | op["mode"])),
            pins.we_n.eq(~(op["write"] | op["precharge"] | op["mode"])),
            pins.ba.eq(page.bank),
            pins.a.eq(Cat(page.word, page.column)),
            pins.a[10].eq(op["close"] | op["precharge"]),
            pins.dq_oe.eq(op["write"]),
        ]
        with m.If(op["open_page"]):
            m.d.sync += pins.a.eq(page.row)
        with m.If(op["open_next"]):
            m.d.sync += [pins.a.eq(following.row), pins.ba.eq(following.bank)]
        with m.If(op["mode"]):
            # Reads of eight words in sequence, writes of one.
            m.d.sync += [pins.a.eq(1 << 9 | self.cas_latency << 4 | 0b011), pins.ba.eq(0)]
        m.d.sync += pins.dq_o.eq(self.data.payload)
        m.d.comb += self.data.ready.eq(op["write"])

    def _receive(self, m, op):
        """Take the words that come of READs into the FIFO; returns whether a burst more fits."""
        words = self.words
        # 32 words of LUT RAM, read without a clock.
        m.submodules.fifo = fifo = memory.Memory(shape=16, depth=GROUPS * BURST, init=[])
        write, read = fifo.write_port(), fifo.read_port(domain="comb")
        head, tail = Signal(range(2 * fifo.depth)), Signal(range(2 * fifo.depth))
        captured, taking = Signal(16, reset_less=True), Signal()
        arrives = delayed(m, op["read"], self.cas_latency + self.read_delay + 1, state=True)
        m.d.sync += captured.eq(self.pins.dq_i)
        m.d.comb += [write.addr.eq(head), write.data.eq(captured), write.en.eq(taking)]
        with m.If(taking):
            m.d.sync += head.eq(head + 1)
        with m.If(arrives):
            m.d.sync += taking.eq(1)
        with m.Elif(head[:3].all()):
            m.d.sync += taking.eq(0)

        pop, used = Signal(), Signal(range(GROUPS + 1))
        m.d.comb += [pop.eq((head != tail) & (~words.valid | words.ready)), read.addr.eq(tail)]
        with m.If(pop):
            m.d.sync += [words.payload.eq(read.data), words.valid.eq(1), tail.eq(tail + 1)]
        with m.Elif(words.ready):
            m.d.sync += words.valid.eq(0)
        # A burst's place is given back when its last word is popped.
        returned = delayed(m, pop & tail[:3].all(), 1, state=True)
        m.d.sync += used.eq(used + op["read"] - returned)
        return ~used[-1]
