"""When each layer of a schedule begins, in cycles."""

from dataclasses import replace

from hw.head import busy_cycles
from hw.issue import ADDRESS_DELAY, ARRAY_DELAY, MIN_GAP, SEEN_DELAY
from hw.pipe import FAR
from hw.pool import pool_cycles
from hw.results import CODES_DELAY, RESIDUAL_READ_DELAY, emit_latency

__all__ = ["drain_cycles", "scoring_cycles", "with_gaps"]


def with_gaps(schedule):
    """The schedule with the smallest gaps between its layers at which none reads a word before it's
    written."""
    layers, left = _round(schedule, {}, {})
    if not schedule.late:       # nothing of a round matters to the next one
        return replace(schedule, layers=layers)
    # What's left of a round counts from its end, and the first layers of the next one's frames are
    # long enough that its end doesn't depend on it: the second time all is as before.
    for _ in range(4):
        before = layers
        layers, left = _round(schedule, *left)
        if layers == before:
            return replace(schedule, layers=layers)
    raise AssertionError("gaps that change from round to round")


def drain_cycles(schedule):
    """Cycles from an output's last step until the codes of its last word are written."""
    return ARRAY_DELAY + emit_latency(schedule) + schedule.lanes.groups - 1 + CODES_DELAY


def scoring_cycles(schedule):
    """Least cycles of a round: its last convolution begins when the head has given the scores of
    the round before. That takes longer than the layers where classes are very many."""
    last = [layer for layer in schedule.layers if layer.last]
    computed = sum(layer.gap + layer.cycles for layer in last) - last[0].gap - last[-1].bubbles
    return computed + drain_cycles(schedule) + busy_cycles(schedule) + FAR + SEEN_DELAY


def _round(schedule, producers, pooled):
    """``(layers, (producers, pooled))`` with their gaps after a round that left those: of each
    frame start and layer of the last pass, and when the pooled residual map is complete, in cycles
    from the end of that round."""
    lanes = schedule.lanes
    # From the cycle of a result's last step to that of its first word, and to its last's write.
    first_word, written = ARRAY_DELAY + emit_latency(schedule), drain_cycles(schedule)
    producers = {(True, frame): what for (_, frame), what in producers.items()}
    pooled, layers, end = dict(pooled), [], 0
    for index, layer in enumerate(schedule.layers):
        key = layer.late, layer.frame
        # The first results come when the words of the layer before (of the round before) are out.
        spacing = schedule.layers[index - 1].bubbles + layer.steps - layer.bubbles
        start = end + max(MIN_GAP, lanes.groups - spacing)
        result = layer.steps - layer.bubbles - 1 + first_word     # of the first pixels, from start
        if layer.first_output == 0 and not layer.from_image and key in producers:
            begin, before = producers[key]
            row_steps, before_row_steps = layer.cycles // layer.rows, before.cycles // before.rows
            for row in range(layer.rows):
                lowest = min(row * layer.stride + 1, before.rows - 1)
                ready = begin + (lowest + 1) * before_row_steps - 1 + written + 1 - ADDRESS_DELAY
                start = max(start, ready - row * row_steps)
        if pooled and (layer.pool or not layer.first_conv):
            # The first residual read is in the cycle after the last pooled word's write.
            reads = result + (0 if layer.pool else RESIDUAL_READ_DELAY)
            start = max(start, max(pooled.values()) - reads)
        if layer.pool:
            pooled[layer.frame] = start + result + pool_cycles(layer, lanes)
        layers.append(replace(layer, gap=start - end))
        end = start + layer.cycles
        producers[key] = start, layer
    return tuple(layers), (
        {key: (begin - end, layer) for key, (begin, layer) in producers.items() if not key[0]},
        {frame: cycle - end for frame, cycle in pooled.items()})
