"""Other weights in a routed design, in seconds: ``python -m boards.swap --build new --from old``.

Two networks of one shape, with the same formats and shifts, have the same gateware; they differ
in the init files of their memories, and in what the host sends where weights are streamed. Those
files are replaced in what nextpnr made of the old build, so the new bitstream runs at the old
one's clock without being placed and routed.
"""

import argparse
import datetime
import re
import sys
import tempfile
from pathlib import Path

from gen import report
from gen.cli import command_line
from gen.plan import Plan
from gen.steps import Quiet, Steps

from . import flow
from .build import design, gateware, told_beside
from .contents import SwapError, block_rams, swapped
from .flash import flash_file
from .identity import identity_of
from .options import add_build_and_board, board_of
from .tools import FlowError

__all__ = ["main", "swap"]

# What a build plan holds beside gateware and constraints: contents, and the commands with the
# build's own user code.
SCRIPTS = {"build_top.sh", "build_top.bat", "build_top.json"}
# Of RTLIL: the line of Python that made a signal, in builds of until 2026-11-27.
SOURCE_LINE = re.compile(r'(?m)^ *attribute \\src ".*"\n')


def _gateware(text):
    return SOURCE_LINE.sub("", text)


def _gateware_files(products):
    return {name: _gateware(text if isinstance(text, str) else text.decode())
            for name, text in products.files.items()
            if name not in SCRIPTS and not name.endswith(".hex")}


def _difference(one, other):
    """What distinguishes two plans, besides the weights, in words."""
    fields = [{**plan.network.to_dict(), **plan.to_dict()} for plan in (one, other)]
    weights = {"package", "digest", "layers"}
    odd = [name for name in fields[0] if name not in weights
           and fields[0][name] != fields[1].get(name)]
    if len({len(identity_of(plan, 1).encode()) for plan in (one, other)}) > 1:
        odd.append("class names' lengths")
    return "their " + ", ".join(odd) + " differ" if odd else "they come from different releases"


def swap(folder, routed, board, steps=None):
    """Make the bitstream of the build folder ``folder`` from the one of ``routed``.

    Writes ``folder/BOARD/top.bit`` and ``top.config``, streamed weights for the flash beside them,
    and the routed build's clock and resources into the report of ``folder``, which it returns.

    Raises
    ------
    gen.plan.PlanError, gen.report.ReportError, .build.BuildError, SwapError, FlowError
    """
    folder, routed, steps = Path(folder), Path(routed), steps or Quiet()
    if folder.resolve() == routed.resolve():
        raise SwapError(f"{routed} has its own weights already: --build must be another folder "
                        f"than --from")
    new, old = Plan.load(folder), Plan.load(routed)
    source, out = routed / board.name, folder / board.name
    measured = report.read(routed)
    report.read(folder)     # before the work, which ends with what it measured
    made = measured["provenance"].get("bitstream", {})
    if made.get("board") != board.name or not made.get("timing_met"):
        raise SwapError(f"{routed} holds no bitstream for {board.name} that meets its clock; "
                        f"make one with `python -m boards.build --build {routed}`")
    tops, products = [], []
    with steps("gateware"):
        for plan in (old, new):
            tops.append(design(plan, board, made["clock_mhz"], made["baud"]))
            products.append(gateware(plan, tops[-1], board.create()))
    files = [_gateware_files(plan) for plan in products]
    if files[0] != files[1]:
        raise SwapError(f"{folder} and {routed} need different gateware: "
                        f"{_difference(old, new)}; place and route with `python -m boards.build`")
    try:
        config = (source / "top.config").read_text()
        there = {name: _gateware((source / name).read_text()) for name in files[0]}
        timing = {name: (source / name).read_bytes() for name in ("top.report.json", "top.tim")}
    except OSError as error:
        raise SwapError(f"{error.filename} is gone; build {routed} again with "
                        f"`python -m boards.build`") from None
    if there != files[0]:
        raise SwapError(f"{source} was built by another release; build it again with "
                        f"`python -m boards.build`")
    with steps("memory contents"), tempfile.TemporaryDirectory() as work:
        before, after = (block_rams(top.shell.roms, Path(work) / name)
                         for top, name in zip(tops, ("old", "new")))
        config = swapped(config, before, after)
    out.mkdir(parents=True, exist_ok=True)
    flow.set_aside(out, *told_beside(folder, out))
    products[1].extract(out)
    flash_file(new, out)
    (out / "top.config").write_text(config)
    for name, content in timing.items():
        (out / name).write_bytes(content)
    flow.pack(products[1], out, steps)
    return report.measure(
        folder, fmax_mhz=measured["fmax_mhz"]["measured"],
        **{name: pair["measured"] for name, pair in measured["resources"].items()},
        provenance={"bitstream": {**made, "swapped": {
            "routed_digest": old.digest, "date": datetime.date.today().isoformat()}}})


def _parser():
    parser = argparse.ArgumentParser(
        prog="python -m boards.swap", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Make a build folder's bitstream from another build's that is placed and\n"
                    "routed already: same gateware, other weights.\n"
                    "Exit codes: 0 done, 1 a tool failed, 2 these two don't go together.",
        epilog="example:\n  python -m gen --package mine.safetensors --out build-mine\n"
               "  python -m boards.swap --build build-mine --from build --board ulx3s")
    add_build_and_board(parser, "build folder with the new weights, as `python -m gen` writes it")
    parser.add_argument("--from", metavar="DIR", required=True, dest="routed",
                        help="build folder with a bitstream")
    return parser


def main(arguments=None):
    """Run the command line; returns the exit code."""
    return command_line(_parser(), _swap, arguments, (FlowError, ValueError))


def _swap(options):
    board = board_of(options)
    made = swap(options.build, options.routed, board, Steps(3))
    print(f"{made['fmax_mhz']['measured']:g} MHz, as routed; "
          f"{Path(options.build) / board.name / 'top.bit'}")


if __name__ == "__main__":
    sys.exit(main())
