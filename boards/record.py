"""Keep a build's report for README's tables: ``python -m boards.record --build build``."""

import argparse
import json
import sys
from pathlib import Path

from gen import report

from .cli import fail, parsed
from .ulx3s import BOARDS, Board

__all__ = ["RESULTS", "RecordError", "main", "record"]

RESULTS = Path(__file__).with_name("results")


class RecordError(ValueError):
    """A report that isn't worth keeping; the message is one sentence for the user."""


def record(folder, results=RESULTS):
    """Copy the build folder's report to ``results/NETWORK-BOARD.json``; returns the path.

    Raises ``RecordError`` where neither simulation nor place and route have measured anything, the
    bitstream doesn't meet its clock, or a design that was only simulated would take the place of
    one that was routed.
    """
    try:
        measured = report.read(folder)
    except (OSError, ValueError) as error:
        raise RecordError(f"{Path(folder) / 'report.json'} can't be read ({error})") from None
    made = measured["provenance"].get("bitstream")
    if made and not made["timing_met"]:
        raise RecordError(f"{folder} holds a bitstream that misses its clock; only those that meet "
                          "it are recorded")
    if not made and measured["cycles_per_frame"]["measured"] is None:
        raise RecordError(f"{folder} has no measurement; run `python -m sim.run --build {folder}` "
                          f"or `python -m boards.build --build {folder}`")
    board = (Board.named(made["board"]) if made else
             next(board for board in BOARDS.values() if board.size == measured["device"]))
    results = Path(results)
    results.mkdir(parents=True, exist_ok=True)
    path = results / f"{measured['network']}-{board.full_name}.json"
    if not made and path.exists() and "bitstream" in json.loads(path.read_text())["provenance"]:
        raise RecordError(f"{path} is of a routed design, and {folder} holds no bitstream")
    path.write_text(json.dumps(measured, indent=2) + "\n")
    return path


def main(arguments=None):
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m boards.record", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Keep what was measured of a build in boards/results, for `python -m "
                    "boards.table`.",
        epilog="example:\n  python -m boards.record --build build")
    parser.add_argument("--build", metavar="DIR", required=True,
                        help="build folder, simulated or routed or both")
    options = parsed(parser, arguments)
    if options is None:
        return 0
    try:
        print(record(options.build))
    except (RecordError, OSError) as error:
        return fail(parser, 2, str(error))
    return 0


if __name__ == "__main__":
    sys.exit(main())
