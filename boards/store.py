"""Memories between the serial line and the pipeline: the image going in, the scores coming out.

The line's side is in the domain ``sync``, the other one in the domain ``pipeline``. Only toggles
cross: one that asks, and one that answers. What lies in a memory was written long before its toggle
arrives, and isn't written while it's read.
"""

from amaranth import *
from amaranth.lib import cdc, data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.pipe import count_up

__all__ = ["PIXEL", "SCORE", "ImageStore", "ScoreStore"]

PIXEL = data.ArrayLayout(8, 3)
SCORE = data.StructLayout({"score": signed(32), "last": 1})


def _crossed(m, pulse, there):
    """A pulse of the domain ``sync`` in the domain ``pipeline`` or, for ``there``, the other way
    round, two or three cycles of the other one later; pulses are farther apart than that."""
    domain, other = ("sync", "pipeline") if there == "pipeline" else ("pipeline", "sync")
    toggle, arrived, last = Signal(), Signal(), Signal()
    m.d[domain] += toggle.eq(toggle ^ pulse)
    m.submodules += cdc.FFSynchronizer(toggle, arrived, o_domain=other)
    m.d[other] += last.eq(arrived)
    return arrived ^ last


class ImageStore(wiring.Component):
    """Holds one image: bytes in at the line's pace, pixels out at full speed on demand.

    Written and read in turns, never both at a time: its block RAM needs no collision logic.

    Parameters
    ----------
    side : int
        Image height and width in pixels.

    Members
    -------
    x : ``In(stream.Signature(8, always_ready=True))``
        Red, green, blue of each pixel, row by row. Bytes beyond the image are ignored.
    rewind : ``In(1)``
        High for one cycle: the next byte is the first of a new image.
    start : ``In(1)``
        High for one cycle: send the image.
    y : ``Out(stream.Signature(PIXEL))``
        The image, a pixel per cycle of the domain ``pipeline``. Element 0 is red.
    """

    def __init__(self, side):
        self.side = side
        super().__init__({
            "x": In(stream.Signature(8, always_ready=True)),
            "rewind": In(1),
            "start": In(1),
            "y": Out(stream.Signature(PIXEL)),
        })

    def elaborate(self, platform):
        m = Module()
        pixels = self.side * self.side
        m.submodules.two_clocks = mem = memory.Memory(shape=PIXEL, depth=pixels, init=[])
        write, read = mem.write_port(), mem.read_port(domain="pipeline")

        part, filled = Signal(range(3)), Signal(range(pixels + 1))
        full, taken = Signal(), Signal()
        early = Array([Signal(8, name="red"), Signal(8, name="green")])
        m.d.comb += [
            write.addr.eq(filled),
            write.data.eq(Cat(*early, self.x.payload)),
            write.en.eq(taken & (part == 2)), taken.eq(self.x.valid & ~full),
        ]
        with m.If(self.rewind):
            m.d.sync += [part.eq(0), filled.eq(0), full.eq(0)]
        with m.Elif(taken):
            with m.If(part == 2):
                m.d.sync += part.eq(0)
                count_up(m, filled, full, pixels + 1)
            with m.Else():
                m.d.sync += [early[part].eq(self.x.payload), part.eq(part + 1)]

        # Address, block RAM, two registers: four stages that move together. From clock to output
        # the block RAM takes 5.8 ns (its own register has no enable), so the first register must be
        # near it; the second one may be near the pipeline, 12 columns away in a full 45F.
        go, begin = Signal(), _crossed(m, self.start, "pipeline")
        address, asked, read_out = Signal(range(pixels)), Signal(), Signal()
        near, near_valid = Signal(PIXEL), Signal()
        m.d.comb += [go.eq(~self.y.valid | self.y.ready), read.addr.eq(address),
                     read.en.eq(go & asked)]
        with m.If(go):
            m.d.pipeline += [read_out.eq(asked), near_valid.eq(read_out), near.eq(read.data),
                             self.y.valid.eq(near_valid), self.y.payload.eq(near)]
            with m.If(asked):
                m.d.pipeline += address.eq(address + 1)
                with m.If(address == pixels - 1):
                    m.d.pipeline += [address.eq(0), asked.eq(0)]
        with m.If(begin):
            m.d.pipeline += [address.eq(0), asked.eq(1)]

        return m


class ScoreStore(wiring.Component):
    """Takes the scores at full speed, counts the frame's cycles and gives both back as bytes.

    Parameters
    ----------
    classes : int
        Scores per frame.

    Members
    -------
    x : ``In(stream.Signature(SCORE))``
        The scores of one frame, ``last`` with the last; in the domain ``pipeline``.
    pixel : ``In(1)``
        The pipeline takes a pixel; in its domain. Cycles of that count from the one after the
        first pixel to that of the last score.
    start : ``In(1)``
        High for one cycle: take the next frame's scores.
    done : ``Out(1)``
        High once scores and cycles are there.
    index : ``In(range(4 * (classes + 1)))``
        Byte asked for: int32[classes] scores, then uint32 cycles, little endian.
    byte : ``Out(8)``
        That byte, one cycle later; only while ``done``.
    """

    def __init__(self, classes):
        self.classes = classes
        super().__init__({
            "x": In(stream.Signature(SCORE)),
            "pixel": In(1),
            "start": In(1),
            "done": Out(1, init=1),
            "index": In(range(4 * (classes + 1))),
            "byte": Out(8),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.two_clocks = mem = memory.Memory(shape=32, depth=self.classes + 1, init=[])
        write, read = mem.write_port(domain="pipeline"), mem.read_port()
        count, cycles, running = Signal(range(self.classes + 1)), Signal(32), Signal()
        finished = Signal()
        asked, answered = _crossed(m, self.start, "pipeline"), _crossed(m, finished, "sync")
        m.d.comb += write.addr.eq(count)
        with m.If(running):
            m.d.pipeline += cycles.eq(cycles + 1)

        with m.FSM(domain="pipeline"):
            with m.State("idle"):
                with m.If(asked):
                    m.d.pipeline += [count.eq(0), cycles.eq(0)]
                    m.next = "scores"
            with m.State("scores"):
                m.d.comb += [self.x.ready.eq(1), write.data.eq(self.x.p.score),
                             write.en.eq(self.x.valid)]
                with m.If(self.pixel):
                    m.d.pipeline += running.eq(1)
                with m.If(self.x.valid):
                    m.d.pipeline += count.eq(count + 1)
                    with m.If(self.x.p.last):
                        m.d.pipeline += [count.eq(self.classes), running.eq(0)]
                        m.next = "cycles"
            with m.State("cycles"):
                m.d.comb += [write.data.eq(cycles), write.en.eq(1), finished.eq(1)]
                m.next = "idle"
        with m.If(self.start):
            m.d.sync += self.done.eq(0)
        with m.Elif(answered):
            m.d.sync += self.done.eq(1)

        part = Signal(2)
        m.d.sync += part.eq(self.index[:2])
        m.d.comb += [read.addr.eq(self.index[2:]), read.en.eq(self.done),
                     self.byte.eq(read.data.word_select(part, 8))]
        return m
