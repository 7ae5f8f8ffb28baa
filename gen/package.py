"""Network packages: ``NAME.safetensors`` with packed sign bits and a JSON header.

A package is all that the hardware side ever sees of a training run: integers only. Sign bits are
packed eight to a byte, lowest bit first, in C order of the weight tensor; bit 1 is +1, bit 0 is -1.
"""

import hashlib
import json
import math
import struct
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, deserialize
from safetensors.numpy import save as to_safetensors

from .files import whole
from .network import Network

__all__ = ["FORMAT", "VERSION", "Package", "PackageError", "shipped"]

FORMAT = "signstream-package"
VERSION = 1
SHIPPED = Path(__file__).parent / "packages"


class PackageError(ValueError):
    """A package that can't be used; the message is one sentence for the user."""


def shipped(depth, width):
    """Path of the trained package that comes with the project.

    Raises :class:`PackageError` where none does, naming those that do.
    """
    path = SHIPPED / f"wrn-{depth}-{width}.safetensors"
    if not path.exists():
        have = ", ".join(sorted(p.stem for p in SHIPPED.glob("*.safetensors"))) or "none"
        raise PackageError(f"No trained package for WRN-{depth}-{width} is shipped (there are: "
                           f"{have}); train one with `python -m export train`, name one with "
                           f"--package FILE, or size the design with --random-weights SEED")
    return path


@dataclass(frozen=True, eq=False)
class Package:
    """A trained network: description, ±1 weights and provenance.

    Parameters
    ----------
    network : Network
    weights : dict of int8 arrays
        +1 or -1, ``[cout, cin, row, column]`` by convolution name, and ``"head"``
        as ``[classes, features]``.
    class_names : tuple of str
    training : dict
        How it was trained, as JSON; empty for random weights.
    accuracy : float, optional
        Of the golden model, a fraction of ``test_images``.

    Raises
    ------
    PackageError
        A tensor is missing, has a wrong shape or holds anything but +1 and -1.
    """

    network: Network
    weights: dict
    class_names: tuple = ()
    training: dict = field(default_factory=dict)
    accuracy: float = None
    test_images: int = 0

    def __post_init__(self):
        shapes = self.network.weight_shapes
        if not isinstance(self.class_names, (tuple, list)):      # a string has a length, too
            raise PackageError(f"Class names must be a list, not {self.class_names!r}")
        names = tuple(self.class_names) or tuple(f"class {j}" for j in range(self.network.classes))
        if len(names) != self.network.classes:
            raise PackageError(f"Class names must be {self.network.classes}, not {len(names)}")
        if not all(isinstance(name, str) for name in names):
            raise PackageError(f"Class names must be strings, not {names!r}")
        object.__setattr__(self, "class_names", names)
        if not isinstance(self.training, dict):
            raise PackageError(f"Training must be a dictionary, not {self.training!r}")
        if self.accuracy is not None and not (isinstance(self.accuracy, float)
                                              and 0 <= self.accuracy <= 1):
            raise PackageError(f"Accuracy must be a fraction 0.0 to 1.0 or None, "
                               f"not {self.accuracy!r}")
        if not isinstance(self.test_images, int) or self.test_images < 0:
            raise PackageError(f"Test images must be a count, not {self.test_images!r}")
        if set(self.weights) != set(shapes):
            odd = sorted(set(self.weights) ^ set(shapes))
            raise PackageError(f"Weights must be those of {self.network.name}; "
                               f"missing or unknown: {', '.join(odd)}")
        checked = {}
        for name, shape in shapes.items():
            w = np.asarray(self.weights[name])
            if w.shape != shape:
                raise PackageError(f"{name}: weights must be {list(shape)}, not {list(w.shape)}")
            if not np.isin(w, (-1, 1)).all():
                raise PackageError(f"{name}: weights must be +1 or -1, "
                                   f"not {w[~np.isin(w, (-1, 1))].flat[0]!r}")
            checked[name] = w.astype(np.int8)
        object.__setattr__(self, "weights", checked)

    @classmethod
    def random(cls, network, seed=0):
        """Untrained weights for sizing and tests, the same for the same seed."""
        rng = np.random.default_rng(seed)
        return cls(network, {name: rng.integers(0, 2, shape, dtype=np.int8) * 2 - 1
                             for name, shape in network.weight_shapes.items()},
                   training={"random_weights": seed})

    @property
    def digest(self):
        """Hexadecimal identity of the numbers: network and weights, not the provenance."""
        h = hashlib.blake2s(json.dumps(self.network.to_dict(), sort_keys=True).encode())
        for name in self.network.weight_shapes:
            h.update(_pack(self.weights[name]))
        return h.hexdigest()

    def save(self, path):
        """Write the package; an existing file is replaced only once the new one is complete."""
        header = {"format": FORMAT, "version": VERSION, "network": self.network.to_dict(),
                  "class_names": list(self.class_names), "training": self.training,
                  "accuracy": self.accuracy, "test_images": self.test_images,
                  "digest": self.digest}
        data = to_safetensors({name: np.frombuffer(_pack(w), np.uint8)
                               for name, w in self.weights.items()},
                              metadata={"signstream": json.dumps(header)})
        with whole(path) as partial:
            partial.write_bytes(data)

    @classmethod
    def load(cls, path):
        """Read a package.

        Raises
        ------
        PackageError
            The file is absent, truncated, of another format or version, or its header and
            tensors disagree; the sentence names the file and the tensor.
        """
        path = Path(path)
        try:
            return cls._parse(path.read_bytes())
        except FileNotFoundError:
            raise PackageError(f"{path}: no such package") from None
        except OSError as error:
            raise PackageError(f"{path}: can't be read ({error.strerror})") from None
        except (ValueError, TypeError, KeyError) as error:
            raise PackageError(f"{path}: {error}") from None

    @classmethod
    def _parse(cls, raw):
        tensors, metadata = _read_safetensors(raw)
        try:
            header = json.loads(metadata["signstream"])
        except (KeyError, json.JSONDecodeError):
            raise PackageError("not a signstream network package "
                               "(no signstream header in its metadata)") from None
        if not isinstance(header, dict):
            raise PackageError(f"header must be a JSON object, not {type(header).__name__}")
        if header.get("format") != FORMAT or header.get("version") != VERSION:
            raise PackageError(f"package version must be {VERSION}, "
                               f"not {header.get('version')!r}; re-pack it with this release")
        missing = {"network", "class_names", "training", "accuracy", "test_images",
                   "digest"} - set(header)
        if missing:
            raise PackageError(f"header lacks {', '.join(sorted(missing))}")
        network = Network.from_dict(header["network"])
        shapes = network.weight_shapes
        if set(tensors) != set(shapes):
            odd = sorted(set(tensors) ^ set(shapes))
            raise PackageError(f"header says {network.name}, but the tensors don't: "
                               f"missing or unknown {', '.join(odd)}")
        weights = {name: _unpack(name, tensors[name], shape) for name, shape in shapes.items()}
        package = cls(network, weights, header["class_names"], header["training"],
                      header["accuracy"], header["test_images"])
        if package.digest != header["digest"]:
            raise PackageError("weights or network numbers differ from the header's digest: "
                               "the file was damaged or edited; re-pack it")
        return package


def _read_safetensors(raw):
    """``(tensors, metadata)``; the library's own reader checks the layout."""
    try:
        if len(raw) < 8:
            raise PackageError(f"truncated: {len(raw)} bytes hold no safetensors header")
        tensors = {}
        for name, t in deserialize(raw):
            if t["dtype"] != "U8":
                raise PackageError(f"{name}: packed weights must be U8 bytes, not {t['dtype']}")
            tensors[name] = np.frombuffer(t["data"], np.uint8).reshape(t["shape"])
        size, = struct.unpack_from("<Q", raw)
        return tensors, json.loads(raw[8:8 + size]).get("__metadata__", {})
    except SafetensorError as error:
        raise PackageError(f"truncated or not a safetensors file ({error})") from None


def _pack(weights):
    return np.packbits(weights.reshape(-1) > 0, bitorder="little").tobytes()


def _unpack(name, packed, shape):
    count = math.prod(shape)
    if packed.shape != ((count + 7) // 8,):
        raise PackageError(f"{name}: {list(shape)} weights take {(count + 7) // 8} bytes, "
                           f"not {list(packed.shape)}")
    bits = np.unpackbits(packed, bitorder="little")
    if bits[count:].any():
        raise PackageError(f"{name}: the padding after the last weight must be zero bits")
    return bits[:count].reshape(shape).astype(np.int8) * 2 - 1
