"""``python -m sim.compare``: golden model, generated Verilog and PyTorch, image by image."""

import argparse
import importlib.util
import json
import sys
import time

from gen.cli import command_line

from .difference import describe, first_difference
from .folder import Folder
from .golden import Golden
from .run import REFUSALS, add_input_options, chosen_images, class_name, true_class
from .simulation import SIMULATORS, simulate

__all__ = ["compare", "installed_sides", "main"]

SIDES = ("golden", "rtl", "torch")


def torch_differences(package, pixels):
    """First difference of PyTorch's maps and scores from the golden model's, for each image."""
    from export.model import WRN
    model = WRN(package.network)
    model.load_weights(package.weights)
    model.eval()
    import torch
    golden, found = Golden(package), []
    for k in range(len(pixels)):
        image = pixels[k:k + 1]
        want = golden.run(image, taps=True)
        scores, maps = model.run(torch.from_numpy(image), taps=True)
        found.append(_between(want, scores, maps))
    return found


def _between(want, scores, maps):
    for name, expected in want.maps.items():
        if name not in maps:
            return {"layer": name, "expected": "a map", "got": "none"}
        shape = expected.shape[1:] if name != "gap" else (-1, 1, 1)
        found = first_difference(name, expected[0].reshape(shape), maps[name][0].reshape(shape))
        if found:
            return found
    return first_difference("scores", want.scores[0], scores[0])


def rtl_differences(folder, pixels, simulator, say):
    """First difference of the generated Verilog's maps and scores, for each image."""
    frames = simulate(folder, pixels, seed=0, simulator=simulator, say=say)[0].frames
    return [frame.get("difference") if frame else
            {"layer": "scores", "expected": "a frame", "got": "an earlier frame never ended"}
            for frame in frames[:len(pixels)]]


def compare(folder, images, sides, simulator="verilator", say=print):
    """Hold ``sides`` against the golden model.

    Parameters
    ----------
    folder : Folder
    images : sim.images.Images
        Of the network's side.
    sides : iterable of str
        ``"rtl"``, ``"torch"`` or both; ``"golden"`` is always there.

    Returns
    -------
    list of dict
        For each image ``image``, ``label``, ``class``, ``scores`` (the golden model's) and under
        the name of each other side its first difference, None where there's none.
    """
    start = time.time()
    result = Golden(folder.package).run(images.pixels)
    rows = [{"image": name, "label": label, "class": int(c), "scores": s.tolist()}
            for name, label, c, s in zip(images.names, images.labels, result.classes,
                                         result.scores)]
    say(f"golden model  {time.time() - start:.0f} s")
    for side in SIDES[1:]:
        if side in sides:
            start = time.time()
            found = (torch_differences(folder.package, images.pixels) if side == "torch" else
                     rtl_differences(folder, images.pixels, simulator, say))
            say(f"{side}  {time.time() - start:.0f} s")
            for row, difference in zip(rows, found):
                row[side] = difference
    return rows


class SidesError(ValueError):
    """A side that can't be compared; the message is one sentence for the user."""


def installed_sides():
    """The sides that can be compared here: PyTorch where it's installed."""
    return [side for side in SIDES if side != "torch" or importlib.util.find_spec("torch")]


def _sides(text):
    """The sides to compare; without ``text`` all that are installed."""
    if text is None:
        return installed_sides()
    sides = [side.strip() for side in text.split(",") if side.strip()]
    for side in sides:
        if side not in SIDES:
            raise SidesError(f"Each of --with must be one of {', '.join(SIDES)}, not {side!r}")
    if not set(sides) - {"golden"}:
        raise SidesError("--with must name rtl, torch or both; the golden model is what they're "
                         "compared with")
    if "torch" in sides and not importlib.util.find_spec("torch"):
        raise SidesError("PyTorch isn't installed: pip install torch, or take --with golden,rtl")
    return sides


def _parser():
    parser = argparse.ArgumentParser(
        prog="python -m sim.compare", formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        description="Compares the golden model, the simulated Verilog of a build folder and "
                    "PyTorch image by image, and says where the first difference lies.",
        epilog="example: python -m sim.compare --build build/ --images 5 --with golden,torch")
    add_input_options(parser)
    parser.add_argument("--with", dest="sides", metavar="LIST", default=argparse.SUPPRESS,
                        help="comma-separated: golden, rtl, torch (default: all installed)")
    parser.add_argument("--sim", choices=SIMULATORS, default="verilator", help="simulator")
    parser.add_argument("--json", action="store_true", help="print the comparison as JSON")
    return parser


def main(arguments=None):
    """Exit code: 0 all equal, 1 a difference, 2 bad input or tools."""
    return command_line(_parser(), _compare, arguments, (*REFUSALS, SidesError))


def _compare(args):
    sides = _sides(getattr(args, "sides", None))
    folder = Folder.load(args.build)
    images = chosen_images(args, folder.network.side)
    rows = compare(folder, images, sides, args.sim,
                   say=lambda line: print(line, file=sys.stderr, flush=True))
    others = [side for side in SIDES[1:] if side in sides]
    equal = not any(row[side] for row in rows for side in others)
    if args.json:
        print(json.dumps({"equal": equal, "images": rows}))
        return 0 if equal else 1
    for row in rows:
        label = true_class(row["label"], folder, images)
        best = class_name(row["class"], folder, images)
        print(f"{row['image']}: {best} (true class {label})")
        for side in others:
            print(f"  golden = {side}" if row[side] is None else
                  f"  golden and {side} differ: {describe(row[side])}")
    print(f"{len(rows)} images: " + ("all equal" if equal else "NOT equal"))
    return 0 if equal else 1


if __name__ == "__main__":
    sys.exit(main())
