"""The stride-2 skip: 3x3 average of the residual map at stride 2, in place or elsewhere.

``r' = (57 * sum9 + 256) >> 9``, zeros outside of the picture. The map is walked one column of
words at a time, downwards, so that every row is read once, and a word is overwritten only after
the last read of it:

* a new word (row y, group g//2) replaces an old one of row y in group g or g-1;
* reads have then reached row 2y+1 >= y, and the column of pixels that group g-1 still owes to its
  right neighbour was kept when it was read.
"""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from gen.network import POOL_MULTIPLIER, POOL_SHIFT

from .maps import COLUMN_LATENCY
from .memory import READ_LATENCY, Ram
from .pipe import copies, delayed
from .results import RESIDUAL_WRITE_DELAY, residual_layout

__all__ = ["PoolUnit", "pool_cycles"]

# Words of the layer before may still be on their way to the residual map.
START_DELAY = RESIDUAL_WRITE_DELAY
# The columns lie all over the chip, the sums where the multipliers are: a register between the two,
# and one behind the multipliers.
AT_DATA = 1 + COLUMN_LATENCY + 1
# Three sums, product, rounding.
WRITE_DELAY = AT_DATA + 2 + 2 + 1
CONTROL = data.StructLayout({"complete": 1, "top": 1, "leftmost": 1, "odd": 1})


def pool_cycles(layer, lanes):
    """Cycles from the first result word of ``layer`` until the last pooled word is written.

    ``layer`` is the :class:`.schedule.LayerSchedule` beside which the pooling runs.
    """
    slices = layer.slices * lanes.subslices
    return START_DELAY + 1 + 2 * layer.rows * layer.x_groups * slices + WRITE_DELAY


class PoolUnit(wiring.Component):
    """Pools the residual map for every layer that asks for it.

    Members
    -------
    start : ``In(1)``
        Pulse of :class:`.results.ResultSequencer`.
    busy : ``Out(pixels + 1)``
        The residual map belongs to this unit: a copy for every bank, and one for the addresses.
    r_addr : Out
    r_data : ``In(residual)``
        The word ``COLUMN_LATENCY`` cycles later.
    w_en, w_addr, w_data : Out
    """

    def __init__(self, schedule):
        self.schedule = schedule
        self.layers = [layer for layer in schedule.layers if layer.pool]
        stored = residual_layout(schedule)
        address = range(max(2, schedule.residual_depth))
        super().__init__({
            "start": In(1), "busy": Out(stored.length + 1),
            "r_addr": Out(address), "r_data": In(stored),
            "w_en": Out(stored.length), "w_addr": Out(address), "w_data": Out(stored)})

    def elaborate(self, platform):
        m = Module()
        lanes = self.schedule.lanes
        address = self.r_addr.shape()
        which = Signal(range(max(2, len(self.layers))))

        def bound(of):
            """A loop bound of the layer at hand."""
            values = [of(layer) for layer in self.layers]
            # From the start what it may be for ever: Yosys sees then that it's constant.
            chosen = Signal(range(max(values) + 1), init=values[0])
            with m.Switch(which):
                for k, value in enumerate(values):
                    with m.Case(k):
                        m.d.sync += chosen.eq(value)
            return chosen

        slices = bound(lambda layer: layer.slices * lanes.subslices)
        rows, groups = bound(lambda layer: layer.rows - 1), bound(lambda layer: layer.x_groups - 1)
        row_words = bound(lambda layer: layer.row_words * lanes.subslices)
        base = bound(lambda layer: layer.residual)
        target = bound(lambda layer: layer.pooled)

        wait = Signal(range(START_DELAY + 1))
        running, lower = Signal(), Signal()
        s, group, row = Signal(slices.shape()), Signal(groups.shape()), Signal(rows.shape())
        read, read_base, write, write_base = (Signal(address) for _ in range(4))
        # Rows take two cycles: what they and all slower counters come to is compared before.
        row_end, group_end, s_end = (delayed(m, end, 1) for end in (
            row == rows, group == groups, s == slices - 1))
        with m.If(self.start):
            m.d.sync += wait.eq(START_DELAY)
        with m.If(wait != 0):
            m.d.sync += wait.eq(wait - 1)
        # Compared a cycle before: what begins with it is much.
        begin = delayed(m, wait == 2, 1, state=True)
        with m.If(begin):
            m.d.sync += [running.eq(1), lower.eq(0), s.eq(0), group.eq(0), row.eq(0),
                         read.eq(base), read_base.eq(base),
                         write.eq(target), write_base.eq(target)]
        with m.If(running):
            m.d.sync += [lower.eq(~lower), read.eq(read + row_words)]
            with m.If(lower):
                m.d.sync += [row.eq(row + 1), write.eq(write + row_words)]
                with m.If(row_end):
                    # Next column of words: its neighbour to the right, then the next slice.
                    next_read, next_write = Signal(address), Signal(address)
                    m.d.comb += [next_read.eq(read_base + slices),
                                 next_write.eq(Mux(group[0], write_base + (slices << 1),
                                                   write_base))]
                    with m.If(group_end):
                        m.d.comb += [next_read.eq(base + s + 1), next_write.eq(target + s + 1)]
                        m.d.sync += s.eq(s + 1)
                        with m.If(s_end):
                            m.d.sync += [running.eq(0),
                                         which.eq(Mux(which == len(self.layers) - 1, 0,
                                                      which + 1))]
                    m.d.sync += [row.eq(0), group.eq(Mux(group_end, 0, group + 1)),
                                 read.eq(next_read), read_base.eq(next_read),
                                 write.eq(next_write), write_base.eq(next_write)]
        m.d.sync += self.r_addr.eq(read)

        control = [data.View(CONTROL, Cat(running & lower, row == 0, group == 0, group[0]))]
        for _ in range(WRITE_DELAY):
            control.append(delayed(m, control[-1], 1, state=True))

        # The left neighbour of a group's first pixel is the last one of the group before, which was
        # read a column of words ago, at least four cycles: a row each.
        line = Cat(lower, row)
        columns = delayed(m, self.r_data, 1)
        m.submodules.neighbours = neighbours = Ram(
            self.r_data[0].as_value().shape().width, 2 * max(layer.rows for layer in self.layers),
            style="distributed")
        m.d.comb += [
            neighbours.r_addr.eq(delayed(m, line, AT_DATA - READ_LATENCY)),
            neighbours.w_addr.eq(delayed(m, line, AT_DATA)), neighbours.w_en.eq(1),
            neighbours.w_data.eq(columns[-1])]
        words = [data.View(columns[0].shape(), neighbours.r_data), *columns]
        rounding = 1 << POOL_SHIFT - 1
        sums = []
        complete = copies(m, control[AT_DATA].complete, lanes.pixels // 2, platform)
        for i in range(0, lanes.pixels, 2):
            sums.append([])
            for j in range(lanes.result_channels):
                left = words[i][j]
                if i == 0:
                    left = Mux(control[AT_DATA].leftmost, 0, left)
                across = Signal(signed(len(left) + 2), reset_less=True)
                upper, before = (Signal(across.shape(), reset_less=True) for _ in range(2))
                total = Signal(signed(len(across) + 2), reset_less=True)
                product = Signal(signed(len(total) + POOL_MULTIPLIER.bit_length()),
                                 reset_less=True)
                m.d.sync += [
                    across.eq(left + words[i + 1][j] + words[i + 2][j]),
                    product.eq(total * POOL_MULTIPLIER)]
                with m.If(complete[i // 2]):
                    m.d.sync += [total.eq(upper + across), before.eq(across)]
                with m.Else():
                    m.d.sync += upper.eq(across + Mux(control[AT_DATA + 1].top, 0, before))
                sums[-1].append((delayed(m, product, 1) + rounding) >> POOL_SHIFT)
        half = lanes.pixels // 2
        for p in range(lanes.pixels):
            for j in range(lanes.result_channels):
                m.d.sync += self.w_data[p][j].eq(sums[p % half][j])
        done, odd = control[-1].complete, control[-1].odd
        m.d.comb += [
            self.w_en.eq(Mux(odd, ((1 << half) - 1) << half, (1 << half) - 1)
                         & done.replicate(lanes.pixels)),
            self.w_addr.eq(delayed(m, write, WRITE_DELAY))]
        # Reads begin a cycle after `running`, the last write ends it.
        flying = Cat(c.complete for c in control[:-1]).any()
        m.d.comb += self.busy.eq(Cat(copies(m, running | flying, len(self.busy), platform)))
        return m
