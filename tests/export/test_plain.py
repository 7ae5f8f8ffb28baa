"""The floating-point net that ours may learn from."""

import pytest

torch = pytest.importorskip("torch")

from export.__main__ import main  # noqa: E402
from export.checkpoint import restore  # noqa: E402
from export.data import load  # noqa: E402
from export.paper import Variant, model_as  # noqa: E402
from export.plain import (  # noqa: E402
    AVERAGED,
    DECAY,
    OFFSETS,
    SHARE,
    PlainNet,
    SlowSGD,
    optimiser,
    whitening,
)
from gen.network import Network  # noqa: E402
from tests.export.runs import assert_same, described, train  # noqa: E402

PLAIN = ("--net", "plain", "--rate", 0.3, "--sides", "16:0.4")  # 0.3 of 10 images, 1.5 of 1,024


@pytest.fixture(scope="module")
def plain(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("plain") / "plain.pt"
    torch.set_num_threads(1)
    assert train(data, out, "--epochs", 6, *PLAIN) == 0
    return out


def test_patches_are_whitened(data):
    """What comes out in place of pixels: variance one in each direction, and none in common."""
    images = load(data)[0].pixels
    net = PlainNet(Network(classes=3, side=16))
    net.fit(images)
    seen = []
    net.whiten.register_forward_hook(lambda _, x, y: seen.append(y))
    net(images)
    values = seen[0][:, :12].permute(1, 0, 2, 3).flatten(1)
    moments = values @ values.T / values.shape[1]
    assert torch.allclose(moments, torch.eye(12), atol=0.05)
    assert torch.equal(seen[0][:, 12:], -seen[0][:, :12])
    assert not net.whiten.weight.requires_grad
    assert whitening(images).shape == (24, 3, 2, 2)


def test_a_step_takes_the_same_off_all_weights_whatever_their_rate():
    net = PlainNet(Network(classes=3, side=16))
    groups = optimiser(net, 1.5, 1024).param_groups
    assert [group["peak"] * group["weight_decay"] for group in groups] == [
        pytest.approx(DECAY * 1024)] * 2 == [pytest.approx(0.002, rel=0.01)] * 2
    assert groups[1]["peak"] == OFFSETS * 1.5
    assert {p.shape for p in groups[1]["params"]} == {(16,), (64,)}
    learned = sum(p.requires_grad for p in net.parameters())
    assert sum(len(group["params"]) for group in groups) == learned == 6 + 6 + 1 + 1


def test_weights_go_back_to_their_average():
    """Constant gradients of one: a step takes the rate off."""
    p = torch.nn.Parameter(torch.zeros(3, dtype=torch.float64))
    sgd = SlowSGD([p], lr=1.0)
    p.grad = torch.ones_like(p)
    slow = -1.0  # the first step's, which the average begins with
    for step in range(1, 2 * AVERAGED + 1):
        before, t = p[0].item(), step / 20
        sgd.step()
        sgd.look_ahead(t)
        wanted = before - 1
        if step % AVERAGED == 0:
            slow = wanted = slow + (1 - SHARE * t ** 3) * (wanted - slow)
        assert p.tolist() == [pytest.approx(wanted, abs=1e-12)] * 3


def test_a_plain_net_learns_and_teaches(data, plain, tmp_path, capsys):
    state = restore(plain)
    assert state["history"][-1]["test"] == 1
    model = model_as(*described(plain)).eval()
    model.load_state_dict(state["model"])
    images, test = load(data)
    assert torch.equal(model.whiten.weight, whitening(images.pixels))
    assert (model(test.pixels).argmax(1) == test.labels).all()

    out, package = tmp_path / "ours.pt", tmp_path / "ours.safetensors"
    assert train(data, out, "--epochs", 2, "--distil", 0.7, "--teacher", plain) == 0
    assert main(["pack", str(out), "--data", str(data), "--out", str(package)]) == 0
    (tmp_path / "about").write_text("Patterns.\n")
    capsys.readouterr()
    assert main(["card", str(out), str(package), "--about", str(tmp_path / "about")]) == 0
    text = capsys.readouterr().out
    assert "### Teacher 1a (plain net of width 1)" in text and "--net plain" in text


@pytest.mark.parametrize("more", [PLAIN, ("--weight-bits", 32, "--act", "elu", "--epochs", 1)],
                         ids=["plain", "32 bits"])
def test_kept_nets_of_32_bit_weights_say_what_they_did(data, more, tmp_path):
    whole, small = tmp_path / "whole.pt", tmp_path / "small.pt"
    assert train(data, whole, "--epochs", 3, *more) == 0
    assert main(["keep", str(whole), "--out", str(small)]) == 0
    assert small.stat().st_size < whole.stat().st_size / 2
    pixels, logits = load(data)[1].pixels, []
    for path in (whole, small):
        model = model_as(*described(path)).eval()
        model.load_state_dict(restore(path)["model"])
        with torch.no_grad():
            logits.append(model(pixels))
    assert (logits[0] - logits[1]).abs().max() < 0.05 * logits[0].abs().max()


def test_a_plain_run_resumes_exactly(data, tmp_path):
    whole, out = tmp_path / "whole.pt", tmp_path / "run.pt"
    assert train(data, whole, "--epochs", 3, *PLAIN) == 0
    assert train(data, out, "--epochs", 3, *PLAIN, "--stop-after", 1) == 0
    assert train(data, out, "--epochs", 3, *PLAIN, "--resume") == 0
    assert_same(restore(whole), restore(out))


def test_what_a_plain_net_is_not_is_refused(data, plain, tmp_path, capsys):
    out = tmp_path / "no.pt"
    for more, why in ((["--norm", "bn"], "A plain net has its own norm, act, weight bits and "),
                      (["--normalise"], "A plain net's weights are no latents"),
                      (["--compile"], "Only a net with norm none, act srelu, 1-bit weights is "),
                      (["--sides", "8:0.5"], "images of at least 15 pixels, not 8"),
                      (["--start-from", plain], "leave --start-from out")):
        assert train(data, out, "--epochs", 1, *PLAIN, *more) == 2
        assert why in capsys.readouterr().err
    assert train(data, out, "--epochs", 1, "--start-from", plain) == 2
    assert "has a net with six convolutions and no skips; a run" in capsys.readouterr().err
    assert main(["pack", str(plain), "--out", str(out)]) == 2
    assert "not six convolutions and no skips" in capsys.readouterr().err
    assert not out.exists()
    with pytest.raises(ValueError, match="Net must be one of wrn, plain, not vgg"):
        Variant(net="vgg")
