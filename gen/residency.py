"""Which weights stay on the chip and which are streamed, by going through the frame's schedule.

Weights that don't stay are written into a buffer behind those that do, pass after pass and ahead of
time. A pass uses its weights for every group of pixels, so it waits until they are complete, and a
place in the buffer waits until the pass is over that used it before. Bandwidth per frame says
little: what counts is what the buffer holds when the deep layers begin, which need the most weights
for the fewest cycles.
"""

from dataclasses import dataclass, replace

from hw.issue import ARRAY_DELAY, SEEN_DELAY
from hw.pipe import FAR
from hw.queue import DEPTH as IN_LUTS
from hw.schedule import Schedule, WeightLoad
from hw.sdram import read_share
from hw.weights import LOADED_DELAY, PIECE_BITS, pieces

from .device import EBR_SHAPES, block_rams
from .estimate import estimate_resources, memory_bits, short_of_block_rams
from .schedule import in_passes
from .timing import scoring_cycles

__all__ = ["MEMORY_BITS", "Residency", "check_room", "least_block_rams", "least_words",
           "piece_cycles", "place_weights", "queue_room", "weight_room"]

MEMORY_BITS = 16  # that the SDRAM gives in a cycle of its clock, but for refreshes
FETCH = 3    # cycles between two loads
# Cycles from the last piece to the layer's first step.
START = LOADED_DELAY + FAR + SEEN_DELAY + 3
ROUNDS = 4   # until loads and layers repeat themselves
SLOWER = 0.002  # of a round that fewer passes may cost
SPARE = 0.04   # WRN-20-4 was routed with all of 208 block RAMs in use, 16 of them by the queue
EBR_WORDS = EBR_SHAPES[0][1]  # of a block RAM's widest shape; a piece of weights fits one
WHOLE, STRIDED, ALL = range(3)  # which of the convolutions that read the largest maps are divided


@dataclass(frozen=True)
class Residency:
    """Where the weights of a schedule lie.

    ``schedule`` has the addresses and loads, ``cycles`` is a round's with the waits for weights,
    ``stalls`` those waits, ``bits`` what is streamed in a round.
    """

    schedule: Schedule
    cycles: int
    stalls: int
    bits: int

    @property
    def distance(self):
        """Cycles from one round to the next: its own, or those that the head takes where that's
        longer."""
        return max(self.cycles, scoring_cycles(self.schedule))


def piece_cycles(clock_mhz, memory_mhz):
    """Pipeline cycles from one piece of the weights to the next, on average."""
    return max(1, PIECE_BITS / MEMORY_BITS / read_share(memory_mhz) * clock_mhz / memory_mhz)


def _units(schedule, divided):
    """The smallest passes: pairs of a convolution's index and a number of its output groups.

    The largest maps take the least room if the convolutions that read them aren't ``divided``, and
    little more if it's only the ``STRIDED`` one.
    """
    layers = schedule.layers
    # A pass must not end within a slice of channels.
    whole = schedule.lanes.groups % schedule.lanes.subslices != 0
    side = max(layer.x_groups for layer in layers)
    return [(conv, groups) for conv, layer in enumerate(layers)
            for groups in ([layer.out_groups] if whole or layer.x_groups == side
                           and divided < (STRIDED if layer.stride == 2 else ALL)
                           else [1] * layer.out_groups)]


def least_words(schedule):
    """Words that a weight memory must have: those of the largest of the smallest passes."""
    return max(groups * 3 * schedule.layers[conv].slices
               for conv, groups in _units(schedule, ALL))


def _joined(schedule, units, resident, most=0):
    """``(passes, stay)``: the units, pairs of a convolution and a number of output groups, as lists
    of passes for :func:`gen.schedule.in_passes`. Units in a row that are all in the set
    ``resident`` make one pass, as others do up to ``most`` words; ``stay`` are the indices of the
    resident passes of a frame."""
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


class _Passes:
    """What thousands of tries need of a round's passes, each a list."""

    def __init__(self, schedule):
        layers = schedule.layers
        self.parts = [layer.part for layer in layers]
        self.words = [layer.weight_words for layer in layers]
        self.reuses = [layer.reuses for layer in layers]
        self.gaps = [layer.gap for layer in layers]
        self.cycles = [layer.cycles for layer in layers]
        self.word_pieces = schedule.lanes.weight_memories * pieces(schedule)

    def __len__(self):
        return len(self.parts)

    def place(self, resident, depth):
        """``(addresses, loads)`` with the weights of the set ``resident``, of
        :attr:`LayerSchedule.part`, in front and the others in a ring behind them, or ``None`` where
        that's impossible; ``loads`` are the last passes before each load, by the pass it's for."""
        place, stays, loader, spans = 0, {}, {}, {}
        for part, words in zip(self.parts, self.words):
            if part in resident and part not in stays:
                stays[part] = place
                place += words
        first, addresses, count = place, [], len(self)
        for index, (part, words) in enumerate(zip(self.parts, self.words)):
            if part in resident:
                addresses.append(stays[part])
            elif self.reuses[index]:
                first_user = loader[part]
                begin, _ = spans[first_user]
                spans[first_user] = begin, index
                addresses.append(begin)
            else:
                if place + words > depth:
                    place = first
                if place + words > depth:
                    return None
                loader[part] = index
                spans[index] = place, index      # where it is, and the last layer that uses it
                addresses.append(place)
                place += words
        # What was in a place before, latest first: in this round, then in the one before it.
        uses = [(start, start + self.words[index], last) for index, (start, last) in spans.items()]
        history = [(start, stop, last - count) for start, stop, last in uses] + uses
        loads, after = {}, -count
        for k, (index, (start, stop, _)) in enumerate(zip(spans, uses)):
            earlier = len(uses) + k - 1
            while not (history[earlier][0] < stop and start < history[earlier][1]):
                earlier -= 1
            after = max(after, history[earlier][2] + 1)
            if after > index:
                return None      # the place is needed by a layer that comes later
            loads[index] = after
        # Loads come in order, rounds too.
        return addresses, {index: max(each, after - count) for index, each in loads.items()}

    def round_cycles(self, loads, pace, queue):
        """Cycles from one round's end to the next one's, once they repeat, where ``queue`` pieces
        may wait for a load in block RAM."""
        room = queue + IN_LUTS - 1
        over, end, loaded, waiting, ends = {}, 0.0, 0.0, 0.0, []
        for turn in range(ROUNDS):
            before = turn * len(self)
            for index, (gap, cycles) in enumerate(zip(self.gaps, self.cycles)):
                begin = end + gap
                if index in loads:
                    # Loads come in the layers' order, each waits only for layers before its own.
                    free = over.get(before + loads[index] - 1, 0) + ARRAY_DELAY + FAR
                    first, count = max(loaded + FETCH, free), self.words[index] * self.word_pieces
                    waiting = min(room, waiting + (first - loaded) / pace)
                    # A piece a cycle goes until none waits, more than wait now: others come.
                    at_once = min(count, waiting / (1 - 1 / pace)) if pace > 1 else count
                    loaded = first + at_once + (count - at_once) * pace
                    waiting = max(0, waiting + (loaded - first) / pace - count)
                    begin = max(begin, loaded + START)
                end = begin + cycles
                over[before + index] = end
            ends.append(end)
        return round(ends[-1] - ends[-2])


def _shortest_queue(passes, loads, pace, most):
    """A round's cycles, and the pieces of at most ``most`` that have to wait for it."""
    lengths = range(0, most + 1, EBR_WORDS)
    cycles = [passes.round_cycles(loads, pace, length) for length in lengths]
    longest = min(cycles) * (1 + SLOWER)
    return next((time, length) for time, length in zip(cycles, lengths) if time <= longest)


def _placed(schedule, addresses, loads, queue):
    """The schedule with its weights there, see :class:`_Passes`, and ``queue`` pieces waiting."""
    return replace(
        schedule, queue_words=queue,
        loads=tuple(WeightLoad(index, after) for index, after in loads.items()),
        layers=tuple(replace(layer, weights=address)
                     for layer, address in zip(schedule.layers, addresses)))


def weight_room(schedule, device):
    """Words that a weight memory may have beside everything else on ``device``.

    Where some weights are streamed in any case, ``SPARE`` of the block RAMs are left to the queue
    (:func:`queue_room`) if the others suffice: with all of them in use many lie far from where
    they're needed.
    """
    full = _words_in(schedule, device.ebr)
    if schedule.weight_depth <= full:
        return full
    some = _words_in(schedule, int((1 - SPARE) * device.ebr))
    return some if some >= least_words(schedule) else full


def _weight_rams(lanes, depth):
    """Block RAMs of weight memories of ``depth`` words."""
    return block_rams(lanes.weight_bits, depth) * lanes.weight_memories


def _other_rams(schedule):
    """Block RAMs of everything but the weight memories."""
    return (estimate_resources(schedule)["ebr"]
            - _weight_rams(schedule.lanes, schedule.weight_depth))


def least_block_rams(schedule):
    """Block RAMs of everything where no weights stay, but for those of the largest pass."""
    return _other_rams(schedule) + _weight_rams(schedule.lanes, least_words(schedule))


def check_room(schedule, device, name):
    """Raise :class:`.PlanTooLarge` where ``device`` lacks block RAMs even with streamed weights."""
    need, bits = least_block_rams(schedule), memory_bits(schedule)
    if need > device.ebr:
        raise short_of_block_rams(
            need, schedule, device, name, how=" that streams its weights",
            more=f"; maps take {bits['maps']:,} bits, the residual {bits['residual']:,}: take a "
                 f"larger device{', --batch 1' if schedule.frames > 1 else ''} or fewer residual "
                 f"bits")


def _words_in(schedule, block_rams_of_all):
    """Words of a weight memory where the whole design may take so many block RAMs."""
    most, depth = block_rams_of_all - _other_rams(schedule), EBR_WORDS
    while _weight_rams(schedule.lanes, depth) <= most:
        depth += EBR_WORDS
    return depth - EBR_WORDS


def queue_room(schedule, depth, device):
    """Pieces of the weight stream that may wait on ``device``, in the block RAMs that weight
    memories of ``depth`` words and everything else leave. They have few wires, so where they lie
    matters little."""
    spare = device.ebr - _other_rams(schedule) - _weight_rams(schedule.lanes, depth)
    return max(0, spare) * EBR_WORDS


def place_weights(schedule, depth, pace, rounds=lambda one: one, queue=0):
    """Choose what stays in weight memories of ``depth`` words.

    Where not all of it does, convolutions run in passes over a group of outputs each, so that the
    buffer need not hold the weights of a whole one. Starts with a ring for all passes and lets
    single ones stay or go as long as a round gets shorter, or as short with less to stream.
    ``schedule`` is one frame's, from which ``rounds`` makes a round's, see
    :func:`.schedule.rounds_of`; ``pace`` are the :func:`piece_cycles` of the stream, of which up to
    ``queue`` pieces may wait in block RAM: as few as cost no time. Returns a :class:`Residency`, or
    ``None`` where a pass's weights exceed ``depth``.
    """
    if schedule.weight_depth <= depth:
        schedule = rounds(schedule)
        return Residency(schedule, schedule.cycles, 0, 0)
    for divided in (WHOLE, STRIDED, ALL):
        units = _units(schedule, divided)
        found = _place_some(schedule, units, depth, pace, rounds, queue)
        if found:
            return found
    return None


def _place_some(schedule, units, depth, pace, rounds, queue):
    """The best residency of these units, for the round that ``rounds`` makes of a frame."""
    def passes_of(groups):
        """The schedule in such passes, and the part of each of a frame's."""
        divided = in_passes(schedule, groups)
        return rounds(divided), [layer.part for layer in divided.layers]

    single, parts = passes_of(_joined(schedule, units, ())[0])
    passes = _Passes(single)

    def judged(resident):
        placed = passes.place({parts[unit] for unit in resident}, depth)
        if placed is None:
            return None
        _, loads = placed
        return passes.round_cycles(loads, pace, queue), sum(passes.words[index] for index in loads)

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
        groups, stay = _joined(schedule, units, resident, share and depth // share)
        joined, parts_of = passes_of(groups)
        passes = _Passes(joined)
        placed = passes.place({parts_of[unit] for unit in stay}, depth)
        if placed is not None:
            cycles, words = _shortest_queue(passes, placed[1], pace, queue)
            found.append(Residency(_placed(joined, *placed, words), cycles, cycles - joined.cycles,
                                   best[1] * passes.word_pieces * PIECE_BITS))
    fewest = min(one.cycles for one in found)
    return min((one for one in found if one.cycles <= fewest * (1 + SLOWER)),
               key=lambda one: len(one.schedule.layers))
