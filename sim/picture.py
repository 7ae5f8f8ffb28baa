"""``python -m sim.picture``: an image on its way through the simulated hardware, as a figure."""

import argparse
import importlib.util
import sys
from pathlib import Path

import numpy as np

from gen.cli import command_line, fail
from gen.picture import add_resize

from . import images as image_files
from .compare import compare, installed_sides
from .folder import Folder
from .golden import Golden
from .run import REFUSALS, class_name, fitted, true_class
from .simulation import SIMULATORS

__all__ = ["draw", "main"]

CHANNELS = 16   # of each map, in a square
FORMATS = (".png", ".svg")


def _mosaic(maps):
    """``maps`` codes[channel, row, column] side by side in a square, a line between them."""
    across = int(np.sqrt(CHANNELS))
    framed = np.pad(maps[:CHANNELS].astype(float), ((0, 0), (0, 1), (0, 1)),
                    constant_values=np.nan)
    return np.block([[framed[row * across + column] for column in range(across)]
                     for row in range(across)])[:-1, :-1]


def draw(folder, images, row, path):
    """Draw one image, its maps at the end of every group of blocks, and its scores.

    Parameters
    ----------
    folder : Folder
    images : sim.images.Images
        Of one image.
    row : dict
        What :func:`.compare.compare` found of it, no side with a difference.
    path : Path
        ``.png`` or ``.svg``.
    """
    from matplotlib.figure import Figure
    net, top = folder.network, folder.network.top
    codes = Golden(folder.package).run(images.pixels, taps=True).maps
    ends = [conv.name for conv, following in zip(net.convs, [*net.convs[1:], None])
            if conv.kind == "stem" or conv.kind == "second" and (
                following is None or following.out_side != conv.out_side)]
    figure = Figure(figsize=(2.6 * (len(ends) + 1) + 2.6, 3.1), layout="constrained")
    axes = figure.subplots(1, len(ends) + 2)
    axes[0].imshow(images.pixels[0].transpose(1, 2, 0), interpolation="nearest")
    axes[0].set_title(f"{net.side}x{net.side} pixels")
    for axis, name in zip(axes[1:], ends):
        maps = codes[f"{name}.act"][0]
        shown = axis.imshow(_mosaic(maps), vmin=0, vmax=top, cmap="magma", interpolation="nearest")
        axis.set_title(f"{name}: {CHANNELS} of {len(maps)} maps")
    for axis in axes[:-1]:
        axis.set_axis_off()
    figure.colorbar(shown, ax=axes[-2], shrink=0.75, ticks=[0, net.zero, top],
                    label=f"code of {net.act_bits} bits")
    names = [class_name(k, folder, images) for k in range(net.classes)]
    bars = axes[-1].barh(names, row["scores"], color="lightsteelblue")
    bars[row["class"]].set_color("crimson")
    axes[-1].bar_label(bars, row["scores"], fontsize=6, padding=2)
    axes[-1].margins(x=0.25)
    axes[-1].invert_yaxis()
    axes[-1].tick_params(labelsize=7)
    axes[-1].set_title("scores")
    others = "golden model's" + (" and PyTorch's" if "torch" in row else "")
    figure.suptitle(f"{net.name}, {net.act_bits}-bit activations, in simulated Verilog: all maps "
                    f"and scores equal the {others}", fontsize=10)
    figure.savefig(path, dpi=100, metadata={"Date": None} if path.suffix == ".svg" else None)


def _parser():
    parser = argparse.ArgumentParser(
        prog="python -m sim.picture", formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        description="Simulates the Verilog of a build folder on one image, compares every layer's "
                    "map and the scores with the golden model (and with PyTorch where it's "
                    "installed), and draws them.",
        epilog="example: python -m sim.picture --build build/ --image 7 --out frog.png")
    parser.add_argument("--build", type=Path, required=True, metavar="DIR",
                        default=argparse.SUPPRESS, help="build folder of `python -m gen`")
    parser.add_argument("--image", type=int, default=0, metavar="K",
                        help="which of the sample's or the file's images, the first being 0")
    parser.add_argument("--file", type=Path, metavar="FILE", default=argparse.SUPPRESS,
                        help="image to take instead of the sample: .png, .npz, CIFAR-10 .bin")
    add_resize(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE",
                        default=argparse.SUPPRESS, help=f"figure, {' or '.join(FORMATS)}")
    parser.add_argument("--sim", choices=SIMULATORS, default="verilator", help="simulator")
    return parser


def main(arguments=None):
    """Exit code: 0 drawn, 1 a difference, 2 bad input or tools."""
    parser = _parser()
    return command_line(parser, lambda args: _picture(parser, args), arguments, REFUSALS)


def _picture(parser, args):
    if args.out.suffix not in FORMATS:
        raise image_files.ImagesError(f"{args.out}: must end with {' or '.join(FORMATS)}")
    if args.out.is_dir() or not args.out.parent.is_dir():
        raise image_files.ImagesError(f"{args.out}: must be a file in a folder that exists")
    if not importlib.util.find_spec("matplotlib"):
        raise image_files.ImagesError("matplotlib isn't installed: `make venv-train` or "
                                      "`pip install matplotlib`")
    folder = Folder.load(args.build)
    given = hasattr(args, "file")
    side = folder.network.side
    images = (image_files.load([args.file], args.resize and side) if given
              else image_files.sample())
    images = fitted(images.one(args.image), side, given)
    sides = installed_sides()
    row, = compare(folder, images, sides, args.sim,
                   say=lambda line: print(line, file=sys.stderr, flush=True))
    different = [side for side in sides if row.get(side)]
    if different:
        return fail(parser, f"{images.names[0]} differs between golden model and "
                            f"{' and '.join(different)}; `python -m sim.compare` says where", 1)
    draw(folder, images, row, args.out)
    best = class_name(row["class"], folder, images)
    print(f"{images.names[0]}: {best} (true class "
          f"{true_class(row['label'], folder, images)}), {' = '.join(sides)}")
    print(args.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
