"""What a layer does to every element of its map, forward and backward, and to its latents.

A narrow network spends as long on its maps as on its convolutions, and a wide one goes through many
latents for few images, since memory limits both: PyTorch does it once for each operation.
:func:`compiled` makes one pass of each function.
"""

import os
import shutil
from collections import namedtuple

import torch

__all__ = ["EAGER", "Clip", "CompileError", "Join", "Passes", "compiled"]

Passes = namedtuple("Passes", "clip clip_grad join join_grad signs")


class CompileError(ValueError):
    """PyTorch can't compile here; the message is one sentence for the user."""


def _clip(x, low, high, scale):
    return torch.add(x.new_tensor(0.5), x, alpha=scale).clamp_(low, high + 0.5).floor_()


def _clip_grad(grad, x, low, high, scale):
    grad = torch.ops.aten.hardtanh_backward(grad, x, low / scale, high / scale)
    return grad if scale == 1 else grad.mul_(scale)


def _join(r, branch, limits, window):
    r = (r + branch.add(0.5).floor_()).clamp_(*limits)
    return r, _clip(r, *window)


def _join_grad(grad_r, grad_u, r, limits, window):
    return torch.ops.aten.hardtanh_backward(grad_r + _clip_grad(grad_u, r, *window), r, *limits)


def _signs(latent, means, scale, dtype):
    return (latent > means).to(dtype).mul_(2 * scale).sub_(scale)


# Of one function that is compiled: limits, scales, types and orders of dimensions are constants in
# them. WRN-20-4 has a dozen; PyTorch's own limit of 8 would leave the rest as they are.
VARIANTS = 64
EAGER = Passes(_clip, _clip_grad, _join, _join_grad, _signs)


class Clip(torch.autograd.Function):
    """``x * scale`` limited to [low, high] and rounded, halves up; the gradient passes where it
    lies inside. ``x`` alone is kept for it."""

    @staticmethod
    def forward(ctx, x, low, high, scale, passes):
        ctx.save_for_backward(x)
        ctx.numbers, ctx.passes = (low, high, scale), passes
        return passes.clip(x, low, high, scale)

    @staticmethod
    def backward(ctx, grad):
        x, = ctx.saved_tensors
        return ctx.passes.clip_grad(grad, x, *ctx.numbers), None, None, None, None


class Join(torch.autograd.Function):
    """A block's end: ``(r, u)``, the residual and the next block's activations.

    The residual is ``r``, integers, and the nearest ones of ``branch``, halves up, within
    ``limits``, ``(low, high)``; the activations are what :class:`Clip` makes of it with
    ``window``, its ``(low, high, scale)``. The gradient passes to both where the rounded sum lies
    inside. That's where the result does, which is kept for the next block anyway.
    """

    @staticmethod
    def forward(ctx, r, branch, limits, window, passes):
        r, u = passes.join(r, branch, limits, window)
        ctx.save_for_backward(r)
        ctx.numbers, ctx.passes = (limits, window), passes
        return r, u

    @staticmethod
    def backward(ctx, grad_r, grad_u):
        r, = ctx.saved_tensors
        grad = ctx.passes.join_grad(grad_r, grad_u, r, *ctx.numbers)
        return grad, grad, None, None, None


def compiled(device):
    """:class:`Passes` that PyTorch compiles for the torch.device ``device``, each when it's first
    called; on a CPU a C++ compiler is needed.

    In float32 they give the same numbers; bfloat16 is rounded once instead of after each operation.

    Raises
    ------
    CompileError
        Found out by compiling one of them.
    """
    compiler = os.environ.get("CXX", "g++")
    if device.type == "cpu" and not shutil.which(compiler):
        raise CompileError(f"Compiling needs a C++ compiler, and there's no {compiler} here; "
                           f"install it, or leave --compile out")
    passes = Passes(*(torch.compile(each, dynamic=True, recompile_limit=VARIANTS)
                      for each in EAGER))
    x = torch.ones(2, 4, 4, 4, device=device, requires_grad=True)
    try:
        Clip.apply(x, -1, 1, 1.0, passes).sum().backward()
    except Exception as error:  # of the compiler behind PyTorch, of many kinds
        why = next(iter(str(error).splitlines()), type(error).__name__)
        raise CompileError(f"PyTorch can't compile here ({why}); leave --compile out") from None
    return passes
