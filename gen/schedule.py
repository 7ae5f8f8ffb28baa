"""From a network and an array size to the layer schedule, cycle by cycle."""

from dataclasses import replace
from functools import partial

from hw.schedule import LayerSchedule, Schedule

from .addresses import with_maps
from .network import PIXEL_BITS
from .timing import with_gaps

__all__ = ["check_lanes", "in_passes", "in_rounds", "make_schedule", "rounds_of"]


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


def _timed(schedule):
    """With the maps' addresses and the gaps between layers, which follow from everything else."""
    return with_gaps(with_maps(schedule))
