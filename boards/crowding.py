"""``python -m boards.crowding``: where a placed netlist asks for how much wire.

nextpnr's router doesn't say where its overused wires are. A placement's wire, each net's half
circumference spread evenly over its bounding box, tells before it begins (RUDY: Spindler and
Johannes, "Fast and accurate routing demand estimation and its efficient integration into
global placement", DATE 2007).
"""

import argparse
import sys

import numpy as np

from gen.cli import command_line

from .netlist import NetlistError, read_top, users_of_nets
from .paths import position

__all__ = ["CrowdingError", "crowding", "main"]

SIDE = 8            # tiles of a square's side
MOST_SINKS = 300    # nets with more are clocks and the like: they have wires of their own


class CrowdingError(ValueError):
    """A netlist without places; the message is one sentence for the user."""


def crowding(module):
    """Wire asked for, in tiles, as int[rows, columns] of squares of ``SIDE`` by ``SIDE`` tiles, the
    top left one first.

    ``module`` is one of nextpnr's JSON with all cells placed (``placed-SEED.json``). Raises
    :class:`CrowdingError` where none is.
    """
    places = {name: at for name, cell in module["cells"].items() if (at := position(cell))}
    if not places:
        raise CrowdingError("No cell of the netlist is placed; nextpnr's placed-SEED.json is one "
                            "where they are")
    across, down = np.max(list(places.values()), axis=0)
    demand = np.zeros((down + SIDE - down % SIDE, across + SIDE - across % SIDE))
    users = users_of_nets(module)
    for name, start in places.items():
        cell = module["cells"][name]
        for pin, bits in cell["connections"].items():
            if cell["port_directions"].get(pin) != "output":
                continue
            for bit in bits:
                ends = [places[user] for user, _ in users.get(bit, ()) if user in places]
                if not ends or len(ends) > MOST_SINKS:
                    continue
                (left, top), (right, bottom) = (
                    limit([start, *ends], axis=0) for limit in (np.min, np.max))
                length = right - left + bottom - top
                area = (right - left + 1) * (bottom - top + 1)
                demand[top:bottom + 1, left:right + 1] += length / area
    rows, columns = (size // SIDE for size in demand.shape)
    return demand.reshape(rows, SIDE, columns, SIDE).sum((1, 3)).round().astype(int)


def main(arguments=None):
    """Exit code: 0, or 2 for bad input."""
    parser = argparse.ArgumentParser(
        prog="python -m boards.crowding", description="Prints how much wire a placed netlist asks "
        f"for in each square of {SIDE} by {SIDE} tiles, in tiles.",
        epilog="example: python -m boards.crowding build/ulx3s/placed-1.json")
    parser.add_argument("netlist", help="nextpnr's JSON, placed-SEED.json in the board's folder")
    return command_line(parser, _tell, arguments, (CrowdingError, NetlistError))


def _tell(options):
    squares = crowding(read_top(options.netlist))
    for row in squares:
        print(" ".join(f"{count:5}" for count in row))
    print(f"{squares.sum():,} tiles of wire, {squares.max():,} in the fullest square, "
          f"{np.median(squares):,.0f} in the median one")


if __name__ == "__main__":
    sys.exit(main())
