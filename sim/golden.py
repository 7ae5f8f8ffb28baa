"""The golden model: a network package run in integers with NumPy, the reference for everything.

PyTorch in evaluation mode, the gateware's units, the generated Verilog and a board all have to
give these integers.
"""

from dataclasses import dataclass, field

import numpy as np

from . import arithmetic

__all__ = ["Golden", "Result", "product_format"]

# Floating-point matrix products of integers are exact while every partial sum stays below these.
EXACT = ((np.float32, np.int32, 1 << 24), (np.float64, np.int64, 1 << 53))
# Window elements of one matrix product; 2**21 float32 are 8 MB, inside the last-level cache
# (10,000 images of WRN-20-1 in 16 s on two cores, 21 s with 2**19). BLAS brings its own threads;
# threads around it make them fight (403 s at worst).
WINDOW_ELEMENTS = 1 << 21


@dataclass(frozen=True, eq=False)
class Result:
    """What :meth:`Golden.run` returns.

    Members
    -------
    scores : int32[n, classes]
    maps : dict
        Empty without taps. In running order: ``"stem"`` and second convolutions hold the residual
        as int32[n, c, h, w] and, under the name with ``.act``, the codes written for the next
        block or the head as uint8[n, c, h, w]; first convolutions hold codes. Last comes
        ``"gap"``, int32[n, features], the head's sums over pixels with the zero removed.
    """

    scores: np.ndarray
    maps: dict = field(default_factory=dict)

    @property
    def classes(self):
        """First maximum of each image's scores, int64[n]."""
        return self.scores.argmax(axis=1)


def _reach(net):
    """Largest ``|u - z|``."""
    return max(net.zero, net.top - net.zero)


def product_format(net, conv):
    """``(float, integer)`` types in which every sum of ``conv`` is exact.

    A partial sum in whatever order is at most ``9 * cin * max |operand|``: float32 where that's
    below 2**24 (a WRN-20-10 at 8 bits reaches 1.3 million), float64 below 2**53.
    """
    bound = 9 * conv.cin * (arithmetic.PIXEL_ZERO if conv.kind == "stem" else _reach(net))
    return next((real, integer) for real, integer, limit in EXACT if bound < limit)


class Golden:
    """Scores of ``package`` for images, bit for bit as the hardware gives them.

    Convolutions are BLAS products of windows and weights in the formats that
    :func:`product_format` chose, so no product ever rounds.

    Raises
    ------
    ValueError
        The head's scores wouldn't fit 32 bits.
    """

    def __init__(self, package):
        self.package = package
        self.network = net = package.network
        self.formats, self.matrices = {}, {}
        for conv in net.convs:
            real, _ = self.formats[conv.name] = product_format(net, conv)
            w = package.weights[conv.name].transpose(2, 3, 1, 0)      # row, column, cin, cout
            self.matrices[conv.name] = np.ascontiguousarray(w.reshape(-1, conv.cout), real)
        self.head = package.weights["head"].T.astype(np.int64)
        bound = net.features * (net.side // 4) ** 2 * _reach(net)
        if bound >= 1 << 31:
            raise ValueError(f"Scores of {net.name} must fit 32 bits, but may reach {bound}; "
                             f"take a smaller image side than {net.side}")

    def run(self, images, taps=False):
        """Scores, and with ``taps`` every map, of ``images`` uint8[n, 3, side, side].

        Maps of all images are held at once: about 9 MB an image for a WRN-20-4.

        Raises
        ------
        TypeError, ValueError
            ``images`` isn't such an array.
        """
        self._check(images)
        largest = max(9 * conv.cin * conv.out_side ** 2 for conv in self.network.convs)
        step = min(64, max(1, WINDOW_ELEMENTS // largest))
        batches = [images[i:i + step] for i in range(0, len(images), step)] or [images]
        parts = [self._batch(batch, taps) for batch in batches]
        maps = {name: np.concatenate([p.maps[name] for p in parts]) for name in parts[0].maps}
        return Result(np.concatenate([p.scores for p in parts]), maps)

    def classify(self, images):
        """Class of each image, int64[n]: the first maximum of its scores."""
        return self.run(images).classes

    def _check(self, images):
        side = self.network.side
        wanted = f"Images must be uint8[n, 3, {side}, {side}], not"
        if not isinstance(images, np.ndarray):
            raise TypeError(f"{wanted} {type(images).__name__}")
        got = f"{images.dtype}[{', '.join(map(str, images.shape))}]"
        if images.dtype != np.uint8:
            raise TypeError(f"{wanted} {got}")
        if images.shape[1:] != (3, side, side) or images.ndim != 4:
            raise ValueError(f"{wanted} {got}")

    def _batch(self, images, taps):
        net, maps = self.network, {}
        zero, top = net.zero, net.top
        x, r = images.transpose(0, 2, 3, 1), None
        for index, conv in enumerate(net.convs):
            acc = self._convolve(conv, x, arithmetic.PIXEL_ZERO if conv.kind == "stem" else zero)
            if conv.kind == "first":
                x = tap = arithmetic.shifted(acc, conv.shift, zero, top)
            else:
                if conv.kind == "stem":
                    r = arithmetic.saturate(arithmetic.rs(acc, conv.shift), net.res_bits)
                else:
                    r = arithmetic.residual(self._skip(r, conv), acc, conv.shift, net.res_bits)
                x, tap = arithmetic.activate(r, net.entry_after(index), zero, top), r
            if taps:
                maps[conv.name] = np.ascontiguousarray(tap.transpose(0, 3, 1, 2))
                if conv.kind != "first":
                    maps[conv.name + ".act"] = np.ascontiguousarray(x.transpose(0, 3, 1, 2))
        gap = x.sum(axis=(1, 2), dtype=np.int64) - x.shape[1] * x.shape[2] * zero
        if taps:
            maps["gap"] = gap.astype(np.int32)
        return Result((gap @ self.head).astype(np.int32), maps)

    def _convolve(self, conv, x, zero):
        """Accumulators ``A``, int[n, row, column, cout], of codes uint8[n, row, column, cin]."""
        real, integer = self.formats[conv.name]
        n, out, stride = len(x), conv.out_side, conv.stride
        padded = np.zeros((n, conv.side + 2, conv.side + 2, conv.cin), real)
        np.subtract(x, real(zero), out=padded[:, 1:-1, 1:-1], dtype=real)
        batch, row, column, channel = padded.strides
        windows = np.lib.stride_tricks.as_strided(
            padded, (n, out, out, 3, 3 * conv.cin),
            (batch, row * stride, column * stride, row, channel), writeable=False)
        acc = windows.reshape(n * out * out, 9 * conv.cin) @ self.matrices[conv.name]
        return acc.astype(integer).reshape(n, out, out, conv.cout)

    @staticmethod
    def _skip(r, conv):
        """The residual as the block's second convolution meets it: pooled and widened by zero
        channels where the block strides, else as it is."""
        if r.shape[1] == conv.side:
            return r
        pooled = arithmetic.pool(r)
        return np.pad(pooled, ((0, 0),) * 3 + ((0, conv.cout - pooled.shape[3]),))
