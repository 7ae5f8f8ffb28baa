"""Issue sequencer: counts out the steps of a round of frames, one a cycle.

Cycle numbers (``t0`` is the step's own cycle): map address at ``t3``, map word at ``t7``,
codes in the first group of the array at ``t9``, weight address at ``t6``, weights at ``t9``.
"""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .array import WEIGHT_LATENCY
from .maps import WINDOW_LATENCY
from .pipe import delayed
from .schedule import LayerTable

__all__ = ["ADDRESS_DELAY", "ARRAY_DELAY", "MIN_GAP", "SEEN_DELAY", "IssueSequencer"]

ADDRESS_DELAY = 3                             # cycles from a step to its map address
ARRAY_DELAY = ADDRESS_DELAY + WINDOW_LATENCY  # cycles from a step to its codes in group 0
MIN_GAP = 2                                   # cycles between two layers
SEEN_DELAY = 1                                # cycles until what a layer waits for is seen


class IssueSequencer(wiring.Component):
    """Walks the layers' loops (see :class:`.schedule.LayerSchedule`).

    Members
    -------
    image_full : ``In(1)``
        The first layer starts when an image is loaded, or where a frame of the round before waits
        for its last layers.
    image_done : ``Out(1)``
        Pulse: the image has been read for the last time.
    absent : ``Out(frames)``
        Of the round whose last layers are next: the frames for which there was no image when their
        turn came. They are computed from what the memory holds, for nothing, so that the others
        needn't wait for them.
    real : ``Out(1)``
        The step is one of a frame that isn't absent (at ``t9``).
    head_free : ``In(1)``
        The last layer starts when the head can take its pooled sums.
    weights_there : ``In(1)``
        A layer whose weights are streamed starts when they are loaded.
    streamed_start, layer_done : ``Out(1)``
        Pulses: such a layer starts, and a layer's weights have been read for the last time.
    frame_start : ``Out(1)``
        Pulse with the first step of a frame, absent or not.
    address, left, right : Out
        Word addresses for the middle columns and the two halo columns (at ``t3``).
    digit : ``Out``
        Digit of the image's pixels (at ``t3``).
    source : ``Out(StructLayout)``
        What the window does with the words (at ``t6``).
    weights : ``Out``
        Weight address (at ``t6``).
    control : ``Out(StructLayout)``
        ``active``, ``shift``, ``last`` of the step (at ``t9``, together with the codes).
    """

    def __init__(self, schedule, weight_depth):
        self.schedule = schedule
        address = range(max(2, schedule.map_depth, schedule.image_words))
        self.source_layout = data.StructLayout({
            "image": 1, "digit": range(max(2, schedule.digits)),
            "pad_row": 1, "pad_left": 1, "pad_right": 1})
        self.control_layout = data.StructLayout({"active": 1, "shift": 1, "last": 1})
        super().__init__({
            "image_full": In(1), "image_done": Out(1), "head_free": In(1),
            "absent": Out(schedule.frames), "real": Out(1),
            "weights_there": In(1, init=1), "streamed_start": Out(1), "layer_done": Out(1),
            "frame_start": Out(1),
            "address": Out(address), "left": Out(address), "right": Out(address),
            "digit": Out(self.source_layout["digit"].shape),
            "source": Out(self.source_layout), "weights": Out(range(max(2, weight_depth))),
            "control": Out(self.control_layout)})

    def elaborate(self, platform):
        m = Module()
        streamed = {self.schedule.layers[load.layer] for load in self.schedule.loads}
        m.submodules.table = table = LayerTable(self.schedule, {
            "streamed": lambda y: y in streamed, "final": lambda y: y.final,
            "second": lambda y: y.frame, "late": lambda y: y.late,
            "begin": lambda y: y.from_image and not y.first_output,
            "gap": lambda y: y.gap - MIN_GAP,
            "rows": lambda y: y.rows - 1, "x_groups": lambda y: y.x_groups - 1,
            "out_groups": lambda y: y.out_groups - 1, "digits": lambda y: y.digits - 1,
            "slices": lambda y: y.slices - 1, "bubbles": lambda y: y.bubbles,
            "stride2": lambda y: y.stride == 2, "image": lambda y: y.from_image,
            "last": lambda y: y.last, "source": lambda y: y.source,
            "weights": lambda y: y.weights, "row_words": lambda y: y.row_words,
            "step": lambda y: 3 * y.slices})
        cfg = table.row

        def counter(field):
            return Signal(cfg[field].shape())

        gap, row, x_group, out_group = map(counter, ("gap", "rows", "x_groups", "out_groups"))
        digit, s, bubble = map(counter, ("digits", "slices", "bubbles"))
        ky = Signal(2)
        k = Signal(cfg.step.shape())               # step within a digit
        row_base = Signal(self.address.shape())    # address of the middle kernel row
        x_base = Signal(self.address.shape())
        w_base = Signal(self.weights.shape())

        running, in_bubble = Signal(), Signal()
        s_end, x_end, row_end, out_end, digit_end = (Signal() for _ in range(5))
        digit_done, result_done, pixels_done, row_done, layer_done = (Signal() for _ in range(5))
        products_done = Signal()
        # A cycle ahead is compared what everything follows from, the end of a digit (three steps at
        # least), and what counts slower.
        m.d.comb += [s_end.eq(s == cfg.slices), x_end.eq(x_group == cfg.x_groups),
                     row_end.eq(row == cfg.rows)]
        before_last = Signal.like(k)
        m.d.sync += [before_last.eq(cfg.step - 2),
                     digit_done.eq(running & ~in_bubble & (k == before_last)),
                     out_end.eq(out_group == cfg.out_groups),
                     digit_end.eq(digit == cfg.digits)]
        # The same throughout a layer and mostly throughout the schedule, as Yosys sees from `init`.
        bubbles = self.schedule.layers[0].bubbles
        no_bubbles = Signal(init=bubbles == 0)
        last_bubble = Signal.like(bubble, init=(bubbles - 1) % (1 << len(bubble)))
        m.d.sync += [no_bubbles.eq(cfg.bubbles == 0), last_bubble.eq(cfg.bubbles - 1)]
        m.d.comb += [
            products_done.eq(digit_done & digit_end),
            result_done.eq(Mux(in_bubble, bubble == last_bubble, products_done & no_bubbles)),
            pixels_done.eq(result_done & out_end),
            row_done.eq(pixels_done & delayed(m, x_end, 1)),
            layer_done.eq(row_done & delayed(m, row_end, 1)),
        ]

        # Which frames of this round and of the one before aren't there. Without late layers a round
        # begins with a frame that is.
        late = self.schedule.late
        absent, absent_before = (Signal(self.absent.shape(), init=-1 if late else 0)
                                 for _ in range(2))
        pending = ~absent.all() if late else 0
        gone = Mux(cfg.late, absent_before, absent).bit_select(cfg.second, 1)
        m.d.comb += self.absent.eq(absent_before if late else absent)

        # What a layer waits for comes from afar, and what follows from it is much: a cycle between.
        # It stays once it's there, and a layer is longer than that.
        may_start = Signal()
        m.d.sync += may_start.eq((~cfg.begin | self.image_full | cfg.second | pending)
                                 & (~cfg.last | self.head_free)
                                 & (~cfg.streamed | self.weights_there))
        with m.FSM():
            with m.State("INIT"):
                m.d.sync += [row.eq(0), x_group.eq(0), out_group.eq(0), digit.eq(0), ky.eq(0),
                             s.eq(0), k.eq(0), bubble.eq(0), in_bubble.eq(0), gap.eq(cfg.gap),
                             row_base.eq(cfg.source), x_base.eq(0), w_base.eq(cfg.weights)]
                m.next = "WAIT"
            with m.State("WAIT"):
                with m.If(gap != 0):
                    m.d.sync += gap.eq(gap - 1)
                with m.Elif(may_start):
                    m.d.comb += [self.frame_start.eq(cfg.begin),
                                 self.streamed_start.eq(cfg.streamed)]
                    if self.schedule.frames > 1:
                        with m.If(cfg.begin & cfg.second):
                            m.d.sync += absent[1].eq(~self.image_full)
                        if late:
                            with m.If(cfg.begin & ~cfg.second):
                                m.d.sync += [absent[0].eq(~self.image_full),
                                             absent_before.eq(absent)]
                    m.next = "RUN"
            with m.State("RUN"):
                m.d.comb += running.eq(1)
                with m.If(in_bubble):
                    m.d.sync += bubble.eq(bubble + 1)
                with m.Else():
                    m.d.sync += [s.eq(s + 1), k.eq(k + 1)]
                    with m.If(s_end):
                        m.d.sync += [s.eq(0), ky.eq(ky + 1)]
                with m.If(digit_done):
                    m.d.sync += [ky.eq(0), k.eq(0), digit.eq(digit + 1)]
                with m.If(products_done):
                    m.d.sync += [digit.eq(0), in_bubble.eq(~no_bubbles)]
                with m.If(result_done):
                    m.d.sync += [bubble.eq(0), in_bubble.eq(0), out_group.eq(out_group + 1),
                                 w_base.eq(w_base + cfg.step)]
                with m.If(pixels_done):
                    m.d.sync += [out_group.eq(0), w_base.eq(cfg.weights),
                                 x_group.eq(x_group + 1), x_base.eq(x_base + cfg.slices + 1)]
                with m.If(row_done):
                    m.d.sync += [x_group.eq(0), x_base.eq(0), row.eq(row + 1),
                                 row_base.eq(row_base + (cfg.row_words << cfg.stride2))]
                with m.If(layer_done):
                    m.d.comb += table.advance.eq(1)
                    m.next = "INIT"

        # Addresses, a short sum a cycle.
        base, middle = Signal(self.address.shape()), Signal(self.address.shape())
        s1, ky1, row_words = (delayed(m, value, 1) for value in (s, ky, cfg.row_words))
        slices = delayed(m, cfg.slices, 2) + 1
        m.d.sync += base.eq(row_base + x_base)
        rise = Signal(signed(len(row_words) + 1))
        with m.Switch(ky1):
            with m.Case(0):
                m.d.comb += rise.eq(-row_words)
            with m.Case(2):
                m.d.comb += rise.eq(row_words)
        m.d.sync += [
            middle.eq(base + s1 + rise),
            self.address.eq(middle),
            self.left.eq(middle - slices),
            self.right.eq(middle + slices),
        ]

        source = Signal(self.source_layout)
        m.d.comb += [
            source.image.eq(cfg.image), source.digit.eq(digit),
            # A strided layer's lowest row never reaches the padding: sides are even.
            source.pad_row.eq((row == 0) & (ky == 0) | row_end & (ky == 2) & ~cfg.stride2),
            source.pad_left.eq(x_group == 0), source.pad_right.eq(x_end),
            self.source.eq(delayed(m, source, ARRAY_DELAY - 3)),
            self.digit.eq(delayed(m, digit, ADDRESS_DELAY)),
        ]
        weights = Signal(self.weights.shape())
        m.d.sync += weights.eq(w_base + k)
        m.d.comb += self.weights.eq(delayed(m, weights, ARRAY_DELAY - WEIGHT_LATENCY - 1))

        control = Signal(self.control_layout)
        m.d.comb += [
            control.active.eq(running & ~in_bubble), control.last.eq(products_done),
            control.shift.eq((digit != 0) & (ky == 0) & (s == 0)),
            self.image_done.eq(layer_done & cfg.image & cfg.final & ~gone),
            # The last group reads its weights as many cycles later as it is written later.
            self.layer_done.eq(delayed(m, layer_done, ARRAY_DELAY, state=True)),
        ]
        m.d.comb += [
            self.control.eq(delayed(m, control, ARRAY_DELAY, state=True)),
            self.real.eq(delayed(m, ~gone, ARRAY_DELAY) if self.schedule.frames > 1 else 1)]
        return m
