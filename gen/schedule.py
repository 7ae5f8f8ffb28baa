"""From a network and an array size to the layer schedule, cycle by cycle."""

from dataclasses import replace
from functools import partial
from itertools import groupby

from hw.head import busy_cycles
from hw.issue import ADDRESS_DELAY, ARRAY_DELAY, MIN_GAP, SEEN_DELAY
from hw.pipe import FAR
from hw.pool import pool_cycles
from hw.results import CODES_DELAY, RESIDUAL_READ_DELAY, emit_latency
from hw.schedule import LayerSchedule, Schedule

from .network import PIXEL_BITS

__all__ = ["check_lanes", "drain_cycles", "in_passes", "in_rounds", "make_schedule", "rounds_of",
           "scoring_cycles"]

SLIDE = 2      # rows between a map and the one that's written over it


def check_lanes(network, lanes):
    """Refuse an array that doesn't suit the network; the ``ValueError`` says which number to
    change."""
    p, cs, m, cr = lanes.pixels, lanes.slice_channels, lanes.outputs, lanes.result_channels
    smallest = network.side // 4
    if p < 2 or p % 2 or smallest % p:
        raise ValueError(f"Pixels must be even and divide the smallest map's side {smallest}, "
                         f"not {p}")
    if cs < 4 or network.channels(0) % cs:
        raise ValueError(f"Slice channels must be at least 4 and divide the "
                         f"{network.channels(0)} channels of the first group, not {cs}")
    if cr < 1 or cs % cr:
        raise ValueError(f"Result channels must divide the slice channels {cs}, not {cr}")
    if m < 1 or network.channels(0) % m or m % cr:
        raise ValueError(f"Outputs must be a multiple of the result channels {cr} that divides "
                         f"{network.channels(0)}, not {m}")


def _accumulator_bits(network, digits):
    """Bits of the largest unsigned sum that the array can reach."""
    codes = max(9 * conv.cin * network.top for conv in network.convs if conv.kind != "stem")
    pixels = 9 * 3 * ((1 << digits * network.act_bits) - 1)
    return max(codes, pixels).bit_length()


def make_schedule(network, lanes):
    """The :class:`hw.schedule.Schedule` of ``network`` on an array of ``lanes``."""
    check_lanes(network, lanes)
    digits = -(-PIXEL_BITS // network.act_bits)
    p, cs, m = lanes.pixels, lanes.slice_channels, lanes.outputs
    layers, weights, constants = [], 0, 0
    for index, conv in enumerate(network.convs):
        stem = conv.kind == "stem"
        slices = 1 if stem else conv.cin // cs
        out_groups = conv.cout // m
        natural = 3 * slices * (digits if stem else 1)
        residual = 0
        if conv.kind == "second":
            # New channels of a strided block have no residual yet.
            residual = network.convs[index - 1].cin // lanes.result_channels
        layers.append(LayerSchedule(
            name=conv.name, gap=0, rows=conv.out_side, x_groups=conv.side // p,
            out_groups=out_groups, digits=digits if stem else 1, slices=slices,
            bubbles=max(0, lanes.groups - natural), stride=conv.stride, from_image=stem,
            last=index == len(network.convs) - 1, first_conv=conv.kind == "first",
            pool=conv.stride == 2, source=0, target=0, weights=weights, constants=constants,
            row_words=conv.side // p * slices, residual_words=residual, shift=conv.shift,
            entry=network.entry_after(index) if conv.kind != "first" else 0))
        weights += layers[-1].weight_words
        constants += out_groups * lanes.groups
    # Results of a first convolution have no entry shift; give them one that's used anyway.
    used = min(layer.entry for layer in layers if not layer.first_conv)
    layers = [replace(layer, entry=used) if layer.first_conv else layer for layer in layers]
    schedule = Schedule(
        lanes=lanes, layers=tuple(layers), act_bits=network.act_bits, act_frac=network.act_frac,
        res_bits=network.res_bits, acc_bits=_accumulator_bits(network, digits),
        classes=network.classes, features=network.features, side=network.side,
        head_pixels=(network.side // 4) ** 2, map_depth=0,
        residual_depth=network.side ** 2 // p * (network.channels(0) // lanes.result_channels),
        image_words=network.side ** 2 // p)
    return _timed(schedule)


def in_passes(schedule, groups_of):
    """``schedule`` with convolutions in passes over some of their groups of outputs.

    ``groups_of`` has a list for every convolution: how many groups of outputs each pass computes.
    Weights lie in the same order as before.
    """
    lanes, layers = schedule.lanes, []
    for layer, passes in zip(schedule.layers, groups_of):
        whole, done = layer.out_groups * lanes.groups, 0
        for count in passes:
            first, words = done * lanes.groups, count * lanes.groups
            layers.append(replace(
                layer, gap=0, out_groups=count, first_output=done * lanes.outputs,
                first_word=first, skip=whole - words, final=done + count == layer.out_groups,
                pool=layer.pool and not done, weights=layer.weights + done * 3 * layer.slices,
                constants=layer.constants + first,
                residual_words=min(max(layer.residual_words - first, 0), words)))
            done += count
    return _timed(replace(schedule, layers=tuple(layers)))


def in_rounds(schedule, late=0):
    """``schedule`` for two frames at a time, so that the weights of the second and the last group
    of blocks, nearly all of the network's, come once for both.

    The first frame waits, behind the convolution that halves its map for the first time, for the
    other one; from there each pass runs for one and then for the other. Those of the last ``late``
    convolutions run in the round after, between the first layers of its frames: the deep layers,
    whose weights can't come as fast as they are used, are then in two places of the round, and
    weights come ahead while the first layers of either frame run. They must be fewer than those
    of the last group: ``ValueError`` else.
    """
    layers, side = schedule.layers, schedule.side
    group = _last_group(schedule)
    if not 0 <= late < group:
        raise ValueError(f"Late convolutions must be fewer than the {group} of the last group of "
                         f"blocks, not {late!r}")
    halving = next(layer.name for layer in layers if layer.pool)
    deep = 1 + max(index for index, layer in enumerate(layers) if layer.name == halving)
    late_names = set(schedule.convs[len(schedule.convs) - late:])
    half = schedule.residual_depth // 2      # a residual map of the second group of blocks

    def of_frame(layer, frame, reuses=False):
        # Where late layers need theirs, the residual maps of the last group lie behind all that the
        # first layers of the next round's first frame write.
        residual = pooled = frame * half
        if late and layer.rows == side // 4:
            pooled = 2 * half + frame * half // 2
        return replace(layer, frame=frame, reuses=reuses, late=layer.name in late_names,
                       residual=residual if layer.pool else pooled, pooled=pooled)
    first, second = ([of_frame(layer, frame) for layer in layers[:deep]] for frame in (0, 1))
    both = [of_frame(layer, frame, frame == 1) for layer in layers[deep:] for frame in (0, 1)]
    order = [*first, *(layer for layer in both if layer.late),
             *second, *(layer for layer in both if not layer.late)]
    return _timed(replace(schedule, layers=tuple(order), residual_depth=3 * half))


def rounds_of(frames, schedule):
    """What makes rounds of so many frames from one frame's ``schedule``: functions, simplest first.
    """
    if frames == 1:
        return [lambda one: one]
    return [in_rounds, partial(in_rounds, late=_last_group(schedule) // 2)]


def _last_group(schedule):
    """Number of the convolutions of the last group of blocks."""
    return sum(layer.final and layer.rows == schedule.side // 4 for layer in schedule.layers)


def drain_cycles(schedule):
    """Cycles from an output's last step until the codes of its last word are written."""
    return ARRAY_DELAY + emit_latency(schedule) + schedule.lanes.groups - 1 + CODES_DELAY


def scoring_cycles(schedule):
    """Least cycles of a round: its last convolution begins when the head has given the scores of
    the round before. That takes longer than the layers where classes are very many."""
    last = [layer for layer in schedule.layers if layer.last]
    computed = sum(layer.gap + layer.cycles for layer in last) - last[0].gap - last[-1].bubbles
    return computed + drain_cycles(schedule) + busy_cycles(schedule) + FAR + SEEN_DELAY


def _timed(schedule):
    """With the maps' addresses and the gaps between layers, which follow from everything else."""
    schedule = _with_maps(schedule)
    return replace(schedule, layers=_gaps(schedule))


def _first_fit(words, taken):
    """Lowest address of a place of ``words`` beside those taken, ``(address, words)``."""
    return min(place for place in [0, *(start + size for start, size in taken)]
               if all(place + words <= start or start + size <= place for start, size in taken))


def _with_maps(schedule):
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


def _gaps(schedule):
    """Layers with the smallest gaps at which none reads a word before it's written."""
    layers, left = _round(schedule, {}, {})
    if not schedule.late:       # nothing of a round matters to the next one
        return layers
    # What's left of a round counts from its end, and the first layers of the next one's frames are
    # long enough that its end doesn't depend on it: the second time all is as before.
    for _ in range(4):
        before = layers
        layers, left = _round(schedule, *left)
        if layers == before:
            return layers
    raise AssertionError("gaps that change from round to round")


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
