"""Resources and speed before place and route.

Counts follow the structure of the gateware; the factors are fitted to routed designs
(``boards/results``), as named beside each.
"""

from collections import defaultdict

from hw.array import array_dot
from hw.dot import ADDERS_PER_CHAIN
from hw.head import sums_memory
from hw.image import image_memories
from hw.results import STORED_EXTRA_BITS
from hw.weights import PIECE_BITS

from .device import EBR_BITS, block_rams

__all__ = ["PlanTooLarge", "check_fit", "dot_sites", "estimate_resources", "memory_bits",
           "short_of_block_rams"]

SHELL_EBR = 4          # the link's queue, image, scores and identity


class PlanTooLarge(ValueError):
    """A network that doesn't fit the device; the message says what is short."""


def dot_sites(dot):
    """LUT sites and flip-flops of a :class:`hw.dot.Dot` with its accumulator and result, as
    :mod:`hw.dot` packs it: a half before the first adder of a chain, one behind each of them, and
    cells of two."""
    widths, halves = [dot.bits] * dot.lanes, defaultdict(list)  # of a block's adders
    flip_flops = 2 * dot.acc_bits
    for level, registered in zip(dot.levels(), dot.registered):
        sums = [widths[i] if j is None else max(widths[i], widths[j]) + 1 for i, j, _ in level]
        for width, (_, j, block) in zip(sums, level):
            if j is not None:
                halves[block].append(width)
        flip_flops += registered * sum(sums)
        widths = sums
    halves[None].append(dot.acc_bits)
    chains = [adders[k:k + ADDERS_PER_CHAIN] for adders in halves.values()
              for k in range(0, len(adders), ADDERS_PER_CHAIN)]
    return sum(2 * -(-(1 + sum(chain)) // 2) for chain in chains), flip_flops


def _memories(schedule):
    """``(name, width, depth, copies)`` of every block RAM memory."""
    lanes = schedule.lanes
    columns = lanes.pixels + 2
    sums_width, sums_depth, style = sums_memory(schedule)
    return [
        ("weights", lanes.weight_bits, schedule.weight_depth, lanes.weight_memories),
        ("constants", lanes.result_channels * (schedule.acc_bits + 2),
         schedule.constant_words, 1),
        ("maps", lanes.result_channels * schedule.act_bits, schedule.map_depth,
         columns * lanes.subslices),
        ("residual", lanes.result_channels * (schedule.res_bits + STORED_EXTRA_BITS),
         schedule.residual_depth, lanes.pixels),
        *(("image", width, depth, 1) for width, depth in image_memories(schedule)),
        ("head", lanes.result_channels, schedule.classes * schedule.features
         // lanes.result_channels, 1),
        *([("sums", sums_width, sums_depth, 1)] if style == "block" else []),
        *([("queue", PIECE_BITS, schedule.queue_words, 1)] if schedule.queue_words else [])]


def memory_bits(schedule):
    """Bits of every memory by name, as stored in block RAM."""
    bits = {}
    for name, width, depth, copies in _memories(schedule):
        bits[name] = bits.get(name, 0) + width * depth * copies
    return bits


def estimate_resources(schedule):
    """``{"comb", "ff", "ebr", "dsp"}`` of the pipeline with its board shell."""
    lanes = schedule.lanes
    dots = lanes.pixels * lanes.outputs
    units = lanes.pixels * lanes.result_channels
    step = (lanes.pixels + 2) * lanes.slice_channels * schedule.act_bits
    word = units * schedule.acc_bits
    width = schedule.res_bits + 2
    # One unit: constant, shift choices, saturation, residual add and saturation, entry, clip.
    unit = 2 * schedule.acc_bits + 7 * width
    pool = units // 2 * 9 * width
    # Rows of the layer tables are logic: WRN-20-4's 131 passes took 2,700 LUT sites.
    tables = 20 * len(schedule.layers)
    dot_comb, dot_ff = dot_sites(array_dot(schedule))
    comb = (dots * dot_comb + word * lanes.groups + unit * units + pool
            + 2 * step + tables + 3500)
    bits = lanes.inputs * lanes.outputs   # of weights in a cycle
    streamed = 2 * bits if schedule.loads else 0
    copied = 2 * (lanes.half + 2) * lanes.slice_channels * schedule.act_bits * lanes.groups
    ff = (dots * dot_ff + (lanes.groups + 3) * step + copied
          + units * (schedule.acc_bits * 5 + 9 * width) + word * (1 + lanes.groups)
          + 4 * bits + streamed + 3500)
    ebr = sum(block_rams(width, depth) * copies for _, width, depth, copies in
              _memories(schedule))
    return {"comb": int(comb), "ff": int(ff), "ebr": ebr + SHELL_EBR, "dsp": units // 2}


def short_of_block_rams(need, schedule, device, name, more, how=""):
    """The :class:`PlanTooLarge` of a design that needs ``need`` block RAMs; ``how`` tells of its
    array, and ``more`` what they're for."""
    return PlanTooLarge(
        f"{name} needs {need} block RAMs ({need * EBR_BITS:,} bits) on an array of "
        f"{schedule.lanes.count:,} lanes{how}, but the {device.name.upper()} has {device.ebr} "
        f"({device.ebr * EBR_BITS:,} bits){more}")


def check_fit(schedule, device, name):
    """Raise :class:`PlanTooLarge` where block RAM, logic or multipliers aren't enough."""
    need = estimate_resources(schedule)
    if need["ebr"] > device.ebr:
        bits = memory_bits(schedule)
        parts = ", ".join(f"{part} {bits[part]:,}" for part in ("weights", "maps", "residual"))
        raise short_of_block_rams(need["ebr"], schedule, device, name,
                                  f"; stored are {parts} bits")
    for part, what in (("comb", "LUT sites"), ("ff", "flip-flops"), ("dsp", "multipliers")):
        there = getattr(device, part)
        if need[part] > there:
            raise PlanTooLarge(
                f"{name} needs about {need[part]:,} {what} on an array of "
                f"{schedule.lanes.count:,} lanes, but the {device.name.upper()} has {there:,}; "
                f"use fewer --lanes")
