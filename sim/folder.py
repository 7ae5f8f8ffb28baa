"""A build folder as a simulation needs it."""

from dataclasses import dataclass
from pathlib import Path

from gen.layout import STREAM
from gen.plan import Plan

__all__ = ["Folder", "FolderError"]


class FolderError(ValueError):
    """A build folder that can't be simulated; the message is one sentence for the user."""


@dataclass(frozen=True, eq=False)
class Folder:
    """What ``python -m gen`` wrote: where, the plan and the Verilog sources."""

    path: Path
    plan: Plan
    sources: tuple

    @property
    def package(self):
        """The network package that the build was made from."""
        return self.plan.package

    @property
    def network(self):
        """The network description."""
        return self.plan.network

    @property
    def stream(self):
        """File with what the weight stream gives in a frame, or ``None`` if all weights stay."""
        return self.path / "weights" / STREAM if self.plan.schedule.loads else None

    @classmethod
    def load(cls, path):
        """Raises :class:`FolderError` or :class:`gen.plan.PlanError` where a file is absent,
        unreadable or of another network."""
        path = Path(path).resolve()
        try:
            plan = Plan.load(path)
        except (KeyError, TypeError, AttributeError) as error:
            raise FolderError(f"{path / 'plan.json'}: not a plan ({error!r}); "
                              f"generate it again") from None
        sources = (path / "top.v", *sorted(p for p in path.glob("*.v") if p.name != "top.v"))
        if not sources[0].exists():
            raise FolderError(f"{path}: has no top.v; generate it again")
        folder = cls(path, plan, sources)
        if folder.stream and not folder.stream.exists():
            raise FolderError(f"{path}: has no weights/{STREAM}; generate it again")
        return folder
