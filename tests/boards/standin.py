"""A stand-in for the pipeline, for tests of the link alone."""

import numpy as np
from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from boards.store import PIXEL, SCORE

__all__ = ["StandIn"]


class StandIn(wiring.Component):
    """``score_j = hash of the pixels in order + j``, modulo 2**32: each pixel's place counts.

    It takes a pixel every ``stall + 1`` cycles and ``wait`` cycles more before the scores.
    """

    def __init__(self, side, classes, wait=5, stall=0):
        self.side, self.classes, self.wait, self.stall = side, classes, wait, stall
        super().__init__({"image": In(stream.Signature(PIXEL)),
                          "scores": Out(stream.Signature(SCORE))})

    def compute(self, image):
        """int32[classes] of uint8[3, side, side]."""
        value = 0
        for pixel in image.transpose(1, 2, 0).reshape(-1, 3).tolist():
            value = (value * 31 + pixel[0] + (pixel[1] << 8) + (pixel[2] << 16)) & 0xFFFFFFFF
        return (value + np.arange(self.classes)).astype(np.uint32).astype(np.int32)

    def cycles(self):
        """Clock cycles from the first pixel taken to the last score taken."""
        pixels = self.side ** 2
        return pixels + (pixels - 1) * self.stall + self.wait + self.classes

    def elaborate(self, platform):
        m = Module()
        value = Signal(32)
        pixels = Signal(range(self.side ** 2))
        timer = Signal(range(max(self.wait, self.stall, self.classes) + 1))
        with m.FSM():
            with m.State("image"):
                m.d.comb += self.image.ready.eq(timer == 0)
                with m.If(timer != 0):
                    m.d.sync += timer.eq(timer - 1)
                with m.Elif(self.image.valid):
                    m.d.sync += [value.eq((value << 5) - value + self.image.p.as_value()),
                                 pixels.eq(pixels + 1), timer.eq(self.stall)]
                    with m.If(pixels == self.side ** 2 - 1):
                        m.d.sync += [timer.eq(self.wait), pixels.eq(0)]
                        m.next = "wait"
            with m.State("wait"):
                m.d.sync += timer.eq(timer - 1)
                with m.If(timer == 0):
                    m.d.sync += timer.eq(0)
                    m.next = "scores"
            with m.State("scores"):
                m.d.comb += [self.scores.valid.eq(1), self.scores.p.score.eq(value + timer),
                             self.scores.p.last.eq(timer == self.classes - 1)]
                with m.If(self.scores.ready):
                    m.d.sync += timer.eq(timer + 1)
                    with m.If(self.scores.p.last):
                        m.d.sync += [timer.eq(0), value.eq(0)]
                        m.next = "image"
        return m
