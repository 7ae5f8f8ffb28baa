"""The arithmetic of the networks in NumPy integers, one function per equation.

Unit tests of the gateware and the golden model use the same functions, so there's one place where
rounding, saturation and clipping are defined. All take and return integer arrays (int32 or int64);
all are exact as long as values stay below 2**30 in int32.

Source: README, "The arithmetic".
"""

import numpy as np

from gen.network import PIXEL_ZERO, POOL_MULTIPLIER, POOL_SHIFT

__all__ = ["PIXEL_ZERO", "activate", "pool", "residual", "rs", "saturate", "shifted", "sum9"]


def rs(a, s):
    """``(a + 2**(s-1)) >> s`` for s > 0, ``a << -s`` for s <= 0: round to nearest, halves up.

    A left shift returns int64, because int32 could overflow.
    """
    a = np.asarray(a)
    if s > 0:
        return (a + a.dtype.type(1 << s - 1)) >> a.dtype.type(s)
    return a if s == 0 else a.astype(np.int64) << -s


def saturate(r, bits):
    """``r`` clipped to a signed number of ``bits`` bits, as int32."""
    return np.clip(r, -(1 << bits - 1), (1 << bits - 1) - 1).astype(np.int32, copy=False)


def shifted(a, s, zero, top):
    """``clip(rs(a, s) + zero, 0, top)``: the shifted ReLU as an activation code, uint8."""
    return np.clip(rs(a, s) + zero, 0, top).astype(np.uint8)


def activate(r, e, zero, top):
    """``clip(rs(r, e) + zero, 0, top)``: residual to activation code, uint8, at the entry of a
    block and of the head. The same function as :func:`shifted` on another operand."""
    return shifted(r, e, zero, top)


def residual(r, a, s, bits):
    """``saturate(r + rs(a, s))``: a block's second convolution joins the residual stream, int32."""
    return saturate(r + rs(a, s), bits)


def sum9(r):
    """Sums of 3x3 windows at stride 2, padded by one zero on every side.

    ``int[n, h, w, ...]`` with even h and w becomes ``int[n, h/2, w/2, ...]``.
    """
    rows = r[:, 0::2] + r[:, 1::2]
    rows[:, 1:] += r[:, 1:-1:2]
    both = rows[:, :, 0::2] + rows[:, :, 1::2]
    both[:, :, 1:] += rows[:, :, 1:-1:2]
    return both


def pool(r):
    """``rs(57 * sum9, 9)``: the stride-2 skip's 3x3 average, ``int32[n, h, w, ...]`` to
    ``int32[n, h/2, w/2, ...]``.

    The divisor is 9 at the borders too. The result isn't saturated: nine equal pixels at the end
    of the range give 513/512 of it; :func:`residual` saturates once, after the addition.
    """
    return rs(POOL_MULTIPLIER * sum9(r), POOL_SHIFT)
