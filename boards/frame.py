"""Frames of :mod:`boards.protocol` in gateware: a receiver that checks, a sender that completes."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from . import protocol
from .protocol import Fault

__all__ = ["HEADER", "VERDICT", "FrameReceiver", "FrameSender"]

HEADER = data.StructLayout({"kind": 8, "sequence": 8, "length": 16})
# ``fault`` is 0 for a frame that is whole, or one of HEADER, BODY and LATE of protocol.Fault.
VERDICT = data.StructLayout({"header": HEADER, "fault": 8})


class FrameReceiver(wiring.Component):
    """Frames out of a byte stream, checked.

    Payload bytes leave as they come, before anything is known of the CRC behind them; the verdict
    follows. Nothing is read from ``x`` until the verdict has been taken. A frame of any kind and
    length is read to its announced end. When a header is damaged, or no byte comes for ``patience``
    cycles in the middle of a frame, the verdict says so and the search for the next sync begins.

    Parameters
    ----------
    patience : int
        Clock cycles to wait for the next byte of a frame that has begun.

    Members
    -------
    x : ``In(stream.Signature(8))``
        Bytes.
    payload : ``Out(stream.Signature(8, always_ready=True))``
        The frame's payload.
    verdict : ``Out(stream.Signature(VERDICT))``
        One per frame, good or bad. The header fields of a damaged header are as they arrived.
    """

    def __init__(self, patience):
        self.patience = patience
        super().__init__({
            "x": In(stream.Signature(8)),
            "payload": Out(stream.Signature(8, always_ready=True)),
            "verdict": Out(stream.Signature(VERDICT)),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.header_crc = header_crc = protocol.HEADER_CRC.create()
        m.submodules.body_crc = body_crc = protocol.BODY_CRC.create()

        # The queue's block RAM answers 5.6 ns after the clock, too late for a CRC: one register. It
        # is filled only when empty, so that `ready` comes from a flip-flop too; a serial line
        # is slower than a byte every other cycle.
        byte, offered = Signal(8), Signal()
        taken = Signal()
        m.d.comb += self.x.ready.eq(~offered)
        with m.If(~offered):
            m.d.sync += [offered.eq(self.x.valid), byte.eq(self.x.payload)]
        with m.Elif(taken):
            m.d.sync += offered.eq(0)

        header = self.verdict.p.header
        fields = Signal(32)
        left = Signal(range(protocol.LONGEST + 1))
        waited = Signal(range(self.patience + 1))
        in_frame, late, expired = Signal(), Signal(), Signal()
        # A byte is taken in every other cycle at most: time to compare before it comes.
        none_left, one_left, empty = Signal(), Signal(), Signal()
        m.d.sync += [none_left.eq(left == 0), one_left.eq(left == 1), empty.eq(header.length == 0),
                     expired.eq(~offered & (waited == self.patience - 1))]
        m.d.comb += [
            header.eq(fields), late.eq(in_frame & ~offered & expired),
            header_crc.data.eq(byte), body_crc.data.eq(byte),
            self.payload.p.eq(byte),
        ]
        with m.If(taken | ~in_frame):
            m.d.sync += waited.eq(0)
        with m.Elif(~offered):
            m.d.sync += waited.eq(waited + 1)

        def judge(fault):
            m.d.sync += self.verdict.p.fault.eq(fault)
            m.next = "verdict"

        with m.FSM():
            with m.State("sync"):
                m.d.comb += [taken.eq(offered), header_crc.start.eq(1), body_crc.start.eq(1)]
                with m.If(offered & (byte == protocol.SYNC[0])):
                    m.next = "sync2"

            with m.State("sync2"):
                m.d.comb += [taken.eq(offered), in_frame.eq(1)]
                m.d.sync += left.eq(3)
                with m.If(offered):
                    with m.If(byte == protocol.SYNC[1]):
                        m.next = "header"
                    with m.Elif(byte != protocol.SYNC[0]):
                        m.next = "sync"
                # A lone first half of a sync was no frame and gets no answer.
                with m.If(late):
                    m.next = "sync"

            with m.State("header"):
                m.d.comb += [taken.eq(offered), in_frame.eq(1),
                             header_crc.valid.eq(offered), body_crc.valid.eq(offered)]
                with m.If(offered):
                    m.d.sync += [fields.eq(Cat(fields[8:], byte)), left.eq(left - 1)]
                    with m.If(none_left):
                        m.next = "check"
                with m.If(late):
                    judge(Fault.LATE)

            with m.State("check"):
                m.d.comb += [taken.eq(offered), in_frame.eq(1), body_crc.valid.eq(offered)]
                m.d.sync += left.eq(header.length)
                with m.If(offered):
                    with m.If(byte != header_crc.crc):
                        judge(Fault.HEADER)
                    with m.Elif(empty):
                        m.d.sync += left.eq(3)
                        m.next = "crc"
                    with m.Else():
                        m.next = "payload"
                with m.If(late):
                    judge(Fault.LATE)

            with m.State("payload"):
                m.d.comb += [taken.eq(offered), in_frame.eq(1), body_crc.valid.eq(offered),
                             self.payload.valid.eq(offered)]
                with m.If(offered):
                    m.d.sync += left.eq(left - 1)
                    with m.If(one_left):
                        m.d.sync += left.eq(3)
                        m.next = "crc"
                with m.If(late):
                    judge(Fault.LATE)

            with m.State("crc"):
                m.d.comb += [taken.eq(offered), in_frame.eq(1), body_crc.valid.eq(offered)]
                with m.If(offered):
                    m.d.sync += left.eq(left - 1)
                    with m.If(none_left):
                        m.next = "match"
                with m.If(late):
                    judge(Fault.LATE)

            with m.State("match"):
                judge(Mux(body_crc.match_detected, 0, Fault.BODY))

            with m.State("verdict"):
                m.d.comb += self.verdict.valid.eq(1)
                with m.If(self.verdict.ready):
                    m.next = "sync"

        return m


class FrameSender(wiring.Component):
    """A byte stream out of headers and payloads: adds sync, header check and CRC.

    Members
    -------
    header : ``In(stream.Signature(HEADER))``
        One per frame; taken when the frame's last byte has been.
    payload : ``In(stream.Signature(8))``
        ``header.length`` bytes per frame.
    y : ``Out(stream.Signature(8))``
        Bytes.
    """

    def __init__(self):
        super().__init__({
            "header": In(stream.Signature(HEADER)),
            "payload": In(stream.Signature(8)),
            "y": Out(stream.Signature(8)),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.header_crc = header_crc = protocol.HEADER_CRC.create()
        m.submodules.body_crc = body_crc = protocol.BODY_CRC.create()

        # The CRCs follow one cycle behind, from the output register: fed from the multiplexer in
        # front of it they took twice the LUTs. `fresh` is the cycle in which they do.
        go, byte, valid = Signal(), Signal(8), Signal()
        covered, fresh = Signal(), Signal()
        m.d.comb += go.eq(~self.y.valid | self.y.ready)
        m.d.sync += fresh.eq(go & valid & covered)
        with m.If(go):
            m.d.sync += [self.y.valid.eq(valid), self.y.payload.eq(byte)]
        m.d.comb += [header_crc.data.eq(self.y.payload), header_crc.valid.eq(fresh),
                     body_crc.data.eq(self.y.payload), body_crc.valid.eq(fresh)]

        fields = self.header.p.as_value()
        step = Signal(range(8))
        left, last = Signal(range(protocol.LONGEST + 1)), Signal()
        with m.FSM():
            with m.State("sync"):
                m.d.comb += [byte.eq(Mux(step == 0, *protocol.SYNC)),
                             valid.eq(self.header.valid),
                             header_crc.start.eq(1), body_crc.start.eq(1)]
                with m.If(go & valid):
                    m.d.sync += step.eq(1 - step)
                    with m.If(step == 1):
                        m.next = "header"

            with m.State("header"):
                m.d.comb += [byte.eq(fields.word_select(step, 8)), valid.eq(1), covered.eq(1)]
                with m.If(go):
                    m.d.sync += step.eq(step + 1)
                    with m.If(step == 3):
                        m.next = "check"

            with m.State("check"):
                m.d.comb += [byte.eq(header_crc.crc), valid.eq(~fresh), covered.eq(1)]
                m.d.sync += [left.eq(self.header.p.length), last.eq(self.header.p.length == 1)]
                with m.If(go & valid):
                    m.d.sync += step.eq(0)
                    with m.If(self.header.p.length == 0):
                        m.next = "crc"
                    with m.Else():
                        m.next = "payload"

            with m.State("payload"):
                m.d.comb += [byte.eq(self.payload.p), valid.eq(self.payload.valid),
                             self.payload.ready.eq(go), covered.eq(1)]
                with m.If(go & valid):
                    m.d.sync += [left.eq(left - 1), last.eq(left == 2)]
                    with m.If(last):
                        m.next = "crc"

            with m.State("crc"):
                m.d.comb += [byte.eq(body_crc.crc.word_select(step, 8)), valid.eq(~fresh)]
                with m.If(go & valid):
                    m.d.sync += step.eq(step + 1)
                    with m.If(step == 3):
                        m.next = "done"

            with m.State("done"):
                m.d.comb += self.header.ready.eq(1)
                m.d.sync += step.eq(0)
                m.next = "sync"

        return m
