import dataclasses
import json
import struct

import numpy as np
import pytest

from gen.network import Network
from gen.package import Package, PackageError, shipped

NET = Network(8, 1, side=8, classes=3)


@pytest.fixture
def path(tmp_path):
    package = Package(NET, Package.random(NET, 7).weights, ("ant", "bee", "cat"),
                      {"epochs": 3, "note": "ünïcode"}, 0.625, 5000)
    package.save(tmp_path / "small.safetensors")
    return tmp_path / "small.safetensors"


def rewrite(path, change_header=None, change_tensors=None, change_fields=None):
    """Write the file anew with a changed layout; digests aren't corrected."""
    from safetensors.numpy import load, save
    raw = path.read_bytes()
    size, = struct.unpack_from("<Q", raw)
    metadata = json.loads(raw[8:8 + size])["__metadata__"]
    header, tensors = json.loads(metadata["signstream"]), load(raw)
    if change_header:
        change_header(header)
    if change_tensors:
        change_tensors(tensors)
    metadata = {"signstream": json.dumps(header)}
    if change_fields:
        change_fields(metadata)
    path.write_bytes(save(tensors, metadata=metadata))


def test_everything_survives_saving(path):
    want, got = Package.random(NET, 7), Package.load(path)
    assert got.network == NET and got.class_names == ("ant", "bee", "cat")
    assert got.training == {"epochs": 3, "note": "ünïcode"}
    assert (got.accuracy, got.test_images) == (0.625, 5000)
    for name, w in want.weights.items():
        assert got.weights[name].dtype == np.int8
        np.testing.assert_array_equal(got.weights[name], w)


def test_bits_are_packed_lowest_first_in_c_order(path):
    from safetensors.numpy import load
    packed, weights = load(path.read_bytes())["stem"], Package.random(NET, 7).weights["stem"]
    bits = [int(b) >> i & 1 for b in packed for i in range(8)]
    assert [1 if w > 0 else 0 for w in weights.reshape(-1)] == bits[:weights.size]


def test_a_bit_takes_a_bit():
    """A WRN-20-4 is 0.53 MB."""
    from gen.package import _pack
    net = Network(20, 4)
    package = Package.random(net)
    assert sum(len(_pack(w)) for w in package.weights.values()) == net.weight_bits // 8


def test_random_weights_are_those_of_the_seed():
    again, other = Package.random(NET, 7), Package.random(NET, 8)
    assert Package.random(NET, 7).digest == again.digest != other.digest
    assert 0.4 < np.mean(again.weights["g2b0c1"] > 0) < 0.6


def test_digest_tells_numbers_apart_and_ignores_provenance():
    package = Package.random(NET, 7)
    assert dataclasses.replace(package, training={"x": 1}, accuracy=0.5).digest == package.digest
    weights = {name: w.copy() for name, w in package.weights.items()}
    weights["head"][0, 0] *= -1
    assert dataclasses.replace(package, weights=weights).digest != package.digest
    other = dataclasses.replace(NET, entries=(1, 2, 3, 4))
    assert dataclasses.replace(package, network=other).digest != package.digest


def test_saving_replaces_whole_files_only(path, monkeypatch):
    before = path.read_bytes()
    monkeypatch.setattr("pathlib.Path.replace", lambda *_: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        Package.random(NET, 9).save(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("keep", [0, 5, 8, 100, -1])
def test_truncated_files_are_refused(path, keep):
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(PackageError, match=r"small\.safetensors: truncated"):
        Package.load(path)


@pytest.mark.parametrize("content", [b"PK\x03\x04 hello, this is a zip", b"\xff" * 64,
                                     struct.pack("<Q", 9) + b'{"a":"b"}'])
def test_other_files_are_refused(path, content):
    path.write_bytes(content)
    with pytest.raises(PackageError, match=r"small\.safetensors: "):
        Package.load(path)


def test_flipped_bits_are_refused_wherever_they_are(path):
    raw = path.read_bytes()
    size, = struct.unpack_from("<Q", raw)
    for place in np.random.default_rng(0).integers(8 + size, len(raw), 50):
        damaged = bytearray(raw)
        damaged[place] ^= 0x10
        path.write_bytes(damaged)
        with pytest.raises(PackageError, match="differ from the header's digest|padding"):
            Package.load(path)


@pytest.mark.parametrize("change, words", [
    (lambda h: h.update(version=2), "package version must be 1, not 2; re-pack it"),
    (lambda h: h.update(format="onnx"), "package version must be 1"),
    (lambda h: h.pop("format"), "package version must be 1"),
    (lambda h: h.pop("training"), "header lacks training"),
    (lambda h: h.update(weights=h.pop("network")), "header lacks network"),
    (lambda h: h["network"].update(widht=h["network"].pop("width")),
     "missing or unknown: widht, width"),
    (lambda h: h["network"].update(depth=9), "Depth must be 6n"),
    (lambda h: h["network"].update(side=12), "multiple of 8, not 12; try 8 or 16"),
    (lambda h: h["network"].update(shifts=[1]), "needs 7 shifts, not 1"),
    (lambda h: h["network"].update(shifts=None), "NoneType"),
    (lambda h: h["network"].update(shifts=[float("nan")] * 7), "must be an integer, not nan"),
    (lambda h: h["network"].update(depth=14, shifts=[1] * 13, entries=[1] * 7),
     "header says wrn-14-1, but the tensors don't: missing or unknown g0b1c0"),
    (lambda h: h["network"].update(width=2), r"stem: .* weights take 108 bytes, not \[54\]"),
    (lambda h: h["network"].update(classes=10), r"head: \[10, 64\] weights take 80 bytes"),
    (lambda h: h["network"]["shifts"].__setitem__(0, 9), "differ from the header's digest"),
    (lambda h: h.update(class_names=["ant"]), "Class names must be 3, not 1"),
    (lambda h: h.update(class_names="abc"), "Class names must be a list, not 'abc'"),
    (lambda h: h.update(class_names=None), "Class names must be a list, not None"),
], ids=lambda x: x if isinstance(x, str) else "")
def test_changed_headers_are_refused(path, change, words):
    rewrite(path, change_header=change)
    with pytest.raises(PackageError, match=words) as refusal:
        Package.load(path)
    refusal.match("small.safetensors")


def pad(tensors):
    tensors["g0b0c0"] = np.append(tensors["g0b0c0"], np.uint8(0))


@pytest.mark.parametrize("change, words", [
    (lambda t: t.pop("g1b0c1"), "the tensors don't: missing or unknown g1b0c1"),
    (lambda t: t.update(extra=t["head"]), "missing or unknown extra"),
    (lambda t: t.update(stem=t["stem"].astype(np.float32)),
     "stem: packed weights must be U8 bytes, not F32"),
    (lambda t: t.update(stem=t["stem"].astype(np.int8)), "not I8"),
    (lambda t: t.update(stem=t["stem"].reshape(2, -1)), r"stem: .* not \[2, 27\]"),
    (pad, "g0b0c0: .* take 288 bytes, not"),
], ids=["gone", "extra", "float", "signed", "shape", "long"])
def test_changed_tensors_are_refused(path, change, words):
    rewrite(path, change_tensors=change)
    with pytest.raises(PackageError, match=words):
        Package.load(path)


@pytest.mark.parametrize("change", [lambda m: m.clear(), lambda m: m.update(signstream="{")])
def test_other_safetensors_files_are_refused(path, change):
    rewrite(path, change_fields=change)
    with pytest.raises(PackageError, match="not a signstream network package"):
        Package.load(path)


@pytest.mark.parametrize("header", ["[]", "3", "null", '"text"'])
def test_headers_that_are_no_object_are_refused(path, header):
    rewrite(path, change_fields=lambda m: m.update(signstream=header))
    with pytest.raises(PackageError, match=r"small\.safetensors: "):
        Package.load(path)


def test_padding_bits_must_be_zero(tmp_path):
    net = Network(8, 1, side=8, classes=3)             # every tensor of it fills its bytes ...
    from gen.package import _pack, _unpack
    assert all(np.prod(shape) % 8 == 0 for shape in net.weight_shapes.values())
    packed = np.frombuffer(_pack(np.ones((1, 5), np.int8)), np.uint8) | 0x80     # ... so here
    with pytest.raises(PackageError, match="x: the padding after the last weight"):
        _unpack("x", packed, (1, 5))


def test_absent_and_unreadable_files_are_refused(tmp_path):
    with pytest.raises(PackageError, match=r"none\.safetensors: no such package"):
        Package.load(tmp_path / "none.safetensors")
    with pytest.raises(PackageError, match="can't be read"):
        Package.load(tmp_path)


@pytest.mark.parametrize("value", [0, 2, -2, np.nan, 0.5])
def test_only_plus_and_minus_one_are_weights(value):
    weights = {name: w.astype(float) for name, w in Package.random(NET).weights.items()}
    weights["g1b0c0"][3, 2, 1, 0] = value
    with pytest.raises(PackageError, match=r"g1b0c0: weights must be \+1 or -1"):
        Package(NET, weights)


def test_shapes_and_names_of_weights_are_checked():
    weights = dict(Package.random(NET).weights)
    with pytest.raises(PackageError, match=r"head: weights must be \[3, 64\], not \[64, 3\]"):
        Package(NET, {**weights, "head": weights["head"].T})
    with pytest.raises(PackageError, match="missing or unknown: stem"):
        Package(NET, {name: w for name, w in weights.items() if name != "stem"})
    with pytest.raises(PackageError, match="Class names must be 3, not 2"):
        Package(NET, weights, ("a", "b"))


def test_class_names_are_made_up_where_there_are_none():
    assert Package.random(NET).class_names == ("class 0", "class 1", "class 2")


def test_networks_without_a_trained_package_are_named():
    with pytest.raises(PackageError, match=r"No trained package for WRN-44-3 .*--random-weights"):
        shipped(44, 3)


@pytest.mark.parametrize("change", [
    lambda h: h.update(accuracy="high"), lambda h: h.update(accuracy=float("nan")),
    lambda h: h.update(accuracy=62.5), lambda h: h.update(test_images="many"),
    lambda h: h.update(class_names=[1, 2, 3]), lambda h: h.update(class_names=None),
    lambda h: h.update(training=[]), lambda h: h.update(network=None),
    lambda h: h.update(network=[]),
], ids=["text", "nan", "percent", "images", "names", "no names", "training", "none", "list"])
def test_headers_with_fields_of_another_kind_are_refused(path, change):
    rewrite(path, change_header=change)
    with pytest.raises(PackageError, match=r"small\.safetensors: "):
        Package.load(path)
