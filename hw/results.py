"""From accumulators to maps: shift, residual, shifted ReLU, one result word a cycle.

Cycle numbers count from the cycle ``s`` after the word's own in :class:`ResultSequencer`:

====  =====================================================================================
s     constant's address                                       s+6   residual read
s+3   accumulators and constant                               s+8   residual written
s+4   minus the constant (rounding included)                  s+9   plus half a unit and zero
s+5   shifted                                                 s+11  codes of the entry
s+6   saturated                                               s+12  codes written
====  =====================================================================================
"""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .array import word_latency
from .memory import READ_LATENCY
from .pipe import copies, delayed
from .schedule import LayerTable

__all__ = ["CODES_DELAY", "RESIDUAL_READ_DELAY", "RESIDUAL_WRITE_DELAY",
           "STORED_EXTRA_BITS", "ResultSequencer", "ResultUnit", "clip_code", "codes_layout",
           "emit_latency", "issue_delay", "residual_layout"]

CONSTANTS_DELAY = 1 + READ_LATENCY
WORD_DELAY = CONSTANTS_DELAY + 1                  # accumulators
RESIDUAL_READ_DELAY = 3                           # address of the residual
RESIDUAL_WRITE_DELAY = 9
CODES_DELAY = 13                                  # activation map write
# The 3x3 average may exceed the residual's range by 1/512 (9 * 57 = 513), so a bit more is kept.
STORED_EXTRA_BITS = 1


def emit_latency(schedule):
    """Cycles from the codes of an output's last step in the first group to the cycle ``s`` of that
    group's word."""
    return word_latency(schedule) - WORD_DELAY


def issue_delay(schedule):
    """Cycles from those of :class:`ResultSequencer` to ``s``: one for its sums, and one for the way
    to the constants' block RAMs where the array takes long enough."""
    return min(2, emit_latency(schedule) - 1)


def codes_layout(schedule):
    """A result word as activation codes, ``[pixel][channel]``."""
    return data.ArrayLayout(
        data.ArrayLayout(schedule.act_bits, schedule.lanes.result_channels), schedule.lanes.pixels)


def residual_layout(schedule):
    """A result word of the residual map as it's stored, ``[pixel][channel]``."""
    return data.ArrayLayout(
        data.ArrayLayout(signed(schedule.res_bits + STORED_EXTRA_BITS),
                         schedule.lanes.result_channels), schedule.lanes.pixels)


def saturated(m, value, bits):
    """``value`` clipped to ``bits`` signed bits."""
    if len(value) <= bits:
        return value.as_signed()
    out = Signal(signed(bits))
    low, sign, high = value[:bits], value[-1], value[bits - 1:]
    with m.If(high.all() | ~high.any()):
        m.d.comb += out.eq(low)
    with m.Else():
        m.d.comb += out.eq(Cat((~sign).replicate(bits - 1), sign))
    return out


def clip_code(m, value, bits):
    """``clip(value, 0, 2**bits - 1)``: the shifted ReLU on a signed value that zero is already
    added to."""
    code, high = Signal(bits), value[min(bits, len(value) - 1):-1]
    with m.If(value[-1]):
        m.d.comb += code.eq(0)
    with m.Elif(high.any()):
        m.d.comb += code.eq((1 << bits) - 1)
    with m.Else():
        m.d.comb += code.eq(value)
    return code


class ResultSequencer(wiring.Component):
    """Counts result words in the order in which they leave the array.

    Members
    -------
    emit : ``In(1)``
        ``emit_latency - issue_delay - 1`` cycles after the last codes of an output in the first
        group: the cycle before the first of its words.
    word : ``Out(StructLayout)``
        The word of this cycle: where it belongs and how it's treated.
    pool_start : ``Out(1)``
        Pulse with the first word of a layer beside which the residual map is pooled.
    """

    def __init__(self, schedule):
        self.schedule = schedule
        self.shifts = sorted({layer.shift for layer in schedule.layers})
        self.entries = sorted({layer.entry for layer in schedule.layers})
        self.convs = schedule.convs
        words = max(layer.out_groups * schedule.lanes.groups + layer.skip
                    for layer in schedule.layers)
        self.word_layout = data.StructLayout({
            "valid": 1, "group": range(max(2, schedule.lanes.groups)),
            "constant": range(max(2, schedule.constant_words)),
            "residual": range(max(2, schedule.residual_depth)), "has_residual": 1,
            "address": range(max(2, schedule.map_depth)),
            "part": range(max(2, schedule.lanes.subslices)),
            "shift": range(max(2, len(self.shifts))), "entry": range(max(2, len(self.entries))),
            "first_conv": 1, "stride2": 1, "odd": 1, "last": 1, "frame_end": 1, "start": 1,
            "frame": 1, "slice": range(max(2, words)), "layer": range(max(2, len(self.convs))),
            "row": range(max(2, schedule.side)), "x_group": range(max(2, schedule.side))})
        super().__init__({"emit": In(1), "word": Out(self.word_layout), "pool_start": Out(1)})

    def elaborate(self, platform):
        m = Module()
        groups, subslices = self.schedule.lanes.groups, self.schedule.lanes.subslices
        # Pixels change with their last word. Where they have more than one, it's known with the one
        # before; their own comparisons may be a cycle late, and what follows from them has a cycle
        # for itself.
        early = min(layer.out_groups * groups for layer in self.schedule.layers) > 1
        m.submodules.table = table = LayerTable(self.schedule, {
            "rows": lambda y: y.rows - 1, "x_groups": lambda y: y.x_groups - 1,
            "last": lambda y: y.out_groups * groups - 1 - early,
            "target": lambda y: y.target + y.first_word // subslices,
            "first_word": lambda y: y.first_word, "skip": lambda y: y.skip,
            "residual": lambda y: y.residual + y.first_word, "frame": lambda y: y.frame,
            "layer": lambda y: self.convs.index(y.name),
            "skip_addresses": lambda y: y.skip // subslices, "final": lambda y: y.final,
            "constants": lambda y: y.constants,
            "residual_words": lambda y: y.residual_words,
            "shift": lambda y: self.shifts.index(y.shift),
            "entry": lambda y: self.entries.index(y.entry),
            "first_conv": lambda y: y.first_conv, "stride2": lambda y: y.stride == 2,
            "head": lambda y: y.last, "pool": lambda y: y.pool})
        cfg, word = table.row, self.word

        # A step's results are one word of each group; the next step's come no sooner. All that
        # follows from there being a word has its cycle for itself.
        valid, group = Signal(), Signal(word.group.shape())
        m.d.sync += [valid.eq(self.emit | valid & (group != groups - 1)),
                     group.eq(Mux(self.emit, 0, group + 1))]
        m.d.comb += [word.valid.eq(valid), word.group.eq(group)]

        index = Signal(word.slice.shape())               # word among those of these pixels
        row, x_group = Signal(cfg.rows.shape()), Signal(cfg.x_groups.shape())
        address, address_base = Signal(word.address.shape()), Signal(word.address.shape())
        part = Signal(word.part.shape())
        residual = Signal(word.residual.shape())
        words_end, x_end, row_end = Signal(), Signal(), Signal()
        m.d.comb += [x_end.eq(delayed(m, x_group == cfg.x_groups, early)),
                     row_end.eq(delayed(m, row == cfg.rows, early))]
        if early:
            with m.If(valid):
                m.d.sync += words_end.eq((index == cfg.last) & ~words_end)
        else:
            m.d.comb += words_end.eq(index == cfg.last)
        part_end = part == subslices - 1
        # Over the words of other passes to those of the next pixels.
        onward = Signal(word.address.shape())
        m.d.comb += onward.eq(address + 1 + cfg.skip_addresses)
        with m.If(valid):
            m.d.sync += [index.eq(index + 1), residual.eq(residual + 1), part.eq(part + 1)]
            with m.If(part_end):
                m.d.sync += [part.eq(0), address.eq(address + 1)]
            with m.If(words_end):
                m.d.sync += [index.eq(0), x_group.eq(x_group + 1),
                             residual.eq(residual + 1 + cfg.skip)]
                # A strided layer fills a group of pixels in two visits.
                with m.If(cfg.stride2 & ~x_group[0]):
                    m.d.sync += address.eq(address_base)
                with m.Else():
                    m.d.sync += [address.eq(onward), address_base.eq(onward)]
                with m.If(x_end):
                    m.d.sync += [x_group.eq(0), row.eq(row + 1)]
                    with m.If(row_end):
                        m.d.sync += [row.eq(0), address.eq(0), address_base.eq(0),
                                     residual.eq(0)]
                        m.d.comb += table.advance.eq(1)
        m.d.comb += [
            word.constant.eq(cfg.constants + index), word.residual.eq(cfg.residual + residual),
            word.has_residual.eq(index < cfg.residual_words),
            word.address.eq(cfg.target + address), word.part.eq(part),
            word.shift.eq(cfg.shift), word.entry.eq(cfg.entry),
            word.first_conv.eq(cfg.first_conv), word.stride2.eq(cfg.stride2),
            word.odd.eq(x_group[0]), word.last.eq(cfg.head),
            word.start.eq((row == 0) & (x_group == 0)),
            word.frame_end.eq(cfg.head & cfg.final & row_end & x_end & words_end),
            word.slice.eq(cfg.first_word + index), word.layer.eq(cfg.layer), word.row.eq(row),
            word.frame.eq(cfg.frame),
            word.x_group.eq(Mux(cfg.stride2, x_group >> 1, x_group)),
            self.pool_start.eq(cfg.pool & valid & word.start & (index == 0))]
        return m


class ResultUnit(wiring.Component):
    """``pixels * result_channels`` shift, residual and clip units.

    Members
    -------
    word : ``In(StructLayout)``
        From :class:`ResultSequencer`.
    constants, sums : In
        Constants and accumulators, ``CONSTANTS_DELAY`` and ``WORD_DELAY`` cycles later.
    residual : ``In(residual)``
        Stored residual, ``RESIDUAL_READ_DELAY + COLUMN_LATENCY`` cycles later.
    new_residual : Out
        ``RESIDUAL_WRITE_DELAY`` cycles later.
    codes : Out
        In the banks where they belong, ``CODES_DELAY`` cycles later.
    """

    def __init__(self, sequencer, sums_layout, constant_bits):
        self.schedule, self.sequencer = sequencer.schedule, sequencer
        super().__init__({
            "word": In(sequencer.word_layout), "sums": In(sums_layout),
            "constants": In(data.ArrayLayout(signed(constant_bits),
                                             self.schedule.lanes.result_channels)),
            "residual": In(residual_layout(self.schedule)),
            "new_residual": Out(residual_layout(self.schedule)),
            "codes": Out(codes_layout(self.schedule))})

    def elaborate(self, platform):
        m = Module()
        y, lanes = self.schedule, self.schedule.lanes
        word = [self.word]
        for _ in range(CODES_DELAY):
            word.append(delayed(m, word[-1], 1, state=True))

        def register(value):
            held = Signal(value.shape(), reset_less=True)
            m.d.sync += held.eq(value)
            return held

        def shifted(value, amounts, choice):
            """One of the shifts that the network uses; positive is to the right."""
            width = len(value) + max(0, -min(amounts))
            out = Signal(signed(max(1, width - max(0, min(amounts)))))
            with m.Switch(choice):
                for k, s in enumerate(amounts):
                    with m.Case(k):
                        m.d.comb += out.eq(value >> s if s >= 0 else value << -s)
            return out

        # The code's zero is added together with half a unit, before the entry shift: behind it
        # there's no time for a sum and its limits. Below the point, for shifts to the left, lie
        # bits of their own.
        below = max(0, -min(self.sequencer.entries))
        zero = 1 << y.act_frac
        amounts = [e + below for e in self.sequencer.entries]
        offsets = [(zero << e) + (1 << e - 1 if e > below else 0) for e in amounts]
        # From the start what it may be for ever. Yosys makes one register of all that are 0 once
        # and then 1, and its net crosses the chip.
        offset = Signal(range(max(offsets) + 1), init=offsets[0], reset_less=True)
        with m.Switch(word[RESIDUAL_WRITE_DELAY - 1].entry):
            for k, value in enumerate(offsets):
                with m.Case(k):
                    m.d.sync += offset.eq(value)

        # What goes to every pixel's units is kept once a pixel.
        def per_pixel(field, cycle):
            return copies(m, word[cycle - 1][field], lanes.pixels, platform)

        constants = copies(m, self.constants, lanes.pixels, platform)                     # s+4
        shift, entry = per_pixel("shift", 5), per_pixel("entry", 10)
        has_residual, stride2 = per_pixel("has_residual", 7), per_pixel("stride2", 12)
        first_conv = per_pixel("first_conv", 12)

        codes = Signal(codes_layout(y))
        wide = y.res_bits + 2                # saturating to this changes no sum's saturation
        for p in range(lanes.pixels):
            constant = data.View(self.constants.shape(), constants[p])
            for j in range(lanes.result_channels):
                total = register(self.sums[p][j] - constant[j])                           # s+5
                total = register(shifted(total, self.sequencer.shifts, shift[p]))    # s+6
                total = register(saturated(m, total, max(wide, y.act_bits + 1)))          # s+7
                early = register(saturated(m, total, y.act_bits + 1) + zero)              # s+8
                early = register(clip_code(m, early, y.act_bits))                         # s+9
                old = Mux(has_residual[p], self.residual[p][j], 0)
                new = register(saturated(m, register(old + total), y.res_bits))           # s+9
                m.d.comb += self.new_residual[p][j].eq(new)
                late = register((new << below) + offset)                                  # s+10
                late = register(shifted(late, amounts, entry[p]))                    # s+11
                late = register(clip_code(m, late, y.act_bits))                           # s+12
                m.d.comb += codes[p][j].eq(Mux(first_conv[p], delayed(m, early, 3), late))

        for p in range(lanes.pixels):
            # A strided layer's results are every other pixel's.
            m.d.sync += self.codes[p].eq(
                Mux(stride2[p], codes[2 * (p % max(1, lanes.pixels // 2))], codes[p]))
        return m
