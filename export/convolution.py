"""3x3 convolutions, with a weight gradient that narrow maps don't slow down on a CPU with AMX."""

import math

import torch
from torch.nn import functional as F

__all__ = ["conv"]

# oneDNN's kernel for weight gradients in bfloat16 takes the pixels of one row at a time, 32 of
# them with AMX: rows of 8 or less leave most of that unit idle. Eight images beside each other
# make it up to 1.6 times as fast at 8 pixels, 1.9 to 2.9 times at 4; rows of 12 gain a tenth,
# those of 16 lose, and so does a processor without AMX.
NARROW = 8
BESIDE = 8
AMX = torch.cpu._is_amx_tile_supported()


def _beside(x, gap):
    """Images of ``x``, [n, c, height, width], in rows of several, ``gap`` zero columns behind
    each."""
    n, c, height, width = x.shape
    several = math.gcd(n, BESIDE)
    rows = x.new_empty(n // several, height, several, width + gap, c)
    rows[:, :, :, width:] = 0
    rows[:, :, :, :width] = (x.permute(0, 2, 3, 1).view(-1, several, height, width, c)
                             .transpose(1, 2))
    return rows.view(n // several, height, -1, c).permute(0, 3, 1, 2)


class Conv(torch.autograd.Function):
    """Convolution with a border of one; the gradient to its weights from rows of several images.

    Zero columns behind each image, as many as the stride, are the border of two, and where the
    output's gradient has a zero column no weight gets anything.
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

        to_x = gradients(grad, x, True, False)[0] if ctx.needs_input_grad[0] else None
        _, to_w, _ = gradients(_beside(grad, 1), _beside(x, ctx.stride), False, True)
        return to_x, to_w, None


def conv(x, w, stride):
    """The 3x3 convolution of ``x``, [n, c, height, width], with ``w``, [outputs, c, 3, 3], border
    1: [n, outputs, height / stride, width / stride], rounded up."""
    n, width = len(x), x.shape[3]
    if (AMX and w.dtype == torch.bfloat16 and w.device.type == "cpu" and w.requires_grad
            and width <= NARROW * stride and width % stride == 0 and n and n % 2 == 0):
        return Conv.apply(x.to(w.dtype), w, stride)
    return F.conv2d(x, w, None, stride, 1)
