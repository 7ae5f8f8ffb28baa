"""Classify images on a board: ``python -m boards.host --port /dev/ttyUSB0 cat.png``."""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np

from gen import picture
from gen.cli import command_line, count, number

from .client import Board, BoardError
from .protocol import BAUD

__all__ = ["main"]


def _image(path, side, resize):
    """uint8[3, side, side] of the picture at ``path``, which must have that size if it isn't to be
    resized."""
    image = picture.read(path, side if resize else None)
    height, width = image.shape[1:]
    if (width, height) != (side, side):
        raise BoardError(f"{path}: the board needs images of {side}x{side} pixels, "
                         f"not {width}x{height}; --resize makes them so")
    return image


def _check_build(identity, folder):
    from gen.plan import PlanError

    from .identity import digest_of
    try:
        wanted = digest_of(folder)
    except PlanError as error:
        raise BoardError(str(error)) from None
    if wanted != identity.digest:
        raise BoardError(f"the board runs build {identity.digest[:8]} ({identity.network}), not "
                         f"{wanted[:8]} of {folder}; program that folder's bitstream first")


def _load(board, folder):
    """Weights from the build folder, if they are missing."""
    from gen.layout import STREAM
    path = Path(folder or "") / "weights" / STREAM
    if not folder or not path.exists():
        if not board.ready():
            raise BoardError("the board waits for its weights; name its build folder with --build")
        return

    def say(done, total):
        if sys.stderr.isatty() or done == total:
            print(f"\rweights: {done:,} of {total:,} bytes", file=sys.stderr, flush=True,
                  end="\n" if done == total else "")
    board.load(path.read_bytes(), say)


_bauds = number(int, 0, 2 ** 31, "bits a second of at least 1")
_seconds = number(float, 0, 86_400, "seconds above 0, and no more than a day")


def _parser():
    parser = argparse.ArgumentParser(
        prog="python -m boards.host", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Classify images on a board over its serial port.",
        epilog="example:\n  python -m boards.host --port /dev/ttyUSB0 --build build cat.png")
    parser.add_argument("images", nargs="*", metavar="IMAGE",
                        help="image files of the network's size; none only identifies the board")
    picture.add_resize(parser)
    parser.add_argument("--port", required=True, help="serial port, such as /dev/ttyUSB0 or COM3")
    parser.add_argument("--baud", type=_bauds, default=BAUD, help="bits/s (default: %(default)s)")
    parser.add_argument("--timeout", type=_seconds, default=2.0, metavar="S",
                        help="seconds to wait for an answer (default: %(default)s)")
    parser.add_argument("--build", metavar="DIR",
                        help="refuse a board that doesn't run this build folder's design")
    parser.add_argument("--throughput", type=count, metavar="N",
                        help="measure frames per second with N random images")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def _show(report):
    board = report["board"]
    print(f"{board['network']} on {report['port']}: {board['side']}x{board['side']} pixels, "
          f"{board['classes']} classes, {board['clock_khz'] / 1000:g} MHz, "
          f"build {board['digest'][:8]}")
    for image in report["images"]:
        us = image["cycles"] * 1000 / board["clock_khz"]
        print(f"{image['file']}: {image['class_name']}  ({image['cycles']} cycles, {us:.1f} us)")
        for name, score in sorted(zip(image["names"], image["scores"]), key=lambda row: -row[1]):
            print(f"  {score:7d}  {name}")
    if "throughput" in report:
        t = report["throughput"]
        print(f"{t['frames']} frames in {t['seconds']:.2f} s: {t['line_fps']:.1f} frames/s over "
              f"the line, {t['chip_fps']:.0f} frames/s on the chip ({t['cycles']} cycles)")


def _run(options):
    with Board(options.port, options.baud, options.timeout) as board:
        identity = board.identity
        if options.build:
            _check_build(identity, options.build)
        names = list(identity.class_names) or [f"class {j}" for j in range(identity.classes)]
        images = [_image(path, identity.side, options.resize) for path in options.images]
        if images or options.throughput:
            _load(board, options.build)
        report = {"port": options.port, "board": asdict(identity), "images": []}
        if images:
            answers = board.classify(np.stack(images))
            report["images"] = [
                {"file": str(Path(path)), "class": int(best), "class_name": names[best],
                 "names": names, "scores": scores.tolist(), "cycles": int(cycles)}
                for path, best, scores, cycles in zip(
                    options.images, answers.classes, answers.scores, answers.cycles)]
        if options.throughput:
            report["throughput"] = board.throughput(options.throughput)
    return report


def main(arguments=None):
    """Run the command line; returns the exit code."""
    return command_line(_parser(), _answer, arguments, (BoardError, picture.PictureError))


def _answer(options):
    report = _run(options)
    if options.json:
        print(json.dumps(report, indent=2))
    else:
        _show(report)


if __name__ == "__main__":
    sys.exit(main())
