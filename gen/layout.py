"""Where every weight lies: from a network package to the words of the read-only memories.

The array adds ``u`` or ``top - u`` (see :mod:`hw.dot`), so the wanted ``sum w * (u - zero)`` is
its sum minus ``top * n_neg + zero * (n_pos - n_neg)``, a constant per output channel. Half a unit
of the following shift is taken off the constant, which rounds to nearest for free.
"""

import numpy as np

from hw.pipeline import Contents
from hw.weights import PIECE_BITS, pieces

from .device import bank_depths, bank_names
from .network import PIXEL_ZERO

__all__ = ["STREAM", "contents", "pass_name", "weight_map"]

STREAM = "sdram.bin"  # what the weight stream gives in a frame, beside the init files


def _words(bits):
    """Integers from ``bool[n, width]``, bit 0 first."""
    packed = np.packbits(bits, axis=1, bitorder="little")
    return [int.from_bytes(row.tobytes(), "little") for row in packed]


def _pieces(words, count_of):
    """What the weight stream carries (:mod:`hw.weights`), uint32, of ``bool[memory, word, bit]`` in
    ``count_of`` pieces a word."""
    memories, count, bits = words.shape
    padded = np.zeros((count, memories, count_of * PIECE_BITS), bool)
    padded[..., :bits] = words.transpose(1, 0, 2)
    return np.packbits(padded.reshape(-1, PIECE_BITS), axis=1, bitorder="little").view("<u4")[:, 0]


def _pass_weights(package, layer, lanes):
    """Weights of the output channels that a pass computes."""
    outputs = slice(layer.first_output, layer.first_output + layer.out_groups * lanes.outputs)
    return package.weights[layer.name][outputs]


def _layer_inversions(weights, layer, lanes):
    """Inversion bits ``bool[memory, word, weight channel * 3 * slice channel]`` of one pass."""
    cout, cin = weights.shape[:2]
    padded = np.zeros((cout, layer.slices * lanes.slice_channels, 3, 3), bool)
    padded[:, :cin] = weights < 0
    w = padded.reshape(layer.out_groups, lanes.weight_memories, lanes.weight_channels,
                       layer.slices, lanes.slice_channels, 3, 3)
    # -> memory, out group, kernel row, slice | output channel, kernel column, channel
    w = w.transpose(1, 0, 5, 3, 2, 6, 4)
    return w.reshape(lanes.weight_memories, layer.out_groups * 3 * layer.slices, -1)


def _layer_constants(network, weights, layer, digits):
    """What to take off the array's sums, ``int[cout]``."""
    negative = (weights < 0).sum((1, 2, 3)).astype(np.int64)
    positive = weights[0].size - negative
    top, zero = network.top, network.zero
    if layer.from_image:
        top, zero = (1 << digits * network.act_bits) - 1, PIXEL_ZERO
    constant = top * negative + zero * (positive - negative)
    return constant - (1 << layer.shift - 1) if layer.shift > 0 else constant


def _resident(schedule):
    """Words of a weight memory, from the first, that aren't streamed."""
    return max((layer.weights + layer.weight_words for layer in schedule.layers
                if layer.part not in schedule.streamed), default=0)


def _constant_bits(schedule):
    """Wide enough for any weights: a new network of the same plan fits the same gateware."""
    return max(schedule.acc_bits, max(layer.shift for layer in schedule.layers) - 1) + 2


def contents(package, schedule):
    """The :class:`hw.pipeline.Contents` of a package on a schedule."""
    lanes, network = schedule.lanes, package.network
    layers = [(layer, _pass_weights(package, layer, lanes)) for layer in schedule.layers]
    loaded, streamed = {load.layer for load in schedule.loads}, schedule.streamed
    inversions = np.zeros((lanes.weight_memories, _resident(schedule), lanes.weight_bits), bool)
    stream = [np.zeros(0, np.uint32)]
    for k, (layer, weights) in enumerate(layers):
        words = _layer_inversions(weights, layer, lanes)
        if k in loaded:
            stream.append(_pieces(words, pieces(schedule)))
        elif layer.part not in streamed:
            inversions[:, layer.weights:layer.weights + layer.weight_words] = words
    constants = np.concatenate(
        [_layer_constants(network, _pass_weights(package, layer, lanes), layer, schedule.digits)
         for layer in schedule.one_frame])
    bits = _constant_bits(schedule)
    rows = constants.reshape(-1, lanes.result_channels)
    words = [sum((int(value) & (1 << bits) - 1) << bits * j for j, value in enumerate(row))
             for row in rows]
    head = package.weights["head"].reshape(-1, lanes.result_channels) < 0
    return Contents([_words(group) for group in inversions], words, bits, _words(head),
                    np.concatenate(stream))


def pass_name(layer, lanes):
    """Name of a convolution, with the output channels of the pass where it's not all of them."""
    if layer.final and not layer.first_output:
        return layer.name
    end = layer.first_output + layer.out_groups * lanes.outputs
    return f"{layer.name}[{layer.first_output}:{end}]"


def _files(names, width, depth, words=None):
    """Manifest entries on the init files of equal memories, by memory and bank; banks behind the
    first ``words`` have none."""
    first = bank_depths(width, depth)[0]
    count = -(-(depth if words is None else words) // first)
    return {"files": [[f"{bank}.hex" for bank in bank_names(name, width, depth)[:count]]
                      for name in names],
            "bank_words": first}


def weight_map(network, schedule):
    """Manifest of the init files, JSON-ready: which layer and bits lie where."""
    lanes = schedule.lanes
    loaded = [schedule.layers[load.layer] for load in schedule.loads]
    return {
        "bit": "1 where the weight is -1",
        "file": "files[memory][address // bank_words], line address % bank_words",
        "weights": {
            **_files([f"weights{g}" for g in range(lanes.weight_memories)], lanes.weight_bits,
                     schedule.weight_depth, _resident(schedule)),
            "word": "step of a layer: address = first + (out_group * 3 + kernel_row) * slices"
                    " + slice",
            "bit": "(weight_channel * 3 + kernel_column) * slice_channels + channel",
            "output": "out_group * outputs + memory * weight_channels + weight_channel",
            "weight_channels": lanes.weight_channels,
            "input": "slice * slice_channels + channel",
            "layers": {pass_name(layer, lanes): {
                "first": layer.weights, "out_groups": layer.out_groups, "slices": layer.slices,
                "streamed": layer in loaded}
                for layer in schedule.one_frame}},
        **({"stream": {
            "files": [STREAM],
            "piece": f"{PIECE_BITS} bits, little endian; pieces of a word, lowest first, of file "
                     "0, 1, ..., then the next address",
            "layers": {pass_name(layer, lanes) + " again" * layer.frame:
                       layer.weight_words * lanes.weight_memories * pieces(schedule)
                       for layer in loaded}}} if loaded else {}),
        "constants": {
            **_files(["constants"], _constant_bits(schedule) * lanes.result_channels,
                     schedule.constant_words),
            "word": "address = first + output // result_channels",
            "layers": {pass_name(layer, lanes): {"first": layer.constants}
                       for layer in schedule.one_frame}},
        "head": {
            **_files(["head"], lanes.result_channels,
                     network.classes * network.features // lanes.result_channels),
            "word": "address = class * (features / result_channels) + channel // result_channels",
            "bit": "channel % result_channels", "features": network.features},
    }
