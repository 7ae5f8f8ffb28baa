"""Where in the map memory each activation map of a schedule lies."""

from dataclasses import replace
from itertools import groupby

__all__ = ["SLIDE", "with_maps"]

SLIDE = 2      # rows between a map and the one that's written over it


def with_maps(schedule):
    """The schedule with the addresses of the activation maps.

    A convolution reads three rows at a time, so one that computes all of its outputs at once may
    write its map over the one it reads, ``SLIDE`` rows lower: when it writes a row, it doesn't need
    the row there any more. So the largest maps take hardly more than the place of one instead of
    two. The others, which are at most half as large, lie beside each other in it.
    """
    pixels, layers = schedule.lanes.pixels, schedule.layers
    convs = [next(passes) for _, passes in groupby(schedule.one_frame, lambda layer: layer.name)]
    needed = {layer.name: layer.x_groups * pixels * layer.row_words for layer in convs}
    written = {layer.name: needed[after.name] for layer, after in zip(convs, convs[1:])}
    written[convs[-1].name] = needed[convs[-1].name]
    largest = max(written.values())
    large = [layer for layer in convs if not layer.from_image and needed[layer.name] == largest]
    sliding = [layer for layer in large if layer.final]
    rise = SLIDE * sum(layer.row_words for layer in sliding)
    # The strided one may be in passes: the map that it writes is half as large.
    zone = largest + max(rise, 0 if sliding and sliding[-1].stride == 2 else largest // 2)
    slide = zone < 2 * largest and all(layer.stride == 2 or layer.final for layer in large)
    if not slide:
        zone, sliding = 2 * largest, []
    names = {layer.name for layer in sliding}

    # Maps that late layers read wait at the bottom, below all that the first layers of the next
    # round's first frame need; and that frame's, for the second frame, above what it needs. There
    # the memory is divided into maps of one size: two are read and two written in turn.
    halving = next(layer.name for layer in convs if layer.pool) if schedule.frames > 1 else None
    early = [layer.name for layer in convs if not layer.late]
    before, kept = early[-2:] if schedule.late else (None, None)
    bottom = schedule.frames * written[kept] if kept else 0
    above = -(-zone // written[halving]) * written[halving] if halving else 0
    # The first frame's halving convolution writes there, so it needs no rows to slide.
    first_rise = bottom + rise - sum(SLIDE * layer.row_words for layer in sliding
                                     if kept and layer.name == halving)

    # Of each frame, and of the late one with its number: where the map is that its convolution
    # reads, and the one that it writes.
    placed, write = [], {}
    read = {(True, frame): (frame * written[kept], written[kept])
            for frame in range(schedule.frames) if kept}
    for layer in layers:
        key = layer.late, layer.frame
        if layer.first_output == 0:
            words, taken = written[layer.name], [*read.values(), *write.values()]
            if layer.name == kept:
                target = layer.frame * words
            elif layer.from_image and slide:
                target = rise if layer.frame else first_rise
            elif layer.name == halving and not layer.frame:
                target = _first_fit(words, [*taken, (0, above)])
            elif layer.name in names:
                target = read[key][0] - SLIDE * layer.row_words
            elif layer.name == before:
                target = _first_fit(words, [*taken, (0, bottom)])
            else:
                target = _first_fit(words, taken)
            write[key] = target, words
        placed.append(replace(layer, source=0 if layer.from_image else read[key][0],
                              target=write[key][0]))
        if layer.final:
            read[key] = write.pop(key)
            if layer.last:
                del read[key]
    depth = max(layer.target + written[layer.name] for layer in placed)
    return replace(schedule, layers=tuple(placed), map_depth=depth)


def _first_fit(words, taken):
    """Lowest address of a place of ``words`` beside those taken, ``(address, words)``."""
    return min(place for place in [0, *(start + size for start, size in taken)]
               if all(place + words <= start or start + size <= place for start, size in taken))
