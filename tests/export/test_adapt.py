"""A network as the start of a wider one, or of one with other formats."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from export.__main__ import main  # noqa: E402
from export.adapt import AdaptError, adapted  # noqa: E402
from export.copies import alike  # noqa: E402
from export.model import WRN  # noqa: E402
from gen.network import Network  # noqa: E402
from gen.package import Package  # noqa: E402
from sim.golden import Golden  # noqa: E402

NET = Network(8, 1, side=16, act_frac=1, shifts=(2, 3, -1, 0, 1, 3, 0), entries=(5, 5, 6, 4))


def golden(network, state, images):
    model = WRN(network)
    model.load_state_dict(state)
    return Golden(Package(network, model.weights(), tuple("abcdefghij"), {})).run(images, taps=True)


def state_of(network, seed=0):
    torch.manual_seed(seed)
    return WRN(network).state_dict()


def images(side=16):
    return np.random.default_rng(1).integers(0, 256, (3, 3, side, side), dtype=np.uint8)


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_a_wider_network_computes_the_same_with_copies_of_every_channel(factor):
    state = state_of(NET)
    network, wide = adapted(NET, state, Network(8, factor, side=16, act_frac=1))
    a, b = golden(NET, state, images()), golden(network, wide, images())
    assert np.array_equal(b.scores, factor * a.scores) and a.scores.any()
    for name, expected in a.maps.items():
        assert np.array_equal(b.maps[name], expected.repeat(factor, 1)), name
    x = torch.from_numpy(images())
    logits = []
    for net, tensors in ((NET, state), (network, wide)):
        model = WRN(net).eval()
        model.load_state_dict(tensors)
        logits.append(model(x))
    assert torch.allclose(*logits)


def test_finer_activations_differ_from_the_old_ones_by_rounding_alone():
    """Codes with two more fraction bits, cut back to the old ones, are the old ones or next."""
    state = state_of(NET)
    network, fine = adapted(NET, state, Network(8, 1, side=16, act_bits=6, act_frac=3))
    a, b = golden(NET, state, images()), golden(network, fine, images())
    first = "stem.act"                        # behind it roundings add up
    assert np.abs(b.maps[first].astype(int) - 4 * a.maps[first].astype(int))[
        a.maps[first] < NET.top].max() <= 2
    assert np.corrcoef(a.scores.ravel(), b.scores.ravel())[0, 1] > 0.9


def test_a_finer_residual_differs_from_the_old_one_by_rounding_alone():
    state = state_of(NET)
    network, fine = adapted(NET, state, Network(8, 1, side=16, act_frac=1, res_bits=16, res_frac=9))
    a, b = golden(NET, state, images()), golden(network, fine, images())
    inside = np.abs(a.maps["stem"]) < 2000
    assert inside.mean() > 0.9
    assert np.abs(b.maps["stem"] - 16 * a.maps["stem"])[inside].max() <= 8
    assert np.corrcoef(a.scores.ravel(), b.scores.ravel())[0, 1] > 0.9


def test_other_classes_and_sides_change_neither_shifts_nor_tensors():
    state = state_of(NET)
    network, same = adapted(NET, state, Network(8, 1, classes=3, side=32, act_frac=1))
    assert (network.classes, network.side) == (3, 32)
    assert (network.shifts, network.entries) == (NET.shifts, NET.entries)
    assert same.keys() == state.keys() and all(torch.equal(same[n], state[n]) for n in state)


@pytest.mark.parametrize("wanted, message", [
    (Network(14, 1, side=16), "same depth, 14, not 8"),
    (Network(8, 3, side=16), "of its width 3, or that halved as often as you like, not 1"),
])
def test_a_start_that_cannot_be_is_refused(wanted, message):
    with pytest.raises(AdaptError, match=message):
        adapted(NET, state_of(NET), wanted)


def test_copies_are_told_from_channels_with_nothing_in_common(tmp_path, capsys):
    network, wide = adapted(NET, state_of(NET), Network(8, 2, side=16, act_frac=1))
    model = WRN(network)
    model.load_state_dict(wide)
    copies, weights = model.weights(), Package.random(network, 1).weights
    known = [share for pair in alike(copies).values() for share in pair if share is not None]
    assert set(known) == {1.0} and len(known) == 2 * len(copies) - 2
    weights["g2b0c1"] = copies["g2b0c1"].copy()
    weights["g2b0c1"][1::2, :, 0] *= -1          # a row of three in every second output
    shares = alike(weights)
    assert shares["g2b0c1"] == (pytest.approx(2 / 3), 1.0)
    assert all(0.4 < share < 0.6 for share in shares["g2b0c0"])
    assert shares["stem"][1] is None and shares["head"][0] is None
    package = tmp_path / "wide.safetensors"
    Package(network, weights, tuple("abcdefghij"), {}).save(package)
    assert main(["copies", str(package)]) == 0
    assert "\n| g2b0c1 | 67% | 100% |\n" in capsys.readouterr().out
