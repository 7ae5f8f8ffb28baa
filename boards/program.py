"""Load a bitstream into a board: ``python -m boards.program --build build``."""

import argparse
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from .cli import fail, parsed
from .ulx3s import BOARDS, Board

__all__ = ["command", "main"]

PROGRAMMERS = ("openFPGALoader", "fujprog")


def command(programmer, board, bitstream, flash=False):
    """The command, as a list of words, that loads ``bitstream``.

    It's kept until the power goes, or for good with ``flash``. ``OPENFPGALOADER`` and ``FUJPROG``
    in the environment name other programs.
    """
    if programmer not in PROGRAMMERS:
        raise ValueError(f"Programmer must be one of {', '.join(PROGRAMMERS)}, "
                         f"not {programmer!r}")
    program = shlex.split(os.environ.get(programmer.upper(), programmer))
    if programmer == "fujprog":
        return [*program, *(["-j", "flash"] if flash else []), str(bitstream)]
    return [*program, "-b", board.loader, "--write-flash" if flash else "--write-sram",
            str(bitstream)]


def _parser():
    parser = argparse.ArgumentParser(
        prog="python -m boards.program", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Load a build folder's bitstream into a board.",
        epilog="example:\n  python -m boards.program --build build --board ulx3s --dry-run")
    parser.add_argument("--build", metavar="DIR", required=True,
                        help="build folder with a bitstream")
    parser.add_argument("--board", default="ulx3s", metavar="NAME",
                        help=f"one of {', '.join(BOARDS)} (default: %(default)s)")
    parser.add_argument("--programmer", default=PROGRAMMERS[0], choices=PROGRAMMERS,
                        help="default: %(default)s")
    parser.add_argument("--flash", action="store_true",
                        help="write the flash, to be there again after power-up")
    parser.add_argument("--dry-run", action="store_true", help="only print the command")
    return parser


def main(arguments=None):
    """Run the command line; returns the exit code."""
    parser = _parser()
    options = parsed(parser, arguments)
    if options is None:
        return 0

    try:
        board = Board.named(options.board)
    except ValueError as error:
        return fail(parser, 2, str(error))
    bitstream = Path(options.build) / board.name / "top.bit"
    if not bitstream.exists():
        return fail(parser, 2,
                    f"{bitstream} doesn't exist; make it with `python -m boards.build "
                    f"--build {options.build} --board {board.name}`")
    words = command(options.programmer, board, bitstream, options.flash)
    print(shlex.join(words), flush=True)
    if options.dry_run:
        return 0
    if shutil.which(words[0]) is None:
        return fail(parser, 2, f"{words[0]} isn't installed; see boards/README.md")
    code = subprocess.run(words, check=False).returncode
    return fail(parser, 1,
                f"{words[0]} failed with exit code {code}; is the board connected and its serial "
                f"port free?") if code else 0


if __name__ == "__main__":
    sys.exit(main())
