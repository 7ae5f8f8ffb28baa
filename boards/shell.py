"""What surrounds the pipeline on a board: clock, serial link, lights."""

from amaranth import *
from amaranth.lib import io, wiring
from amaranth.lib.wiring import In, Out

from .link import Link
from .protocol import PATIENCE

__all__ = ["LIGHTS", "Shell", "Top"]

LIGHTS = 4


class Shell(wiring.Component):
    """The pipeline behind its link; complete but for the board's clocks and pins.

    The pipeline is in the domain ``sync``; link, lights and flash are in ``link``: what waits for a
    serial line needn't keep up with the pipeline, and no wire of it is placed and routed as if it
    had to. (Seven in ten of the longest paths of WRN-20-4's placement were the link's.) The memory
    of streamed weights is in ``memory``.

    Parameters
    ----------
    pipeline : wiring.Component
        ``image`` and ``scores`` streams as in :class:`boards.link.Link`, the other way round.
    identity : protocol.Identity
        What the board answers to ``IDENTIFY``; its ``clock_khz`` is the clock of ``sync``.
    uart : uart.Uart
    link_khz : int
        Clock of ``link``.
    patience : int, optional
        Cycles of ``link`` without a byte after which a frame is given up; by default 0.1 s.
    weights : weights.WeightSource, optional
        For a pipeline that streams its weights.
    boot : flash.WeightBoot, optional
        Fills ``weights`` from the flash after power-up.

    Members
    -------
    rx, tx : ``In(1)``, ``Out(1)``
        The serial line.
    sdram : Out
        Pins of the memory, only with ``weights``.
    flash : Out
        Pins of the flash, only with ``boot``.
    lights : ``Out(4)``
        Heartbeat (about 1 Hz; standing still while weights are missing), line active, pipeline
        busy, last frame refused.
    """

    def __init__(self, pipeline, identity, uart, link_khz, patience=None, weights=None,
                 boot=None):
        self.pipeline = pipeline
        self.identity = identity
        self.uart = uart
        self.weights, self.boot = weights, boot
        self.link_khz = link_khz
        self.link = Link(identity, uart, patience or int(PATIENCE * link_khz * 1000),
                         weights is not None)
        super().__init__({"rx": In(1, init=1), "tx": Out(1, init=1), "lights": Out(LIGHTS),
                          **({"sdram": Out(weights.pins.signature)} if weights else {}),
                          **({"flash": Out(boot.flash.signature)} if boot else {})})

    @property
    def roms(self):
        """Every memory with an init file."""
        return [*self.pipeline.roms, self.link.rom]

    def elaborate(self, platform):
        m = Module()
        in_link = DomainRenamer({"sync": "link", "pipeline": "sync"})
        m.submodules.pipeline = pipeline = self.pipeline
        m.submodules.link = link = in_link(self.link)
        wiring.connect(m, link.image, pipeline.image)
        wiring.connect(m, pipeline.scores, link.scores)

        beat = Signal(range(self.link_khz * 1000))
        m.d.link += beat.eq(beat + 1)
        if self.weights is not None:
            m.submodules.weights = weights = in_link(self.weights)
            wiring.connect(m, weights.pins, wiring.flipped(self.sdram))
            wiring.connect(m, weights.pieces, pipeline.weights)
            asked = weights
            if self.boot is not None:
                m.submodules.boot = asked = in_link(self.boot)
                wiring.connect(m, asked.flash, wiring.flipped(self.flash))
                wiring.connect(m, asked.source.bytes, weights.bytes)
                m.d.comb += [
                    weights.begin.eq(asked.source.begin), weights.check.eq(asked.source.check),
                    weights.expected.eq(asked.source.expected),
                    asked.source.lost.eq(weights.lost), asked.source.good.eq(weights.good),
                    asked.source.checked.eq(weights.checked),
                    link.memory_fails.eq(asked.memory_fails)]
            wiring.connect(m, link.load, asked.bytes)
            m.d.comb += [asked.begin.eq(link.load_begin), asked.check.eq(link.check),
                         asked.expected.eq(link.expected), link.lost.eq(asked.lost),
                         link.checked.eq(asked.checked), link.good.eq(asked.good)]
            with m.If(~weights.good):
                m.d.link += beat.eq(beat)
        m.d.comb += [link.rx.eq(self.rx), self.tx.eq(link.tx)]
        m.d.link += self.lights.eq(Cat(beat[-1], ~(self.rx & self.tx), link.busy, link.refused))
        return m


class SdramPins(wiring.Component):
    """Registers at an SDRAM's pins, in the domain ``memory``.

    The chip's clock is turned by half a cycle, so that commands and data change as far from its
    edges as they can. That is two cycles of read delay: out of one register, into the other.

    Parameters
    ----------
    port : PortGroup
        Resource ``sdram`` of ``amaranth_boards``.
    signature : wiring.Signature
        Of the controller's ``pins``.
    """

    def __init__(self, port, signature):
        self.port = port
        super().__init__({"pins": In(signature)})

    def elaborate(self, platform):
        m = Module()
        port, pins = self.port, self.pins
        m.submodules.clk = clk = io.DDRBuffer("o", port.clk, o_domain="memory")
        m.d.comb += [clk.o[0].eq(0), clk.o[1].eq(1)]
        for name, value in (("clk_en", pins.cke), ("cs", ~pins.cs_n), ("ras", ~pins.ras_n),
                            ("cas", ~pins.cas_n), ("we", ~pins.we_n), ("ba", pins.ba),
                            ("a", pins.a), ("dqm", pins.dqm)):
            m.submodules[name] = register = io.FFBuffer(
                "o", getattr(port, name), o_domain="memory")
            m.d.comb += register.o.eq(value)
        m.submodules.dq = dq = io.FFBuffer(
            "io", port.dq, i_domain="memory", o_domain="memory")
        m.d.comb += [dq.o.eq(pins.dq_o), dq.oe.eq(pins.dq_oe), pins.dq_i.eq(dq.i)]
        return m


class FlashPins(wiring.Component):
    """The pins of the flash that the FPGA is configured from.

    Its clock has no pin that a design could name: after configuration it's the primitive
    ``USRMCLK`` that drives it. Lattice wants a signal at its tristate input, but Trellis takes the
    constant, and on a ULX3S that works (litex #2072). It has no outputs, so Yosys would remove it.

    Parameters
    ----------
    port : PortGroup
        Resource ``spi_flash`` of ``amaranth_boards``.
    signature : wiring.Signature
        Of the reader's ``pins``.
    """

    def __init__(self, port, signature):
        self.port = port
        super().__init__({"pins": In(signature)})

    def elaborate(self, platform):
        m = Module()
        pins = self.pins
        m.submodules.sck = Instance("USRMCLK", a_keep=1, i_USRMCLKI=pins.sck,
                                     i_USRMCLKTS=Const(0))
        for name, value in (("cs", ~pins.cs_n), ("copi", pins.copi), ("hold", 0), ("wp", 0)):
            m.submodules[name] = pin = io.Buffer("o", getattr(self.port, name))
            m.d.comb += pin.o.eq(value)
        m.submodules.cipo = cipo = io.Buffer("i", self.port.cipo)
        m.d.comb += pins.cipo.eq(cipo.i)
        return m


class Top(Elaboratable):
    """A :class:`Shell` on a board with a clock, a UART and LEDs.

    Parameters
    ----------
    shell : Shell
    pll : pll.Pll
        From the board's clock to the one of ``shell.identity.clock_khz``, the link's, and the
        memory's beside them for streamed weights.
    high : sequence of (str, str), optional
        Pins to hold high, each a wire of a resource of the board.
    """

    def __init__(self, shell, pll, high=()):
        self.shell = shell
        self.pll = pll
        self.high = high

    def elaborate(self, platform):
        m = Module()

        def request(name):
            wires = platform.lookup(name).ios
            return platform.request(name, dir={wire.name: "-" for wire in wires})

        clock = platform.request(platform.default_clk, dir="-")
        m.submodules.clock = clock = io.Buffer("i", clock)
        m.submodules.clocks = clocks = self.pll.create(clock.i)
        m.domains.sync = ClockDomain(reset_less=True)
        m.domains.link = ClockDomain(reset_less=True)
        m.d.comb += [ClockSignal().eq(clocks.clk), ClockSignal("link").eq(clocks.link)]
        if self.shell.weights is not None:
            m.domains.memory = ClockDomain(reset_less=True)
            m.d.comb += ClockSignal("memory").eq(clocks.beside)

        m.submodules.shell = shell = self.shell
        uart = request("uart")
        m.submodules.rx = rx = io.Buffer("i", uart.rx)
        m.submodules.tx = tx = io.Buffer("o", uart.tx)
        m.d.comb += [shell.rx.eq(rx.i), tx.o.eq(shell.tx)]
        if shell.weights is not None:
            m.submodules.sdram = sdram = SdramPins(request("sdram"), shell.weights.pins.signature)
            wiring.connect(m, shell.sdram, sdram.pins)
        if shell.boot is not None:
            m.submodules.flash = flash = FlashPins(request("spi_flash"), shell.boot.flash.signature)
            wiring.connect(m, shell.flash, flash.pins)
        asked_for = {name: request(name) for name in dict(self.high)}
        for name, wire in self.high:
            m.submodules[f"{name}_{wire}"] = pin = io.Buffer("o", getattr(asked_for[name], wire))
            m.d.comb += pin.o.eq(1)
        for n in range(LIGHTS):
            m.submodules[f"light{n}"] = light = io.Buffer("o", platform.request("led", n, dir="-"))
            m.d.comb += light.o.eq(shell.lights[n])
        return m
