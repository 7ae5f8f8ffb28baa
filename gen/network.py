"""The network description: the one vocabulary that training, planning, gateware and tests share.

A :class:`Network` is the batch-norm-free wide residual network of McDonnell et al. 2019
(arXiv 1907.06916) reduced to integers: its geometry, the activation and residual formats and one
shift per convolution. It holds no weights (see :mod:`gen.package`).
"""

import math
from dataclasses import asdict, dataclass
from functools import cached_property

__all__ = ["ACT_BITS", "PIXEL_BITS", "POOL_MULTIPLIER", "POOL_SHIFT", "Conv", "Network"]

PIXEL_BITS = 8
PIXEL_ZERO = 128
ACT_BITS = (2, 3, 4, 6, 8)
# 1/9 of the 3x3 average pool as the nearest 9-bit fraction: 57/512.
POOL_MULTIPLIER, POOL_SHIFT = 57, 9

MAX_SHIFT = 24


@dataclass(frozen=True)
class Conv:
    """One 3x3 convolution with padding 1, as it runs.

    ``kind`` is ``"stem"`` (starts the residual stream), ``"first"`` (followed by the shifted
    ReLU) or ``"second"`` (added to the residual stream). ``side`` is the input's height and width
    in pixels, ``shift`` the ``s`` of the arithmetic.
    """

    name: str
    kind: str
    cin: int
    cout: int
    side: int
    stride: int
    shift: int

    @property
    def out_side(self):
        """Height and width of the output in pixels."""
        return self.side // self.stride

    @property
    def shape(self):
        """Shape of the weights, ``[cout, cin, row, column]``."""
        return (self.cout, self.cin, 3, 3)

    @property
    def macs(self):
        """Multiply-accumulates for one frame."""
        return math.prod(self.shape) * self.out_side ** 2


def _nearest_scale(fan_in):
    """``k`` for which ``2**-k`` is nearest the paper's constant ``sqrt(2 / fan_in)`` (eq. 1)."""
    return round(-math.log2(math.sqrt(2 / fan_in)))


def _integer(name, value, low, high=None):
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} must be an integer, not {value!r}")
    if value < low or high is not None and value > high:
        wanted = f"at least {low}" if high is None else f"{low} to {high}"
        raise ValueError(f"{name} must be {wanted}, not {value}")


@dataclass(frozen=True)
class Network:
    """A wide residual network of ``depth`` 6n+2 for square images.

    Parameters
    ----------
    depth : int
        Weight layers, ``6n + 2``: a stem, three groups of n blocks of two, and the head.
    width : int
        Channels are ``16 * width`` in the first group, doubled in each of the next two.
    classes : int
        Scores per image.
    side : int
        Image height and width in pixels, a multiple of 8.
    act_bits, act_frac : int
        Bits ``b`` and fraction bits ``f`` of an activation code; zero is code ``2**f``.
    res_bits, res_frac : int
        Bits ``rb`` and fraction bits ``F`` of the signed residual stream.
    shifts : tuple of int, optional
        ``s`` of every convolution in running order; by default the power of two nearest the
        paper's layer scale.
    entries : tuple of int, optional
        ``e`` of every block in order, then of the head; by default ``F - f``.

    Raises
    ------
    TypeError, ValueError
        A number is of the wrong kind or out of range; the message says which and what works.

    Source: arXiv 1907.06916 and the arithmetic in README ("The arithmetic").
    """

    depth: int = 20
    width: int = 1
    classes: int = 10
    side: int = 32
    act_bits: int = 4
    act_frac: int = None
    res_bits: int = 12
    res_frac: int = None
    shifts: tuple = None
    entries: tuple = None

    def __post_init__(self):
        _integer("Depth", self.depth, 8)
        if self.depth % 6 != 2:
            near = max(8, round((self.depth - 2) / 6) * 6 + 2)
            raise ValueError(f"Depth must be 6n+2, not {self.depth}; try {near}")
        _integer("Width", self.width, 1)
        _integer("Classes", self.classes, 2)
        _integer("Image side", self.side, 8)
        if self.side % 8:
            raise ValueError(f"Image side must be a multiple of 8, not {self.side}; "
                             f"try {self.side // 8 * 8} or {self.side // 8 * 8 + 8}")
        if not isinstance(self.act_bits, int) or self.act_bits not in ACT_BITS:
            raise ValueError(f"Activation bits must be one of {ACT_BITS}, not {self.act_bits!r}")
        if self.act_frac is None:
            object.__setattr__(self, "act_frac", max(0, self.act_bits - 3))
        _integer("Activation fraction bits", self.act_frac, 0, self.act_bits - 1)
        _integer("Residual bits", self.res_bits, 4, 16)
        if self.res_frac is None:
            object.__setattr__(self, "res_frac", max(0, self.res_bits - 7))
        _integer("Residual fraction bits", self.res_frac, 0, self.res_bits - 1)
        for name, given, default in (
                ("shifts", self.shifts, self._default_shifts),
                ("entries", self.entries,
                 [self.res_frac - self.act_frac] * (3 * self.blocks_per_group + 1))):
            given = tuple(default if given is None else given)
            if len(given) != len(default):
                raise ValueError(f"Depth {self.depth} needs {len(default)} {name}, "
                                 f"not {len(given)}")
            for value in given:
                _integer(f"Each of {name}", value, -MAX_SHIFT, MAX_SHIFT)
            object.__setattr__(self, name, given)

    @property
    def blocks_per_group(self):
        """``n`` of ``depth = 6n + 2``."""
        return (self.depth - 2) // 6

    @property
    def zero(self):
        """Activation code ``z`` of the real value 0; code 0 is the floor -1."""
        return 1 << self.act_frac

    @property
    def top(self):
        """Largest activation code."""
        return (1 << self.act_bits) - 1

    @property
    def features(self):
        """Channels that the head sees."""
        return self.channels(2)

    def channels(self, group):
        """Channels of group 0, 1 or 2."""
        return 16 * self.width << group

    @property
    def _skeleton(self):
        """``(name, kind, cin, cout, side, stride)`` of every convolution in running order."""
        rows = [("stem", "stem", 3, self.channels(0), self.side, 1)]
        for group in range(3):
            for block in range(self.blocks_per_group):
                cin, cout = self.channels(group), self.channels(group)
                side, stride = self.side >> group, 1
                if group and not block:
                    cin, stride = self.channels(group - 1), 2
                rows += [(f"g{group}b{block}c0", "first", cin, cout, side * stride, stride),
                         (f"g{group}b{block}c1", "second", cout, cout, side, 1)]
        return rows

    @property
    def _default_shifts(self):
        offset = {"stem": 6 - self.res_frac, "first": 0, "second": self.act_frac - self.res_frac}
        return [_nearest_scale(9 * cin) + offset[kind]
                for _, kind, cin, *_ in self._skeleton]

    @cached_property
    def convs(self):
        """Every :class:`Conv` in running order."""
        return tuple(Conv(*row, shift) for row, shift in zip(self._skeleton, self.shifts))

    @property
    def macs(self):
        """Multiply-accumulates for one frame; the head counts once per channel and class,
        because pooling commutes with its 1x1 weights."""
        return sum(conv.macs for conv in self.convs) + self.classes * self.features

    @property
    def weight_shapes(self):
        """Shape of every weight tensor by name, in running order, ``"head"`` last."""
        return {**{conv.name: conv.shape for conv in self.convs},
                "head": (self.classes, self.features)}

    @property
    def weight_bits(self):
        """Weights of the network, one bit each."""
        return sum(math.prod(shape) for shape in self.weight_shapes.values())

    @property
    def name(self):
        """File name stem of packages and reports, ``wrn-20-1``."""
        return f"wrn-{self.depth}-{self.width}"

    def entry_after(self, index):
        """``e`` that turns the residual written by convolution ``index`` into codes."""
        return self.entries[(index + 1) // 2]

    def to_dict(self):
        """JSON-ready fields."""
        fields = asdict(self)
        return {**fields, "shifts": list(self.shifts), "entries": list(self.entries)}

    @classmethod
    def from_dict(cls, fields):
        """Inverse of :meth:`to_dict`; unknown or missing fields raise ``ValueError``."""
        known = set(cls.__dataclass_fields__)
        if set(fields) != known:
            odd = sorted(set(fields) ^ known)
            raise ValueError(f"Network fields must be {', '.join(sorted(known))}; "
                             f"missing or unknown: {', '.join(odd)}")
        return cls(**{**fields, "shifts": tuple(fields["shifts"]),
                      "entries": tuple(fields["entries"])})
