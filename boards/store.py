"""Memories between the serial line and the pipeline: the image going in, the scores coming out."""

from amaranth import *
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.pipe import count_up

__all__ = ["PIXEL", "SCORE", "ImageStore", "ScoreStore"]

PIXEL = data.ArrayLayout(8, 3)
SCORE = data.StructLayout({"score": signed(32), "last": 1})


class ImageStore(wiring.Component):
    """Holds one image: bytes in at the line's pace, pixels out at full speed on demand.

    Written and read in turns, never both in a cycle: its block RAM needs no collision logic.

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
        The image, a pixel per cycle. Element 0 is red.
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
        m.submodules.pixels = mem = memory.Memory(shape=PIXEL, depth=pixels, init=[])
        write, read = mem.write_port(), mem.read_port()

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

        # Address, block RAM, register: three stages that move together.
        go = Signal()
        address, asked, read_out = Signal(range(pixels)), Signal(), Signal()
        m.d.comb += [go.eq(~self.y.valid | self.y.ready), read.addr.eq(address),
                     read.en.eq(go & asked)]
        with m.If(go):
            m.d.sync += [read_out.eq(asked), self.y.valid.eq(read_out),
                         self.y.payload.eq(read.data)]
            with m.If(asked):
                m.d.sync += address.eq(address + 1)
                with m.If(address == pixels - 1):
                    m.d.sync += [address.eq(0), asked.eq(0)]
        with m.If(self.start):
            m.d.sync += [address.eq(0), asked.eq(1)]

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
        The scores of one frame, ``last`` with the last.
    start : ``In(1)``
        High for one cycle: take the next frame's scores.
    running : ``In(1)``
        High in the cycles that count: after the first pixel taken, up to the last score taken.
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
            "start": In(1),
            "running": In(1),
            "done": Out(1),
            "index": In(range(4 * (classes + 1))),
            "byte": Out(8),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.scores = mem = memory.Memory(shape=32, depth=self.classes + 1, init=[])
        write, read = mem.write_port(), mem.read_port()
        count, cycles = Signal(range(self.classes + 1)), Signal(32)
        m.d.comb += write.addr.eq(count)
        with m.If(self.running):
            m.d.sync += cycles.eq(cycles + 1)

        with m.FSM():
            with m.State("done"):
                m.d.comb += self.done.eq(1)
                with m.If(self.start):
                    m.d.sync += [count.eq(0), cycles.eq(0)]
                    m.next = "scores"
            with m.State("scores"):
                m.d.comb += [self.x.ready.eq(1), write.data.eq(self.x.p.score),
                             write.en.eq(self.x.valid)]
                with m.If(self.x.valid):
                    m.d.sync += count.eq(count + 1)
                    with m.If(self.x.p.last):
                        m.d.sync += count.eq(self.classes)
                        m.next = "cycles"
            with m.State("cycles"):
                m.d.comb += [write.data.eq(cycles), write.en.eq(1)]
                m.next = "done"

        part = Signal(2)
        m.d.sync += part.eq(self.index[:2])
        m.d.comb += [read.addr.eq(self.index[2:]), read.en.eq(self.done),
                     self.byte.eq(read.data.word_select(part, 8))]
        return m
