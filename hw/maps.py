"""Feature maps in block RAM, one memory per pixel column.

Column ``x mod P`` of a map lies in bank ``x mod P``, a word holding the channels of one pixel. A
window of P pixels needs one more on either side: the right neighbour of the last bank's pixel is
bank 0 of the next group, the left neighbour of the first one's is bank P-1 of the group before.
Both banks are therefore stored twice, the copies being read at the neighbour's address.
"""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from gen.network import PIXEL_BITS, PIXEL_ZERO

from .array import step_layout
from .image import ImageMemory, digit_of
from .memory import READ_LATENCY, Ram
from .pipe import copies, delayed

__all__ = ["COLUMN_LATENCY", "WINDOW_LATENCY", "ColumnMemory", "Window"]

COLUMN_LATENCY = 1 + READ_LATENCY + 1  # cycles from an address to the words of all columns
WINDOW_LATENCY = COLUMN_LATENCY + 2    # cycles from an address to the codes


class ColumnMemory(wiring.Component):
    """Words of ``parts * part_bits`` bits in ``pixels + 2`` columns, written a part at a time.

    The columns lie all over the chip, so each has its own copy of every port in registers: a
    write, like a read, gets to the memory a cycle later, and a word may be read in the cycle
    after it was written. What is read has a register on its way too.

    Parameters
    ----------
    pixels, parts, part_bits, depth : int
    halo : bool
        Whether there are copies, of the last bank on the left and of the first on the right.

    Members
    -------
    w_en : ``In(pixels)``; w_addr, w_part : In; w_data : ``In(ArrayLayout(part_bits, pixels))``
    r_addr, r_left, r_right : In
        Addresses for the banks and for the two copies.
    r_data : ``Out(ArrayLayout(parts * part_bits, columns))``
        From left to right, ``COLUMN_LATENCY`` cycles later.
    """

    def __init__(self, pixels, parts, part_bits, depth, halo=True):
        self.pixels, self.parts, self.part_bits, self.depth = pixels, parts, part_bits, depth
        self.columns = ([(pixels - 1, "r_left")] * halo
                        + [(p, "r_addr") for p in range(pixels)] + [(0, "r_right")] * halo)
        address = range(max(2, depth))
        super().__init__({
            "w_en": In(pixels), "w_addr": In(address), "w_part": In(range(max(2, parts))),
            "w_data": In(data.ArrayLayout(part_bits, pixels)),
            "r_addr": In(address), "r_left": In(address), "r_right": In(address),
            "r_data": Out(data.ArrayLayout(parts * part_bits, len(self.columns)))})

    def elaborate(self, platform):
        m = Module()
        for column, (bank, port) in enumerate(self.columns):
            w_en = Cat(self.w_en[bank] & (self.w_part == part) for part in range(self.parts))
            w_en, w_addr, w_data, r_addr = (
                copies(m, value, 1, platform)[0]
                for value in (w_en, self.w_addr, self.w_data[bank], getattr(self, port)))
            words = []
            for part in range(self.parts):
                m.submodules[f"column{column}_{part}"] = ram = Ram(self.part_bits, self.depth)
                m.d.comb += [ram.w_en.eq(w_en[part]), ram.w_addr.eq(w_addr),
                             ram.w_data.eq(w_data), ram.r_addr.eq(r_addr)]
                words.append(ram.r_data)
            m.d.sync += self.r_data[column].eq(Cat(words))
        return m


class Window(wiring.Component):
    """Both memories that a convolution may read, and the codes they make: the map's, or a digit
    of the image's, with zero codes outside of the picture.

    Members
    -------
    image : ``In(stream)``; image_full, image_done
        See :class:`.image.ImageMemory`.
    w_en, w_addr, w_part, w_data : In
        Activation map writes, see :class:`ColumnMemory`.
    r_addr, r_left, r_right, r_digit, source : In
        From :class:`.issue.IssueSequencer`.
    codes : Out
        ``WINDOW_LATENCY`` cycles after ``r_addr``, three after ``source``.
    """

    def __init__(self, schedule, image_signature, issue_signature):
        self.schedule = schedule
        lanes = schedule.lanes
        self.maps = ColumnMemory(lanes.pixels, lanes.subslices,
                                 lanes.result_channels * schedule.act_bits,
                                 schedule.map_depth)
        self.pixels = ImageMemory(schedule, image_signature)
        issue = issue_signature.members
        super().__init__({
            "image": In(image_signature), "image_full": Out(1), "image_done": In(1),
            **{name: In(self.maps.signature.members[name].shape)
               for name in ("w_en", "w_addr", "w_part", "w_data")},
            "r_addr": In(issue["address"].shape), "r_left": In(issue["left"].shape),
            "r_right": In(issue["right"].shape), "r_digit": In(issue["digit"].shape),
            "source": In(issue["source"].shape),
            "codes": Out(step_layout(schedule)["codes"].shape)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.maps, m.submodules.pixels = maps, pixels = self.maps, self.pixels
        wiring.connect(m, wiring.flipped(self.image), pixels.image)
        m.d.comb += [
            self.image_full.eq(pixels.full), pixels.done.eq(self.image_done),
            pixels.r_digit.eq(self.r_digit),
            *(getattr(maps, name).eq(getattr(self, name))
              for name in ("w_en", "w_addr", "w_part", "w_data")),
            *(getattr(memory, name).eq(getattr(self, name))
              for memory in (maps, pixels) for name in ("r_addr", "r_left", "r_right"))]

        bits, columns = self.schedule.act_bits, len(self.codes)
        source = self.source
        for column in range(columns):
            pad = (source.pad_row | (source.pad_left if column == 0 else 0)
                   | (source.pad_right if column == columns - 1 else 0))
            # `blank`: channels that the image doesn't have, and those of a map beside it.
            pad, blank, image, place = (
                copies(m, value, 1, platform)[0]
                for value in (pad, pad | source.image, source.image, source.digit))
            zero = 1 << self.schedule.act_frac
            image_zero = digit_of(self.schedule, Const(PIXEL_ZERO, PIXEL_BITS), place)
            for c in range(self.schedule.lanes.slice_channels):
                code = maps.r_data[column].word_select(c, bits)
                if c < 3:
                    digit = pixels.r_data[column].word_select(c, bits)
                    shown = Mux(pad, Mux(image, image_zero, zero), Mux(image, digit, code))
                else:
                    shown = Mux(blank, Mux(image, 0, zero), code)
                # The columns lie where their block RAMs are, the first group of the array in one
                # place: the second register is for the way between the two.
                m.d.comb += self.codes[column][c].eq(delayed(m, shown, 2))
        return m
