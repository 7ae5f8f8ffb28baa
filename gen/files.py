"""Files that are there whole or not at all."""

from contextlib import contextmanager
from pathlib import Path

__all__ = ["whole"]


@contextmanager
def whole(path):
    """A path to write to, which takes the place of ``path``, made with its folder, at the end of
    the ``with`` block. If that fails the file that was there stays as it was, and nothing else."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
