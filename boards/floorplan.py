"""Sites of block RAMs, chosen before anything else is placed.

nextpnr's static placer takes block RAMs to the nearest free site one by one, in the order of their
names, and where a row fills up the late ones land far from their logic. Nor does it get out of
where it has begun: WRN-20-4's maps lay in three corners of the chip. So a coarse placement of the
whole design, by clusters, chooses their sites, and the rest finds its place between them.
"""

from dataclasses import dataclass

from .anneal import Floor, anneal
from .cluster import clusters

__all__ = ["BLOCK_RAM_SITES", "fix_block_rams", "place_block_rams"]

CLUSTER = 100       # sites of a cluster: a few lanes of a dot product
BIN = 7             # tiles of a bin's side: three clusters
# Tiles of wire between clusters that a tile has room for. Placed, with what's within clusters, the
# fullest 8 by 8 tiles of WRN-20-4 asked for 86 a tile and were routed, for 111 and weren't.
ROOM = 50
MOVES = 50_000      # of the annealing, for every object
SEEDS = 1, 2        # of which the better one is taken


@dataclass(frozen=True)
class Sites:
    """A device of ``width`` by ``height`` tiles with rows of block RAMs: groups of four every nine
    columns, two columns more in the middle, behind ``left`` groups. As nextpnr-ecp5 0.11 places
    them; a test asks it."""

    width: int
    height: int
    rows: tuple
    groups: int
    left: int

    @property
    def columns(self):
        """Where block RAMs are in every one of the rows."""
        return tuple(4 + 9 * group + 2 * z + 2 * (group >= self.left)
                     for group in range(self.groups) for z in range(4))

    def bel(self, x, y):
        """Name of the block RAM there."""
        return f"X{x}/Y{y}/EBR{self.columns.index(x) % 4}"

    def all(self):
        """``[(x, y, name of the bel), ...]``."""
        return [(x, y, self.bel(x, y)) for y in self.rows for x in self.columns]

    @property
    def floor(self):
        """The :class:`.anneal.Floor`."""
        columns, rows = round(self.width / BIN), round(self.height / BIN)
        return Floor(self.width, self.height, columns, rows, self.columns, self.rows,
                     self.width * self.height * ROOM // (columns * rows))


BLOCK_RAM_SITES = {"25f": Sites(72, 50, (25, 37), 7, 3),
                   "45f": Sites(90, 71, (10, 34, 58), 9, 4),
                   "85f": Sites(126, 95, (22, 46, 70, 82), 13, 7)}
BLOCK_RAM_SITES["12f"] = BLOCK_RAM_SITES["25f"]


def fix_block_rams(module, device):
    """Give the block RAMs of a ``module`` of Yosys' JSON the sites of :func:`place_block_rams`
    (attribute ``BEL``) on ``device``, such as ``"85f"``; returns the wire."""
    bels, wire = place_block_rams(module, BLOCK_RAM_SITES[device])
    for name, bel in bels.items():
        module["cells"][name].setdefault("attributes", {})["BEL"] = bel
    return wire


def place_block_rams(module, sites, moves=MOVES):
    """Sites for all block RAMs of a ``module`` of Yosys' JSON.

    Returns ``({name: bel}, wire)``, the wire between clusters in tiles.
    """
    found = clusters(module, CLUSTER)
    if not found.block_rams:
        return {}, 0
    best = min(anneal(found, sites.floor, moves * len(found.sites), SEEDS),
               key=lambda layout: layout.cost)
    return {name: sites.bel(*map(int, best.at[k]))
            for k, name in enumerate(found.block_rams)}, best.wire
