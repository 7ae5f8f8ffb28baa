"""A netlist's cells as clusters: so few objects that where they lie can be tried out a million
times a second (:mod:`.anneal`)."""

import heapq
import re
from collections import Counter, defaultdict
from dataclasses import dataclass

import numpy as np

__all__ = ["Clusters", "clusters"]

COMB = {"LUT4": 1, "CCU2C": 2, "TRELLIS_DPR16X4": 6}    # LUT sites of a cell
BLOCK_RAM = "DP16KD"
KINDS = {*COMB, "TRELLIS_FF", "PFUMX", "L6MUX21", "MULT18X18D", BLOCK_RAM}
CLOCKS = {"CLK", "CLK0", "CLKA", "CLKB", "WCK"}
LOGIC = {"CCU2C", "LUT4", "PFUMX", "L6MUX21"}
# Cells that nextpnr packs with, or lays beside, the one that drives this pin.
BESIDE = {"CCU2C": ("CIN",), "TRELLIS_FF": ("DI",), "PFUMX": ("ALUT", "BLUT"),
          "L6MUX21": ("D0", "D1")}
BROADCAST = 300     # nets with more pins go everywhere: clocks, resets
TOGETHER = 16       # nets with more clusters say nothing of which of them belong together
# A chain of hop registers goes from group to group of the array. Few things are as closely
# connected, and in one cluster they'd hold all groups together. Yosys names a net between two
# groups for the input of the later one; it's the earlier one's that drives it.
GROUP = re.compile(r"\.array\.(?:rom|group)(\d+)(_(?:passing|take|w_addr|x)(?![a-z]))?")


@dataclass(frozen=True)
class Clusters:
    """Objects, numbered from 0: every block RAM, and clusters of other cells.

    ``block_rams`` are the names of the first ones; ``sites`` how many pairs of LUT and flip-flop
    each object takes, none for block RAMs; ``nets`` how many nets connect the same objects:
    ``{(object, ...): count}``.
    """

    block_rams: tuple
    sites: np.ndarray
    nets: dict


def clusters(module, limit):
    """:class:`Clusters` of a ``module`` of Yosys' JSON, of about ``limit`` sites each.

    Pairs of clusters are joined in the order of how much connects them for their size ("best
    choice" of Alpert et al., "A Semi-Persistent Clustering Technique for VLSI Circuit Placement",
    ISPD 2005), at first up to ``limit`` sites; what's left over then joins what it's connected
    with, up to twice as many.
    """
    cells = {name: cell for name, cell in module["cells"].items() if cell["type"] in KINDS}
    kinds = [cell["type"] for cell in cells.values()]
    pins, driver = defaultdict(list), {}
    for i, cell in enumerate(cells.values()):
        for pin, bits in cell["connections"].items():
            if pin in CLOCKS:
                continue
            for bit in bits:
                if isinstance(bit, int):
                    pins[bit].append(i)
                    if cell["port_directions"][pin] == "output":
                        driver[bit] = i
    pins = {bit: of_net for bit, of_net in pins.items() if len(of_net) <= BROADCAST}

    joined = _Joined(len(cells))
    for i, cell in enumerate(cells.values()):
        for pin in BESIDE.get(cell["type"], ()):
            bit = cell["connections"].get(pin, [None])[0]
            before = driver.get(bit)
            if before is None or kinds[before] not in LOGIC or bit not in pins:
                continue
            # A flip-flop lies beside its LUT where that has no other user.
            if cell["type"] != "TRELLIS_FF" or len(pins[bit]) == 2:
                joined.join(before, i)
    comb = [COMB.get(kind, 0) for kind in kinds]
    flops = [int(kind == "TRELLIS_FF") for kind in kinds]
    group = [int(found[1]) - bool(found[2]) if (found := GROUP.search(name)) else None
             for name in cells]
    graph = _Graph(joined, comb, flops, group, {i for i, kind in enumerate(kinds)
                                                if kind == BLOCK_RAM}, pins.values())
    graph.join_best(limit)
    graph.join_best(2 * limit, limit // 4)

    owner = [joined.top(i) for i in range(len(cells))]
    rams = [i for i, kind in enumerate(kinds) if kind == BLOCK_RAM]
    others = sorted(set(owner) - set(rams))
    number = {top: k for k, top in enumerate([*rams, *others])}
    nets = Counter(tuple(sorted({number[owner[i]] for i in of_net})) for of_net in pins.values())
    names = list(cells)
    return Clusters(tuple(names[i] for i in rams),
                    np.array([0] * len(rams) + [graph.size(top) for top in others], np.int64),
                    {members: count for members, count in nets.items() if len(members) > 1})


class _Joined:
    """Which cells were joined (union-find)."""

    def __init__(self, count):
        self.parent = list(range(count))

    def top(self, i):
        """The cell that stands for those joined with ``i``."""
        while self.parent[i] != i:
            self.parent[i] = i = self.parent[self.parent[i]]
        return i

    def join(self, a, b):
        """Join ``b`` to ``a``; returns what stands for both."""
        a, b = self.top(a), self.top(b)
        self.parent[b] = a
        return a


class _Graph:
    """Clusters and what connects two of them: a net of n clusters counts 1 / (n - 1) for each."""

    def __init__(self, joined, comb, flops, group, alone, nets):
        self.joined, self.alone = joined, alone
        self.comb, self.flops, self.group = defaultdict(int), defaultdict(int), {}
        for i, each in enumerate(group):
            top = joined.top(i)
            self.comb[top] += comb[i]
            self.flops[top] += flops[i]
            self.group[top] = self._both(self.group.get(top), each)
        self.links = defaultdict(lambda: defaultdict(float))
        for of_net in nets:
            members = {joined.top(i) for i in of_net}
            if 1 < len(members) <= TOGETHER:
                for a in members:
                    for b in members - {a}:
                        self.links[a][b] += 1 / (len(members) - 1)

    @staticmethod
    def _both(a, b):
        return b if a is None else a

    def size(self, top):
        """Sites that a cluster takes."""
        return max(self.comb[top], self.flops[top])

    def _best(self, a, limit):
        """``(closeness, b)`` of the cluster that goes best with ``a``; ``None`` where none does."""
        found = None
        for b, weight in self.links[a].items():
            size = max(self.comb[a] + self.comb[b], self.flops[a] + self.flops[b])
            if (b in self.alone or size > limit
                    or None not in (self.group[a], self.group[b])
                    and self.group[a] != self.group[b]):
                continue
            if found is None or weight / (size + 20) > found[0]:
                found = weight / (size + 20), b
        return found

    def join_best(self, limit, small=None):
        """Join pairs, the closest first, while both together have at most ``limit`` sites; only
        those below ``small`` sites to others where that's given."""
        heap, version = [], Counter()

        def offer(a):
            if best := self._best(a, limit):
                heapq.heappush(heap, (-best[0], a, best[1], version[a], version[best[1]]))
        for a in [a for a in self.comb if a not in self.alone
                  and (small is None or self.size(a) < small)]:
            offer(a)
        while heap:
            _, a, b, of_a, of_b = heapq.heappop(heap)
            if a not in self.comb or of_a != version[a]:
                continue        # it's offered anew, or gone
            if b not in self.comb or of_b != version[b]:
                offer(a)
                continue
            if small is not None:
                a, b = b, a
            self._join(a, b)
            version[a] += 1
            if small is None or self.size(a) < small:
                offer(a)

    def _join(self, a, b):
        self.joined.join(a, b)
        self.comb[a] += self.comb.pop(b)
        self.flops[a] += self.flops.pop(b)
        self.group[a] = self._both(self.group[a], self.group.pop(b))
        for c, weight in self.links.pop(b).items():
            if c != a:
                self.links[a][c] += weight
                self.links[c][a] += weight
                del self.links[c][b]
        self.links[a].pop(b, None)
