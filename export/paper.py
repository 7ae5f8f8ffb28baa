"""The nets of the paper that the hardware doesn't run, for comparison: batch normalisation, other
activation functions, 32-bit weights, exact scales; floating-point activations throughout. And how
any net that is trained here differs from the hardware's.

Source: McDonnell et al. 2019, arXiv 1907.06916 (figures 2, 4 and 5), and its authors' code.
"""

import math
from dataclasses import dataclass, replace

import torch
from torch import nn
from torch.nn import functional as F

from gen.network import PIXEL_ZERO

from .model import WRN, SignWeights
from .plain import PlainNet

__all__ = ["ACTS", "NETS", "NORMS", "OURS", "SCALES", "WEIGHT_BITS", "PaperNet", "Variant",
           "model_as"]

NETS = ("wrn", "plain")
NORMS = ("none", "bn", "final-bn", "mean-only-bn")
ACTS = {"srelu": lambda x: x.clamp(min=-1), "relu": F.relu, "elu": F.elu}
WEIGHT_BITS = (1, 32)
SCALES = ("fitted", "he", "he-power-of-two")


@dataclass(frozen=True)
class Variant:
    """What distinguishes the nets that are trained here.

    Parameters
    ----------
    norm : str
        ``"bn"`` before every activation function and of the class maps, without learned scale and
        offset; ``"final-bn"`` of the class maps alone; ``"mean-only-bn"`` takes off the mean alone
        (Salimans and Kingma 2016, arXiv 1602.07868) at the same places as ``"bn"``.
    act : str
        ``"srelu"``, max(-1, x); ``"relu"``; ``"elu"``.
    weight_bits : int
        1 or 32.
    scale : str
        Of a layer's ±1 weights. ``"fitted"``: the power of two that
        :func:`export.model.calibrate` finds (in the paper's nets as ``"he"``); ``"he"``: the
        paper's constant (equation 1 of arXiv 1802.08530); ``"he-power-of-two"``: that rounded to
        the nearest power of two.
    floats : bool
        Floating-point activations in the net that is otherwise ours; the paper's have no others.
    net : str
        ``"wrn"``, or ``"plain"``, :class:`export.plain.PlainNet`, to which none of the others
        applies.
    """

    norm: str = "none"
    act: str = "srelu"
    weight_bits: int = 1
    scale: str = "fitted"
    floats: bool = False
    net: str = "wrn"

    def __post_init__(self):
        for name, known in (("norm", NORMS), ("act", tuple(ACTS)), ("weight_bits", WEIGHT_BITS),
                            ("scale", SCALES), ("net", NETS)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name.replace('_', ' ').capitalize()} must be one of "
                                 f"{', '.join(map(str, known))}, not {getattr(self, name)}")
        if self.net == "plain" and replace(self, net="wrn") != OURS:
            raise ValueError("A plain net has its own norm, act, weight bits and scale; leave "
                             "those out")

    def __str__(self):
        if self.net == "plain":
            return "six convolutions and no skips"
        text = f"norm {self.norm}, act {self.act}, {self.weight_bits}-bit weights"
        if self.scale != "fitted":
            text += f", scale {self.scale}"
        return f"{text}, float activations" if self.floats else text

    @property
    def ours(self):
        """Whether it's the hardware's net but for its number formats."""
        return replace(self, floats=False) == OURS


OURS = Variant()


def model_as(network, variant):
    """The PyTorch model of ``network``'s geometry, or its width, as ``variant``."""
    if variant.net == "plain":
        return PlainNet(network)
    return WRN(network, variant.floats) if variant.ours else PaperNet(network, variant)


class MeanOnly(nn.Module):
    """Takes off every channel's mean over the batch; in evaluation its running average."""

    def __init__(self, channels, momentum=0.01):
        super().__init__()
        self.momentum = momentum
        self.register_buffer("mean", torch.zeros(channels))

    def forward(self, x):
        mean = self.mean
        if self.training:
            mean = x.mean((0, 2, 3))
            self.mean.lerp_(mean.detach().to(self.mean.dtype), self.momentum)
        return x - mean.to(x.dtype)[:, None, None]


def _norm(kind, channels):
    if kind == "bn":
        return nn.BatchNorm2d(channels, eps=1e-5, momentum=0.01, affine=False)
    return MeanOnly(channels) if kind == "mean-only-bn" else nn.Identity()


class Weights(nn.Module):
    """32-bit weights in the paper's scale (He et al. 2015)."""

    def __init__(self, shape):
        super().__init__()
        self.latent = nn.Parameter(torch.empty(shape))
        nn.init.normal_(self.latent, std=math.sqrt(2 / math.prod(shape[1:])))

    def forward(self):
        return self.latent


class ScaledSigns(SignWeights):
    """±1 weights times the paper's constant (equation 1 of arXiv 1802.08530), or the power of two
    nearest to it."""

    def __init__(self, shape, power_of_two=False):
        super().__init__(shape)
        self.scale = math.sqrt(2 / math.prod(shape[1:]))
        if power_of_two:
            self.scale = 2.0 ** round(math.log2(self.scale))

    def forward(self):
        return super().forward() * self.scale


class PaperNet(nn.Module):
    """The network of ``network``'s geometry as ``variant``; trained and evaluated like
    :class:`.model.WRN`, and never packed."""

    def __init__(self, network, variant):
        super().__init__()
        self.network, self.variant, self.rounding = network, variant, False
        coarse = variant.scale == "he-power-of-two"
        self.signs = nn.ModuleDict({
            name: ScaledSigns(shape, coarse) if variant.weight_bits == 1 else Weights(shape)
            for name, shape in network.weight_shapes.items()})
        before = network.convs[1:]
        self.norms = nn.ModuleDict({conv.name: _norm(variant.norm, conv.cin) for conv in before})
        self.norms["head"] = _norm(variant.norm, network.features)
        last = "bn" if variant.norm == "final-bn" else variant.norm
        self.norms["scores"] = _norm(last, network.classes)
        self.log_scale = nn.Parameter(torch.tensor(0.0))

    def forward(self, images):
        """Logits float32[n, classes] of uint8[n, 3, h, w] images."""
        act = ACTS[self.variant.act]

        def conv(layer, x):
            w = self.signs[layer.name]().to(memory_format=torch.channels_last)
            return F.conv2d(x, w, None, layer.stride, 1)

        x = (images.to(torch.float32) - PIXEL_ZERO) / 64
        convs = iter(self.network.convs)
        r = conv(next(convs), x.contiguous(memory_format=torch.channels_last))
        for first, second in zip(convs, convs):
            u = conv(first, act(self.norms[first.name](r)))
            u = conv(second, act(self.norms[second.name](u)))
            if first.stride == 2:
                r = F.pad(F.avg_pool2d(r, 3, 2, 1), (0, 0, 0, 0, 0, second.cout - first.cin))
            r = r + u
        maps = F.conv2d(act(self.norms["head"](r)), self.signs["head"]()[:, :, None, None])
        return self.norms["scores"](maps).mean((2, 3)) * self.log_scale.exp()
