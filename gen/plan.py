"""The plan: network, device and array size, and everything that follows from them."""

import hashlib
import json
import math
import shlex
from dataclasses import asdict, dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path

from hw.head import head_cycles
from hw.image import load_cycles
from hw.issue import SEEN_DELAY
from hw.pipe import FAR
from hw.pipeline import Pipeline
from hw.queue import QUEUE_LATENCY
from hw.schedule import Lanes

from .device import DEVICES
from .estimate import PlanTooLarge, estimate_resources
from .layout import contents, pass_name
from .network import Network
from .package import Package, PackageError
from .residency import (
    SLOWER,
    check_room,
    least_words,
    piece_cycles,
    place_weights,
    queue_room,
    weight_room,
)
from .schedule import make_schedule, rounds_of
from .timing import drain_cycles

__all__ = ["BATCHES", "FORMAT", "Plan", "PlanError", "reside"]

FORMAT = "signstream-plan"
VERSION = 2     # raised where the same fields make another schedule or gateware
BATCHES = 1, 2     # frames of a round


class PlanError(ValueError):
    """A plan that can't be made or read; the message is one sentence for the user."""


@dataclass(frozen=True, eq=False)
class Plan:
    """A network package on an array, for a device.

    ``create`` makes the gateware; ``save`` and ``load`` keep a plan in a build folder as
    ``plan.json`` beside ``package.safetensors``. ``clock_mhz`` is the pipeline's, ``memory_mhz``
    that of the memory chip which weights are streamed from (by default the same). ``batch`` are the
    frames that share the streamed weights of the second and the last group of blocks, see
    :func:`.schedule.in_rounds`; whether some of a round's layers are late follows from how long the
    others wait for weights.
    """

    package: Package
    lanes: Lanes
    device: str
    clock_mhz: float = 100.0
    weight_words: int = None
    memory_mhz: float = None
    batch: int = 1

    @property
    def network(self):
        """The network description."""
        return self.package.network

    @cached_property
    def residency(self):
        """Where the weights lie: a :class:`.residency.Residency`.

        Raises :class:`PlanTooLarge` where a pass's weights don't fit the weight memories.
        """
        return reside(self.network, self.lanes, self.device, self.weight_words,
                      self.piece_cycles, self.batch)

    @property
    def piece_cycles(self):
        """Pipeline cycles between two pieces of streamed weights, see
        :func:`.residency.piece_cycles`."""
        return piece_cycles(self.clock_mhz, self.memory_mhz or self.clock_mhz)

    @property
    def schedule(self):
        """The layer schedule."""
        return self.residency.schedule

    @property
    def limited(self):
        """Whether ``weight_words`` has a say in what is streamed."""
        return self.weight_words is not None and bool(
            self.schedule.loads or replace(self, weight_words=None).schedule.loads)

    @cached_property
    def contents(self):
        """Contents of the read-only memories."""
        return contents(self.package, self.schedule)

    @property
    def options(self):
        """Options of ``python -m gen`` that make this plan, where its weights are random or those
        of the shipped package; without board and folder."""
        network, seed = self.network, self.package.training.get("random_weights")
        said = {"width": network.width, "depth": network.depth}
        if seed is not None:
            usual = Network(network.depth, network.width)
            said["random-weights"] = seed
            said |= {name.replace("_", "-"): getattr(network, name)
                     for name in ("classes", "side", "act_bits", "res_bits")
                     if getattr(network, name) != getattr(usual, name)}
        said["lanes"] = ",".join(map(str, asdict(self.lanes).values()))
        said["clock-mhz"] = f"{self.clock_mhz:.10g}"
        if self.schedule.loads:
            # Upwards: the clock must not be above what's said.
            memory = self.memory_mhz or self.clock_mhz
            said["memory-mhz"] = f"{math.ceil(memory * 1e4) / 1e4:.10g}"
        if self.schedule.loads or self.batch != 1:
            said["batch"] = self.batch
        if self.limited:
            said["weight-words"] = self.weight_words
        return " ".join(f"--{name} {value}" for name, value in said.items())

    def create(self):
        """The :class:`hw.pipeline.Pipeline`."""
        return Pipeline(self.schedule, self.contents)

    @property
    def cycles_per_frame(self):
        """Clock cycles a frame, frames back to back: an integer, or half of an odd one."""
        cycles = self.residency.distance
        return cycles / self.batch if cycles % self.batch else cycles // self.batch

    @property
    def streamed_bits(self):
        """Bits of weights that are streamed for a frame."""
        return self.residency.bits // self.batch

    @property
    def stall_cycles(self):
        """Clock cycles of a frame that wait for weights."""
        return self.residency.stalls // self.batch

    @property
    def latency_cycles(self):
        """Clock cycles from the first pixel taken to the last score given, nothing waiting: of the
        first frame of a round. Waits for weights are counted in the frame's own round, not in the
        next one where its late layers are."""
        loaded = QUEUE_LATENCY + load_cycles(self.schedule) + FAR + SEEN_DELAY
        layers = self.schedule.layers
        late = 1 + max((k for k, layer in enumerate(layers) if layer.late), default=-1)
        computed = self.residency.cycles + sum(y.gap + y.cycles for y in layers[:late])
        return (loaded + computed - layers[0].gap + drain_cycles(self.schedule)
                + head_cycles(self.schedule))

    @property
    def lane_busy(self):
        """Share of the lanes' cycles that a multiply-accumulate of the network fills.

        Strided layers compute every column and keep every other one, so they count half.
        """
        return (sum(conv.macs for conv in self.network.convs)
                / (self.cycles_per_frame * self.lanes.count))

    @property
    def digest(self):
        """Hexadecimal identity of gateware and weights."""
        fields = self._fields()
        return hashlib.blake2s(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:32]

    def _fields(self):
        chosen = {name: getattr(self, name) for name in ("weight_words", "memory_mhz")
                  if getattr(self, name) is not None}
        if self.batch != 1:
            chosen["batch"] = self.batch
        return {"format": FORMAT, "version": VERSION, "network": self.network.name,
                "device": self.device, "clock_mhz": self.clock_mhz,
                **asdict(self.lanes), **chosen, "package": self.package.digest}

    def to_dict(self):
        """What ``plan.json`` holds: the choices, and what follows from them."""
        return {
            **self._fields(), "digest": self.digest,
            "lanes": self.lanes.count, "cycles_per_frame": self.cycles_per_frame,
            "latency_cycles": self.latency_cycles, "lane_busy": self.lane_busy,
            "resources": estimate_resources(self.schedule),
            "stall_cycles": self.stall_cycles, "streamed_bits": self.streamed_bits,
            "streamed_layers": [pass_name(self.schedule.layers[load.layer], self.lanes)
                                for load in self.schedule.loads],
            "accumulator_bits": self.schedule.acc_bits,
            "layers": [asdict(layer) | {"cycles": layer.cycles}
                       for layer in self.schedule.layers]}

    @classmethod
    def load(cls, folder):
        """Read the plan of a build folder.

        Raises :class:`PlanError` where the folder holds none, or one of another version, or one
        that doesn't belong to the package beside it.
        """
        folder = Path(folder)
        try:
            fields = json.loads((folder / "plan.json").read_text())
        except (FileNotFoundError, NotADirectoryError):
            raise PlanError(f"{folder} holds no plan.json; make one with `python -m gen --width 1 "
                            f"--depth 20 --out {_free(folder)}`") from None
        except ValueError as error:     # no JSON, or no UTF-8
            raise PlanError(f"{folder / 'plan.json'} is damaged ({error}); "
                            f"generate it again") from None
        known = {"device", "clock_mhz", "digest", *Lanes.__dataclass_fields__}
        if (not isinstance(fields, dict) or fields.get("format") != FORMAT
                or fields.get("version") != VERSION or not known <= set(fields)):
            raise PlanError(f"{folder / 'plan.json'} isn't a plan of this release; "
                            f"generate it again")
        try:
            package = Package.load(folder / "package.safetensors")
        except PackageError as error:
            raise PlanError(f"{error}; generate it again") from None
        lanes = Lanes(**{name: fields[name] for name in Lanes.__dataclass_fields__})
        plan = cls(package, lanes, fields["device"], fields["clock_mhz"],
                   fields.get("weight_words"), fields.get("memory_mhz"), fields.get("batch", 1))
        if plan.digest != fields["digest"]:
            raise PlanError(f"{folder} holds a plan for another package or release; "
                            f"generate it again")
        return plan


def _free(folder):
    """A folder for ``gen`` to write, as the shell wants it: ``folder``, or one within it or beside
    it where it's in use for something else."""
    if folder.is_file():
        folder = folder.parent / "build"
    elif folder.exists() and any(folder.iterdir()):
        folder = folder / "build"
    return shlex.quote(str(folder))


@lru_cache(maxsize=32)     # seconds each, and whoever chooses a plan asks for some twice
def reside(network, lanes, device, weight_words, pace, batch):
    """The :class:`.residency.Residency` of a plan: fields as there, ``pace`` its ``piece_cycles``.

    Raises :class:`PlanTooLarge` where a pass's weights don't fit the weight memories.
    """
    device, schedule = DEVICES[device], make_schedule(network, lanes)
    best = None
    for rounds in rounds_of(batch, schedule):
        whole = rounds(schedule)
        room = weight_room(whole, device) if weight_words is None else weight_words
        found = place_weights(schedule, room, pace, rounds, queue_room(whole, room, device))
        if found and (best is None or found.distance * (1 + SLOWER) < best.distance):
            best = found
        if best and (not best.stalls or best.distance > best.cycles):
            return best
    if best:
        return best
    if weight_words is None:
        check_room(rounds_of(batch, schedule)[0](schedule), device, network.name)
    raise PlanTooLarge(f"{network.name} needs weight memories of at least "
                       f"{least_words(schedule):,} words on this array, not {room:,}")
