"""``python -m sim.run``: a build's Verilog against the golden model, whole frames, every layer."""

import argparse
import dataclasses
import datetime
import json
import sys
from pathlib import Path

import numpy as np

from gen.cli import command_line
from gen.picture import PictureError, add_resize
from gen.plan import PlanError
from gen.report import ReportError, measure, read

from . import images as image_files
from .difference import describe
from .folder import Folder, FolderError
from .simulation import SIMULATORS, SimulationError, simulate
from .verilator import ToolError

__all__ = ["REFUSALS", "add_input_options", "chosen_images", "class_name", "fitted", "main",
           "simulate", "true_class"]

# What a user can put right: a sentence and exit code 2.
REFUSALS = (FolderError, PlanError, ReportError, image_files.ImagesError, PictureError,
            ToolError, SimulationError)


def table(verdict, folder, images):
    """The verdict as lines: image, true class, predicted class, cycles, bit-exact."""
    rows = [("image", "true class", "predicted class", "cycles", "")]
    before = None
    for frame in verdict.frames:
        if "last_score" not in frame:
            rows.append(("-", "-", "-", "-", "never ended"))
            continue
        since = frame["first_pixel"] if before is None else before
        before = frame["last_score"]
        k, best = frame["image"], int(np.argmax(frame["scores"]))
        rows.append((images.names[k], true_class(images.labels[k], folder, images),
                     class_name(best, folder, images), f"{before - since}",
                     "differs" if frame["difference"] else "bit-exact"))
    widths = [max(map(len, column)) for column in zip(*rows)]
    return ["  ".join(cell.rjust(w) if i == 3 else cell.ljust(w)
                      for i, (cell, w) in enumerate(zip(row, widths))).rstrip() for row in rows]


def add_input_options(parser):
    """Options that say which build and which images, for every command that compares them."""
    parser.add_argument("--build", type=Path, required=True, metavar="DIR",
                        default=argparse.SUPPRESS,
                        help="build folder of `python -m gen`")
    parser.add_argument("--images", type=int, default=3, metavar="N",
                        help="first N images of the sample or of the files")
    parser.add_argument("--files", nargs="+", metavar="FILE", default=argparse.SUPPRESS,
                        help="images to take instead of the sample: .png, .npz, CIFAR-10 .bin")
    add_resize(parser)


def _parser():
    parser = argparse.ArgumentParser(
        prog="python -m sim.run", formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        description="Simulates the Verilog of a build folder on whole images and compares every "
                    "layer's map and the scores with the golden model. Writes the measured "
                    "cycles into the build's report.json.",
        epilog="example: python -m sim.run --build build/ --images 3")
    add_input_options(parser)
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
    images = (image_files.load(files, args.resize and side) if files else image_files.sample())
    count = min(args.images, len(images)) if files else args.images
    return fitted(images.first(count), side, bool(files))


def fitted(images, side, exactly):
    """``images`` of ``side``: cut or repeated, or :class:`sim.images.ImagesError` where they must
    be ``exactly`` of that size."""
    size = images.pixels.shape[2:]
    if exactly and size != (side, side):
        raise image_files.ImagesError(f"Images must be {side}x{side} pixels for this network, "
                                      f"not {size[1]}x{size[0]}; --resize makes pictures so")
    return dataclasses.replace(images, pixels=image_files.fit(images.pixels, side))


def class_name(index, folder, images):
    """Name of a class: the network's, or the data set's where the network's are made up."""
    names = folder.package.class_names
    if names[0] == "class 0" and index < len(images.class_names):
        return images.class_names[index]
    return names[index] if index < len(names) else f"class {index}"


def true_class(label, folder, images):
    """Name of an image's class: the data set's, or the network's where the data set names none;
    a network of other classes is shown such images, too."""
    if label is None:
        return "-"
    named = label < len(images.class_names)
    return images.class_names[label] if named else class_name(label, folder, images)


def main(arguments=None):
    """Exit code: 0 bit-exact, 1 a difference, 2 bad input or tools."""
    return command_line(_parser(), _run, arguments, REFUSALS)


def _run(args):
    folder = Folder.load(args.build)
    read(folder.path)       # before the work, which ends with what it measured
    images = chosen_images(args, folder.network.side)
    verdicts = simulate(folder, images.pixels, args.stalls, args.sim, args.waves,
                        say=lambda line: print(line, file=sys.stderr, flush=True))
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
        print("\n".join(table(verdict, folder, images)))
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
    measure(folder.path, cycles_per_frame=steady.cycles_per_frame, latency_cycles=steady.latency,
            provenance={"cycles": f"{simulator}, {len(steady.frames)} frames back to back",
                        "cycles_date": datetime.date.today().isoformat()})


if __name__ == "__main__":
    sys.exit(main())
