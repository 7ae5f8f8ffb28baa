"""The whole accelerator: image stream in, score stream out.

::

    image -> [image memory]--+
                             v
    +---> [maps] -------> window -> array of ±1 dot products -> shift, residual, clip ---+
    |                                        ^                        ^      |           |
    |                               [weights: block RAM]        [residual]<--+           |
    +------------------------------------------------------------------------------------+
                                                              last layer -> pool -> head -> scores
"""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .array import ArrayUnit
from .head import SCORE_SHAPE, HeadUnit
from .issue import IssueSequencer
from .maps import ColumnMemory, Window
from .memory import Rom
from .pipe import delayed, far
from .pool import PoolUnit
from .queue import FarQueue
from .results import (
    CODES_DELAY,
    RESIDUAL_READ_DELAY,
    RESIDUAL_WRITE_DELAY,
    ResultSequencer,
    ResultUnit,
    codes_layout,
    emit_latency,
    issue_delay,
    residual_layout,
)
from .weights import PIECE_BITS, WeightLoader

__all__ = ["IMAGE_SHAPE", "SCORE_SHAPE", "Contents", "Pipeline"]

IMAGE_SHAPE = data.ArrayLayout(8, 3)  # red, green, blue


class Contents:
    """What a network puts into the read-only memories.

    Parameters
    ----------
    weights : list of list of int
        Words of every weight memory (:class:`.array.ArrayUnit`).
    constants : list of int
        One word per result word of a pixel group, layer after layer.
    constant_bits : int
        Bits of one channel's signed constant.
    head : list of int
        Words of the head's weights (:class:`.head.HeadUnit`).
    stream : uint32[n], optional
        What the stream of weights gives in a frame (:mod:`.weights`).
    """

    def __init__(self, weights, constants, constant_bits, head, stream=()):
        self.weights, self.constants, self.head = weights, constants, head
        self.constant_bits, self.stream = constant_bits, stream


class Pipeline(wiring.Component):
    """Gateware for a :class:`.schedule.Schedule`, with a network's weights.

    Members
    -------
    image : ``In(stream.Signature(ArrayLayout(8, 3)))``
        Pixels, row by row; ``side * side`` a frame.
    scores : ``Out(stream.Signature(StructLayout({"score": signed(32), "last": 1})))``
        A score per class, class 0 first.
    weights : ``In(stream.Signature(32))``
        :attr:`Contents.stream`, over and over; only where the schedule has loads.
    tap : ``Out(Signature)``, valid, frame, layer, row, group, slice, mask, codes, residual
        Every result word as it's written, for checks in simulation: frame of the round,
        convolution, row, group of output pixels, slice of channels, a mask of the pixels written,
        codes and residual as ``[pixel][channel]``, lowest first. Costs nothing where it isn't used.
    """

    def __init__(self, schedule, contents):
        self.schedule = schedule
        self.issue = IssueSequencer(schedule, schedule.weight_depth)
        self.array = ArrayUnit(schedule, contents.weights)
        self.sequencer = ResultSequencer(schedule)
        channels = schedule.lanes.result_channels
        self.constants = Rom("constants", contents.constant_bits * channels, contents.constants)
        self.results = ResultUnit(self.sequencer, self.array.word.shape(), contents.constant_bits)
        self.head = HeadUnit(schedule, contents.head)
        word = self.sequencer.word_layout
        tap = data.StructLayout({
            "valid": 1, "frame": 1, "layer": word["layer"].shape, "row": word["row"].shape,
            "group": word["x_group"].shape, "slice": word["slice"].shape,
            "mask": schedule.lanes.pixels, "codes": codes_layout(schedule),
            "residual": data.ArrayLayout(
                data.ArrayLayout(signed(schedule.res_bits), channels), schedule.lanes.pixels)})
        super().__init__({
            "image": In(stream.Signature(IMAGE_SHAPE)),
            "scores": Out(stream.Signature(SCORE_SHAPE)),
            **({"weights": In(stream.Signature(PIECE_BITS))} if schedule.loads else {}),
            "tap": Out(wiring.Signature({name: Out(field.width)
                                         for name, field in tap}))})

    @property
    def roms(self):
        """Every memory with an init file."""
        return [*self.array.roms, self.constants, self.head.rom]

    def elaborate(self, platform):
        m = Module()
        y, lanes = self.schedule, self.schedule.lanes
        m.submodules.issue, m.submodules.array = issue, array = self.issue, self.array
        m.submodules.sequencer, m.submodules.results = sequencer, results = (self.sequencer,
                                                                             self.results)
        m.submodules.constants, m.submodules.head = constants, head = self.constants, self.head
        m.submodules.window = window = Window(y, self.image.signature.flip(),
                                             issue.signature)
        stored = residual_layout(y)
        m.submodules.residual = residual = ColumnMemory(
            lanes.pixels, 1, stored.elem_shape.size, y.residual_depth, halo=False)
        m.submodules.pool = pool = PoolUnit(y)
        m.submodules.queue = queue = FarQueue(IMAGE_SHAPE)
        wiring.connect(m, wiring.flipped(self.image), queue.x)
        wiring.connect(m, queue.y, window.image)
        wiring.connect(m, wiring.flipped(self.scores), head.scores)

        # Steps: maps and weights meet in the array.
        m.d.comb += [
            issue.image_full.eq(far(m, window.image_full)),
            window.image_done.eq(far(m, issue.image_done)),
            issue.head_free.eq(far(m, head.free)),
            window.r_addr.eq(issue.address), window.r_left.eq(issue.left),
            window.r_right.eq(issue.right), window.r_digit.eq(issue.digit),
            window.source.eq(issue.source),
            array.x.codes.eq(window.codes), array.w_addr.eq(issue.weights),
            array.x.active.eq(issue.control.active), array.x.shift.eq(issue.control.shift),
            array.x.last.eq(issue.control.last)]
        issued = issue_delay(y)
        until_emit = emit_latency(y) - issued - 1
        m.d.comb += sequencer.emit.eq(delayed(m, issue.control.last, until_emit, state=True))

        m.d.comb += issue.weights_there.eq(1)
        if y.loads:
            m.submodules.loader = loader = WeightLoader(y)
            wiring.connect(m, wiring.flipped(self.weights), loader.pieces)
            # Whether the next layer's are there is asked many cycles after the start of one.
            m.d.comb += [array.load.eq(far(m, loader.y)),
                         issue.weights_there.eq(far(m, loader.there)),
                         loader.layer_done.eq(far(m, issue.layer_done)),
                         loader.layer_start.eq(far(m, issue.streamed_start))]

        # Results: the constants have a register on their way to all pixels.
        word = [delayed(m, sequencer.word, issued, state=True)]
        pool_start = delayed(m, sequencer.pool_start, issued, state=True)
        for _ in range(CODES_DELAY):
            word.append(delayed(m, word[-1], 1, state=True))
        m.d.comb += [
            constants.addr.eq(word[0].constant),
            results.word.eq(word[0]), results.sums.eq(array.word),
            results.constants.eq(delayed(m, constants.data, 1))]

        # The residual map belongs to the result unit or to the pool unit.
        r_data = [data.View(stored.elem_shape, column) for column in residual.r_data]
        for p, column in enumerate(r_data):
            m.d.comb += [pool.r_data[p].eq(column), results.residual[p].eq(column)]
        m.d.comb += [
            pool.start.eq(pool_start),
            residual.r_addr.eq(Mux(pool.busy[-1], pool.r_addr,
                                   word[RESIDUAL_READ_DELAY].residual))]
        written = word[RESIDUAL_WRITE_DELAY]
        with m.If(pool.busy[-1]):
            m.d.comb += [residual.w_en.eq(pool.w_en), residual.w_addr.eq(pool.w_addr)]
        with m.Else():
            m.d.comb += [
                residual.w_en.eq((written.valid & ~written.first_conv).replicate(lanes.pixels)),
                residual.w_addr.eq(written.residual)]
        m.d.comb += [residual.w_data[p].eq(
            Mux(pool.busy[p], pool.w_data[p].as_value(), results.new_residual[p].as_value()))
            for p in range(lanes.pixels)]

        # Codes go back to the maps, those of the last layer to the head.
        done = word[CODES_DELAY]
        half = lanes.pixels // 2
        mask, words_real = Signal(lanes.pixels), Signal()
        real = delayed(m, issue.real, until_emit)
        with m.If(sequencer.emit):
            m.d.sync += words_real.eq(real)
        m.d.comb += [
            mask.eq(Mux(done.stride2, Mux(done.odd, ((1 << half) - 1) << half, (1 << half) - 1),
                        (1 << lanes.pixels) - 1)),
            window.w_en.eq(mask & done.valid.replicate(lanes.pixels)),
            window.w_addr.eq(done.address), window.w_part.eq(done.part),
            *(target.eq(codes) for target, codes in zip(window.w_data, results.codes)),
            head.valid.eq(done.valid & done.last), head.frame.eq(done.frame),
            head.start.eq(done.start), head.end.eq(done.frame_end & (done.frame == y.frames - 1)),
            head.slice.eq(done.slice), head.codes.eq(results.codes),
            head.absent.eq(issue.absent)]

        kept = delayed(m, results.new_residual, CODES_DELAY - RESIDUAL_WRITE_DELAY)
        m.d.comb += [
            self.tap.valid.eq(done.valid & delayed(m, words_real, issued + CODES_DELAY)),
            self.tap.frame.eq(done.frame), self.tap.layer.eq(done.layer),
            self.tap.row.eq(done.row), self.tap.group.eq(done.x_group),
            self.tap.slice.eq(done.slice), self.tap.mask.eq(mask),
            self.tap.codes.eq(results.codes),
            # The stored bit beyond the residual's range is only ever the pool unit's.
            self.tap.residual.eq(Cat(kept[p][j][:y.res_bits]
                                     for p in range(lanes.pixels)
                                     for j in range(lanes.result_channels)))]
        return m
