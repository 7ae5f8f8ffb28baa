"""The ECP5's PLL: dividers for a clock frequency, and the clock domain that it drives."""

from dataclasses import dataclass, replace

from amaranth import *
from amaranth.lib import cdc

from .uart import SHORTEST

__all__ = ["ClockUnit", "Pll"]

# MHz; Lattice, "ECP5 and ECP5-5G Family Data Sheet" (FPGA-DS-02012), sysCLOCK PLL timing.
INPUT = (8, 400)
PFD = (3.125, 400)
VCO = (400, 800)
OUTPUT = (3.125, 400)
DIVIDER = (1, 128)
FEEDBACK = (1, 80)
# MHz of the link's clock: 15 cycles a bit at the usual 2,000,000 bits/s, and nobody waits for it.
LINK = (30, 60)


def _within(value, bounds):
    return bounds[0] - 1e-9 <= value <= bounds[1] + 1e-9


@dataclass(frozen=True)
class Pll:
    """``output = input / reference * feedback`` MHz, from a VCO at ``output * post`` MHz, and two
    other clocks of that VCO: one beside it, and the link's.

    Parameters
    ----------
    input_mhz : float
    reference, feedback, post : int
        Dividers CLKI_DIV (1 to 128), CLKFB_DIV (1 to 80) and CLKOP_DIV (1 to 128).
    beside, link : int, optional
        Dividers CLKOS2_DIV and CLKOS3_DIV (1 to 128).

    Raises
    ------
    ValueError
        A divider or a frequency (input, phase detector, VCO, output) is out of the ECP5's range.
    """

    input_mhz: float
    reference: int
    feedback: int
    post: int
    beside: int = None
    link: int = None

    def __post_init__(self):
        for name, value, (low, high) in (
                ("Reference divider", self.reference, DIVIDER),
                ("Feedback divider", self.feedback, FEEDBACK),
                ("Output divider", self.post, DIVIDER),
                ("Second output divider", self.beside or DIVIDER[0], DIVIDER),
                ("Third output divider", self.link or DIVIDER[0], DIVIDER)):
            if not isinstance(value, int) or not low <= value <= high:
                raise ValueError(f"{name} must be {low} to {high}, not {value!r}")
        for name, value, bounds in (
                ("Input", self.input_mhz, INPUT), ("Phase detector", self.pfd_mhz, PFD),
                ("VCO", self.vco_mhz, VCO), ("Output", self.output_mhz, OUTPUT)):
            if not _within(value, bounds):
                raise ValueError(f"{name} frequency must be {bounds[0]:g} to {bounds[1]:g} MHz, "
                                 f"not {value:g}")

    @property
    def pfd_mhz(self):
        """Phase detector, MHz."""
        return self.input_mhz / self.reference

    @property
    def output_mhz(self):
        """Output, MHz."""
        return self.pfd_mhz * self.feedback

    @property
    def vco_mhz(self):
        """Oscillator, MHz."""
        return self.output_mhz * self.post

    @property
    def beside_mhz(self):
        """Second output, MHz."""
        return self.vco_mhz / self.beside

    @property
    def link_mhz(self):
        """Third output, MHz."""
        return self.vco_mhz / self.link

    def with_link(self, baud):
        """The same outputs with a third one for a serial line of ``baud`` bits/s: of the clocks in
        ``LINK`` that are fast enough for it the one that divides best, and of equals the slowest.
        """
        def off(divider):
            cycles = self.vco_mhz / divider * 1e6 / baud      # a bit
            whole = max(1, round(cycles))
            return max(0, SHORTEST - whole), round(abs(whole / cycles - 1), 6), -divider
        return replace(self, link=min((divider for divider in range(DIVIDER[0], DIVIDER[1] + 1)
                                       if _within(self.vco_mhz / divider, LINK)), key=off))

    def with_beside(self, limit_mhz):
        """The same output with the fastest second one up to ``limit_mhz``."""
        found = self.all_beside(0, limit_mhz)
        if not found:
            raise ValueError(f"Second output must be at least {VCO[0] / DIVIDER[1]:g} MHz, "
                             f"not {limit_mhz:g}")
        return found[-1]

    def all_beside(self, low_mhz, high_mhz):
        """Every setting for the same output with a second one in this range, slowest first; of
        several for one frequency the VCO nearest the middle of its range, or the faster."""
        found = []
        for post in range(DIVIDER[0], DIVIDER[1] + 1):
            vco = self.output_mhz * post
            for beside in range(DIVIDER[0], DIVIDER[1] + 1) if _within(vco, VCO) else ():
                if _within(vco / beside, (low_mhz, high_mhz)):
                    found.append(replace(self, post=post, beside=beside))
        found.sort(key=lambda pll: (-abs(pll.vco_mhz - sum(VCO) / 2), pll.vco_mhz))
        best = {round(pll.beside_mhz, 6): pll for pll in found}
        return [best[mhz] for mhz in sorted(best)]

    @classmethod
    def settings(cls, input_mhz):
        """Every valid setting whose VCO is as near the middle of its range as its output allows."""
        for reference in range(DIVIDER[0], DIVIDER[1] + 1):
            if not _within(input_mhz / reference, PFD):
                continue
            for feedback in range(FEEDBACK[0], FEEDBACK[1] + 1):
                output = input_mhz / reference * feedback
                post = max(1, min(DIVIDER[1], round(sum(VCO) / 2 / output)))
                if _within(output, OUTPUT) and _within(output * post, VCO):
                    yield cls(input_mhz, reference, feedback, post)

    @classmethod
    def at(cls, input_mhz, output_mhz):
        """The setting for ``output_mhz``, within 0.01 MHz and with the smallest reference divider.

        Raises ``ValueError`` where there is none, with the nearest frequency that works.
        """
        if not _within(input_mhz, INPUT):
            raise ValueError(f"Input frequency must be {INPUT[0]} to {INPUT[1]} MHz, "
                             f"not {input_mhz:g}")
        if not _within(output_mhz, OUTPUT):
            raise ValueError(f"Output frequency must be {OUTPUT[0]:g} to {OUTPUT[1]:g} MHz, "
                             f"not {output_mhz:g}")
        best = min(cls.settings(input_mhz),
                   key=lambda pll: (round(abs(pll.output_mhz - output_mhz), 6), pll.reference))
        if abs(best.output_mhz - output_mhz) > 0.01:
            raise ValueError(f"Output frequency must be one the PLL can make from {input_mhz:g} "
                             f"MHz, not {output_mhz:g}; try {best.output_mhz:.3f}")
        return best

    def create(self, clk_in):
        """Gateware for this setting: see :class:`ClockUnit`."""
        return ClockUnit(self, clk_in)


class ClockUnit(Elaboratable):
    """A clock of ``pll.output_mhz`` from ``clk_in``, for a domain without a reset.

    Without one, because a reset net to tens of thousands of registers costs routing and gains
    nothing: configuration leaves every register at its initial value. Instead the clock itself is
    held back (by the clock buffer's enable, which switches without a glitch) until the PLL has been
    locked for 16 cycles, so no register ever sees an edge of an unsettled clock.

    Members
    -------
    clk : ``Signal()``
        The clock.
    beside, link : ``Signal()``
        The second and the third one, if ``pll`` has them; held back as well.
    """

    def __init__(self, pll, clk_in):
        self.pll = pll
        self.clk_in = clk_in
        self.clk, self.beside, self.link = Signal(), Signal(), Signal()

    def elaborate(self, platform):
        m = Module()
        pll = self.pll
        # Two equal outputs: a net on global wires can't feed a clock buffer, so the one that runs
        # the lock counter is not the one that is held back.
        ungated, always, lock, steady = Signal(), Signal(), Signal(), Signal(5)
        m.domains.pll = ClockDomain(reset_less=True, local=True)
        m.d.comb += ClockSignal("pll").eq(always)

        # By the number of their output: divider, and the clock that it gives.
        others, ports = {2: (pll.beside, self.beside), 3: (pll.link, self.link)}, {}
        for number, (divider, clock) in others.items():
            if divider:
                pin, free = f"CLKOS{number}", Signal(name=f"free{number}")
                ports |= {
                    f"a_FREQUENCY_PIN_{pin}": f"{pll.vco_mhz / divider:g}",
                    f"p_{pin}_ENABLE": "ENABLED", f"p_{pin}_DIV": divider,
                    f"p_{pin}_CPHASE": divider // 2, f"p_{pin}_FPHASE": 0,
                    f"i_EN{pin}": Const(0), f"o_{pin}": free}
                # The buffer takes its enable with an edge of its own clock.
                m.submodules[f"gate{number}"] = Instance(
                    "DCCA", i_CLKI=free, i_CE=steady[-1], o_CLKO=clock)
        m.submodules.pll = Instance(
            "EHXPLLL",
            a_FREQUENCY_PIN_CLKI=f"{pll.input_mhz:g}",
            a_FREQUENCY_PIN_CLKOP=f"{pll.output_mhz:g}",
            a_FREQUENCY_PIN_CLKOS=f"{pll.output_mhz:g}",
            a_ICP_CURRENT="12", a_LPF_RESISTOR="8",
            a_MFG_ENABLE_FILTEROPAMP="1", a_MFG_GMCREF_SEL="2",
            p_PLLRST_ENA="DISABLED", p_INTFB_WAKE="DISABLED", p_STDBY_ENABLE="DISABLED",
            p_DPHASE_SOURCE="DISABLED", p_FEEDBK_PATH="CLKOP",
            p_OUTDIVIDER_MUXA="DIVA", p_OUTDIVIDER_MUXB="DIVB",
            p_OUTDIVIDER_MUXC="DIVC", p_OUTDIVIDER_MUXD="DIVD",
            p_CLKI_DIV=pll.reference, p_CLKFB_DIV=pll.feedback,
            p_CLKOP_ENABLE="ENABLED", p_CLKOP_DIV=pll.post,
            p_CLKOP_CPHASE=pll.post // 2, p_CLKOP_FPHASE=0,
            p_CLKOS_ENABLE="ENABLED", p_CLKOS_DIV=pll.post,
            p_CLKOS_CPHASE=pll.post // 2, p_CLKOS_FPHASE=0,
            i_RST=Const(0), i_STDBY=Const(0), i_PLLWAKESYNC=Const(0),
            i_ENCLKOP=Const(0), i_ENCLKOS=Const(0),
            i_PHASESEL0=Const(0), i_PHASESEL1=Const(0), i_PHASEDIR=Const(1),
            i_PHASESTEP=Const(1), i_PHASELOADREG=Const(1),
            i_CLKI=self.clk_in, i_CLKFB=ungated,
            o_CLKOP=ungated, o_CLKOS=always, o_LOCK=lock, **ports)

        locked = Signal()
        m.submodules.lock = cdc.FFSynchronizer(lock, locked, o_domain="pll")
        with m.If(~locked):
            m.d.pll += steady.eq(0)
        with m.Elif(~steady[-1]):
            m.d.pll += steady.eq(steady + 1)
        # nextpnr derives the clocks' constraints from the crystal's, through PLL and buffers.
        m.submodules.gate = Instance("DCCA", i_CLKI=ungated, i_CE=steady[-1], o_CLKO=self.clk)
        return m
