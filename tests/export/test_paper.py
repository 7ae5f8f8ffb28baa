"""The paper's nets with normalisation, other activation functions and 32-bit weights."""

import math
from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")

from export.__main__ import main  # noqa: E402
from export.checkpoint import restore  # noqa: E402
from export.model import WRN, calibrate  # noqa: E402
from export.paper import ACTS, NORMS, OURS, SCALES, PaperNet, Variant  # noqa: E402
from export.versus import VARIANTS  # noqa: E402
from gen.network import Network  # noqa: E402
from tests.export.runs import train  # noqa: E402

NET = Network(8, 1, side=16, classes=3)


def images(count=8):
    torch.manual_seed(0)
    return torch.randint(0, 256, (count, 3, 16, 16), dtype=torch.uint8)


@pytest.mark.parametrize("bits", [1, 32])
@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("norm", NORMS)
def test_every_variant_computes_and_has_gradients(norm, act, bits):
    torch.manual_seed(1)
    net = PaperNet(NET, Variant(norm, act, bits))
    scores = net(images())
    assert scores.shape == (8, 3) and scores.isfinite().all()
    scores.square().sum().backward()
    assert all(sign.latent.grad.abs().sum() > 0 for sign in net.signs.values())
    weights = net.signs["g1b0c0"]()
    assert (len(weights.detach().abs().unique()) == 1) == (bits == 1)


def test_normalised_sums_have_the_batch_s_moments():
    """Seen by a hook on what comes out in front of an activation function."""
    for norm, std in (("bn", True), ("mean-only-bn", False)):
        torch.manual_seed(1)
        net, seen = PaperNet(NET, Variant(norm, "relu")), []
        net.norms["g1b0c0"].register_forward_hook(lambda _, x, y, seen=seen: seen.extend([x[0], y]))
        net(images(64))
        before, after = seen
        assert before.mean((0, 2, 3)).abs().max() > 0.1
        assert after.mean((0, 2, 3)).abs().max() < 1e-4
        moments = after.std((0, 2, 3))
        assert torch.allclose(moments, torch.ones_like(moments), atol=0.01) == std
        assert std or torch.allclose(moments, before.std((0, 2, 3)), atol=1e-4)


def test_the_final_norm_alone_is_of_the_class_maps():
    net = PaperNet(NET, Variant("final-bn"))
    kinds = {name: type(norm).__name__ for name, norm in net.norms.items()}
    assert kinds.pop("scores") == "BatchNorm2d" and set(kinds.values()) == {"Identity"}


def test_activation_functions_are_those_of_the_paper():
    x = torch.tensor([-3.0, -0.5, 2.0])
    assert ACTS["srelu"](x).tolist() == [-1, -0.5, 2]
    assert ACTS["relu"](x).tolist() == [0, 0, 2]
    assert ACTS["elu"](x)[1].item() == pytest.approx(torch.tensor(-0.5).exp().item() - 1)


def test_a_variant_is_trained_and_resumed_but_never_packed(data, tmp_path, capsys):
    whole, parts = tmp_path / "whole.pt", tmp_path / "parts.pt"
    options = ["--epochs", 4, "--norm", "mean-only-bn", "--act", "elu", "--weight-bits", 32,
               "--rate", "0.005"]
    assert train(data, whole, *options) == 0
    assert train(data, parts, *options, "--stop-after", 2) == 0
    assert train(data, parts, *options, "--resume") == 0
    one, two = restore(whole), restore(parts)
    assert all(torch.equal(one["model"][name], two["model"][name]) for name in one["model"])
    assert one["history"][-1]["loss"] < one["history"][0]["loss"]
    capsys.readouterr()
    assert main(["pack", str(whole), "--out", str(tmp_path / "no.safetensors")]) == 2
    assert ("The hardware runs nets with norm none, act srelu, 1-bit weights, not norm "
            "mean-only-bn, act elu, 32-bit weights") in capsys.readouterr().err
    assert not (tmp_path / "no.safetensors").exists()
    assert train(data, tmp_path / "b.pt", "--epochs", 1, "--start-from", whole) == 2
    theirs = "norm mean-only-bn, act elu, 32-bit weights"
    ours = "norm none, act srelu, 1-bit weights"
    assert (f"{whole}: has a net with {theirs}; a run can start only from one with {ours}"
            in capsys.readouterr().err)
    assert train(data, tmp_path / "b.pt", *options, "--start-from", whole) == 2
    assert f"must be of a net with {ours}, not {theirs}" in capsys.readouterr().err
    assert not (tmp_path / "b.pt").exists()
    assert main(["study", str(whole), "--data", str(data)]) == 2
    assert (f"{whole}: has a net with {theirs}; formats can be studied only of one with {ours}"
            in capsys.readouterr().err)


def test_unknown_variants_are_refused():
    assert Variant() == OURS
    with pytest.raises(ValueError, match="Weight bits must be one of 1, 32, not 2"):
        Variant(weight_bits=2)
    with pytest.raises(ValueError, match="Norm must be one of none, bn, final-bn, mean-only-bn"):
        Variant("batch")


def test_float_activations_are_neither_rounded_nor_limited():
    """Against the net without rounding and with limits that nothing reaches."""
    wide = calibrate(replace(NET, act_bits=8, act_frac=0, res_bits=16, res_frac=0), images(), 1.0)
    narrow = replace(wide, act_bits=4, res_bits=6)
    models = []
    for net, floats in ((wide, False), (narrow, True), (narrow, False)):
        torch.manual_seed(1)
        models.append(WRN(net, floats))
    ours, float_net, narrow = models
    ours.rounding = narrow.rounding = False
    scores = [model.train(training)(images()) for model, training in
              ((ours, True), (float_net, False), (narrow, True), (ours, False))]
    assert torch.equal(scores[0], scores[1])
    assert not torch.equal(scores[0], scores[2]) and not torch.equal(scores[0], scores[3])
    assert torch.equal(float_net.train()(images()), scores[1])


def test_scales_are_the_paper_s_or_the_nearest_powers_of_two():
    exact, coarse = (PaperNet(NET, Variant(scale=scale)) for scale in SCALES[1:])
    for name, shape in NET.weight_shapes.items():
        he = math.sqrt(2 / math.prod(shape[1:]))
        assert exact.signs[name]().abs().unique().tolist() == [pytest.approx(he)]
        power, = coarse.signs[name]().abs().unique().tolist()
        assert math.log2(power) % 1 == 0 and abs(math.log2(power / he)) <= 0.5


def test_float_activations_are_trained_from_our_nets_and_never_packed(data, tmp_path, capsys):
    ours, floats = tmp_path / "ours.pt", tmp_path / "floats.pt"
    assert train(data, ours, "--epochs", 1) == 0
    assert train(data, floats, "--epochs", 1, "--floats", "--start-from", ours) == 0
    capsys.readouterr()
    assert main(["pack", str(floats), "--out", str(tmp_path / "no.safetensors")]) == 2
    assert "not norm none, act srelu, 1-bit weights, float activations" in capsys.readouterr().err


def test_nets_are_compared_seed_by_seed_and_finished_runs_stay(data, tmp_path, capsys):
    runs = tmp_path / "runs"
    command = ["versus", "--data", str(data), "--out", str(runs), "--depth", "8", "--seeds", "2",
               "--epochs", "1", "--batch", "10", "--sides", "8:1"]
    assert main(command) == 0
    first = capsys.readouterr()
    rows = [line.strip("| ").split(" | ") for line in first.out.splitlines()[2:]]
    assert [row[0] for row in rows] == list(VARIANTS)
    for row in rows:
        slug = "".join(c if c.isalnum() else "-" for c in row[0].lower())
        states = [restore(runs / f"{slug}-{seed}.pt") for seed in (1, 2)]
        assert [state["recipe"]["seed"] for state in states] == [1, 2]
        a, b = (state["history"][-1]["test"] for state in states)
        assert row[1:] == [f"{(a + b) / 2:.2%}", f"{min(a, b):.2%} to {max(a, b):.2%}", "2"]
    before = {path: path.stat().st_mtime_ns for path in runs.iterdir()}
    assert main(command) == 0
    assert capsys.readouterr().out == first.out
    assert {path: path.stat().st_mtime_ns for path in runs.iterdir()} == before
    assert main([*command, "--rate", "0.1"]) == 2
    assert "was trained with another rate" in capsys.readouterr().err
