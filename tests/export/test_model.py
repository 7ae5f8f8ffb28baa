"""The PyTorch model in evaluation mode is the golden model: every integer of every layer."""

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from export.model import WRN, SignWeights, calibrate, centred  # noqa: E402
from export.pack import model_of  # noqa: E402
from gen.network import Network  # noqa: E402
from gen.package import Package, shipped  # noqa: E402
from sim.arithmetic import activate  # noqa: E402
from sim.golden import Golden  # noqa: E402

ROOT = Path(__file__).parents[2]


def pictures(count, side, seed=0):
    """Noise, smooth pictures and the two extremes: uint8[count, 3, side, side]."""
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 256, (count, 3, side, side), np.uint8)
    ramp = np.linspace(0, 255, side).astype(np.uint8)
    x[0], x[1], x[2] = ramp, ramp[:, None], 255
    x[3] = 0
    return x


def assert_equal(package, images):
    scores, maps = model_of(package).run(torch.from_numpy(images), taps=True)
    golden = Golden(package).run(images, taps=True)
    assert list(maps) == list(golden.maps)
    for name, expected in golden.maps.items():
        assert maps[name].dtype == expected.dtype and maps[name].shape == expected.shape, name
        assert np.array_equal(maps[name], expected), name
    assert scores.dtype == golden.scores.dtype and np.array_equal(scores, golden.scores)
    return golden


CASES = [  # depth, width, side, b, f, rb, shifts and entries chosen by calibrate?
    (8, 1, 8, 4, 1, 12, True), (8, 1, 16, 2, 0, 12, True), (8, 1, 16, 3, 0, 10, True),
    (8, 1, 16, 4, 2, 12, False), (8, 2, 16, 6, 2, 12, True), (8, 1, 32, 8, 5, 16, True),
    (14, 1, 16, 8, 4, 14, False), (14, 1, 24, 4, 1, 8, True), (20, 1, 32, 4, 1, 12, True),
    (8, 1, 8, 2, 1, 6, False), (8, 4, 8, 8, 1, 16, True),
]


@pytest.mark.parametrize("depth, width, side, bits, frac, res, fitted", CASES)
def test_every_layer_is_the_golden_one(depth, width, side, bits, frac, res, fitted):
    net = Network(depth, width, side=side, act_bits=bits, act_frac=frac, res_bits=res)
    images = pictures(6, side)
    if fitted:
        net = calibrate(net, torch.from_numpy(images), residual=2.0 ** (res - 6 - net.res_frac))
    golden = assert_equal(Package.random(net, seed=depth + bits), images)
    if fitted:  # otherwise equality might be that of zeros
        codes = np.concatenate([golden.maps[c.name].ravel() for c in net.convs
                                if c.kind == "first"])
        assert codes.min() == 0 and codes.max() > 0.7 * net.top


def test_odd_shifts_are_the_golden_ones():
    """Left shifts, shifts past the sum's size and a residual that saturates all the time."""
    net = Network(8, side=16, act_frac=1, res_bits=6, shifts=(-2, 5, 0, -1, 11, 3, 1),
                  entries=(-1, 0, 7, 3))
    golden = assert_equal(Package.random(net, seed=3), pictures(5, 16))
    assert {-32, 31} <= set(np.unique(golden.maps["stem"]))


@pytest.mark.parametrize("bits, res", [(4, 8), (4, 12), (8, 8)])
def test_bfloat16_is_exact_beside_the_convolutions(bits, res):
    """Training under autocast: activations follow from residuals as the integers of README say."""
    images = torch.from_numpy(pictures(6, 16))
    net = Network(8, side=16, act_bits=bits, act_frac=bits - 3, res_bits=res)
    net = calibrate(net, images, residual=2.0 ** (res - 3 - net.res_frac))
    model, maps = model_of(Package.random(net, seed=2)).train(), {}
    with torch.autocast("cpu", torch.bfloat16):
        model(images, maps)
    for index, conv in enumerate(net.convs):
        if conv.kind != "first":
            want = activate(maps[conv.name], net.entry_after(index), net.zero, net.top)
            assert np.array_equal(maps[f"{conv.name}.act"], want), conv.name
    residuals = np.concatenate([maps[conv.name].ravel() for conv in net.convs
                                if conv.kind != "first"])
    large = residuals[np.abs(residuals) > 2 ** (res - 2)]
    assert (large % 2).any(), "large residuals to the last bit"
    last = list(maps)[-2]
    assert np.array_equal(maps["gap"], (maps[last].astype(int) - net.zero).sum((2, 3)))


@pytest.mark.parametrize("bits, frac", [(6, 0), (8, 1), (8, 2), (12, 5), (16, 9)])
def test_residuals_of_a_new_net_stay_off_their_limits(bits, frac):
    """In formats that reach 32 and more; a saturated residual has no gradient."""
    images = torch.from_numpy(pictures(6, 16))
    net = calibrate(Network(20, side=16, act_frac=1, res_bits=bits, res_frac=frac), images)
    _, maps = model_of(Package.random(net, seed=4)).run(images, taps=True)
    residuals = [maps[conv.name] for conv in net.convs if conv.kind != "first"]
    limit = 2 ** (bits - 1)
    saturated = [np.mean((each == -limit) | (each == limit - 1)) for each in residuals]
    assert max(saturated) < 0.002
    assert 1 < np.sqrt(np.mean(np.square(residuals[0] / 2 ** frac))) < 4


def test_a_trained_model_is_the_golden_one():
    """Weights that moved, with the rounding and the limits as training left them."""
    images = torch.from_numpy(pictures(32, 16))
    net = calibrate(Network(8, classes=4, side=16, act_frac=1), images)
    torch.manual_seed(0)
    model = WRN(net)
    optimiser = torch.optim.Adam(model.parameters(), 0.02)
    labels = torch.arange(32) % 4
    for _ in range(6):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(model(images), labels).backward()
        optimiser.step()
    package = Package(net, model.weights())
    model.eval()
    scores, maps = model.run(images, taps=True)
    golden = Golden(package).run(images.numpy(), taps=True)
    assert all(np.array_equal(maps[name], golden.maps[name]) for name in golden.maps)
    assert np.array_equal(scores, golden.scores)
    with torch.no_grad():
        assert np.array_equal(model(images).argmax(1).numpy(), golden.scores.argmax(1))


def test_the_shipped_net_is_the_golden_one_on_real_images():
    with np.load(ROOT / "sim/testdata/cifar10-sample.npz") as sample:
        images = sample["images"][:16]
    assert_equal(Package.load(shipped(20, 1)), images)


def test_training_mode_computes_the_same_integers():
    images = torch.from_numpy(pictures(4, 16))
    model = WRN(calibrate(Network(8, side=16, act_frac=1), images))
    expected = model.eval().run(images)[0]
    assert np.array_equal(model.train().run(images)[0], expected)
    model.rounding = False
    assert not np.array_equal(model.run(images)[0], expected)


def test_every_latent_gets_a_gradient():
    images = torch.from_numpy(pictures(8, 16))
    model = WRN(calibrate(Network(8, side=16, act_frac=1), images))
    torch.nn.functional.cross_entropy(model(images), torch.arange(8)).backward()
    for name, sign in model.signs.items():
        assert sign.latent.grad.abs().sum() > 0, name


@pytest.mark.parametrize("shape", [(8, 16, 3, 3), (10, 64)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_signs_are_those_of_centred_latents_and_the_gradient_passes(shape, dtype):
    sign, scale = SignWeights(shape), 2.0 ** -3
    with torch.no_grad():
        sign.latent += torch.randn(shape[0], *[1] * (len(shape) - 1))    # filters off centre
    weights, grad = sign(scale, dtype), torch.randn(shape).to(dtype)
    weights.backward(grad)
    through = sign.latent.detach().clone().requires_grad_()
    centred(through).backward(grad.float())
    assert weights.dtype == dtype
    assert torch.equal(weights.float(), scale * (2.0 * (centred(through) > 0) - 1))
    torch.testing.assert_close(sign.latent.grad, scale * through.grad)   # sums in another order


def test_weights_survive_the_way_through_latents():
    net = Network(8, width=2, side=16)
    package = Package.random(net, seed=5)
    again = model_of(package).weights()
    assert all(np.array_equal(again[name], w) for name, w in package.weights.items())


def test_a_filter_of_ones_is_refused():
    package = Package.random(Network(8, side=16), seed=5)
    package.weights["g1b0c0"][3] = 1
    with pytest.raises(ValueError, match="g1b0c0: a filter's weights must not all be"):
        model_of(package)
