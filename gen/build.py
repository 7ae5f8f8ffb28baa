"""Writes a build folder: Verilog, init files, plan and report."""

import json
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

    A folder that is there already is replaced only when the new one is complete, and only if it's
    a build folder; compiled simulations in it are kept (they are found again by content).
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())
                            and not (folder / "plan.json").exists()):
        raise PlanError(f"{folder} exists and isn't a build folder; name another with --out")
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        for name, text in _files(plan).items():
            path = fresh / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        if plan.schedule.loads:
            (fresh / "weights" / STREAM).write_bytes(plan.contents.stream.tobytes())
        plan.package.save(fresh / "package.safetensors")
        (fresh / "network.json").write_text(json.dumps(plan.network.to_dict(), indent=2) + "\n")
        (fresh / "plan.json").write_text(json.dumps(plan.to_dict(), indent=2) + "\n")
        report.write(fresh, report.new_report(plan))
        fresh.chmod(0o755)
        if folder.exists():
            for kept in folder.glob("sim-*"):
                kept.rename(fresh / kept.name)
            shutil.rmtree(folder)
        fresh.rename(folder)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise
