"""The array: groups of dot products that the activations hop through.

::

    codes --> [group 0] --> [group 1] --> ... --> [group G-1]     one cycle a hop
                 |             |                     |
              results       results               results         kept until read
                 +------+------+----------...--------+
                        v
                  word of the chosen group

Every group reads its own slice of the weights, so no net is longer than its neighbourhood:
6,144 lanes ran at 114 MHz this way and at 46 MHz with activations broadcast (ECP5-85F, speed
grade 6).
"""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .dot import Dot
from .memory import Rom
from .pipe import delayed

__all__ = ["SELECT_LATENCY", "ArrayUnit", "GroupUnit", "array_dot"]

SELECT_LATENCY = 2  # cycles from a selection to the word
FAN_IN = 4          # groups behind a multiplexer: two LUT4 a bit


def array_dot(schedule):
    """The :class:`.dot.Dot` of every pixel and output of the array."""
    return Dot(schedule.lanes.inputs, schedule.act_bits, schedule.acc_bits)


def step_layout(schedule):
    """Codes of ``pixels + 2`` columns and the control of one step."""
    lanes = schedule.lanes
    return data.StructLayout({
        "codes": data.ArrayLayout(
            data.ArrayLayout(schedule.act_bits, lanes.slice_channels), lanes.pixels + 2),
        "active": 1, "shift": 1, "last": 1})


def word_layout(schedule):
    """Accumulators of a result word: ``[pixel][channel]``."""
    return data.ArrayLayout(data.ArrayLayout(schedule.acc_bits, schedule.lanes.result_channels),
                            schedule.lanes.pixels)


class GroupUnit(wiring.Component):
    """``pixels * result_channels`` dot products with their weights.

    Members
    -------
    x : ``In(step)``, y : ``Out(step)``
        A step, and the same one cycle later for the next group.
    w_addr, w_next : In, Out
        Weight address, ``READ_LATENCY`` cycles ahead of ``x``, and the same one cycle later.
    results : ``Out(word)``
        The sums of the last finished steps, ``dot.latency`` cycles after ``x.last``.
    """

    def __init__(self, schedule, name, words):
        self.schedule = schedule
        width = schedule.lanes.inputs * schedule.lanes.result_channels
        self.rom = Rom(name, width, words)
        step = step_layout(schedule)
        super().__init__({
            "x": In(step), "y": Out(step),
            "w_addr": In(self.rom.addr.shape()), "w_next": Out(self.rom.addr.shape()),
            "results": Out(word_layout(schedule))})

    def elaborate(self, platform):
        m = Module()
        lanes, dot = self.schedule.lanes, array_dot(self.schedule)
        m.submodules.rom = self.rom
        m.d.comb += self.rom.addr.eq(self.w_addr)
        m.d.sync += [self.w_next.eq(self.w_addr), self.y.eq(self.x)]

        control = Cat(self.x.shift, self.x.last | ~self.x.active, self.x.last)
        control = delayed(m, control, dot.latency - 1, state=True)

        for p in range(lanes.pixels):
            codes = [self.x.codes[p + dx][c]
                     for dx in range(3) for c in range(lanes.slice_channels)]
            for j in range(lanes.result_channels):
                m.submodules[f"dot_{p}_{j}"] = unit = dot.create()
                m.d.comb += [unit.x[i].eq(code) for i, code in enumerate(codes)]
                m.d.comb += [
                    unit.invert.eq(self.rom.data.word_select(j, lanes.inputs)),
                    Cat(unit.shift, unit.clear, unit.capture).eq(control),
                    self.results[p][j].eq(unit.result)]
        return m


class ArrayUnit(wiring.Component):
    """All groups, and the multiplexer that picks a result word.

    Members
    -------
    x : ``In(step)``
    w_addr : In
        Weight address, ``READ_LATENCY`` cycles ahead of ``x``.
    select : ``In(range(groups))``
        Group whose word is wanted. Group g may be selected from ``dot.latency + g`` cycles after
        ``x.last`` until one step's worth of cycles later.
    word : ``Out(word)``
        The chosen word, ``SELECT_LATENCY`` cycles after ``select``.
    """

    def __init__(self, schedule, weights):
        self.schedule = schedule
        self.groups = [GroupUnit(schedule, f"weights{g}", words)
                       for g, words in enumerate(weights)]
        super().__init__({
            "x": In(step_layout(schedule)), "w_addr": In(self.groups[0].rom.addr.shape()),
            "select": In(range(max(2, len(self.groups)))), "word": Out(word_layout(schedule))})

    @property
    def roms(self):
        """The weight memories, by group."""
        return [group.rom for group in self.groups]

    def elaborate(self, platform):
        m = Module()
        step, w_addr = self.x, self.w_addr
        for g, group in enumerate(self.groups):
            m.submodules[f"group{g}"] = group
            m.d.comb += [group.x.eq(step), group.w_addr.eq(w_addr)]
            step, w_addr = group.y, group.w_next

        near, far = self.select[:2], delayed(m, self.select[2:], 1)
        picked = []
        for first in range(0, len(self.groups), FAN_IN):
            word = Signal(word_layout(self.schedule), reset_less=True)
            with m.Switch(near):
                for k, group in enumerate(self.groups[first:first + FAN_IN]):
                    with m.Case(k):
                        m.d.sync += word.eq(group.results)
            picked.append(word)
        with m.Switch(far):
            for k, word in enumerate(picked):
                with m.Case(k):
                    m.d.sync += self.word.eq(word)
        return m
