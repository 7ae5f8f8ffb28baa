"""Options of ``python -m export``, command by command."""

import argparse
from pathlib import Path

from gen.cli import count
from gen.network import ACT_BITS

from .paper import ACTS, NETS, NORMS, SCALES, WEIGHT_BITS
from .recipe import Recipe

__all__ = ["parser"]

EPILOG = """example:
  python -m export train --data DIR --epochs 60 --out run.pt
  python -m export pack run.pt --data DIR --out wrn-20-1.safetensors
  python -m export eval wrn-20-1.safetensors --data DIR
"""


def _sides(text):
    try:
        return tuple((int(side), float(until)) for side, until in
                     (pair.split(":") for pair in text.split(",")))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"must be SIDE:FRACTION,... such as 16:0.5,24:0.75, not {text!r}") from None


def _add_device(p, threads="CPU threads (PyTorch's choice)"):
    p.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="(%(default)s)")
    p.add_argument("--threads", type=count, help=threads)


def _add_recipe(p, rate):
    p.add_argument("--rate", type=float, default=rate, help="learning rate (%(default)s)")
    p.add_argument("--sides", type=_sides, default=(), metavar="SIDE:FRACTION,...",
                   help="smaller images up to these fractions of the run")
    p.add_argument("--batch", type=int, default=64, help="images per step (%(default)s)")
    p.add_argument("--side", type=count, help="resize the pictures of an image folder")
    _add_device(p)


def _add_machine(p):
    p.add_argument("--amp", choices=("off", "bf16"), default="off",
                   help="convolutions in bfloat16 while training (%(default)s)")
    p.add_argument("--compile", action="store_true",
                   help="compile the signs and what lies between the convolutions: faster after a "
                        "minute, needs a C++ compiler")
    _add_device(p, "CPU threads of a process (PyTorch's choice)")


def parser():
    """The parser of ``python -m export``."""
    def add(commands, name, text, example):
        return commands.add_parser(
            name, help=text, description=text[0].upper() + text[1:],
            epilog=f"example:\n  python -m export {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter)

    whole = argparse.ArgumentParser(
        "python -m export", epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Train a network, measure it, package it, compare it.")
    commands = whole.add_subparsers(dest="command", required=True,
                                     metavar="train|eval|pack|keep|card|study|versus|speed|copies")

    p = add(commands, "train", "train a network into a checkpoint",
            "train --data DIR --width 1 --minutes 90 --sides 16:0.5,24:0.7 --out run.pt")
    data_help = ("folder of CIFAR-10 or CIFAR-100 (binary version), or of train/CLASS/*.png and "
                 "test/CLASS/*.png")
    default = Recipe(epochs=1)
    p.add_argument("--data", type=Path, required=True, metavar="DIR", help=data_help)
    p.add_argument("--out", type=Path, required=True, metavar="FILE", help="checkpoint to write")
    p.add_argument("--resume", action="store_true", help="go on from the checkpoint --out")
    p.add_argument("--start-from", type=Path, metavar="FILE",
                   help="begin a new run with the weights of this checkpoint; the network may be "
                        "wider, have other formats, or be for other classes or sides")
    p.add_argument("--teacher", type=Path, nargs="+", default=(), metavar="FILE",
                   help="checkpoints of nets, of any kind, whose predictions the run learns from, "
                        "with --distil")
    for name, text in (("depth", "6n+2 (20)"),
                       ("width", "times 16 channels (1)"),
                       ("act-bits", f"bits of an activation, one of {ACT_BITS} (4)"),
                       ("act-frac", "fraction bits of an activation (bits - 3)"),
                       ("res-bits", "bits of the residual (12)"),
                       ("res-frac", "fraction bits of the residual (bits - 7)")):
        p.add_argument(f"--{name}", type=int, help=f"{text[:-1]}; that of --start-from)")
    p.add_argument("--side", type=count, help="resize the pictures of an image folder")
    p.add_argument("--classes", type=count, metavar="N",
                   help="that the network tells apart; more than the data's are spare, and its "
                        "weights fit a routed design of N (those of the data)")
    length = p.add_mutually_exclusive_group(required=True)
    length.add_argument("--epochs", type=int, help="length of the run in epochs")
    length.add_argument("--minutes", type=float, help="length of the run by the clock")
    p.add_argument("--stop-after", type=count, metavar="N",
                   help="end after N epochs of this call; --resume goes on")
    for name, text in (("batch", "images per step, all processes together"),
                       ("rate", "Adam's peak learning rate"),
                       ("warmup", "fraction of the run in which the rate rises"),
                       ("smoothing", "label smoothing"),
                       ("distil", "share of the loss that comes from the teachers, 0 to 1"),
                       ("temperature", "of the teacher's predictions"),
                       ("cutout", "side of the square cut out, pixels"),
                       ("round-from", "fraction of the run from which activations are rounded"),
                       ("act-rms", "aim for activations, in codes"),
                       ("branch", "aim for a block's addition, relative to its residual"),
                       ("noise", "added to the weights of --start-from, of their spread"),
                       ("seed", "of weights, order and augmentation")):
        value = getattr(default, name.replace("-", "_"))
        p.add_argument(f"--{name}", type=type(value), default=value, help=f"{text} (%(default)s)")
    p.add_argument("--normalise", action="store_true",
                   help="divide each layer's latents by their spread after every step, so that "
                        "they don't outgrow the rate")
    p.add_argument("--sides", type=_sides, default=(), metavar="SIDE:FRACTION,...",
                   help="smaller images up to these fractions of the run")
    for name, known in (("norm", NORMS), ("act", tuple(ACTS)), ("weight-bits", WEIGHT_BITS),
                        ("scale", SCALES)):
        value = getattr(default, name.replace("-", "_"))
        p.add_argument(f"--{name}", type=type(value), choices=known, default=value,
                       help="for comparison with the paper; only the default can be packed "
                            "(%(default)s)")
    p.add_argument("--net", choices=NETS, default=default.net,
                   help="plain: a floating-point net of another shape that learns in minutes, as "
                        "a teacher; --width 4 gives it 64 and 256 channels, and --rate is SGD's, "
                        "some 1.5 for a --batch of 1024 (%(default)s)")
    p.add_argument("--floats", action="store_true",
                   help="floating-point activations, for comparison; can't be packed")
    _add_machine(p)

    p = add(commands, "pack", "make the network package of a checkpoint",
            "pack run.pt --data DIR --out wrn-20-1.safetensors")
    p.add_argument("checkpoint", type=Path)
    p.add_argument("--out", type=Path, required=True, metavar="FILE", help="package to write")
    p.add_argument("--data", type=Path, metavar="DIR",
                   help="measure the golden model's accuracy on the test images of this data set")
    p.add_argument("--side", type=count, help="resize the pictures of an image folder")
    p.add_argument("--note", action="append", default=[], metavar="KEY=TEXT",
                   help="remark to keep in the package, such as data=CIFAR-10")

    p = add(commands, "keep", "make a small checkpoint of a finished one, for --start-from",
            "keep run.pt --out wrn-20-1.pt")
    p.add_argument("checkpoint", type=Path)
    p.add_argument("--out", type=Path, required=True, metavar="FILE", help="checkpoint to write")

    p = add(commands, "eval", "measure a package or checkpoint, PyTorch against golden model",
            "eval wrn-20-1.safetensors --data DIR")
    p.add_argument("network", type=Path, help="package (.safetensors) or checkpoint")
    p.add_argument("--data", type=Path, required=True, metavar="DIR", help=data_help)
    p.add_argument("--side", type=count, help="resize the pictures of an image folder")
    p.add_argument("--images", type=count, help="only the first test images")

    p = add(commands, "card", "print the model card of a package",
            "card run.pt wrn-20-1.safetensors --about about.txt > wrn-20-1.md")
    p.add_argument("checkpoint", type=Path)
    p.add_argument("package", type=Path)
    p.add_argument("--about", type=Path, required=True, metavar="FILE",
                   help="text on the data: what, how many, what was done to them")

    p = add(commands, "study", "what number formats cost: a checkpoint in many of them",
            "study run.pt --data DIR --out runs/study --epochs 2")
    p.add_argument("checkpoint", type=Path)
    p.add_argument("--data", type=Path, required=True, metavar="DIR", help=data_help)
    p.add_argument("--out", type=Path, metavar="DIR", help="folder for the runs of --epochs")
    p.add_argument("--epochs", type=count, help="train on in each format (default: don't)")
    _add_recipe(p, 0.002)
    p.add_argument("--images", type=count, help="only the first test images")
    p.add_argument("--plot", type=Path, metavar="FILE", help="draw the table, as .svg or .png")

    p = add(commands, "versus", "train the nets that the paper compares, with several seeds",
            "versus --data DIR --out runs/versus --epochs 2 --sides 16:1")
    p.add_argument("--data", type=Path, required=True, metavar="DIR", help=data_help)
    p.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the runs")
    p.add_argument("--depth", type=int, default=20, help="6n+2 (%(default)s)")
    p.add_argument("--width", type=int, default=1, help="times 16 channels (%(default)s)")
    p.add_argument("--seeds", type=count, default=3, help="runs of each net (%(default)s)")
    p.add_argument("--epochs", type=count, required=True, help="length of each run")
    _add_recipe(p, 0.004)

    p = add(commands, "speed", "images a second of training here: networks in the formats of those "
            "that ship, random images, --normalise",
            "speed --width 1 2 4 --side 24 32 --amp bf16 --compile")
    p.add_argument("--depth", type=int, default=20, help="6n+2 (%(default)s)")
    p.add_argument("--width", type=int, nargs="+", default=[1], help="times 16 channels (1)")
    p.add_argument("--side", type=int, nargs="+", default=[32], help="of the images, pixels (32)")
    p.add_argument("--batch", type=int, default=64,
                   help="images per step, all processes together (%(default)s)")
    p.add_argument("--steps", type=count, default=10, help="so many are timed (%(default)s)")
    _add_machine(p)
    p.set_defaults(epochs=1, normalise=True)

    p = add(commands, "copies", "how much of copies the channels of a widened network still are",
            "copies gen/packages/wrn-20-4.safetensors")
    p.add_argument("network", type=Path, help="package (.safetensors) or checkpoint")
    return whole
