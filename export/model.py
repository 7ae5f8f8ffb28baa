"""The batch-norm-free wide residual network with ±1 weights, in PyTorch.

Every number between two layers is an integer of the hardware, held in float32: sums of the sizes
that occur stay below 2^24, so float32 is exact and the model in evaluation mode gives the golden
model's integers, layer by layer. Training runs the same arithmetic with straight-through
gradients; ``rounding = False`` leaves out the rounding alone.

Source: McDonnell et al. 2019, arXiv 1907.06916, and README, "The arithmetic".
"""

import math
from dataclasses import replace

import torch
from torch import nn
from torch.nn import functional as F

from gen.network import PIXEL_ZERO, POOL_MULTIPLIER, POOL_SHIFT

from . import convolution
from .passes import EAGER, Clip, Join

__all__ = ["WRN", "calibrate", "centred", "filter_means"]


class Round(torch.autograd.Function):
    """Nearest integer, halves up, in place; the gradient passes unchanged."""

    @staticmethod
    def forward(ctx, x):
        ctx.mark_dirty(x)
        return x.add_(0.5).floor_()

    @staticmethod
    def backward(ctx, grad):
        return grad


def filter_means(latent):
    """The mean of every filter of ``latent``, float[outputs, inputs, ...], as float[outputs, 1,
    ...]."""
    return latent.mean(tuple(range(1, latent.dim())), keepdim=True)


def centred(latent):
    """``latent``, float[outputs, inputs, ...], less the mean of every filter."""
    return latent - filter_means(latent)


class CentredSign(torch.autograd.Function):
    """``scale``, a power of two, where the centred latent is positive, else ``-scale``; the
    gradient passes the sign unchanged, and the centring.

    One function instead of five: a wide network's latents are many numbers for few images.
    """

    @staticmethod
    def forward(ctx, latent, scale, dtype, passes):
        ctx.scale = scale
        return passes.signs(latent, filter_means(latent), scale, dtype)

    @staticmethod
    def backward(ctx, grad):
        ours = grad.to(torch.float32, copy=True)
        return ours.sub_(filter_means(ours)).mul_(ctx.scale), None, None, None


class SignWeights(nn.Module):
    """±1 weights and the real latents that training moves.

    A filter's latents are centred before their sign is taken (weight standardisation without the
    division), so about half of its weights are +1; the hardware sees the signs alone.

    Parameters
    ----------
    shape : tuple of int
        ``[outputs, inputs, ...]``.
    """

    def __init__(self, shape):
        super().__init__()
        latent = torch.empty(shape)
        nn.init.normal_(latent, std=0.1)
        # As convolutions on the CPU want their weights, and give the gradients.
        self.latent = nn.Parameter(
            latent.contiguous(memory_format=torch.channels_last) if len(shape) == 4 else latent)

    def forward(self, scale=1.0, dtype=torch.float32, passes=EAGER):
        """±``scale``, a power of two, of the latents' shape."""
        return CentredSign.apply(self.latent, scale, dtype, passes)


class WRN(nn.Module):
    """The network of ``network`` with trainable weights.

    Parameters
    ----------
    network : gen.network.Network
        Geometry, formats and shifts.
    floats : bool
        Floating-point activations and residuals, neither rounded nor limited (but for the floor
        of the shifted ReLU), in training and evaluation. For comparison: no hardware runs it.

    Members
    -------
    rounding : bool
        False trains without rounding (limits and saturation stay). Evaluation always rounds.
    passes : export.passes.Passes
        What makes the signs and does the work between convolutions, compiled or not.
    log_scale : parameter
        Logarithm of what a score, averaged over the pixels, is multiplied by to make a logit
        (the paper's 1/temperature). It never changes the first maximum.
    """

    def __init__(self, network, floats=False):
        super().__init__()
        self.network, self.floats = network, floats
        self.signs = nn.ModuleDict({name: SignWeights(shape)
                                    for name, shape in network.weight_shapes.items()})
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / 8)))
        self.rounding = True
        self.passes = EAGER

    def weights(self):
        """±1 as int8 arrays by layer name, as in :class:`gen.package.Package`."""
        with torch.no_grad():
            return {name: sign().to(torch.int8).cpu().numpy()
                    for name, sign in self.signs.items()}

    def load_weights(self, weights):
        """Take the ±1 arrays of a package; they become the latents."""
        with torch.no_grad():
            for name, sign in self.signs.items():
                signs = torch.from_numpy(weights[name]).to(sign.latent)
                if (signs.flatten(1) > 0).all(1).any():  # centring would make them all zero
                    raise ValueError(f"{name}: a filter's weights must not all be +1")
                sign.latent.copy_(signs)

    def forward(self, images, taps=None):
        """Logits float32[n, classes] of uint8[n, 3, h, w] images.

        With a dict as ``taps``, its entries become the integers of every layer (see
        :meth:`run`).
        """
        scores, pixels = self._scores(images, taps)
        return scores * (self.log_scale.exp() / pixels)

    @torch.no_grad()
    def run(self, images, taps=False):
        """``(scores, maps)``: int32[n, classes] and the integers of every layer, as NumPy arrays
        under the names that :meth:`sim.golden.Golden.run` uses (empty without ``taps``)."""
        maps = {} if taps else None
        scores, _ = self._scores(images, maps)
        return scores.to(torch.int32).cpu().numpy(), maps or {}

    def _scores(self, images, taps):
        net = self.network
        rounding = not self.floats and (self.rounding or not self.training)
        low, high = -net.zero, math.inf if self.floats else net.top - net.zero
        limit = math.inf if self.floats else 1 << net.res_bits - 1

        def tap(name, x, dtype=torch.int32, offset=0):
            if taps is not None:
                taps[name] = (x.detach() + offset).to(dtype).cpu().numpy()

        device = images.device.type
        dtype = (torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device)
                 else torch.float32)

        def conv(layer, x):
            # The power of two rides on the weights.
            w = self.signs[layer.name](2.0 ** -layer.shift, dtype, self.passes)
            return convolution.conv(x, w, layer.stride)

        def whole(x):
            return Round.apply(x) if rounding else x

        def clip(x, scale=1.0):
            if not rounding:
                return F.hardtanh(x * scale, low, high)
            return Clip.apply(x, low, high, scale, self.passes)

        def join(name, r, branch, entry):
            limits, scale = (-limit, limit - 1), 2.0 ** -entry
            if rounding:
                r, u = Join.apply(r, branch, limits, (low, high, scale), self.passes)
            else:
                r = F.hardtanh(r + branch, *limits)
                u = clip(r, scale)
            tap(name, r)
            tap(f"{name}.act", u, torch.uint8, net.zero)
            return r, u

        x = (images.to(torch.float32) - PIXEL_ZERO).contiguous(memory_format=torch.channels_last)
        convs, entries = iter(net.convs), iter(net.entries)
        stem = next(convs)
        sums = conv(stem, x)
        if not rounding or net.res_bits > 8:
            sums = sums.to(torch.float32)  # bfloat16 holds integers of 8 bits, and no more
        r, u = join(stem.name, x.new_zeros(()), sums, next(entries))
        for first, second, entry in zip(convs, convs, entries):
            u = clip(conv(first, u))
            tap(first.name, u, torch.uint8, net.zero)
            branch = conv(second, u)
            if first.stride == 2:
                nine = F.avg_pool2d(r.to(torch.float32), 3, 2, 1, divisor_override=1)
                r = whole(nine * (POOL_MULTIPLIER / 2 ** POOL_SHIFT)).to(r.dtype)
                r = F.pad(r, (0, 0, 0, 0, 0, second.cout - first.cin))
            r, u = join(second.name, r, branch, entry)
        gap = u.sum((2, 3), dtype=torch.float32)
        tap("gap", gap)
        return gap @ self.signs["head"]().T, u.shape[2] * u.shape[3]


@torch.no_grad()
def calibrate(network, images, act_rms=3.0, branch=0.5, residual=2.0, seed=0):
    """``network`` with shifts that fit its number formats.

    Goes through the network with random weights, layer by layer, and takes for each shift the
    power of two that brings the root mean square nearest to what is asked for.

    Parameters
    ----------
    images : uint8[n, 3, h, w]
        Some training images.
    act_rms : float
        Of an activation code minus zero before the limits, for 4-bit codes; doubled for each
        further bit.
    branch : float
        What a block adds, relative to its residual.
    residual : float
        Root mean square of the residual after the stem as a real number, not in codes. Behind the
        last of nine blocks it's three times that; the limit, ``2**(res_bits - 1 - res_frac)``,
        should be far from it.
    """
    generator = torch.Generator().manual_seed(seed)
    signs = {name: torch.randint(0, 2, shape, generator=generator).mul(2).sub(1).float()
             for name, shape in network.weight_shapes.items()}
    low, high = -network.zero, network.top - network.zero
    act_rms *= 2.0 ** (network.act_bits - 4)
    shifts, entries = [], []

    def fit(x, wanted, numbers):
        rms = x.square().mean().sqrt().item()
        numbers.append(round(math.log2(max(rms, 1e-9) / wanted)))
        return x * 2.0 ** -numbers[-1]

    def conv(layer, x):
        return F.conv2d(x, signs[layer.name], stride=layer.stride, padding=1)

    convs = iter(network.convs)
    r = fit(conv(next(convs), images.float() - PIXEL_ZERO), residual * 2.0 ** network.res_frac,
            shifts)
    for first, second in zip(convs, convs):
        u = fit(r, act_rms, entries).clamp(low, high)
        u = fit(conv(first, u), act_rms, shifts).clamp(low, high)
        if first.stride == 2:
            r = F.pad(F.avg_pool2d(r, 3, 2, 1), (0, 0, 0, 0, 0, second.cout - first.cin))
        r = r + fit(conv(second, u), branch * r.square().mean().sqrt().item(), shifts)
    fit(r, act_rms, entries)
    return replace(network, shifts=tuple(shifts), entries=tuple(entries))
