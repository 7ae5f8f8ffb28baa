"""Annealing finds the best places where all can be tried, and tells its wire."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from boards.anneal import CROWDED_COST, LONG, Floor, anneal, cost, crowded, wire
from boards.cluster import Clusters

pytest.importorskip("numba")
# Bins' centres are 30 or 90, 15 or 45.
FLOOR = Floor(120, 60, 2, 2, (12, 39, 93), (15, 45), 1_000_000)


def best(clusters, floor, capacity):
    """Least cost of all layouts whose bins aren't too full."""
    rams, count = len(clusters.block_rams), len(clusters.sites)
    sites = list(itertools.product(floor.xs, floor.ys))
    bins = list(itertools.product((30, 90), (15, 45)))
    return min(
        cost(clusters.nets, np.array([*at_rams, *(bins[b] for b in chosen)]), floor)
        for at_rams in itertools.permutations(sites, rams)
        for chosen in itertools.product(range(4), repeat=count - rams)
        if all(sum(int(size) for size, b in zip(clusters.sites[rams:], chosen) if b == each)
               <= capacity for each in range(4)))


@pytest.mark.parametrize("seed, room", [(0, 1000), (1, 1000), (2, 1000), (3, 1000), (0, 300),
                                        (1, 250), (2, 200)])
def test_no_layout_costs_less_than_the_best_of_eight(seed, room):
    floor = replace(FLOOR, room=room)
    rng = np.random.default_rng(seed)
    nets = {tuple(sorted(rng.choice(6, int(rng.integers(2, 4)), replace=False).tolist())):
            int(rng.integers(1, 9)) for _ in range(9)}
    clusters = Clusters(("a", "b"), np.array([0, 0, 10, 10, 10, 10]), nets)
    layouts = anneal(clusters, floor, 100_000, range(1, 9))
    assert all(layout.overfull == 0 and layout.wire == wire(nets, layout.at)
               and layout.crowded == crowded(nets, layout.at, floor)
               and layout.cost == cost(nets, layout.at, floor) for layout in layouts)
    assert min(layout.cost for layout in layouts) == best(clusters, floor, 10 * 1.25 + 1)


def test_a_tile_beyond_a_long_wire_costs_four():
    nets = {(0, 1): 1, (1, 2, 3): 2}
    at = np.array([[0, 0], [LONG, 10], [LONG, 10], [0, 10]])
    assert wire(nets, at) == LONG + 10 + 2 * LONG
    assert cost(nets, at, FLOOR) == LONG + 4 * 10 + 2 * LONG


def test_wire_is_spread_over_the_bins_it_crosses_and_costs_more_where_there_is_no_room():
    """90 tiles lie in all four bins, 22.5 in each; 30 in the two on the right; 18 in one."""
    nets = {(0, 1): 1, (1, 2): 1, (0, 3): 3}
    at = np.array([[30, 15], [90, 45], [90, 15], [36, 15]])
    floor = replace(FLOOR, room=20)
    assert wire(nets, at) == 90 + 30 + 18
    assert crowded(nets, at, floor) == 22.5 - 20 + 2 * (22.5 + 15 - 20) + 22.5 + 18 - 20
    assert cost(nets, at, floor) == cost(nets, at, FLOOR) + CROWDED_COST * 58


def test_block_rams_get_a_site_each_and_every_move_is_drawn_from_the_seed():
    clusters = Clusters(tuple("abcdef"), np.array([0] * 6 + [5] * 20),
                        {(k % 6, 6 + k): 1 + k for k in range(20)})
    one, other, again = anneal(clusters, FLOOR, 20_000, (1, 2, 1))
    assert {tuple(at) for at in one.at[:6].tolist()} == set(
        itertools.product(FLOOR.xs, FLOOR.ys))
    assert {tuple(at) for at in one.at[6:].tolist()} <= set(itertools.product((30, 90), (15, 45)))
    assert one.at.tolist() == again.at.tolist() != other.at.tolist()


def test_it_tells_what_does_not_fit():
    clusters = Clusters((), np.array([100, 1, 1, 1]), {(0, 1): 1})
    [layout] = anneal(clusters, FLOOR, 1000)
    assert layout.overfull == 100 - (103 * 1.25 / 4 // 1 + 1) + sum(
        layout.at[k].tolist() == layout.at[0].tolist() for k in (1, 2, 3))
    with pytest.raises(ValueError, match="Block RAMs must be at most 6 here, not 7"):
        anneal(Clusters(tuple("abcdefg"), np.zeros(7, int), {}), FLOOR, 10)
