"""A build folder as a simulation needs it."""

import json
from dataclasses import dataclass
from pathlib import Path

from gen.network import Network
from gen.package import Package, PackageError

__all__ = ["Folder", "FolderError"]

AGAIN = "generate it again with `python -m gen --out FOLDER`"


class FolderError(ValueError):
    """A build folder that can't be simulated; the message is one sentence for the user."""


@dataclass(frozen=True, eq=False)
class Folder:
    """What ``python -m gen`` wrote: ``path``, the network package it was made from, the Verilog
    sources and the plan's fields."""

    path: Path
    package: Package
    plan: dict
    sources: tuple

    @property
    def network(self):
        return self.package.network

    @classmethod
    def load(cls, path):
        """Raises :class:`FolderError` where a file is absent, unreadable or of another network."""
        path = Path(path).resolve()
        if not path.is_dir():
            raise FolderError(f"{path}: no such build folder; "
                              f"make one with `python -m gen --out {path}`")
        plan, network = (cls._json(path / name) for name in ("plan.json", "network.json"))
        try:
            package = Package.load(path / "package.safetensors")
        except PackageError as error:
            raise FolderError(f"{error}; {AGAIN}") from None
        try:
            same = Network.from_dict({name: network[name] for name in Network.__dataclass_fields__
                                      }) == package.network
        except (KeyError, TypeError, ValueError) as error:
            raise FolderError(f"{path / 'network.json'}: not a network ({error}); "
                              f"{AGAIN}") from None
        if not same:
            raise FolderError(f"{path}: network.json and package.safetensors describe different "
                              f"networks; {AGAIN}")
        sources = (path / "top.v", *sorted(p for p in path.glob("*.v") if p.name != "top.v"))
        if not sources[0].exists():
            raise FolderError(f"{path}: has no top.v; {AGAIN}")
        return cls(path, package, plan, sources)

    @staticmethod
    def _json(path):
        try:
            return json.loads(path.read_text())
        except FileNotFoundError:
            raise FolderError(f"{path.parent}: has no {path.name}; {AGAIN}") from None
        except (OSError, ValueError) as error:
            raise FolderError(f"{path}: can't be read ({error}); {AGAIN}") from None
