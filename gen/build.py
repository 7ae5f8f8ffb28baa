"""Writes a build folder: Verilog, init files, plan and report."""

import json
import os
import shutil
import tempfile
from pathlib import Path

from amaranth.back import verilog

from hw.target import VerilogTarget

from . import report
from .layout import STREAM, weight_map
from .plan import PlanError

__all__ = ["write_build"]

TOP = "signstream"
UNFINISHED = ".gen-"     # how folders begin that exist only while a build folder is written


def _files(plan):
    """``name -> text`` of everything that's generated from the gateware."""
    target = VerilogTarget()
    top = verilog.convert(plan.create(), name=TOP, platform=target, strip_internal_attrs=True,
                          emit_src=False)
    sources = [text for name, text in target.extra_files.items() if name.endswith(".v")]
    files = {name: text for name, text in target.extra_files.items() if name.endswith(".hex")}
    files["top.v"] = "\n".join([f"// {plan.network.name}, plan {plan.digest}", top, *sources])
    files["weights/manifest.json"] = json.dumps(weight_map(plan.network, plan.schedule), indent=2)
    return files


def write_build(plan, folder):
    """Write the build folder of a plan.

    What is in a build folder is replaced once all that's new is complete, and then all at once;
    what isn't a build folder is left alone. Kept are compiled simulations (they are found again by
    content), build folders within this one, and, where it's of the same plan, the boards' folders
    and what was measured.

    Raises :class:`PlanError` where the folder isn't a build folder, or holds a bitstream of another
    plan.
    """
    # The contents are replaced and not the folder: it may be a link, or where the user's shell is.
    place = Path(os.path.realpath(folder))
    there = os.path.lexists(place)      # as a loop of links does, too
    if there and (not place.is_dir() or any(place.iterdir())
                  and not (place / "plan.json").exists()):
        raise PlanError(f"{folder} exists and isn't a build folder; name another with --out")
    same = there and _digest(place) == plan.digest
    for bitstream in [] if same else sorted(place.glob("*/**/top.bit")):
        if not _stays(place / bitstream.relative_to(place).parts[0], same):
            raise PlanError(f"{bitstream} was made from another plan and would be lost; name "
                            f"another folder with --out, or remove it first")
    place.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=place if there else place.parent))
    try:
        _write_files(plan, fresh, report.earlier(place) if same else None)
        if there:
            _replace_contents(place, fresh, same)
        else:
            fresh.chmod(0o755)
            fresh.rename(place)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise


def _digest(folder):
    """Digest of the plan that a build folder says it holds, ``None`` where it can't be read."""
    try:
        return json.loads((folder / "plan.json").read_text())["digest"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _stays(path, same):
    """Whether a folder in a build folder outlives what's beside it; ``same``: the plan does."""
    return path.is_dir() and not path.name.startswith(UNFINISHED) and (
        same or path.name.startswith("sim-") or (path / "plan.json").exists())


def _write_files(plan, folder, measured):
    """Write all files of a plan into an empty folder; ``measured`` is an earlier report of it."""
    for name, text in _files(plan).items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    if plan.schedule.loads:
        (folder / "weights" / STREAM).write_bytes(plan.contents.stream.tobytes())
    plan.package.save(folder / "package.safetensors")
    (folder / "network.json").write_text(json.dumps(plan.network.to_dict(), indent=2) + "\n")
    (folder / "plan.json").write_text(json.dumps(plan.to_dict(), indent=2) + "\n")
    made = report.new_report(plan)
    report.write(folder, report.with_measured(made, measured) if measured else made)


def _replace_contents(folder, fresh, same):
    """Put what's in ``fresh`` into ``folder`` and remove what was there and doesn't stay; where
    that breaks off, everything is as it was."""
    old = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=folder))
    new = sorted(fresh.iterdir())
    names = {path.name for path in new}
    moves = [(path, old / path.name) for path in sorted(folder.iterdir())
             if path not in (fresh, old) and (path.name in names or not _stays(path, same))]
    moves += [(path, folder / path.name) for path in new]
    try:
        for source, target in moves:
            source.rename(target)
    except BaseException:
        for source, target in reversed(moves):
            if not os.path.lexists(source):
                target.rename(source)
        old.rmdir()
        raise
    fresh.rmdir()
    shutil.rmtree(old)
