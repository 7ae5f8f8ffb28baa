"""The board link: questions on a serial line, answers from the pipeline.

::

    rx -> UartReceiver -> queue -> FrameReceiver -> ImageStore -> image   (to the pipeline)
                                        | verdict
    tx <- UartTransmitter <- FrameSender <- Link <- ScoreStore <- scores  (from the pipeline)
"""

from amaranth import *
from amaranth.lib import fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.memory import READ_LATENCY, Rom
from hw.pipe import FAR, delayed, far

from . import protocol
from .frame import FrameReceiver, FrameSender
from .protocol import ANSWER, Fault, Identity, Kind
from .store import PIXEL, SCORE, ImageStore, ScoreStore
from .uart import UartReceiver, UartTransmitter

__all__ = ["Link"]


class Link(wiring.Component):
    """Answers the questions of :mod:`boards.protocol`, one at a time and each exactly once.

    An image is kept until its CRC has proved it and only then sent to the pipeline, at full speed.
    While a question is being answered, up to ``protocol.QUEUE`` bytes of the next are kept.
    ``image`` and ``scores`` are in the domain ``pipeline``, all else is in ``sync``, which may be
    slower: that of :class:`boards.shell.Shell` has a clock of its own.

    Parameters
    ----------
    identity : protocol.Identity
    uart : uart.Uart
    patience : int
        Clock cycles without a byte after which a frame that has begun is given up.
    streamed : bool
        The design streams weights; without, ``LOAD`` is refused and every ``CHECK`` is right.

    Members
    -------
    rx, tx : ``In(1)``, ``Out(1)``
        The serial line.
    image : ``Out(stream.Signature(PIXEL))``
        One pixel per transfer, row by row.
    scores : ``In(stream.Signature(SCORE))``
        One score per transfer, class 0 first.
    load : ``Out(stream.Signature(8, always_ready=True))``
    load_begin, lost, check, expected, checked, good
        To :class:`boards.weights.WeightSource`, only with ``streamed``.
    memory_fails : ``In(1)``
        From :class:`boards.flash.WeightBoot`, likewise.
    busy : ``Out(1)``
        The pipeline has an image.
    refused : ``Out(1)``
        The last frame was answered with ``ERROR``.
    """

    def __init__(self, identity, uart, patience, streamed=False):
        self.identity, self.streamed = identity, streamed
        self.uart = uart
        self.patience = patience
        self.image_bytes = 3 * identity.side ** 2
        # With an init file like the weights, so that it can be swapped with them.
        self.rom = Rom("identity", 8, identity.encode())
        super().__init__({
            "rx": In(1, init=1), "tx": Out(1, init=1),
            "image": Out(stream.Signature(PIXEL)),
            "scores": In(stream.Signature(SCORE)),
            "busy": Out(1), "refused": Out(1),
            **({"load": Out(stream.Signature(8, always_ready=True)), "load_begin": Out(1),
                "lost": In(1), "check": Out(1), "expected": Out(32), "checked": In(1),
                "good": In(1), "memory_fails": In(1)}
               if streamed else {}),
        })

    def elaborate(self, platform):
        m = Module()
        classes = self.identity.classes

        m.submodules.uart_rx = uart_rx = UartReceiver(self.uart)
        # One more than a power of two: the queue's last byte sits in its output register.
        m.submodules.queue = queue = fifo.SyncFIFOBuffered(width=8, depth=protocol.QUEUE + 1)
        m.submodules.receiver = receiver = FrameReceiver(self.patience)
        m.submodules.image_store = image_store = ImageStore(self.identity.side)
        m.submodules.score_store = score_store = ScoreStore(classes)
        m.submodules.sender = sender = FrameSender()
        m.submodules.uart_tx = uart_tx = UartTransmitter(self.uart)
        wiring.connect(m, uart_rx.y, queue.w_stream)
        wiring.connect(m, queue.r_stream, receiver.x)
        byte, arrived = delayed(m, receiver.payload.payload, FAR), far(m, receiver.payload.valid)
        m.d.comb += [image_store.x.payload.eq(byte), image_store.x.valid.eq(arrived)]
        wiring.connect(m, image_store.y, wiring.flipped(self.image))
        wiring.connect(m, wiring.flipped(self.scores), score_store.x)
        wiring.connect(m, sender.y, uart_tx.x)
        m.d.comb += [uart_rx.rx.eq(self.rx), self.tx.eq(uart_tx.tx)]

        asked, fault = receiver.verdict.p.header, receiver.verdict.p.fault
        kind, length, why = Signal(8), Signal(16), Signal(8)
        m.d.comb += [sender.header.p.kind.eq(kind), sender.header.p.length.eq(length),
                     sender.header.p.sequence.eq(asked.sequence)]

        def answer(to, count):
            m.d.sync += [kind.eq(ANSWER + to), length.eq(count), self.refused.eq(0)]

        def refuse(reason):
            m.d.sync += [kind.eq(Kind.ERROR), length.eq(1), why.eq(reason), self.refused.eq(1)]

        # Compared a cycle before it's answered: what follows from it is much.
        faulty, of_kind = Signal(), {each: Signal(name=f"is_{each.name.lower()}") for each in Kind}
        empty, an_image, some_weights = Signal(), Signal(), Signal()
        m.d.sync += [faulty.eq(fault != 0), empty.eq(asked.length == 0),
                     an_image.eq(asked.length == self.image_bytes),
                     some_weights.eq((asked.length[:4] == 4) & (asked.length != 4)),
                     *(is_it.eq(asked.kind == each) for each, is_it in of_kind.items())]
        good, checked, check, lost = Const(1), Const(1), Signal(), Const(0)
        missing = Fault.WEIGHTS
        if self.streamed:
            good, checked, lost = far(m, self.good), self.checked, far(m, self.lost)
            missing = Mux(self.memory_fails, Fault.MEMORY, Fault.WEIGHTS)
            m.d.comb += [self.load.payload.eq(byte),
                         self.load.valid.eq(arrived & of_kind[Kind.LOAD]),
                         self.load_begin.eq(receiver.verdict.valid & receiver.verdict.ready),
                         self.check.eq(check)]

        with m.FSM():
            with m.State("listen"):
                with m.If(receiver.verdict.valid):
                    m.next = "judge"

            with m.State("judge"):
                m.next = "answer"
                with m.If(faulty):
                    refuse(fault)
                with m.Elif(of_kind[Kind.IDENTIFY]):
                    with m.If(empty):
                        answer(Kind.IDENTIFY, len(self.rom.words))
                    with m.Else():
                        refuse(Fault.LENGTH)
                with m.Elif(of_kind[Kind.CLASSIFY]):
                    with m.If(~good):
                        refuse(missing)
                    with m.Elif(an_image):
                        answer(Kind.CLASSIFY, 4 * classes + 4)
                        m.next = "start"
                    with m.Else():
                        refuse(Fault.LENGTH)
                with m.Elif(of_kind[Kind.CHECK]):
                    with m.If(~empty):
                        refuse(Fault.LENGTH)
                    with m.Else():
                        m.d.comb += check.eq(~good)
                        m.next = "check"
                if self.streamed:
                    with m.Elif(of_kind[Kind.LOAD]):
                        with m.If(lost):
                            refuse(Fault.BUSY)
                        with m.Elif(some_weights):
                            answer(Kind.LOAD, 0)
                        with m.Else():
                            refuse(Fault.LENGTH)
                with m.Else():
                    refuse(Fault.KIND)

            with m.State("check"):                  # `checked` falls in this cycle
                m.next = "checking"

            with m.State("checking"):
                with m.If(checked):
                    m.next = "checked"

            with m.State("checked"):                # `good` came a cycle later
                answer(Kind.CHECK, 0)
                with m.If(~good):
                    refuse(missing)
                m.next = "answer"

            with m.State("start"):
                m.d.comb += [image_store.start.eq(1), score_store.start.eq(1)]
                m.next = "classify"

            with m.State("classify"):
                m.d.comb += self.busy.eq(1)
                with m.If(score_store.done):
                    m.next = "answer"

            with m.State("answer"):
                m.d.comb += sender.header.valid.eq(1)
                with m.If(sender.header.ready):
                    m.d.comb += [receiver.verdict.ready.eq(1), image_store.rewind.eq(1)]
                    m.next = "listen"

        m.d.comb += score_store.pixel.eq(self.image.valid & self.image.ready)

        # The payload's bytes come from memories: address, memory, register, offer. The line takes
        # tens of cycles a byte, so one at a time is enough.
        m.submodules.identity = letter = self.rom
        index, age = Signal(range(max(len(letter.words), 4 * classes + 4))), Signal(2)
        ripe = READ_LATENCY + 1
        m.d.comb += [letter.addr.eq(index), score_store.index.eq(index),
                     sender.payload.valid.eq(age == ripe)]
        m.d.sync += sender.payload.p.eq(Mux(
            kind == Kind.ERROR, why,
            Mux(kind == ANSWER + Kind.IDENTIFY, letter.data, score_store.byte)))
        with m.If(age != ripe):
            m.d.sync += age.eq(age + 1)
        with m.Elif(sender.payload.ready):
            m.d.sync += [age.eq(0), index.eq(index + 1)]
        with m.If(~sender.header.valid):
            m.d.sync += [age.eq(0), index.eq(0)]

        if self.streamed:
            # The right weights' CRC is in the identity too, so that new weights change contents
            # of memories and no gateware. It's read once, long before a question can end, into
            # registers that may lie where the memory's pins are.
            at, seen = Identity.CRC_AT, Signal(range(4 + READ_LATENCY + 1))
            reading, part = Signal(), delayed(m, letter.data, FAR)
            with m.If(seen != 4 + READ_LATENCY):
                m.d.comb += [letter.addr.eq(at + seen), reading.eq(seen >= READ_LATENCY)]
                m.d.sync += seen.eq(seen + 1)
            with m.If(far(m, reading)):
                m.d.sync += self.expected.eq(Cat(self.expected[8:], part))

        return m
