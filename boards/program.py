"""Load a bitstream into a board: ``python -m boards.program --build build``."""

import argparse
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from gen.cli import command_line, fail
from gen.layout import STREAM

from .flash import FLASH_OFFSET, FLASH_WEIGHTS
from .options import add_build_and_board, board_of

__all__ = ["command", "main"]

PROGRAMMERS = ("openFPGALoader", "fujprog")


def command(programmer, board, path, flash=False, offset=0):
    """The command, as a list of words, that loads the bitstream ``path``.

    It's kept until the power goes, or for good with ``flash``; with an ``offset`` in bytes it's
    data for that place of the flash. ``OPENFPGALOADER`` and ``FUJPROG`` in the environment name
    other programs.

    Source: ``openFPGALoader --help``; fujprog's ``main``, ``prog`` and ``exec_bit_file``. Either
    has the FPGA configured anew after it has written the flash.
    """
    if programmer not in PROGRAMMERS:
        raise ValueError(f"Programmer must be one of {', '.join(PROGRAMMERS)}, "
                         f"not {programmer!r}")
    program = shlex.split(os.environ.get(programmer.upper(), programmer))
    if programmer == "fujprog":
        place = ["-f", hex(offset), "-T", "img"] if offset else []
        return [*program, *(["-j", "flash"] if flash else []), *place, str(path)]
    place = ["-o", hex(offset), "--file-type", "raw"] if offset else []
    return [*program, "-b", board.loader, "--write-flash" if flash else "--write-sram", *place,
            str(path)]


def commands(options, board):
    """The commands for the parsed ``options``: the bitstream, and behind it in the flash the
    weights of a design that streams them.

    Raises ``FileNotFoundError`` or ``ValueError``, one sentence, where these aren't there or don't
    fit.
    """
    folder = Path(options.build) / board.name
    bitstream, weights = folder / "top.bit", folder / FLASH_WEIGHTS
    streams = options.flash and (Path(options.build) / "weights" / STREAM).exists()
    for path in (bitstream, weights) if streams else (bitstream,):
        if not path.exists():
            raise FileNotFoundError(f"{path} doesn't exist; make it with `python -m boards.build "
                                    f"--build {options.build} --board {board.name}`")
    made = [command(options.programmer, board, bitstream, options.flash)]
    if streams:
        if bitstream.stat().st_size > FLASH_OFFSET:
            raise ValueError(f"{bitstream} must be at most {FLASH_OFFSET:,} bytes to lie before "
                             f"the weights in the flash, not {bitstream.stat().st_size:,}; program "
                             f"without --flash and let the host send them")
        made.append(command(options.programmer, board, weights, True, FLASH_OFFSET))
    return made


def _parser():
    parser = argparse.ArgumentParser(
        prog="python -m boards.program", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Load a build folder's bitstream into a board.",
        epilog="example:\n  python -m boards.program --build build --board ulx3s --dry-run")
    add_build_and_board(parser, "build folder with a bitstream")
    parser.add_argument("--programmer", default=PROGRAMMERS[0], choices=PROGRAMMERS,
                        help="default: %(default)s")
    parser.add_argument("--flash", action="store_true",
                        help="write the flash, streamed weights too, to be there again after "
                             "power-up")
    parser.add_argument("--dry-run", action="store_true", help="only print the commands")
    return parser


def main(arguments=None):
    """Run the command line; returns the exit code."""
    parser = _parser()
    return command_line(parser, lambda options: _program(parser, options), arguments)


def _program(parser, options):
    for words in commands(options, board_of(options)):
        print(shlex.join(words), flush=True)
        if options.dry_run:
            continue
        if shutil.which(words[0]) is None:
            return fail(parser, f"{words[0]} isn't installed; see boards/README.md")
        code = subprocess.run(words, check=False).returncode
        if code:
            return fail(parser, f"{words[0]} failed with exit code {code}; is the board "
                                f"connected and its serial port free?", 1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
