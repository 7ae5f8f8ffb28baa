"""The array: groups of dot products that the activations hop through.

::

    codes --> [group 0] --> [group 1] --> ... --> [group G-1]     one cycle a hop
                 |             |                     |
              results ----> results ----> ... --> results --> words

Every group, or every two of them, has a weight memory, and a group gives its results to the next,
so no net is longer than its neighbourhood: 6,144 lanes ran at 114 MHz this way and at 46 MHz with
activations broadcast (ECP5-85F, speed grade 6).

Results travel with the activations, and a word of a later group must not come before one of an
earlier group. So the pulse that puts a group's results on their way takes two cycles a hop: the
words leave the last group one by one.
"""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .dot import Dot
from .memory import READ_LATENCY, Rom
from .pipe import copies, delayed
from .target import repeated
from .weights import WeightHop, hop_layout

__all__ = ["WEIGHT_LATENCY", "ArrayUnit", "GroupUnit", "array_dot", "step_layout", "word_latency"]

COPY_DELAY = 1                     # cycles from a group's step to the codes at its dot products
# Cycles from a weight address to the step whose weights they are.
WEIGHT_LATENCY = 1 + READ_LATENCY + 1 - COPY_DELAY
TAKE_HOP = 2                       # cycles from taking a group's results to taking the next one's


def array_dot(schedule):
    """The :class:`.dot.Dot` of every pixel and output of the array."""
    return Dot(schedule.lanes.inputs, schedule.act_bits, schedule.acc_bits, blocks=3)


def word_latency(schedule):
    """Cycles from the codes of an output's last step to the word of the first group; the other
    groups' words follow, one a cycle."""
    return COPY_DELAY + array_dot(schedule).latency + schedule.lanes.groups


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


def group_signature(schedule, weight_depth):
    """Ports of :class:`GroupUnit`."""
    lanes, step = schedule.lanes, step_layout(schedule)
    address = range(max(2, weight_depth))
    return wiring.Signature({
        "x": In(step), "y": Out(step), "w_addr": In(address), "w_next": Out(address),
        "weights": In(lanes.inputs * lanes.result_channels),
        "take": In(1), "take_next": Out(1),
        "passing": In(word_layout(schedule)), "word": Out(word_layout(schedule))})


class GroupUnit(wiring.Component):
    """``pixels * result_channels`` dot products.

    Members
    -------
    x : ``In(step)``, y : ``Out(step)``
        A step, and the same one cycle later for the next group.
    w_addr, w_next : In, Out
        Weight address, ``WEIGHT_LATENCY`` cycles ahead of ``x``, and the same one cycle later.
    weights : In
        Inversion bits of the step ``x``, ``[result channel][kernel column][channel]``.
    take, take_next : ``In(1)``, ``Out(1)``
        The group's own word comes out two cycles later; the same for the next group. The sums are
        there from ``COPY_DELAY + dot.latency`` cycles after ``x.last`` until the next ones.
    passing, word : ``In(word)``, ``Out(word)``
        Words on their way, and the same one cycle later.
    """

    def __init__(self, schedule, weight_depth):
        self.schedule = schedule
        super().__init__(group_signature(schedule, weight_depth))

    def elaborate(self, platform):
        m = Module()
        lanes, dot = self.schedule.lanes, array_dot(self.schedule)
        m.d.sync += [self.w_next.eq(self.w_addr), self.y.eq(self.x)]
        control = delayed(m, Cat(self.x.shift, self.x.last | ~self.x.active, self.x.last),
                          COPY_DELAY + dot.latency - 2, state=True)
        control = copies(m, control, lanes.pixels, platform)
        # Block RAM, and the group before, may lie far from the dot products, and those of the
        # outer pixels from each other: a register on the way, for either half of them.
        half = lanes.half
        weights = copies(m, self.weights, 2, platform)
        codes = Value.cast(self.x.codes)
        column = len(codes) // (lanes.pixels + 2)
        codes = [copies(m, codes[first * column:(first + half + 2) * column], 1, platform)[0]
                 for first in range(0, lanes.pixels, half)]
        m.d.comb += self.take_next.eq(delayed(m, self.take, TAKE_HOP, state=True))
        take = copies(m, self.take, lanes.pixels, platform)
        for p in range(lanes.pixels):
            side, first = divmod(p, half)
            for j in range(lanes.result_channels):
                unit = repeated(m, f"dot_{p}_{j}", "signstream_dot", dot.signature, dot.create,
                                platform)
                m.d.comb += [
                    Value.cast(unit.x).eq(codes[side][first * column:(first + 3) * column]),
                    unit.invert.eq(weights[side].word_select(j, lanes.inputs)),
                    Cat(unit.shift, unit.clear, unit.capture).eq(control[p])]
                word = Signal(unit.result.shape(), reset_less=True)
                m.d.sync += word.eq(Mux(take[p], unit.result, self.passing[p][j]))
                m.d.comb += self.word[p][j].eq(word)
        return m


class ArrayUnit(wiring.Component):
    """All groups.

    Members
    -------
    x : ``In(step)``
    w_addr : In
        Weight address, ``WEIGHT_LATENCY`` cycles ahead of ``x``.
    load : ``In(hop)``
        Pieces of streamed weights, from :class:`.weights.WeightLoader`; unused where all stay.
    word : ``Out(word)``
        Results: those of the first group ``word_latency`` cycles after ``x.last``.
    """

    def __init__(self, schedule, weights):
        self.schedule = schedule
        lanes = schedule.lanes
        if schedule.loads:
            self.hops = [WeightHop(schedule, f"weights{g}", words)
                         for g, words in enumerate(weights)]
            self.roms = [hop.ram for hop in self.hops]
        else:
            self.roms = self.hops = [Rom(f"weights{g}", lanes.weight_bits, words)
                                     for g, words in enumerate(weights)]
        super().__init__({
            "x": In(step_layout(schedule)), "w_addr": In(range(max(2, schedule.weight_depth))),
            "load": In(hop_layout(schedule)), "word": Out(word_layout(schedule))})

    def elaborate(self, platform):
        m = Module()
        step, w_addr, load = self.x, self.w_addr, self.load
        depth = self.schedule.weight_depth
        # `take` is a cycle ahead of the sums.
        take = delayed(m, self.x.last, COPY_DELAY + array_dot(self.schedule).latency - 1,
                       state=True)
        word = Const(0, self.word.as_value().shape())
        lanes = self.schedule.lanes
        width, share = lanes.inputs * lanes.result_channels, lanes.groups // lanes.weight_memories
        for g in range(lanes.groups):
            which, late = divmod(g, share)
            if not late:
                m.submodules[f"rom{which}"] = rom = self.hops[which]
                if self.schedule.loads:
                    m.d.comb += rom.x.eq(load)
                    load = rom.y
                # One address goes to dozens of block RAMs.
                m.d.comb += rom.addr.eq(delayed(m, w_addr, 1))
            group = repeated(m, f"group{g}", "signstream_group",
                             group_signature(self.schedule, depth),
                             lambda: GroupUnit(self.schedule, depth), platform)
            weights = rom.data.word_select(late, width)
            m.d.comb += [group.x.eq(step), group.w_addr.eq(w_addr),
                         group.weights.eq(delayed(m, weights, late)),
                         group.take.eq(take), group.passing.eq(word)]
            step, w_addr, take, word = group.y, group.w_next, group.take_next, group.word
        m.d.comb += self.word.eq(word)
        return m
