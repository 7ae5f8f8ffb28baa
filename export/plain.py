"""A floating-point net that learns CIFAR-10 in minutes, for ours to learn from.

Six 3x3 convolutions in three groups behind a fixed whitening of 2x2 patches, batch normalisation,
no skips, 32-bit weights. No hardware runs it.

Source: Jordan 2024, "94% on CIFAR-10 in 3.29 seconds on a single GPU", arXiv 2404.00498, section 3.
Left out are its alternating flips and its views of a test image.
"""

import torch
from torch import nn
from torch.nn import functional as F

from gen.network import PIXEL_ZERO

__all__ = ["LEAST_SIDE", "PlainNet", "SlowSGD", "optimiser",
           "whitening"]

LEAST_SIDE = 15       # of images in pixels, of which three poolings leave one
PATCH = 2             # side of a whitened patch, pixels
FITTED = 5000         # images whose patches are whitened, or fewer
LOGIT_SCALE = 1 / 9   # with batch normalisation in front, logits would begin large

MOMENTUM = 0.85
# What a step takes off the weights, for each image of its batch: 0.0153 for 1,024 of them by the
# paper's count, in which a step is 1 + 1 / (1 - MOMENTUM) gradients long.
DECAY = 0.0153 / 1024 / (1 + 1 / (1 - MOMENTUM))
OFFSETS = 64          # learning rate of the normalisations' offsets, of the weights'
AVERAGED = 5          # steps between two returns to the average
SHARE = 0.95 ** 5     # of the past in it, at the end of a run


def _real(images):
    return (images.to(torch.float32) - PIXEL_ZERO) / 64


def whitening(images, eps=5e-4):
    """Filters float32[24, 3, 2, 2] that whiten the patches of ``images``, uint8[n, 3, h, w]:
    eigenvectors of their covariance over the roots of its eigenvalues, and the same negated."""
    patches = _real(images).unfold(2, PATCH, 1).unfold(3, PATCH, 1).permute(0, 2, 3, 1, 4, 5)
    patches = patches.reshape(-1, 3 * PATCH ** 2)
    values, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))
    filters = (vectors / (values + eps).sqrt()).T.reshape(-1, 3, PATCH, PATCH)
    return torch.cat((filters, -filters))


def _conv(cin, cout):
    """A 3x3 convolution that passes its inputs on at first, for want of skips."""
    conv = nn.Conv2d(cin, cout, 3, padding=1, bias=False)
    nn.init.dirac_(conv.weight.data[:cin])
    return conv


def _norm(channels):
    """Batch normalisation with an offset that is learned, and a scale that isn't. A run has few
    steps, so the running moments follow fast."""
    norm = nn.BatchNorm2d(channels, eps=1e-12, momentum=0.4)
    norm.weight.requires_grad_(False)
    return norm


def _group(cin, cout):
    return nn.Sequential(_conv(cin, cout), nn.MaxPool2d(2), _norm(cout), nn.GELU(),
                         _conv(cout, cout), _norm(cout), nn.GELU())


class PlainNet(nn.Module):
    """The net for the classes of ``network``, with 16, 64 and 64 channels times its width (the
    paper's has a width of 4); trained and evaluated like :class:`.model.WRN`, and never packed.

    Images are uint8[n, 3, h, w], of any side from LEAST_SIDE up.
    """

    def __init__(self, network):
        super().__init__()
        self.network, self.rounding = network, False
        few, many = 16 * network.width, 64 * network.width
        self.whiten = nn.Conv2d(3, 6 * PATCH ** 2, PATCH)
        self.whiten.weight.requires_grad_(False)
        nn.init.zeros_(self.whiten.bias)
        self.groups = nn.Sequential(_group(6 * PATCH ** 2, few), _group(few, many),
                                    _group(many, many))
        self.head = nn.Linear(many, network.classes, bias=False)
        self.to(memory_format=torch.channels_last)

    def fit(self, images):
        """Whiten images like these, uint8[n, 3, h, w]; they may be in order of class."""
        some = images[::-(-len(images) // FITTED)]
        self.whiten.weight.data.copy_(whitening(some))

    def forward(self, images):
        """Logits float32[n, classes] of uint8[n, 3, h, w] images."""
        x = _real(images).contiguous(memory_format=torch.channels_last)
        x = self.groups(F.gelu(self.whiten(x)))
        return self.head(x.amax((2, 3))).float() * LOGIT_SCALE


class SlowSGD(torch.optim.SGD):
    """SGD whose parameters go back to their running average every few steps, the more the further
    the run is (Lookahead: Zhang et al. 2019, arXiv 1907.08610; the paper's section 3.4)."""

    @torch.no_grad()
    def look_ahead(self, t):
        """After a step, at fraction ``t`` of the run."""
        for group in self.param_groups:
            group["steps"] = group.get("steps", 0) + 1
            for p in group["params"]:
                slow = self.state[p].setdefault("slow", p.clone())
                if group["steps"] % AVERAGED == 0:
                    p.copy_(slow.lerp_(p, 1 - SHARE * t ** 3))


def optimiser(model, rate, batch):
    """:class:`SlowSGD` with Nesterov's momentum for ``model``, each group's ``rate`` at its peak
    under ``"peak"``; ``batch`` images per step."""
    offsets = [norm.bias for norm in model.modules() if isinstance(norm, nn.BatchNorm2d)]
    theirs = {id(offset) for offset in offsets}
    weights = [p for p in model.parameters() if p.requires_grad and id(p) not in theirs]
    decay = DECAY * batch  # PyTorch's is multiplied by the rate
    return SlowSGD([
        {"params": params, "peak": peak, "weight_decay": decay / peak if peak else 0}
        for params, peak in ((weights, rate), (offsets, OFFSETS * rate))],
        lr=0.0, momentum=MOMENTUM, nesterov=True)
