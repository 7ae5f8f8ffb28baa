"""Files that a command is to write, looked at before the work whose result they are to hold."""

import os
from pathlib import Path

__all__ = ["PathError", "check_out"]


class PathError(ValueError):
    """A file that can't, or mustn't, be written; the message is one sentence for the user."""


def check_out(path, *sources):
    """Refuse ``path`` where no file can be written, or where it's one of the files ``sources``
    that it's made from."""
    path = Path(path)
    if path.is_dir():
        raise PathError(f"{path}: is a folder; name a file in it")
    for source in map(Path, sources):
        if path.exists() and source.exists() and path.samefile(source):
            raise PathError(f"{path}: is the file that this would be made from; name another --out")
    parent = next(folder for folder in path.parents if folder.exists())
    if not parent.is_dir():
        raise PathError(f"{path}: can't be written, because {parent} is no folder; name another "
                        f"file")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise PathError(f"{path}: can't be written, because {parent} may not be written to; name "
                        f"another file")
