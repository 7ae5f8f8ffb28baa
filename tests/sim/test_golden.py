"""The golden model against a slow reference in Python integers, from the equations alone."""

import os
import subprocess
import sys

import numpy as np
import pytest

from gen.network import ACT_BITS, Network
from gen.package import SHIPPED, Package
from sim.golden import Golden, product_format
from sim.images import sample

RNG = np.random.default_rng(11)


def pixels(n, side):
    return RNG.integers(0, 256, (n, 3, side, side), dtype=np.uint8)


# ---- the reference: nested lists [channel][row][column] and loops --------------------------------

def rs(a, s):
    return (a + 2 ** (s - 1)) // 2 ** s if s > 0 else a * 2 ** -s


def clip(x, low, high):
    return low if x < low else min(x, high)


def convolve(weights, x, stride):
    """``x`` has its zero removed already."""
    cout, cin, side = len(weights), len(x), len(x[0])
    out = [[[0] * (side // stride) for _ in range(side // stride)] for _ in range(cout)]
    for o in range(cout):
        for row in range(side // stride):
            for column in range(side // stride):
                total = 0
                for i in range(cin):
                    for dy in range(3):
                        for dx in range(3):
                            y, z = row * stride + dy - 1, column * stride + dx - 1
                            if 0 <= y < side and 0 <= z < side:
                                total += weights[o][i][dy][dx] * x[i][y][z]
                out[o][row][column] = total
    return out


def each(function, *maps):
    return [[[function(*values) for values in zip(*rows)] for rows in zip(*planes)]
            for planes in zip(*maps)]


def pooled(r, cout):
    side = len(r[0])
    out = [[[0] * (side // 2) for _ in range(side // 2)] for _ in range(cout)]
    for c in range(len(r)):
        for row in range(side // 2):
            for column in range(side // 2):
                total = sum(r[c][y][x] for y in range(2 * row - 1, 2 * row + 2)
                            for x in range(2 * column - 1, 2 * column + 2)
                            if 0 <= y < side and 0 <= x < side)
                out[c][row][column] = rs(57 * total, 9)
    return out


def reference(package, image):
    """``(maps, scores)`` of one image, names and kinds as :class:`sim.golden.Result` has them."""
    net, maps = package.network, {}
    z, top = 2 ** net.act_frac, 2 ** net.act_bits - 1
    low, high = -2 ** (net.res_bits - 1), 2 ** (net.res_bits - 1) - 1
    weights = {name: w.tolist() for name, w in package.weights.items()}
    shifts, entries = list(net.shifts), list(net.entries)

    def activated(r, e):
        return each(lambda v: clip(rs(v, e) + z, 0, top), r)

    def rounded(acc):
        s = shifts.pop(0)
        return each(lambda a: rs(a, s), acc)

    acc = convolve(weights["stem"], each(lambda p: p - 128, image.tolist()), 1)
    r = maps["stem"] = each(lambda a: clip(a, low, high), rounded(acc))
    for group in range(3):
        for block in range((net.depth - 2) // 6):
            name, previous = f"g{group}b{block}c", list(maps)[-1]
            u = maps[previous + ".act"] = activated(r, entries.pop(0))
            stride = 2 if group and not block else 1
            acc = convolve(weights[name + "0"], each(lambda v: v - z, u), stride)
            v = maps[name + "0"] = activated(acc, shifts.pop(0))
            if stride == 2:
                r = pooled(r, 16 * net.width * 2 ** group)
            acc = convolve(weights[name + "1"], each(lambda c: c - z, v), 1)
            r = maps[name + "1"] = each(lambda x, a: clip(x + a, low, high), r, rounded(acc))
    u = maps[list(maps)[-1] + ".act"] = activated(r, entries.pop(0))
    gap = [sum(map(sum, plane)) - len(plane) ** 2 * z for plane in u]
    maps["gap"] = gap
    return maps, [sum(w * g for w, g in zip(row, gap)) for row in weights["head"]]


# ---- claims --------------------------------------------------------------------------------------

def agree(package, images):
    result = Golden(package).run(images, taps=True)
    names = set()
    for index, image in enumerate(images):
        maps, scores = reference(package, image)
        names |= set(maps)
        for name, want in maps.items():
            np.testing.assert_array_equal(result.maps[name][index], want, err_msg=name)
        assert result.scores[index].tolist() == scores
    assert set(result.maps) == names
    return result


@pytest.mark.parametrize("act_bits", ACT_BITS)
def test_every_map_equals_the_reference(act_bits):
    package = Package.random(Network(8, 1, side=8, act_bits=act_bits), act_bits)
    result = agree(package, pixels(2, 8))
    codes = np.concatenate([m.ravel() for m in result.maps.values() if m.dtype == np.uint8])
    assert codes.min() == 0 and codes.max() == 2 ** act_bits - 1, "both clips must have been met"


@pytest.mark.parametrize("fields", [
    {"res_bits": 6, "res_frac": 3},                                  # saturates often
    {"shifts": (-3, 0, -1, 4, 2, -2, 0), "entries": (-2, 0, 3, 1)},  # left shifts, none, odd ones
    {"res_bits": 16, "shifts": (-24, 24, 1, 1, 24, -24, 5)},         # shifts past 32 bits
    {"act_frac": 0}, {"act_frac": 3}, {"classes": 3},
], ids=str)
def test_other_numbers_equal_the_reference(fields):
    agree(Package.random(Network(8, 1, side=8, **fields), 3), pixels(1, 8))


def test_non_square_tile_counts_and_depth_equal_the_reference():
    agree(Package.random(Network(14, 1, side=24, classes=2), 5), pixels(1, 24))


@pytest.mark.parametrize("value", [0, 255])
def test_extreme_images_equal_the_reference(value):
    package = Package.random(Network(8, 1, side=8, act_bits=8), 1)
    package.weights["stem"][:] = 1
    package.weights["g0b0c1"][:] = -1
    agree(package, np.full((1, 3, 8, 8), value, np.uint8))


def test_maps_have_the_promised_types():
    net = Network(8, 1, side=16)
    maps = Golden(Package.random(net)).run(pixels(3, 16), taps=True).maps
    for conv in net.convs:
        shape = (3, conv.cout, conv.out_side, conv.out_side)
        assert maps[conv.name].shape == shape
        assert maps[conv.name].dtype == (np.uint8 if conv.kind == "first" else np.int32)
        assert (conv.name + ".act" in maps) == (conv.kind != "first")
    assert maps["gap"].shape == (3, net.features) and maps["gap"].dtype == np.int32


def test_batches_join_in_order():
    package = Package.random(Network(8, 1, side=8), 2)
    images = pixels(150, 8)
    result = Golden(package).run(images, taps=True)
    single = [Golden(package).run(images[i:i + 1], taps=True) for i in (0, 63, 64, 149)]
    for i, one in zip((0, 63, 64, 149), single):
        assert (result.scores[i] == one.scores[0]).all()
        assert (result.maps["g1b0c1"][i] == one.maps["g1b0c1"][0]).all()


def test_no_images_give_no_scores():
    result = Golden(Package.random(Network(8, 1, side=8))).run(pixels(0, 8), taps=True)
    assert result.scores.shape == (0, 10) and result.maps["stem"].shape == (0, 16, 8, 8)


def test_class_is_the_first_maximum():
    package = Package.random(Network(8, 1, side=8), 4)
    package.weights["head"][:] = package.weights["head"][0]       # every score the same
    package.weights["head"][:2] *= -1
    images = pixels(20, 8)
    scores = Golden(package).run(images).scores
    want = [row.index(max(row)) for row in scores.tolist()]
    assert set(want) == {0, 2}, "ties at both places must have been met"
    assert Golden(package).classify(images).tolist() == want


def test_wide_products_fall_back_to_float64_and_stay_exact(monkeypatch):
    import sim.golden
    package = Package.random(Network(8, 1, side=8), 6)
    images = pixels(2, 8)
    want = Golden(package).run(images).scores
    assert all(real is np.float32 for real, _ in Golden(package).formats.values())
    monkeypatch.setattr(sim.golden, "EXACT", ((np.float32, np.int32, 9 * 16 * 13 + 1),
                                              (np.float64, np.int64, 1 << 53)))
    golden = Golden(package)
    assert golden.formats["g0b0c0"][0] is np.float32 and golden.formats["g2b0c1"][0] is np.float64
    assert (golden.run(images).scores == want).all()


def test_float32_is_left_where_it_could_round():
    net = Network(8, 164, side=8, act_bits=8)        # 9 * 10,496 * 223 is above 2**24
    assert product_format(net, net.convs[-1]) == (np.float64, np.int64)
    assert product_format(net, net.convs[1]) == (np.float32, np.int32)


def test_scores_beyond_32_bits_are_refused():
    package = Package.random(Network(8, 1, side=2048, act_bits=8))
    with pytest.raises(ValueError, match="Scores of wrn-8-1 must fit 32 bits"):
        Golden(package)


@pytest.mark.parametrize("images, error, words", [
    ([[1]], TypeError, r"uint8\[n, 3, 32, 32\], not list"),
    (np.zeros((1, 3, 32, 32), np.float32), TypeError, r"not float32\[1, 3, 32, 32\]"),
    (np.zeros((1, 3, 32, 32), np.int8), TypeError, r"not int8\[1, 3, 32, 32\]"),
    (np.zeros((3, 32, 32), np.uint8), ValueError, r"not uint8\[3, 32, 32\]"),
    (np.zeros((1, 32, 32, 3), np.uint8), ValueError, r"not uint8\[1, 32, 32, 3\]"),
    (np.zeros((1, 3, 28, 28), np.uint8), ValueError, r"not uint8\[1, 3, 28, 28\]"),
    (np.zeros((1, 1, 3, 32, 32), np.uint8), ValueError, r"not uint8\[1, 1, 3, 32, 32\]"),
    (np.zeros((), np.uint8), ValueError, r"not uint8\[\]"),
])
def test_other_images_are_refused(images, error, words):
    with pytest.raises(error, match=r"Images must be " ) as refusal:
        Golden(Package.random(Network())).run(images)
    refusal.match(words)


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.safetensors")), ids=lambda p: p.stem)
def test_shipped_packages_know_the_sample_as_well_as_they_say(path):
    package, images = Package.load(path), sample()
    right = (Golden(package).classify(images.pixels) == np.array(images.labels)).mean()
    spread = (package.accuracy * (1 - package.accuracy) / len(images)) ** 0.5
    assert abs(right - package.accuracy) < 4 * spread


@pytest.mark.slow
@pytest.mark.parametrize("width, images, seconds", [(1, 500, 6), (4, 50, 6)])
def test_ten_thousand_images_take_at_most_two_or_twenty_core_minutes(width, images, seconds):
    """On one thread in a process of its own: BLAS threads that wait for a busy core would count."""
    program = f"""
import time, numpy as np
from gen.network import Network; from gen.package import Package; from sim.golden import Golden
golden = Golden(Package.random(Network(width={width})))
images = np.random.default_rng(0).integers(0, 256, ({images}, 3, 32, 32), dtype=np.uint8)
start = time.process_time(); golden.run(images); print(time.process_time() - start)"""
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True,
                          text=True, env={**os.environ, "OPENBLAS_NUM_THREADS": "1"})
    assert float(done.stdout) < seconds
