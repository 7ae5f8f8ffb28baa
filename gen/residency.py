"""Which weights stay on the chip and which are streamed, by going through the frame's schedule.

Weights that don't stay are written into a buffer behind those that do, layer after layer and ahead
of time; a layer's weights are used for every group of pixels, so it waits until they are complete,
and a place in the buffer waits until the layer is over that used it before. Bandwidth per frame
says little: what counts is what the buffer holds when the deep layers begin, which need the most
weights for the fewest cycles.
"""

from dataclasses import dataclass, replace

from hw.issue import ARRAY_DELAY
from hw.schedule import Schedule, WeightLoad
from hw.weights import PIECE_BITS, pieces

from .device import EBR_SHAPES, block_rams
from .estimate import estimate_resources

__all__ = ["PIECE_CYCLES", "Residency", "place_weights", "weight_room"]

# Pipeline cycles for 16 bits of weights: an SDRAM on the pipeline's clock, of which opening rows
# and refreshing take a twentieth.
PIECE_CYCLES = 1 / 0.95
FETCH = 2    # cycles between two loads
START = 3    # cycles from the last piece to the layer's first step
FRAMES = 4   # until loads and layers repeat themselves


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


def _placed(schedule, resident, depth):
    """The schedule with the layers of the set ``resident`` in front and the others in a ring
    behind them, or ``None`` where one is too large."""
    layers, place = list(schedule.layers), 0
    for index in sorted(resident):
        layers[index] = replace(layers[index], weights=place)
        place += layers[index].weight_words
    first, spans = place, []
    for index, layer in enumerate(layers):
        if index in resident:
            continue
        if place + layer.weight_words > depth:
            place = first
        if place + layer.weight_words > depth:
            return None
        layers[index] = replace(layer, weights=place)
        spans.append((index, range(place, place + layer.weight_words)))
        place += layer.weight_words
    loads, count = [], len(layers)
    for k, (index, span) in enumerate(spans):
        # Everything that was in this place before, in this frame and the one before it.
        earlier = ([(i, s) for i, s in spans[:k]]
                   + [(i - count, s) for i, s in spans[k:]])
        after = max(i + 1 for i, s in earlier if s.start < span.stop and span.start < s.stop)
        loads.append(WeightLoad(index, max(after, loads[-1].after) if loads else after))
    if loads and loads[0].after < loads[-1].after - count:   # loads come in order, frames too
        loads[0] = replace(loads[0], after=loads[-1].after - count)
        loads = [replace(load, after=max(load.after, loads[0].after)) for load in loads]
    return replace(schedule, layers=tuple(layers), loads=tuple(loads))


def _frame_cycles(schedule, piece_cycles):
    """Cycles from one frame's end to the next one's, once they repeat."""
    layers, word = schedule.layers, schedule.lanes.groups * pieces(schedule) * piece_cycles
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
    """Words that a group's weight memory may have beside everything else on ``device``."""
    lanes = schedule.lanes
    width = lanes.inputs * lanes.result_channels
    rest = (estimate_resources(schedule)["ebr"]
            - block_rams(width, schedule.weight_depth) * lanes.groups)
    row = EBR_SHAPES[0][1]
    depth = row
    while block_rams(width, depth) * lanes.groups <= device.ebr - rest:
        depth += row
    return depth - row


def place_weights(schedule, depth, piece_cycles=PIECE_CYCLES):
    """Choose the layers whose weights stay in weight memories of ``depth`` words.

    Starts with a ring for all of them and lets single layers stay or go as long as a frame gets
    shorter, or as short with less to stream. ``piece_cycles`` are clock cycles for 16 bits from
    the stream. Returns a :class:`Residency`, or ``None`` where a layer's weights exceed ``depth``.
    """
    if schedule.weight_depth <= depth:
        return Residency(schedule, schedule.cycles, 0, 0)
    total = sum(layer.weight_words for layer in schedule.layers)
    groups = schedule.lanes.groups * pieces(schedule) * PIECE_BITS

    def judged(resident):
        placed = _placed(schedule, resident, depth)
        if placed is None:
            return None
        streamed = total - sum(schedule.layers[index].weight_words for index in resident)
        return _frame_cycles(placed, piece_cycles), streamed, placed

    resident, best = frozenset(), judged(frozenset())
    while best is not None:
        moves = [(verdict, moved) for moved in (resident ^ {i} for i in range(len(schedule.layers)))
                 if (verdict := judged(moved)) is not None]
        verdict, moved = min(moves, key=lambda move: (move[0][:2], sorted(move[1])),
                             default=(best, resident))
        if verdict[:2] >= best[:2]:
            cycles, streamed, placed = best
            return Residency(placed, cycles, cycles - schedule.cycles, streamed * groups)
        resident, best = moved, verdict
    return None
