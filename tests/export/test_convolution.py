"""Gradients of narrow maps' convolutions, whose images stand beside each other for them."""

import pytest

torch = pytest.importorskip("torch")

from torch.nn import functional as F  # noqa: E402

from export import convolution  # noqa: E402
from export.convolution import NARROW, conv  # noqa: E402


@pytest.fixture(autouse=True)
def amx(monkeypatch):
    """As on a processor that has it: others only are slower that way."""
    monkeypatch.setattr(convolution, "AMX", True)


def few(*shape):
    """Integers so few and small that bfloat16 holds every sum of their products."""
    return torch.randint(-1, 2, shape) * (torch.rand(shape) < 0.3)


@pytest.mark.parametrize("width, stride", [(1, 1), (5, 1), (NARROW, 1), (2, 2), (10, 2), (11, 2),
                                           (2 * NARROW, 2)])
@pytest.mark.parametrize("images", [1, 2, 12, 16])   # 12 aren't a multiple of eight
def test_gradients_are_those_of_a_plain_convolution(width, stride, images):
    torch.manual_seed(width)
    x, w = few(images, 6, 5, width).float(), few(10, 6, 3, 3).float()
    grad = few(images, 10, -(-5 // stride), -(-width // stride))
    results = []
    for convolve, dtype in ((conv, torch.bfloat16),
                            (lambda x, w, s: F.conv2d(x, w, None, s, 1), torch.float32)):
        mine, weights = (each.to(dtype).contiguous(memory_format=torch.channels_last)
                         .requires_grad_() for each in (x, w))
        y = convolve(mine, weights, stride)
        y.backward(grad.to(dtype))
        results.append([each.float() for each in (y, mine.grad, weights.grad)])
    assert results[0][2].any()
    for got, wanted in zip(*results):
        assert torch.equal(got, wanted)


def test_only_narrow_maps_in_bfloat16_are_moved(monkeypatch):
    def way(width, dtype=torch.bfloat16, stride=1, images=8):
        x, w = torch.zeros(images, 2, 4, width, dtype=dtype), torch.zeros(2, 2, 3, 3, dtype=dtype)
        return conv(x, w.requires_grad_(), stride).grad_fn.name()

    assert way(NARROW) == way(2 * NARROW, stride=2) == "ConvBackward"
    plain = "ConvolutionBackward0"
    assert way(NARROW + 1) == way(2 * NARROW) == way(NARROW, torch.float32) == plain
    assert way(NARROW - 1, stride=2) == way(NARROW, images=7) == plain
    monkeypatch.setattr(convolution, "AMX", False)
    assert way(NARROW) == plain
