"""``python -m sim.run``: a build's Verilog against the golden model, whole frames, every layer."""

import argparse
import dataclasses
import hashlib
import importlib.util
import itertools
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
from . import images as image_files
from .difference import describe
from .folder import Folder

__all__ = ["SIMULATORS", "SimulationError", "Verdict", "main", "simulate"]

SIMULATORS = ("verilator", "icarus")
TOP = "signstream"


class SimulationError(RuntimeError):
    """The simulator itself failed; the message is one sentence for the user."""


@dataclass(frozen=True, eq=False)
class Verdict:
    """What one run of :mod:`sim.bench` found.

    Members
    -------
    seed : int
        Of the stalls; 0 for a run without.
    frames : list of dict
        ``image``, ``scores``, ``expected``, ``difference`` (None: bit-exact), ``first_pixel``,
        ``last_score`` (cycles since reset); a frame that never ended has its difference alone.
    """

    seed: int
    frames: list

    @property
    def exact(self):
        return all(frame and frame.get("scores") and not frame["difference"]
                   for frame in self.frames)

    @property
    def distances(self):
        """Cycles from the last score of each frame to that of the next."""
        ends = [frame["last_score"] for frame in self.frames if "last_score" in frame]
        return [b - a for a, b in itertools.pairwise(ends)]

    @property
    def cycles_per_frame(self):
        """Steady-state cycles a frame, or None: the distance that the last frames agree on."""
        return self.distances[-1] if self.exact and self.distances else None

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
        Of the second run's stalls (its first two images at most); 0 leaves that run out. The
        first run has no stalls and sends at least three frames, for the steady state.
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
    started = time.time()
    work = folder.path / (f"sim-{simulator}-waves" if waves else f"sim-{simulator}")
    _compiled(folder, work, simulator, waves, say)
    np.savez(work / "images.npz", images=pixels)
    n = len(pixels)
    least = 1 if waves else 3
    runs = [{"seed": 0, "order": [k % n for k in range(max(least, n))]}]
    if seed:
        runs.append({"seed": seed, "order": [k % n for k in range(min(least, 2))]})
    report = work / "verdicts.json"
    report.unlink(missing_ok=True)
    (work / "job.json").write_text(json.dumps({
        "package": str(folder.path / "package.safetensors"), "images": str(work / "images.npz"),
        "report": str(report), "pixels": folder.plan.lanes.pixels, "started": time.time(),
        "result_channels": folder.plan.lanes.result_channels, "runs": runs}))
    say(f"[2/2] simulate {len(runs[0]['order'])} frames back to back"
        + (f", then {len(runs[1]['order'])} with stalls" if seed else ""))
    _execute(folder, work, simulator, waves)
    verdicts = [Verdict(run["seed"], run["frames"])
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


def table(verdict, images, class_names):
    """The verdict as lines: image, true class, predicted class, cycles, bit-exact."""
    rows = [("image", "true class", "predicted class", "cycles", "")]
    before = None
    for frame in verdict.frames:
        if "last_score" not in frame:
            rows.append(("-", "-", "-", "-", "never ended"))
            continue
        label = images.labels[frame["image"]]
        since = frame["first_pixel"] if before is None else before
        before = frame["last_score"]
        rows.append((images.names[frame["image"]], "-" if label is None else class_names[label],
                     class_names[int(np.argmax(frame["scores"]))], f"{before - since}",
                     "differs" if frame["difference"] else "bit-exact"))
    widths = [max(map(len, column)) for column in zip(*rows)]
    return ["  ".join(cell.rjust(w) if i == 3 else cell.ljust(w)
                      for i, (cell, w) in enumerate(zip(row, widths))).rstrip() for row in rows]


def _parser():
    parser = argparse.ArgumentParser(
        prog="python -m sim.run", formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        description="Simulates the Verilog of a build folder on whole images and compares every "
                    "layer's map and the scores with the golden model. Writes the measured "
                    "cycles into the build's report.json.",
        epilog="example: python -m sim.run --build build/ --images 3")
    parser.add_argument("--build", type=Path, required=True, metavar="DIR",
                        default=argparse.SUPPRESS,
                        help="build folder of `python -m gen`")
    parser.add_argument("--images", type=int, default=3, metavar="N",
                        help="first N images of the sample or of the files")
    parser.add_argument("--files", nargs="+", metavar="FILE", default=argparse.SUPPRESS,
                        help="images to take instead of the sample: .png, .npz, CIFAR-10 .bin")
    parser.add_argument("--sim", choices=SIMULATORS, default="verilator", help="simulator")
    parser.add_argument("--stalls", type=int, default=1, metavar="SEED",
                        help="seed of the run with stalls on both streams; 0 leaves it out")
    parser.add_argument("--waves", action="store_true",
                        help="record every signal; some 50 kB a cycle")
    parser.add_argument("--json", action="store_true", help="print the verdicts as JSON")
    return parser


def chosen_images(args, side):
    """The images that ``--files`` and ``--images`` name, fitted to ``side`` if they're the
    sample's; :class:`sim.images.ImagesError` for what can't be used."""
    files = getattr(args, "files", None)
    images = (image_files.load(files) if files else image_files.sample())
    count = min(args.images, len(images)) if files else args.images
    images = images.first(count)
    if files:
        size = images.pixels.shape[2:]
        if size != (side, side):
            raise image_files.ImagesError(f"Images must be {side}x{side} pixels for this network, "
                                          f"not {size[1]}x{size[0]}")
        return images
    return dataclasses.replace(images, pixels=image_files.fit(images.pixels, side))


def names_for(folder, images):
    """Class names: those of the images where the network's own are made up."""
    names = folder.package.class_names
    if len(images.class_names) == len(names) and names[0] == "class 0":
        return images.class_names
    return names


def main(arguments=None):
    """Exit code: 0 bit-exact, 1 a difference, 2 bad input or tools."""
    parser = _parser()
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments:
        parser.print_help()
        return 0
    args = parser.parse_args(arguments)
    try:
        if args.stalls < 0:
            raise ValueError(f"Seed of the stalls must be at least 0, not {args.stalls}")
        folder = Folder.load(args.build)
        images = chosen_images(args, folder.network.side)
        verdicts = simulate(folder, images.pixels, args.stalls, args.sim, args.waves,
                            say=lambda line: print(line, file=sys.stderr, flush=True))
    except (ValueError, verilator.ToolError, SimulationError) as error:
        print(f"sim.run: {error}", file=sys.stderr)
        return 2
    exact = all(verdict.exact for verdict in verdicts)
    steady = verdicts[0]
    if exact:
        _measure(folder, steady, args.sim)
    if args.json:
        print(json.dumps({
            "bit_exact": exact, "cycles_per_frame": steady.cycles_per_frame,
            "latency_cycles": steady.latency,
            "runs": [{"seed": v.seed, "frames": v.frames} for v in verdicts]}))
        return 0 if exact else 1
    for verdict in verdicts:
        print(f"stalls with seed {verdict.seed}:" if verdict.seed else "no stalls:")
        print("\n".join(table(verdict, images, names_for(folder, images))))
        for k, frame in enumerate(verdict.frames):
            if frame.get("difference"):
                print(f"frame {k}: {describe(frame['difference'])}")
    if exact:
        cycles = _beside(steady.cycles_per_frame, folder.plan.cycles_per_frame)
        latency = _beside(steady.latency, folder.plan.latency_cycles)
        print(f"bit-exact: {cycles} cycles a frame, latency {latency} cycles from first pixel to "
              f"last score")
    else:
        print("NOT bit-exact")
    return 0 if exact else 1


def _beside(measured, planned):
    if measured is None:
        return f"unmeasured ({planned} planned)"
    return f"{measured} ({'as' if measured == planned else planned} planned)"


def _measure(folder, steady, simulator):
    """Measured cycles go into the build's report beside the estimate."""
    from gen.report import measure
    measure(folder.path, cycles_per_frame=steady.cycles_per_frame, latency_cycles=steady.latency,
            provenance={"cycles": f"{simulator}, {len(steady.frames)} frames back to back"})


if __name__ == "__main__":
    sys.exit(main())
