"""Init files decoded by their manifest give back the package's weights, and the right constants."""

import json

import numpy as np
import pytest

from gen.layout import contents, pass_name, weight_map
from gen.network import Network
from gen.package import Package
from gen.residency import place_weights
from gen.schedule import in_passes, make_schedule, rounds_of
from hw.schedule import Lanes
from hw.weights import PIECE_BITS, pieces

CASES = [
    (Network(8, 1, side=8, classes=3), Lanes(2, 4, 8, 4)),
    (Network(8, 1, side=8, classes=7, act_bits=3), Lanes(2, 16, 16, 4)),
    (Network(14, 1, side=16, act_bits=8), Lanes(4, 8, 8, 8)),
    (Network(8, 2, side=8, act_bits=2, act_frac=1, shifts=(24, -24, 3, 0, 1, 17, 9)),
     Lanes(2, 32, 16, 16)),
]


def made(net, lanes):
    schedule = make_schedule(net, lanes)
    package = Package.random(net, 9)
    found = contents(package, schedule)
    files = {f"weights{g}.hex": words for g, words in enumerate(found.weights)}
    files["head.hex"] = found.head
    files["constants.hex"] = found.constants
    manifest = json.loads(json.dumps(weight_map(net, schedule)))
    return schedule, package, found, files, manifest


@pytest.mark.parametrize("net,lanes", CASES)
def test_the_manifest_leads_to_every_weight_once(net, lanes):
    """Every bit of every file is read by the manifest's formulas; the rest must be 0."""
    schedule, package, _, files, manifest = made(net, lanes)
    weights = manifest["weights"]
    names = [bank for bank, in weights["files"]]
    seen = {name: [0] * len(files[name]) for name in names}
    for conv in net.convs:
        entry = weights["layers"][conv.name]
        got = np.zeros(conv.shape, int)
        for index in np.ndindex(conv.shape):
            output, channel, row, column = index
            out_group, rest = divmod(output, lanes.outputs)
            memory, weight_channel = divmod(rest, weights["weight_channels"])
            piece, c = divmod(channel, lanes.slice_channels)
            address = entry["first"] + (out_group * 3 + row) * entry["slices"] + piece
            bit = (weight_channel * 3 + column) * lanes.slice_channels + c
            name = names[memory]
            assert not seen[name][address] >> bit & 1, "two weights in one bit"
            seen[name][address] |= 1 << bit
            got[index] = -1 if files[name][address] >> bit & 1 else 1
        np.testing.assert_array_equal(got, package.weights[conv.name], conv.name)
    # What is beyond the image's three channels isn't inverted: the array adds 0 for it.
    for name in names:
        assert all(word & ~mask == 0 for word, mask in zip(files[name], seen[name]))
        assert len(files[name]) == sum(y.out_groups * 3 * y.slices for y in schedule.layers)


@pytest.mark.parametrize("net,lanes", CASES)
def test_passes_change_no_word(net, lanes):
    schedule, package, found, *_ = made(net, lanes)
    parts = in_passes(schedule, [[1] * layer.out_groups for layer in schedule.layers])
    split = contents(package, parts)
    assert (split.weights, split.constants) == (found.weights, found.constants)
    names = [pass_name(layer, lanes) for layer in parts.layers]
    assert len(set(names)) == len(names) == sum(y.out_groups for y in schedule.layers)


@pytest.mark.parametrize("frames,which", [(1, 0), (2, 0), (2, 1)])
@pytest.mark.parametrize("net,lanes", CASES)
def test_what_is_streamed_and_what_stays_are_all_the_weights(net, lanes, frames, which):
    """The stream's pieces, put together word by word where the loads say, beside the init files."""
    schedule, package, found, *_ = made(net, lanes)
    depth = max(3 * layer.slices for layer in schedule.layers)
    if lanes.groups % lanes.subslices:
        depth = max(layer.weight_words for layer in schedule.layers)
    placed = place_weights(schedule, depth, 2, rounds_of(frames, schedule)[which]).schedule
    split = contents(package, placed)
    assert split.constants == found.constants
    stream, per_word = iter(split.stream.tolist()), pieces(schedule)
    loaded, words = {load.layer for load in placed.loads}, {}
    got = [{} for _ in range(frames)]      # by address of the pass's constants: in order
    for index, layer in enumerate(placed.layers):
        for word in range(layer.weights, layer.weights + layer.weight_words):
            for g in range(lanes.weight_memories):
                if index in loaded:
                    words[g, word] = sum(next(stream) << PIECE_BITS * k for k in range(per_word))
                elif layer.part not in placed.streamed:
                    words[g, word] = split.weights[g][word]
                got[layer.frame].setdefault(layer.constants, []).append((g, words[g, word]))
    assert next(stream, None) is None
    for passes in got:
        in_order = [word for constants in sorted(passes) for word in passes[constants]]
        assert found.weights == [[word for at, word in in_order if at == g]
                                 for g in range(lanes.weight_memories)]


@pytest.mark.parametrize("net,lanes", CASES)
def test_the_manifest_leads_to_every_weight_of_the_head(net, lanes):
    _, package, _, files, manifest = made(net, lanes)
    per_word = lanes.result_channels
    got = np.array([[-1 if files["head.hex"][(j * net.features + c) // per_word]
                     >> c % per_word & 1 else 1 for c in range(net.features)]
                    for j in range(net.classes)])
    np.testing.assert_array_equal(got, package.weights["head"])
    assert len(files["head.hex"]) == net.classes * net.features // per_word
    assert manifest["head"]["features"] == net.features


@pytest.mark.parametrize("net,lanes", CASES)
def test_constants_turn_unsigned_sums_into_rounded_accumulators(net, lanes):
    """For random codes: array sum - constant = sum of w * (u - zero) + half a unit of the shift."""
    schedule, package, found, files, manifest = made(net, lanes)
    rng, bits = np.random.default_rng(2), found.constant_bits
    for conv, layer in zip(net.convs, schedule.layers):
        stem = conv.kind == "stem"
        zero = 128 if stem else net.zero
        top = (1 << schedule.digits * net.act_bits) - 1 if stem else net.top
        u = rng.integers(0, 256 if stem else net.top + 1, conv.shape[1:])
        w = package.weights[conv.name].astype(int)
        wanted = (w * (u - zero)).sum((1, 2, 3)) + (1 << conv.shift - 1 if conv.shift > 0 else 0)
        array = np.where(w > 0, u, top - u).sum((1, 2, 3))
        first = manifest["constants"]["layers"][conv.name]["first"]
        for output in range(conv.cout):
            word = files["constants.hex"][first + output // lanes.result_channels]
            raw = word >> bits * (output % lanes.result_channels) & (1 << bits) - 1
            constant = raw - (raw >> bits - 1 << bits)
            assert array[output] - constant == wanted[output], (conv.name, output)
        assert layer.constants == first
    assert len(files["constants.hex"]) == sum(conv.cout for conv in net.convs) // \
        lanes.result_channels


def test_words_fit_their_memories():
    for net, lanes in CASES:
        _, _, found, files, _ = made(net, lanes)
        assert max(map(max, found.weights)) < 1 << lanes.weight_bits
        assert max(found.constants) < 1 << found.constant_bits * lanes.result_channels
        assert max(found.head) < 1 << lanes.result_channels


def test_other_weights_make_memories_of_the_same_size():
    """So that a gateware serves any weights of its plan."""
    net, lanes = CASES[0]
    schedule = make_schedule(net, lanes)
    ones = {name: np.ones(shape, np.int8) for name, shape in net.weight_shapes.items()}
    found = [contents(package, schedule) for package in (
        Package.random(net, 1), Package(net, ones),
        Package(net, {name: -w for name, w in ones.items()}))]
    assert len({(y.constant_bits, len(y.constants), len(y.weights[0])) for y in found}) == 1
