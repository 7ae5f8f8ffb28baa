"""From a network and an array size to the layer schedule, cycle by cycle."""

from dataclasses import replace

from hw.issue import ADDRESS_DELAY, ARRAY_DELAY, MIN_GAP
from hw.pool import pool_cycles
from hw.results import CODES_DELAY, RESIDUAL_READ_DELAY, emit_latency
from hw.schedule import LayerSchedule, Schedule

from .network import PIXEL_BITS

__all__ = ["check_lanes", "in_passes", "make_schedule"]


def check_lanes(network, lanes):
    """Refuse an array that doesn't suit the network; the ``ValueError`` says which number to
    change."""
    p, cs, m, cr = lanes.pixels, lanes.slice_channels, lanes.outputs, lanes.result_channels
    smallest = network.side // 4
    if p < 2 or smallest % p:
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
    map_words = network.side ** 2 // p * (network.channels(0) // cs)
    layers, weights, constants = [], 0, 0
    half = 0                                   # map that the next convolution reads
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
            name=conv.name, gap=MIN_GAP, rows=conv.out_side, x_groups=conv.side // p,
            out_groups=out_groups, digits=digits if stem else 1, slices=slices,
            bubbles=max(0, lanes.groups - natural), stride=conv.stride, from_image=stem,
            last=index == len(network.convs) - 1, first_conv=conv.kind == "first",
            pool=conv.stride == 2, source=0 if stem else half * map_words,
            target=(0 if stem else 1 - half) * map_words, weights=weights, constants=constants,
            row_words=conv.side // p * slices, residual_words=residual, shift=conv.shift,
            entry=network.entry_after(index) if conv.kind != "first" else 0))
        half = 0 if stem else 1 - half
        weights += layers[-1].weight_words
        constants += out_groups * lanes.groups
    # Results of a first convolution have no entry shift; give them one that's used anyway.
    used = min(layer.entry for layer in layers if not layer.first_conv)
    layers = [replace(layer, entry=used) if layer.first_conv else layer for layer in layers]
    schedule = Schedule(
        lanes=lanes, layers=tuple(layers), act_bits=network.act_bits, act_frac=network.act_frac,
        res_bits=network.res_bits, acc_bits=_accumulator_bits(network, digits),
        classes=network.classes, features=network.features, side=network.side,
        head_pixels=(network.side // 4) ** 2, map_words=map_words,
        residual_depth=network.side ** 2 // p * (network.channels(0) // lanes.result_channels),
        image_words=network.side ** 2 // p)
    return replace(schedule, layers=tuple(_gaps(schedule)))


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
                layer, gap=MIN_GAP, out_groups=count, first_output=done * lanes.outputs,
                first_word=first, skip=whole - words, final=done + count == layer.out_groups,
                pool=layer.pool and not done, weights=layer.weights + done * 3 * layer.slices,
                constants=layer.constants + first,
                residual_words=min(max(layer.residual_words - first, 0), words)))
            done += count
    schedule = replace(schedule, layers=tuple(layers))
    return replace(schedule, layers=tuple(_gaps(schedule)))


def _gaps(schedule):
    """Layers with the smallest gaps at which none reads a word before it's written."""
    groups = schedule.lanes.groups
    # From the cycle of a result's last step to that of its first word, and to its last's write.
    first_word = ARRAY_DELAY + emit_latency(schedule)
    written = first_word + groups - 1 + CODES_DELAY
    # Relative to the first step beside pooling: its end, and that of the layer before.
    before, pool_end, since = None, None, 0
    for index, layer in enumerate(schedule.layers):
        # The first results come when the words of the layer before (of the frame before) are out.
        spacing = schedule.layers[index - 1].bubbles + layer.steps - layer.bubbles
        gap = max(layer.gap, groups - spacing)
        if layer.first_output == 0 and before is not None:
            # Relative to the first step of the layer before.
            start = before.cycles + gap
            row_steps = layer.cycles // layer.rows
            before_row_steps = before.cycles // before.rows
            for row in range(layer.rows):
                lowest = min(row * layer.stride + 1, before.rows - 1)
                ready = (lowest + 1) * before_row_steps - 1 + written + 1 - ADDRESS_DELAY
                gap = max(gap, gap + ready - (start + row * row_steps))
            if pool_end is not None:
                # The first residual read is in the cycle after the last pooled word's write.
                reads = layer.steps - layer.bubbles - 1 + first_word + RESIDUAL_READ_DELAY
                gap = max(gap, pool_end - (since + reads))
            pool_end = None
        since += gap + layer.cycles
        if layer.pool:
            since = layer.cycles
            pool_end = (layer.steps - layer.bubbles - 1 + first_word
                        + pool_cycles(layer, schedule.lanes))
        before = layer
        yield replace(layer, gap=gap)
