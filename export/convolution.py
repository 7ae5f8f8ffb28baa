"""3x3 convolutions, with a weight gradient that narrow maps don't slow down on a CPU."""

import math

import torch
from torch.nn import functional as F

__all__ = ["conv"]

# oneDNN's kernel for weight gradients takes the pixels of one row at a time, 32 of them with AMX:
# rows of 8 or less leave most of the unit idle. Eight images beside each other make it 1.7 to 4
# times as fast at 8 to 4 pixels; rows of 12 gain a tenth, those of 16 lose.
NARROW = 8
BESIDE = 8


def _beside(x, gap):
    """Images of ``x``, [n, c, h, w], in rows of several, ``gap`` zero columns behind each."""
    n, c, h, w = x.shape
    several = math.gcd(n, BESIDE)
    rows = x.new_empty(n // several, h, several, w + gap, c)
    rows[:, :, :, w:] = 0
    rows[:, :, :, :w] = x.permute(0, 2, 3, 1).view(-1, several, h, w, c).transpose(1, 2)
    return rows.view(n // several, h, -1, c).permute(0, 3, 1, 2)


class Conv(torch.autograd.Function):
    """Convolution with a border of one; the gradient to its weights from rows of several images.

    A zero column behind each image is the border of two, and where the gradient's are no sum gets
    anything.
    """

    @staticmethod
    def forward(ctx, x, w, stride):
        ctx.save_for_backward(x, w)
        ctx.stride = stride
        return F.conv2d(x, w, None, stride, 1)

    @staticmethod
    def backward(ctx, grad):
        x, w = ctx.saved_tensors

        def gradients(grad, x, *wanted):
            return torch.ops.aten.convolution_backward(
                grad, x, w, None, [ctx.stride] * 2, [1, 1], [1, 1], False, [0, 0], 1,
                [*wanted, False])

        to_x, _, _ = gradients(grad, x, True, False)
        _, to_w, _ = gradients(_beside(grad, 1), _beside(x, ctx.stride), False, True)
        return to_x, to_w, None


def conv(x, w, stride):
    """The 3x3 convolution of ``x``, [n, c, h, w], with ``w``, [outputs, c, 3, 3], border 1."""
    if (w.dtype == torch.bfloat16 and w.device.type == "cpu" and w.requires_grad
            and x.shape[3] <= NARROW * stride):
        return Conv.apply(x.to(w.dtype), w, stride)
    return F.conv2d(x, w, None, stride, 1)
