"""Simulated annealing of clusters and block RAMs over a device.

Wire is half the circumference of every net's bounding box, and what's beyond ``LONG`` costs more:
that's in the way of a clock. So does what a bin has no room for, in the way of a router: a net's
wire is spread over its bounding box (:mod:`.crowding`). Clusters lie in bins that hold a share of
the sites each, block RAMs on their sites. A move takes an object somewhere else, and what's there
to the place that gets free (Kirkpatrick et al., "Optimization by Simulated Annealing", 1983; Betz
and Rose, "VPR", FPL 1997, for the window that shrinks).
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache

import numpy as np

__all__ = ["Floor", "Layout", "anneal", "cost", "crowded", "wire"]

HOT = 20                # standard deviations of what a move changes at the start (VPR)
COLD = 1 / 10_000       # of the temperature at the start, at the end
TOO_FULL = 80           # tiles of wire that a site too many in a bin counts as
# Tiles, and what one more costs. nextpnr reckons with 0.12 ns a tile: the slowest connections of
# WRN-20-4 at 100 MHz, by a fifth, were the addresses of one block RAM that lay apart.
LONG, LONG_COST = 45, 4
CROWDED_COST = 4        # of a tile of wire that its bin has no room for
PARTS = 64              # of a tile: what crosses a bin is counted in these
SLACK = 1.25            # of what a bin would hold if all held the same
NARROWEST = 0.1         # of the device, but a bin at least: how far a move goes at the end


@dataclass(frozen=True)
class Floor:
    """Where objects may lie: bins ``columns`` by ``rows`` all over ``width`` by ``height`` tiles,
    and block RAMs at every one of ``xs`` in every one of ``ys``, ascending. ``room`` is the wire
    that a bin has room for, in tiles."""

    width: int
    height: int
    columns: int
    rows: int
    xs: tuple
    ys: tuple
    room: int


@dataclass(frozen=True)
class Layout:
    """``at`` int32[objects, 2], where each lies, in tiles; ``wire`` in tiles, and its ``cost``;
    ``crowded``: what of it bins have no room for, in tiles; ``overfull``: sites that bins hold
    beyond their capacity."""

    at: np.ndarray
    wire: int
    cost: int
    crowded: int
    overfull: int


def wire(nets, at):
    """Wire of ``nets``, ``{(object, ...): count}``, with objects ``at`` int[objects, 2]."""
    return int(sum(count * length for length, count in _lengths(nets, at)))


def crowded(nets, at, floor):
    """What of the same wire the bins of a :class:`Floor` have no room for, in tiles; each net's is
    spread evenly over those that its bounding box touches."""
    demand = np.zeros((floor.rows, floor.columns), np.int64)
    size, bins = (floor.width, floor.height), (floor.columns, floor.rows)
    for members, (length, count) in zip(nets, _lengths(nets, at)):
        ends = at[list(members)].astype(np.int64) * bins // size
        (left, top), (right, bottom) = ends.min(axis=0), ends.max(axis=0)
        demand[top:bottom + 1, left:right + 1] += (
            count * length * PARTS // ((right - left + 1) * (bottom - top + 1)))
    return int(np.maximum(0, demand - floor.room * PARTS).sum() / PARTS)


def cost(nets, at, floor):
    """Cost of the same wire: ``LONG_COST`` for every tile beyond ``LONG``, and ``CROWDED_COST`` for
    those that are :func:`crowded`."""
    return CROWDED_COST * crowded(nets, at, floor) + int(sum(
        count * (length + (LONG_COST - 1) * max(0, length - LONG))
        for length, count in _lengths(nets, at)))


def _lengths(nets, at):
    return ((np.ptp(at[list(members)], axis=0).sum(), count) for members, count in nets.items())


def anneal(clusters, floor, moves, seeds=(1,)):
    """A list of :class:`Layout` of :class:`.cluster.Clusters` on a :class:`Floor`, one for each of
    ``seeds``, found at the same time.

    ``moves`` are tried for each; the same ones with the same seed, on every machine.

    Raises
    ------
    ValueError
        There are more block RAMs than sites.
    """
    count, rams = len(clusters.sites), len(clusters.block_rams)
    if rams > len(floor.xs) * len(floor.ys):
        raise ValueError(f"Block RAMs must be at most {len(floor.xs) * len(floor.ys)} here, not "
                         f"{rams}")
    members, firsts = _flat(clusters.nets)
    of_object = [[] for _ in range(count)]
    for net, objects in enumerate(clusters.nets):
        for each in objects:
            of_object[each].append(net)
    nets, first_nets = _flat(of_object)
    bins = floor.columns * floor.rows
    x_of = (2 * np.arange(bins) % (2 * floor.columns) + 1) * floor.width // (2 * floor.columns)
    y_of = (2 * (np.arange(bins) // floor.columns) + 1) * floor.height // (2 * floor.rows)
    loop, given = _compiled(), (
        rams, np.asarray(clusters.sites, np.int64), members, firsts,
        np.array(list(clusters.nets.values()), np.int64), nets, first_nets,
        np.array(floor.xs, np.int64), np.array(floor.ys, np.int64), x_of, y_of,
        floor.columns, floor.rows, floor.width, floor.height,
        int(clusters.sites.sum() / bins * SLACK) + 1, LONG, LONG_COST, TOO_FULL,
        floor.room * PARTS, CROWDED_COST / PARTS, PARTS)
    loop(*given, 0, np.uint64(1))       # compiled before there are threads
    with ThreadPoolExecutor(len(seeds)) as threads:     # it runs without the interpreter's lock
        found = list(threads.map(lambda seed: loop(*given, moves, np.uint64(seed)), seeds))
    return [Layout(at, wire(clusters.nets, at), cost(clusters.nets, at, floor),
                   int(crowded / PARTS), int(overfull)) for at, crowded, overfull in found]


def _flat(lists):
    """Lists one behind the other, and where each begins."""
    lists = list(lists)
    return (np.array([each for items in lists for each in items], np.int64),
            np.cumsum([0, *map(len, lists)]))


@cache
def _compiled():
    """The loop, as machine code; Numba is the builder's alone: nothing else needs it."""
    from numba import njit

    @njit
    def random(state):
        """The next float64 in [0, 1) (xorshift64*, Vigna 2016)."""
        x = state[0]
        x ^= x >> np.uint64(12)
        x ^= x << np.uint64(25)
        x ^= x >> np.uint64(27)
        state[0] = x
        return ((x * np.uint64(0x2545F4914F6CDD1D)) >> np.uint64(11)) / 9007199254740992.0

    @njit
    def ends_of(net, members, firsts, at):
        """First and last column and row, in tiles, that a net's objects lie in."""
        left = right = at[members[firsts[net]], 0]
        top = bottom = at[members[firsts[net]], 1]
        for k in range(firsts[net] + 1, firsts[net + 1]):
            x, y = at[members[k], 0], at[members[k], 1]
            left, right = min(left, x), max(right, x)
            top, bottom = min(top, y), max(bottom, y)
        return left, right, top, bottom

    @njit
    def cost_of(net, members, firsts, counts, at, long, long_cost):
        left, right, top, bottom = ends_of(net, members, firsts, at)
        length = right - left + bottom - top
        return counts[net] * (length + (long_cost - 1) * max(0, length - long))

    @njit
    def span_of(net, members, firsts, counts, at, columns, rows, width, height, parts):
        """First and last column and row of bins that a net crosses, and its wire in each."""
        left, right, top, bottom = ends_of(net, members, firsts, at)
        length = right - left + bottom - top
        left, right = left * columns // width, right * columns // width
        top, bottom = top * rows // height, bottom * rows // height
        return left, right, top, bottom, (
            counts[net] * length * parts // ((right - left + 1) * (bottom - top + 1)))

    @njit
    def spread(demand, columns, span, sign, room):
        """Add a net's wire to the ``demand`` in bins, or take it away; returns by how much more of
        that is beyond ``room``."""
        more = 0
        for row in range(span[2], span[3] + 1):
            for b in range(row * columns + span[0], row * columns + span[1] + 1):
                before = demand[b]
                demand[b] += sign * span[4]
                more += max(0, demand[b] - room) - max(0, before - room)
        return more

    @njit
    def nearest(values, value, state):
        """Index of one of the two of ``values`` that ``value`` lies between."""
        k = np.searchsorted(values, value)
        if k == len(values) or (k > 0 and random(state) < 0.5):
            k -= 1
        return k

    @njit(nogil=True)
    def loop(rams, sites, members, firsts, counts, nets, first_nets, xs, ys, x_of, y_of,
             columns, rows, width, height, capacity, long, long_cost, too_full, room,
             crowded_cost, parts, moves, seed):
        objects, bins = len(sites), columns * rows
        state = np.array([seed * np.uint64(0x9E3779B97F4A7C15) + np.uint64(1)])
        at = np.zeros((objects, 2), np.int32)
        slot = np.zeros(objects, np.int64)
        owner = np.full(len(xs) * len(ys), -1)
        inside = np.zeros((bins, objects), np.int32)    # objects of a bin
        place = np.zeros(objects, np.int64)             # index in there
        held, load = np.zeros(bins, np.int64), np.zeros(bins, np.int64)

        # Anywhere: block RAMs on sites by a random permutation, clusters in random bins.
        order = np.arange(len(owner))
        for k in range(len(order) - 1, 0, -1):
            other = int(random(state) * (k + 1))
            order[k], order[other] = order[other], order[k]
        for each in range(objects):
            if each < rams:
                slot[each] = order[each]
                owner[slot[each]] = each
                at[each, 0], at[each, 1] = xs[slot[each] % len(xs)], ys[slot[each] // len(xs)]
            else:
                b = int(random(state) * bins)
                slot[each], place[each] = b, held[b]
                inside[b, held[b]] = each
                held[b] += 1
                load[b] += sites[each]
                at[each, 0], at[each, 1] = x_of[b], y_of[b]
        cost = np.zeros(len(counts), np.int64)
        for net in range(len(counts)):
            cost[net] = cost_of(net, members, firsts, counts, at, long, long_cost)
        demand, spans = np.zeros(bins, np.int64), np.zeros((len(counts), 5), np.int64)
        for net in range(len(counts)):
            spans[net] = span_of(net, members, firsts, counts, at, columns, rows, width, height,
                                 parts)
            spread(demand, columns, spans[net], 1, room)

        seen = np.full(len(counts), -1)
        fresh, fresh_cost = np.zeros(len(counts), np.int64), np.zeros(len(counts), np.int64)
        fresh_spans = np.zeros((len(counts), 5), np.int64)
        # At first all moves are taken, and tell how hot it has to be.
        trial, total, squares = 10 * objects, 0.0, 0.0
        hot = temperature = 0.0
        reach_x, reach_y = float(width), float(height)
        for move in range(-trial, moves):
            if move == 0:
                hot = HOT * np.sqrt(max(1.0, squares / trial - (total / trial) ** 2))
            if move >= 0 and move % 4096 == 0:
                done = move / moves
                temperature = hot * COLD ** done
                reach = max(NARROWEST, 1 - 1.1 * done)
                reach_x = max(reach * width, width / columns)
                reach_y = max(reach * height, height / rows)
            one = int(random(state) * objects)
            x = at[one, 0] + (2 * random(state) - 1) * reach_x
            y = at[one, 1] + (2 * random(state) - 1) * reach_y
            old, other, change = slot[one], -1, 0.0
            if one < rams:
                new = nearest(ys, y, state) * len(xs) + nearest(xs, x, state)
                if new == old:
                    continue
                other = owner[new]
                to_x, to_y = xs[new % len(xs)], ys[new // len(xs)]
            else:
                column, row = int(np.floor(x * columns / width)), int(np.floor(y * rows / height))
                if column < 0 or row < 0 or column >= columns or row >= rows:
                    continue
                new = row * columns + column
                if new == old:
                    continue
                if held[new] and (load[new] + sites[one] > capacity or random(state) < 0.3):
                    other = inside[new, int(random(state) * held[new])]
                more = sites[one] - (sites[other] if other >= 0 else 0)
                change = too_full * float(
                    max(0, load[old] - more - capacity) - max(0, load[old] - capacity)
                    + max(0, load[new] + more - capacity) - max(0, load[new] - capacity))
                to_x, to_y = x_of[new], y_of[new]
            from_x, from_y = at[one, 0], at[one, 1]
            at[one, 0], at[one, 1] = to_x, to_y
            if other >= 0:
                at[other, 0], at[other, 1] = from_x, from_y
            touched = 0
            for who in (one, other):
                if who < 0:
                    continue
                for k in range(first_nets[who], first_nets[who + 1]):
                    net = nets[k]
                    if seen[net] == move:
                        continue
                    seen[net] = move
                    fresh[touched] = net
                    fresh_cost[touched] = cost_of(net, members, firsts, counts, at, long,
                                                  long_cost)
                    change += fresh_cost[touched] - cost[net]
                    touched += 1
            if move < 0:
                total += change
                squares += change * change
            taken = move < 0 or change <= 0 or random(state) < np.exp(-change / temperature)
            # Crowding takes longer to tell, so it has a say of its own once wire is content: the
            # odds of both are those of their sum.
            if taken:
                more = 0
                for k in range(touched):
                    fresh_spans[k] = span_of(fresh[k], members, firsts, counts, at, columns, rows,
                                             width, height, parts)
                    more += spread(demand, columns, spans[fresh[k]], -1, room)
                    more += spread(demand, columns, fresh_spans[k], 1, room)
                taken = move < 0 or more <= 0 or random(state) < np.exp(
                    -more * crowded_cost / temperature)
                if not taken:
                    for k in range(touched):
                        spread(demand, columns, fresh_spans[k], -1, room)
                        spread(demand, columns, spans[fresh[k]], 1, room)
            if not taken:
                at[one, 0], at[one, 1] = from_x, from_y
                if other >= 0:
                    at[other, 0], at[other, 1] = to_x, to_y
                continue
            for k in range(touched):
                cost[fresh[k]] = fresh_cost[k]
                spans[fresh[k]] = fresh_spans[k]
            slot[one] = new
            if other >= 0:
                slot[other] = old
            if one < rams:
                owner[old], owner[new] = other, one
                continue
            load[old] -= sites[one]
            load[new] += sites[one]
            if other >= 0:
                load[old] += sites[other]
                load[new] -= sites[other]
                inside[old, place[one]], inside[new, place[other]] = other, one
                place[one], place[other] = place[other], place[one]
                continue
            held[old] -= 1
            last = inside[old, held[old]]
            inside[old, place[one]], place[last] = last, place[one]
            inside[new, held[new]], place[one] = one, held[new]
            held[new] += 1
        return at, np.maximum(0, demand - room).sum(), np.maximum(0, load - capacity).sum()
    return loop
