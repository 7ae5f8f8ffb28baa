"""``python -m boards.units --build build``: what each unit of a design takes of the device.

nextpnr tells totals alone, and Yosys' count of cells isn't one of sites. This counts sites in the
netlist that nextpnr gets, by the units that Yosys has flattened (cells ``$scopeinfo``). A cell
has the name of the net that it drives, so one that drives an output may count for the unit around.
"""

import argparse
import sys
from collections import Counter, defaultdict
from pathlib import Path

from gen.cli import command_line
from gen.plan import Plan

from .netlist import OPEN, read_top, users_of_nets
from .options import add_build_and_board, board_of
from .place_route import CELLS

__all__ = ["main", "unit_sites"]

# TRELLIS_COMB of a cell; LUT RAM has four for its outputs and two that write.
COMB = {"LUT4": 1, "CCU2C": 2, "TRELLIS_DPR16X4": 6}
KIND_OF = {cell: kind for kind, cell in CELLS.items()}
CHAIN_END = 2       # TRELLIS_COMB where a carry chain is entered or left
SCOPE = "$scopeinfo"
ARRAY = "shell.pipeline.array"


def unit_sites(module, depth):
    """Sites by unit: ``{name: {"comb", "ff", "ebr", "dsp"}}``.

    Parameters
    ----------
    module : dict
        Flat module of Yosys' JSON for ECP5, as nextpnr gets it (:mod:`.netlist`).
    depth : int
        Names are cut behind so many levels; what lies above them counts for the unit it's in.
    """
    users, cells = users_of_nets(module), module["cells"]
    carries = {cell["connections"]["COUT"][0] for cell in cells.values()
               if cell["type"] == "CCU2C"}
    scopes = {name for name, cell in cells.items() if cell["type"] == SCOPE}

    def unit(name):
        levels = name.split(".")
        return next((".".join(levels[:k]) for k in range(min(depth, len(levels) - 1), 0, -1)
                     if ".".join(levels[:k]) in scopes), "")
    found = defaultdict(Counter)
    for name, cell in cells.items():
        kind, of_unit = cell["type"], found[unit(name)]
        if kind in KIND_OF:
            of_unit[KIND_OF[kind]] += 1
        of_unit["comb"] += COMB.get(kind, 0)
        if kind == "CCU2C":
            into, out = cell["connections"]["CIN"], cell["connections"]["COUT"]
            entered = into != OPEN and into[0] not in carries
            left = out != OPEN and [pin for _, pin in users[out[0]]] != ["CIN"]
            of_unit["comb"] += CHAIN_END * (entered + left)
    return {name: {kind: sites[kind] for kind in CELLS}
            for name, sites in found.items() if any(sites.values())}


def _tell(options):
    plan, board = Plan.load(options.build), board_of(options)
    sites = unit_sites(read_top(Path(options.build) / board.name / "top.json"), options.depth)
    total = {kind: sum(each[kind] for each in sites.values()) for kind in CELLS}
    rows = sorted(sites.items(), key=lambda row: row[1]["comb"], reverse=True)
    print("  ".join(f"{kind.upper():>6}" for kind in CELLS) + "  unit")
    for name, each in [*rows, ("all", total)]:
        print("  ".join(f"{each[kind]:6,}" for kind in CELLS) + f"  {name or '(pins, clocks)'}")
    array = sum(each["comb"] for name, each in rows if f"{name}.".startswith(f"{ARRAY}."))
    lanes = plan.lanes.count
    if array:
        print(f"{array / lanes:.2f} COMB a lane in the array, {total['comb'] / lanes:.2f} in all")


def main(arguments=None):
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m boards.units", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Print what each unit of a design takes of the device.",
        epilog="example:\n  python -m boards.units --build build --depth 4")
    add_build_and_board(parser, "build folder that `python -m boards.build` has begun with")
    parser.add_argument("--depth", type=int, default=3, metavar="LEVELS",
                        help="of units within units (default: %(default)s)")
    return command_line(parser, _tell, arguments)


if __name__ == "__main__":
    sys.exit(main())
