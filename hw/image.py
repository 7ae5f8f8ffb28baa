"""The image: pixels in, their digits out for all columns of a window at once.

8-bit pixels pass through lanes of ``b`` bits a digit at a time, so a memory word holds one digit of
a group of P pixels, and every digit has its own address. The two halo columns are copies, as in
:mod:`.maps`.
"""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from .memory import Ram
from .pipe import copies, count_up, delayed

__all__ = ["ImageMemory", "digit_of", "image_memories", "load_cycles"]

CHANNELS = 3


def digit_of(schedule, value, digit):
    """A digit of an 8-bit value, the highest being digit 0; constants or signals."""
    bits, digits = schedule.act_bits, schedule.digits
    whole = Cat(value, Const(0, bits * digits))[:bits * digits]
    return Array(whole.word_select(digits - 1 - d, bits) for d in range(digits))[digit]


def image_memories(schedule):
    """``(width, depth)`` of the memories of an image: of P columns, and of the halo columns."""
    depth = schedule.image_words << ceil_log2(schedule.digits)
    bits = CHANNELS * schedule.act_bits
    return [(schedule.lanes.pixels * bits, depth), (bits, depth), (bits, depth)]


def load_cycles(schedule):
    """Cycles from the first pixel to the last, none waiting: a group's digits are written while the
    next one comes."""
    pixels = schedule.lanes.pixels
    return (schedule.image_words - 1) * max(pixels, schedule.digits) + pixels


class ImageMemory(wiring.Component):
    """One image.

    Parameters
    ----------
    schedule : Schedule
    image_signature : stream.Signature

    Members
    -------
    image : ``In(stream)``
        Pixels row by row.
    full : ``Out(1)``; done : ``In(1)``
        A whole image was taken, and may be read from its top down; it isn't needed any more.
    r_addr, r_left, r_right, r_digit : In
        Groups of pixels for the middle columns and the two halo columns, and the digit wanted.
    r_data : ``Out(ArrayLayout(3 * act_bits, pixels + 2))``
        The digit of all three channels, column by column, ``COLUMN_LATENCY`` cycles later.
    """

    def __init__(self, schedule, image_signature):
        self.schedule = schedule
        pixels, bits = schedule.lanes.pixels, CHANNELS * schedule.act_bits
        address = range(max(2, schedule.image_words))
        super().__init__({
            "image": In(image_signature), "full": Out(1), "done": In(1),
            "r_addr": In(address), "r_left": In(address), "r_right": In(address),
            "r_digit": In(range(max(2, schedule.digits))),
            "r_data": Out(data.ArrayLayout(bits, pixels + 2))})

    def elaborate(self, platform):
        m = Module()
        y = self.schedule
        pixels, digits = y.lanes.pixels, y.digits

        # Pixels gather in a row, which is then kept while its digits are written. They take a
        # cycle to get there: both rows have hundreds of registers, so that a register enables them
        # and no logic does.
        size = len(Value.cast(self.image.payload))
        row = Signal(data.ArrayLayout(size, pixels), reset_less=True)
        kept = Signal(data.ArrayLayout(size, pixels), reset_less=True)
        place, group = Signal(range(pixels)), Signal(range(max(2, y.image_words)))
        digit, writing = Signal(range(max(2, digits))), Signal()
        accepted, row_end, written = Signal(), Signal(init=pixels == 1), digit == digits - 1
        last = Signal(range(max(2, y.image_words)))      # group that is being gathered
        last_end, group_end = (Signal(init=y.image_words == 1) for _ in range(2))
        pixel = delayed(m, self.image.payload, 1)
        here = delayed(m, accepted, 1, state=True)
        here_end = delayed(m, accepted & row_end, 1, state=True)
        # The next row may come when the last digit of the one kept is written.
        busy = Mux(writing, digit < digits - 2, 0) | here_end if digits > 1 else Const(0)
        m.d.comb += [self.image.ready.eq(~self.full & ~(row_end & busy)),
                     accepted.eq(self.image.valid & self.image.ready)]
        with m.If(accepted):
            count_up(m, place, row_end, pixels)
            with m.If(row_end):
                count_up(m, last, last_end, y.image_words)
                with m.If(last_end):
                    m.d.sync += self.full.eq(1)
        with m.If(self.done):
            m.d.sync += self.full.eq(0)
        with m.If(writing):
            m.d.sync += digit.eq(digit + 1)
            with m.If(written):
                m.d.sync += [writing.eq(0), digit.eq(0)]
                count_up(m, group, group_end, y.image_words)
        with m.If(here):
            m.d.sync += row.eq(Cat(row[1:], pixel))
        with m.If(here_end):
            m.d.sync += [kept.eq(Cat(row.as_value()[size:], pixel)), writing.eq(1)]

        shown = [Cat(digit_of(y, kept[p].word_select(c, 8), digit) for c in range(CHANNELS))
                 for p in range(pixels)]
        digit_bits = ceil_log2(digits)
        outputs = []
        for name, (width, depth), port, words in zip(
                ("middle", "left", "right"), image_memories(y),
                (self.r_addr, self.r_left, self.r_right), (shown, shown[-1:], shown[:1])):
            w_en, w_addr, w_data, r_addr = (copies(m, value, 1, platform)[0] for value in (
                writing, Cat(digit[:digit_bits], group), Cat(words),
                Cat(self.r_digit[:digit_bits], port)))
            m.submodules[name] = ram = Ram(width, depth)
            m.d.comb += [ram.w_en.eq(w_en), ram.w_addr.eq(w_addr), ram.w_data.eq(w_data),
                         ram.r_addr.eq(r_addr)]
            outputs.append(delayed(m, ram.r_data, 1))
        middle, left, right = outputs
        m.d.comb += self.r_data.eq(Cat(left, middle, right))
        return m
