"""A training run's recipe: everything that decides its result, besides the data."""

import math
from dataclasses import asdict, dataclass

from .paper import OURS, Variant

__all__ = ["VARIANT", "Recipe", "TrainError"]

VARIANT = tuple(Variant.__dataclass_fields__)
# What numbers of a recipe may be. Written so that nan is refused: it compares with nothing.
RANGES = {
    "batch": (lambda x: x >= 1, "Batch must be at least 1"),
    "rate": (lambda x: 0 <= x < math.inf, "Rate must be a number of at least 0"),
    "scale_rate": (lambda x: 0 <= x < math.inf, "Scale rate must be a number of at least 0"),
    "warmup": (lambda x: 0 <= x <= 1, "Warmup must be a fraction of the run, 0 to 1"),
    "smoothing": (lambda x: 0 <= x < 1, "Smoothing must be at least 0 and below 1"),
    "distil": (lambda x: 0 <= x <= 1, "The teachers' share must be 0 to 1"),
    "temperature": (lambda x: 0 < x < math.inf, "Temperature must be a number above 0"),
    "cutout": (lambda x: x >= 0, "Cutout must be a side in pixels of at least 0"),
    "round_from": (lambda x: 0 <= x <= 1, "Round-from must be a fraction of the run, 0 to 1"),
    "act_rms": (lambda x: 0 < x < math.inf, "Act-rms must be a number above 0"),
    "branch": (lambda x: 0 < x < math.inf, "Branch must be a number above 0"),
    "noise": (lambda x: 0 <= x < math.inf, "Noise must be a number of at least 0"),
    # Times a million it seeds a generator, which takes 64 bits.
    "seed": (lambda x: 0 <= x < 2 ** 32, f"Seed must be 0 to {2 ** 32 - 1}"),
}


class TrainError(ValueError):
    """A run that can't start or go on; the message is one sentence for the user."""


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the result of a run, besides the data.

    Parameters
    ----------
    epochs : int, optional
        Length of the run; the learning rate is zero at its end.
    minutes : float, optional
        Length by the clock instead.
    batch : int
        Images per optimiser step, all processes together.
    rate : float
        Adam's learning rate for the latents at its peak, after ``warmup`` (a fraction of the run);
        from there it falls to zero as half a cosine. Of a plain net that of SGD
        (:func:`export.plain.optimiser`).
    scale_rate : float
        The same for the logits' scale.
    smoothing : float
        Label smoothing.
    distil : float
        Share of the loss that comes from teachers' predictions (:mod:`.distil`), 0 to 1; the
        labels have the rest.
    temperature : float
        Of those predictions.
    cutout : int
        Side in pixels of the square cut out of each full-size training image; 0 for none.
    sides : tuple of (int, float)
        Image sides in pixels and the fraction of the run up to which each is used; the images'
        own side is used from there on. Small images first are cheap: the network doesn't mind.
    round_from : float
        Fraction of the run from which activations are rounded; limits are always in force.
    act_rms, branch : float
        See :func:`export.model.calibrate`.
    noise : float
        Of the latents that a run starts from, relative to each layer's standard deviation. Copies
        of a channel (:mod:`.adapt`) get the same gradients and stay copies without it.
    normalise : bool
        After every step each layer's latents are centred and divided by their standard deviation,
        so that ``rate`` is the size of a step relative to them. A layer's signs are the same
        whatever the size of its latents, and Adam's steps don't depend on it either: left alone,
        latents grow with the steps they take, and later steps turn fewer and fewer signs.
    seed : int
    amp : str
        ``"off"`` or ``"bf16"`` (convolutions of the training pass in bfloat16).
    compile : bool
        Compile the signs and what lies between the convolutions
        (:func:`export.passes.compiled`).
    norm, act, weight_bits, scale, floats, net
        See :class:`export.paper.Variant`: any but the defaults is a net for comparison.
    """

    epochs: int = None
    minutes: float = None
    batch: int = 128
    rate: float = 0.005
    scale_rate: float = 0.01
    warmup: float = 0.02
    smoothing: float = 0.0
    distil: float = 0.0
    temperature: float = 2.0
    cutout: int = 0
    sides: tuple = ()
    round_from: float = 0.0
    act_rms: float = 3.0
    branch: float = 0.5
    noise: float = 0.0
    normalise: bool = False
    seed: int = 0
    amp: str = "off"
    compile: bool = False
    norm: str = OURS.norm
    act: str = OURS.act
    weight_bits: int = OURS.weight_bits
    scale: str = OURS.scale
    floats: bool = OURS.floats
    net: str = OURS.net

    def __post_init__(self):
        if (self.epochs is None) == (self.minutes is None):
            raise TrainError("A run must have a length: give either epochs or minutes")
        length = self.epochs if self.minutes is None else self.minutes
        if not 0 < length < math.inf:
            raise TrainError(f"The length of a run must be positive and finite, not {length}")
        for name, (allowed, sentence) in RANGES.items():
            if not allowed(getattr(self, name)):
                raise TrainError(f"{sentence}, not {getattr(self, name)}")
        if self.amp not in ("off", "bf16"):
            raise TrainError(f"Mixed precision must be off or bf16, not {self.amp}")
        for side, until in self.sides:
            if side < 8 or side % 8 or not 0 < until <= 1:
                raise TrainError(f"Training sides must be multiples of 8 with a fraction of the "
                                 f"run up to 1, not {side}:{until}")

        try:
            self.variant  # noqa: B018, one that there is
        except ValueError as error:
            raise TrainError(str(error)) from None
        if self.compile and self.variant != OURS:
            raise TrainError(f"Only a net with {OURS} is compiled, not {self.variant}; leave "
                             f"--compile out")
        if self.normalise and self.net == "plain":
            raise TrainError("A plain net's weights are no latents; leave --normalise out")

    @property
    def variant(self):
        """The :class:`export.paper.Variant` that is trained."""
        return Variant(**{name: getattr(self, name) for name in VARIANT})

    @property
    def settings(self):
        """The recipe as JSON, as checkpoints keep it."""
        return asdict(self) | {"sides": [list(pair) for pair in self.sides]}

    def rate_factor(self, t):
        """Learning rate over its peak at fraction ``t`` of the run."""
        return min(1, t / self.warmup if self.warmup else 1) * (1 + math.cos(math.pi * t)) / 2

    def side_at(self, t, full):
        """Image side at fraction ``t`` of the run, for images of ``full`` pixels."""
        return next((side for side, until in self.sides if t < until), full)
