import dataclasses
import json
import math

import pytest

from gen.network import ACT_BITS, Network, _nearest_scale


def test_wrn_20_4_has_the_published_size():
    net = Network(20, 4)
    assert net.weight_bits == 4_280_512
    assert len(net.convs) == 19
    assert [conv.name for conv in net.convs[:4]] == ["stem", "g0b0c0", "g0b0c1", "g0b1c0"]
    assert net.convs[-1].name == "g2b2c1" and net.features == 256


def test_strides_and_sides_follow_the_groups():
    net = Network(20, 2, side=32)
    by_name = {conv.name: conv for conv in net.convs}
    assert [(by_name[n].side, by_name[n].stride, by_name[n].out_side)
            for n in ("g0b0c0", "g1b0c0", "g1b0c1", "g2b0c0", "g2b2c1")] == [
        (32, 1, 32), (32, 2, 16), (16, 1, 16), (16, 2, 8), (8, 1, 8)]
    assert (by_name["g1b0c0"].cin, by_name["g1b0c0"].cout) == (32, 64)
    assert [conv.kind for conv in net.convs[:3]] == ["stem", "first", "second"]
    assert {conv.stride for conv in net.convs if conv.kind != "first"} == {1}


def test_macs_of_wrn_20_1_are_those_of_the_literature():
    # ResNet-20 on CIFAR-10: 40.8 M in convolutions with 1x1 shortcuts or the pooled head beside.
    net = Network(20, 1)
    assert net.macs == sum(9 * c.cin * c.cout * c.out_side ** 2 for c in net.convs) + 640
    assert net.macs == 40_551_040


@pytest.mark.parametrize("cin, k", [(3, 2), (16, 3), (32, 4), (64, 4), (128, 5), (160, 5)])
def test_default_shifts_are_the_powers_of_two_nearest_the_papers_scale(cin, k):
    scale = (2 / (9 * cin)) ** 0.5
    assert min(range(12), key=lambda j: abs(math.log2(2 ** -j / scale))) == k
    assert _nearest_scale(9 * cin) == k


def test_default_shifts_carry_the_formats():
    net = Network(8, 1, act_bits=4, res_bits=12)          # f 1, F 5
    assert (net.act_frac, net.res_frac) == (1, 5)
    assert net.shifts[:3] == (6 + 2 - 5, 3, 1 + 3 - 5)
    assert net.entries == (4,) * 4


def test_activation_codes_hold_zero_and_top():
    for bits in ACT_BITS:
        net = Network(act_bits=bits)
        assert net.top == 2 ** bits - 1 and 0 < net.zero <= net.top


def test_entry_belongs_to_the_next_block_and_the_last_to_the_head():
    net = Network(14, 1, entries=tuple(range(7)))
    index = {conv.name: i for i, conv in enumerate(net.convs)}
    assert [net.entry_after(index[name]) for name in
            ("stem", "g0b0c1", "g0b1c1", "g1b0c1", "g1b1c1", "g2b0c1", "g2b1c1")] == list(range(7))


@pytest.mark.parametrize("net", [
    Network(), Network(8, 3, 5, 16, 8, 2, 16, 7), Network(8, shifts=(1, 2, 3, -4, 5, 6, 7),
                                                          entries=(0, -1, 2, 3))], ids=repr)
def test_fields_survive_json(net):
    assert Network.from_dict(json.loads(json.dumps(net.to_dict()))) == net


def test_network_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Network().depth = 26


@pytest.mark.parametrize("fields, error, words", [
    ({"depth": 18}, ValueError, r"Depth must be 6n\+2, not 18; try 20"),
    ({"depth": 9}, ValueError, "not 9; try 8"),
    ({"depth": 2}, ValueError, "Depth must be at least 8, not 2"),
    ({"depth": "20"}, TypeError, "Depth must be an integer, not '20'"),
    ({"depth": True}, TypeError, "Depth must be an integer, not True"),
    ({"width": 0}, ValueError, "Width must be at least 1, not 0"),
    ({"width": 1.5}, TypeError, "Width must be an integer, not 1.5"),
    ({"classes": 1}, ValueError, "Classes must be at least 2, not 1"),
    ({"side": 28}, ValueError, "multiple of 8, not 28; try 24 or 32"),
    ({"side": 0}, ValueError, "Image side must be at least 8, not 0"),
    ({"side": 4}, ValueError, "Image side must be at least 8, not 4"),
    ({"act_bits": 5}, ValueError, r"one of \(2, 3, 4, 6, 8\), not 5"),
    ({"act_bits": 1}, ValueError, "not 1"),
    ({"act_frac": 4}, ValueError, "Activation fraction bits must be 0 to 3, not 4"),
    ({"act_frac": -1}, ValueError, "not -1"),
    ({"act_bits": 4.0}, ValueError, "Activation bits must be one of .* not 4.0"),
    ({"res_bits": 17}, ValueError, "Residual bits must be 4 to 16, not 17"),
    ({"res_frac": 12}, ValueError, "Residual fraction bits must be 0 to 11, not 12"),
    ({"depth": 8, "shifts": (1, 2)}, ValueError, "Depth 8 needs 7 shifts, not 2"),
    ({"depth": 8, "entries": (1,) * 5}, ValueError, "Depth 8 needs 4 entries, not 5"),
    ({"depth": 8, "entries": (1, 2, 3, 25)}, ValueError, "entries must be -24 to 24, not 25"),
    ({"depth": 8, "entries": (1, 2, 3, 0.5)}, TypeError, "entries must be an integer, not 0.5"),
], ids=str)
def test_refuses(fields, error, words):
    with pytest.raises(error, match=words):
        Network(**fields)


@pytest.mark.parametrize("change", [
    lambda d: d.pop("side"), lambda d: d.update(colour="red")], ids=["missing", "unknown"])
def test_other_fields_are_refused(change):
    fields = Network().to_dict()
    change(fields)
    with pytest.raises(ValueError, match=r"missing or unknown: (side|colour)$"):
        Network.from_dict(fields)
