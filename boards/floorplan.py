"""Sites of block RAMs, chosen all at once.

nextpnr's static placer takes block RAMs to the nearest free site one by one, in the order of their
names, and where a row fills up the late ones land far from their logic. In a large array that
lengthens everything. It's placed twice, therefore: the first placement says where the logic
wants to be, its block RAMs get the sites that cost least wire together, and the second one keeps
them there.
"""

import re
from collections import defaultdict
from dataclasses import dataclass

import numpy as np

__all__ = ["BLOCK_RAM_SITES", "fix_block_rams", "place_block_rams"]

# Nets with more sinks go everywhere: clocks, resets.
BROADCAST = 300
ROUNDS = 8


@dataclass(frozen=True)
class Sites:
    """Rows of block RAMs of a device: groups of four every nine columns, two columns more in the
    middle, behind ``left`` groups. As nextpnr-ecp5 0.11 places them; a test asks it."""

    rows: tuple
    groups: int
    left: int

    def all(self):
        """``[(x, y, name of the bel), ...]``."""
        return [(x, y, f"X{x}/Y{y}/EBR{z}") for y in self.rows for group in range(self.groups)
                for z in range(4) for x in [4 + 9 * group + 2 * z + 2 * (group >= self.left)]]


BLOCK_RAM_SITES = {"25f": Sites((25, 37), 7, 3), "45f": Sites((10, 34, 58), 9, 4),
                   "85f": Sites((22, 46, 70, 82), 13, 7)}
BLOCK_RAM_SITES["12f"] = BLOCK_RAM_SITES["25f"]


def fix_block_rams(netlist, placed, top, device):
    """Give the block RAMs of ``netlist`` sites (attribute ``BEL``) by a placement of it.

    Parameters
    ----------
    netlist, placed : dict
        Yosys' JSON, and what nextpnr writes of it with ``--write``.
    top : str
        Module.
    device : str
        Such as ``"85f"``.

    Returns wire at the block RAMs before and after, in tiles.
    """
    bels, *wire = place_block_rams(placed["modules"][top], BLOCK_RAM_SITES[device].all())
    for name, bel in bels.items():
        netlist["modules"][top]["cells"][name].setdefault("attributes", {})["BEL"] = bel
    return wire


def place_block_rams(module, sites):
    """Sites for the block RAMs of a placed ``module`` (nextpnr's JSON) with all else as it is.

    Minimises half the bounding boxes' circumferences, in rounds: exactly (assignment problem) for
    every block RAM with the others where the round before had them, while the sum falls.
    Returns ``({name: bel}, wire before, wire after)``, wire in tiles of the nets at block RAMs.
    """
    # SciPy is the builder's alone: nothing else needs it.
    from scipy.optimize import linear_sum_assignment

    at, rams = {}, []
    for name, cell in module["cells"].items():
        place = re.match(r"X(\d+)/Y(\d+)/", cell["attributes"].get("NEXTPNR_BEL", ""))
        if place:
            at[name] = np.array([int(place[1]), int(place[2])])
            if cell["type"] == "DP16KD":
                rams.append(name)
    cells_of = defaultdict(set)
    for name in at:
        for bits in module["cells"][name]["connections"].values():
            for bit in bits:
                cells_of[bit].add(name)
    nets_of = {ram: [] for ram in rams}
    for bit, cells in cells_of.items():
        if isinstance(bit, int) and 1 < len(cells) <= BROADCAST:
            for ram in cells & nets_of.keys():
                nets_of[ram].append(cells)
    nets = list({id(cells): cells for found in nets_of.values() for cells in found}.values())
    places = np.array([(x, y) for x, y, _ in sites])
    names = {(x, y): bel for x, y, bel in sites}

    def wire(at):
        return sum(int(np.ptp([at[name] for name in cells], axis=0).sum()) for cells in nets)

    def cost(ram):
        """Wire of the block RAM's nets from each site."""
        total = np.zeros(len(places), int)
        for cells in nets_of[ram]:
            others = [at[name] for name in cells if name != ram]
            low, high = np.min(others, axis=0), np.max(others, axis=0)
            total += (np.maximum(0, low - places) + np.maximum(0, places - high)).sum(axis=1)
        return total

    before = least = wire(at)
    for _ in range(ROUNDS if rams else 0):
        chosen = linear_sum_assignment(np.array([cost(ram) for ram in rams]))[1]
        moved = {**at, **{ram: places[site] for ram, site in zip(rams, chosen)}}
        after = wire(moved)
        if after >= least:
            break
        at, least = moved, after
    return {ram: names[tuple(at[ram].tolist())] for ram in rams}, before, least
