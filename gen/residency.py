"""Which weights stay on the chip and which are streamed, by going through the frame's schedule.

Weights that don't stay are written into a buffer behind those that do, pass after pass and ahead of
time. A pass uses its weights for every group of pixels, so it waits until they are complete, and a
place in the buffer waits until the pass is over that used it before. Bandwidth per frame says
little: what counts is what the buffer holds when the deep layers begin, which need the most weights
for the fewest cycles.
"""

from dataclasses import dataclass, replace

from hw.issue import ARRAY_DELAY
from hw.schedule import Schedule, WeightLoad
from hw.weights import PIECE_BITS, pieces

from .device import EBR_SHAPES, block_rams
from .estimate import estimate_resources
from .schedule import in_passes

__all__ = ["Residency", "fewest_cycles", "least_words", "piece_cycles", "place_weights",
           "weight_room"]

MEMORY_BITS = 16     # that the SDRAM gives in a cycle of its clock,
MEMORY_SHARE = 0.95  # except while rows are opened and refreshed (hw.sdram)
FETCH = 2    # cycles between two loads
START = 3    # cycles from the last piece to the layer's first step
FRAMES = 4   # until loads and layers repeat themselves
SLOWER = 0.002  # of a frame that fewer passes may cost
SPARE = 0.13


@dataclass(frozen=True)
class Residency:
    """Where the weights of a schedule lie.

    ``schedule`` has the addresses and loads, ``cycles`` is a frame's with the waits for weights,
    ``stalls`` those waits, ``bits`` what is streamed in a frame.
    """

    schedule: Schedule
    cycles: int
    stalls: int
    bits: int


def piece_cycles(clock_mhz, memory_mhz):
    """Pipeline cycles from one piece of the weights to the next, on average."""
    return max(1, PIECE_BITS / MEMORY_BITS / MEMORY_SHARE * clock_mhz / memory_mhz)


def fewest_cycles(schedule, depth, pace):
    """What a frame takes at least with weight memories of ``depth`` words: its steps, or the stream
    of the weights that can't stay, a piece every ``pace`` cycles."""
    word = schedule.lanes.weight_memories * pieces(schedule) * pace
    return max(schedule.cycles, int((schedule.weight_depth - depth) * word))


def _units(schedule):
    """The smallest passes: pairs of a convolution's index and a number of its output groups."""
    # A pass must not end within a slice of channels.
    whole = schedule.lanes.groups % schedule.lanes.subslices != 0
    return [(conv, groups) for conv, layer in enumerate(schedule.layers)
            for groups in ([layer.out_groups] if whole else [1] * layer.out_groups)]


def least_words(schedule):
    """Words that a weight memory must have: those of the largest of the smallest passes."""
    return max(groups * 3 * schedule.layers[conv].slices for conv, groups in _units(schedule))


def _joined(schedule, units, resident, most=0):
    """``(passes, stay)``: the units, pairs of a convolution and a number of output groups, as lists
    of passes for :func:`gen.schedule.in_passes`. Units in a row that are all in the set
    ``resident`` make one pass, as others do up to ``most`` words; ``stay`` are the indices of the
    resident passes."""
    passes, stay, count, before = [], set(), 0, None
    for unit, (conv, groups) in enumerate(units):
        if conv == len(passes):
            passes.append([])
        stays = unit in resident
        words = 3 * schedule.layers[conv].slices
        if before == (conv, stays) and (stays or (passes[-1][-1] + groups) * words <= most):
            passes[-1][-1] += groups
        else:
            passes[-1].append(groups)
            if stays:
                stay.add(count)
            count += 1
        before = conv, stays
    return passes, stay


def _placed(schedule, resident, depth):
    """The schedule with the passes of the set ``resident`` in front and the others in a ring behind
    them, or ``None`` where one is too large."""
    layers, place = list(schedule.layers), 0
    for index in sorted(resident):
        layers[index] = replace(layers[index], weights=place)
        place += layers[index].weight_words
    first, spans, count = place, [], len(layers)
    for index, layer in enumerate(layers):
        if index in resident:
            continue
        if place + layer.weight_words > depth:
            place = first
        if place + layer.weight_words > depth:
            return None
        layers[index] = replace(layer, weights=place)
        spans.append((index, place, place + layer.weight_words))
        place += layer.weight_words
    # What was in a place before, latest first: in this frame, then in the one before it.
    history = [(index - count, start, stop) for index, start, stop in spans] + spans
    loads = []
    for k, (index, start, stop) in enumerate(spans):
        after = next(i + 1 for i, begin, end in reversed(history[:len(spans) + k])
                     if begin < stop and start < end)
        loads.append(WeightLoad(index, max(after, loads[-1].after) if loads else after))
    if loads and loads[0].after < loads[-1].after - count:   # loads come in order, frames too
        least = loads[-1].after - count
        loads = [replace(load, after=max(load.after, least)) for load in loads]
    return replace(schedule, layers=tuple(layers), loads=tuple(loads))


def _frame_cycles(schedule, pace):
    """Cycles from one frame's end to the next one's, once they repeat."""
    layers, word = schedule.layers, schedule.lanes.weight_memories * pieces(schedule) * pace
    loads = {load.layer: load for load in schedule.loads}
    over, end, loaded, ends = {}, 0.0, 0.0, []
    count = len(layers)
    for frame in range(FRAMES):
        for index, layer in enumerate(layers):
            begin = end + layer.gap
            if index in loads:
                # Loads come in the layers' order, and each waits only for layers before its own.
                free = over.get(frame * count + loads[index].after - 1, 0) + ARRAY_DELAY
                loaded = max(loaded + FETCH, free) + layer.weight_words * word
                begin = max(begin, loaded + START)
            end = begin + layer.cycles
            over[frame * count + index] = end
        ends.append(end)
    return round(ends[-1] - ends[-2])


def weight_room(schedule, device):
    """Words that a weight memory may have beside everything else on ``device``.

    Where some weights are streamed in any case, ``SPARE`` of the block RAMs are left free if the
    others suffice: with all of them in use many lie far from where they're needed.
    """
    full = _words_in(schedule, device.ebr)
    if schedule.weight_depth <= full:
        return full
    some = _words_in(schedule, int((1 - SPARE) * device.ebr))
    return some if some >= least_words(schedule) else full


def _words_in(schedule, block_rams_of_all):
    """Words of a weight memory where the whole design may take so many block RAMs."""
    lanes = schedule.lanes
    width, memories = lanes.weight_bits, lanes.weight_memories
    rest = (estimate_resources(schedule)["ebr"]
            - block_rams(width, schedule.weight_depth) * memories)
    row = EBR_SHAPES[0][1]
    depth = row
    while block_rams(width, depth) * memories <= block_rams_of_all - rest:
        depth += row
    return depth - row


def place_weights(schedule, depth, pace):
    """Choose what stays in weight memories of ``depth`` words.

    Where not all of it does, convolutions run in passes over a group of outputs each, so that the
    buffer need not hold the weights of a whole one. Starts with a ring for all passes and lets
    single ones stay or go as long as a frame gets shorter, or as short with less to stream.
    ``pace`` are the :func:`piece_cycles` of the stream. Returns a :class:`Residency`, or ``None``
    where a pass's weights exceed ``depth``.
    """
    if schedule.weight_depth <= depth:
        return Residency(schedule, schedule.cycles, 0, 0)
    lanes, units = schedule.lanes, _units(schedule)
    single = in_passes(schedule, _joined(schedule, units, ())[0])
    total = sum(layer.weight_words for layer in schedule.layers)
    bits = lanes.weight_memories * pieces(schedule) * PIECE_BITS

    def judged(resident):
        placed = _placed(single, resident, depth)
        if placed is None:
            return None
        streamed = total - sum(single.layers[unit].weight_words for unit in resident)
        return _frame_cycles(placed, pace), streamed

    def moves(resident):
        """One unit of each convolution, as they are all alike, stays or goes."""
        tried = set()
        for unit, (conv, _) in enumerate(units):
            if (conv, unit in resident) not in tried:
                tried.add((conv, unit in resident))
                moved = resident ^ {unit}
                verdict = judged(moved)
                if verdict is not None:
                    yield verdict, sorted(moved)

    resident, best = frozenset(), judged(frozenset())
    if best is None:
        return None
    while True:
        verdict, moved = min(moves(resident), default=(best, resident))
        if verdict >= best:
            break
        resident, best = frozenset(moved), verdict

    # Every pass is a row of logic in the sequencers: as few as cost no time.
    found = []
    for share in (0, 32, 16, 8, 4, 2):
        passes, stay = _joined(schedule, units, resident, share and depth // share)
        joined = in_passes(schedule, passes)
        placed = _placed(joined, stay, depth)
        if placed is not None:
            cycles = _frame_cycles(placed, pace)
            found.append(Residency(placed, cycles, cycles - joined.cycles, best[1] * bits))
    fewest = min(one.cycles for one in found)
    return min((one for one in found if one.cycles <= fewest * (1 + SLOWER)),
               key=lambda one: len(one.schedule.layers))
