"""Compile a build's Verilog and run images through it."""

import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np

from . import icarus, verilator

__all__ = ["SIMULATORS", "SimulationError", "Verdict", "simulate"]

SIMULATORS = ("verilator", "icarus")
TOP = "signstream"
QUIET = 50_000          # cycles that a design needs for nothing that can be seen, frames aside


class SimulationError(RuntimeError):
    """The simulator itself failed; the message is one sentence for the user."""


@dataclass(frozen=True, eq=False)
class Verdict:
    """What one run of :mod:`sim.bench` found.

    Members
    -------
    seed : int
        Of the stalls; 0 for a run without.
    batch : int
        Frames that the design takes at a time.
    frames : list of dict
        ``image``, ``scores``, ``expected``, ``difference`` (None: bit-exact), ``first_pixel``,
        ``last_score`` (cycles since reset); a frame that never ended has its difference alone.
    """

    seed: int
    batch: int
    frames: list

    @property
    def exact(self):
        return all(frame and frame.get("scores") and not frame["difference"]
                   for frame in self.frames)

    @property
    def distances(self):
        """Cycles from the last score of each frame to that of the same one of the next batch."""
        ends = [frame["last_score"] for frame in self.frames if "last_score" in frame]
        return [b - a for a, b in zip(ends, ends[self.batch:])]

    @property
    def cycles_per_frame(self):
        """Steady-state cycles a frame, or None: the distance that the last frames agree on."""
        if not (self.exact and self.distances):
            return None
        cycles, odd = divmod(self.distances[-1], self.batch)
        return self.distances[-1] / self.batch if odd else cycles

    @property
    def latency(self):
        """Cycles from the first frame's first pixel to its last score, or None."""
        if not self.exact:
            return None
        return self.frames[0]["last_score"] - self.frames[0]["first_pixel"]


def simulate(folder, pixels, seed=1, simulator="verilator", waves=False, say=print):
    """Run images through the Verilog of a build.

    Parameters
    ----------
    folder : Folder
    pixels : uint8[n, 3, side, side]
    seed : int
        Of the second run's stalls (its first two images at most, three where frames come in
        pairs); 0 leaves that run out. The first run has no stalls and sends at least three batches
        of frames, for the steady state.
    simulator : str
        One of ``SIMULATORS``.
    waves : bool
        Record every signal, of the images alone; the file is named by ``say``. It takes some
        50 kB a cycle.

    Returns
    -------
    list of Verdict

    Raises
    ------
    verilator.ToolError, SimulationError
    """
    if seed < 0:
        raise SimulationError(f"Seed of the stalls must be at least 0, not {seed}")
    started = time.time()
    work = folder.path / (f"sim-{simulator}-waves" if waves else f"sim-{simulator}")
    _compiled(folder, work, simulator, waves, say)
    np.savez(work / "images.npz", images=pixels)
    n, batch = len(pixels), folder.plan.batch
    least = 1 if waves else 3 * batch
    runs = [{"seed": 0, "order": [k % n for k in range(max(least, n))]}]
    if seed:
        runs.append({"seed": seed, "order": [k % n for k in range(min(least, batch + 1))]})
    report = work / "verdicts.json"
    report.unlink(missing_ok=True)
    (work / "job.json").write_text(json.dumps({
        "package": str(folder.path / "package.safetensors"), "images": str(work / "images.npz"),
        "report": str(report), "pixels": folder.plan.lanes.pixels, "started": time.time(),
        "weights": str(folder.stream) if folder.stream else None,
        "piece_cycles": folder.plan.piece_cycles,
        # Frames that aren't there take their time, and nothing is seen of them.
        "quiet": QUIET + 2 * folder.plan.residency.distance,
        "result_channels": folder.plan.lanes.result_channels, "runs": runs}))
    say(f"[2/2] simulate {len(runs[0]['order'])} frames back to back"
        + (f", then {len(runs[1]['order'])} with stalls" if seed else ""))
    _execute(folder, work, simulator, waves)
    verdicts = [Verdict(run["seed"], batch, run["frames"])
                for run in (json.loads(report.read_text()) if report.exists() else [])]
    if len(verdicts) < len(runs):
        raise SimulationError(f"The simulation stopped early; its output is in "
                              f"{work / 'simulation.log'}")
    for dump in work.glob("dump.[vf][cs][dt]"):
        say(f"      waves: {dump}, {dump.stat().st_size / 1e6:.0f} MB")
    say(f"      done  {time.time() - started:.0f} s")
    return verdicts


def _compiled(folder, work, simulator, waves, say):
    """Compile unless these sources were compiled with these tools."""
    start = time.time()
    if importlib.util.find_spec("cocotb_tools") is None:
        raise verilator.ToolError("cocotb isn't installed: pip install 'signstream[sim]'")
    backend = {"verilator": verilator, "icarus": icarus}[simulator]
    tool = backend.find()
    digest = hashlib.blake2s()
    tools = bool(waves), tool.version, metadata.version("cocotb"), sys.prefix
    for part in (*map(_statements, folder.sources), repr(tools).encode(),
                 Path(backend.__file__).read_bytes()):
        digest.update(part)
    stamp, program = work / "digest", work / {"verilator": TOP, "icarus": "sim.vvp"}[simulator]
    if program.exists() and stamp.exists() and stamp.read_text() == digest.hexdigest():
        say(f"[1/2] {simulator} compile: not needed")
        return
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    tool.compile(folder.sources, TOP, work, waves)
    stamp.write_text(digest.hexdigest())
    say(f"[1/2] {simulator} compile  {time.time() - start:.0f} s")


def _statements(source):
    """A Verilog file without its comment lines: they name the weights, which aren't compiled in."""
    return b"\n".join(line for line in source.read_bytes().splitlines()
                      if not line.startswith(b"//"))


def _execute(folder, work, simulator, waves):
    """Run the compiled program in the build folder, where it finds ``weights/``. cocotb's own
    output goes to ``simulation.log``, the bench's progress to stderr."""
    call = {"test_module": "sim.bench", "hdl_toplevel": TOP, "hdl_toplevel_lang": "verilog",
            "build_dir": str(work), "test_dir": str(folder.path),
            "results_xml": str(work / "results.xml")}
    if waves:
        call["waves"] = True
        if simulator == "verilator":
            call["test_args"] = ["--trace-file", str(work / "dump.vcd")]
    program = (f"from cocotb_tools.runner import get_runner\n"
               f"get_runner({simulator!r}).test(**{call!r})")
    root = str(Path(__file__).parent.parent)
    env = {name: value for name, value in os.environ.items()
           if name not in ("PYTEST_CURRENT_TEST", "WAVES", "GUI")}
    env |= {"SIGNSTREAM_JOB": str(work / "job.json"), "PYTHONPATH": os.pathsep.join(
        [root, *filter(None, [env.get("PYTHONPATH")])])}
    with (work / "simulation.log").open("w") as log:
        subprocess.run([sys.executable, "-c", program], env=env, stdout=log, check=False)
