"""``python -m boards.paths``: the longest paths of a netlist, before or after it's placed.

Place and route takes most of an hour to say which path is too long; this takes seconds. Before
placement it's no forecast: a wire's delay is guessed from its sinks alone. But a path that is much
longer than the others here, or a net with sinks in every unit, stays one when it's placed. After it
(nextpnr's ``--write``) it's guessed from the distance, by the formula that nextpnr places by.
"""

import argparse
import re
import sys
from collections import Counter
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

from gen.cli import command_line, count

from .netlist import NetlistError, read_top

__all__ = ["LongPath", "Net", "PathsError", "longest_paths", "main", "position"]

# ns from the inputs (or the clock) to the outputs, roughly those of speed grade 6; what's in
# neither table starts paths at 0.
THROUGH = {"LUT4": 0.24, "PFUMX": 0.2, "L6MUX21": 0.2, "CCU2C": 0.45, "TRELLIS_DPR16X4": 0.5,
           "TRELLIS_COMB": 0.24}                # the last is nextpnr's name for all of those
FROM_CLOCK = {"TRELLIS_FF": 0.52, "DP16KD": 1.0, "MULT18X18D": 4.0}
CARRY = 0.05                                    # from CIN or FCI on: neither wire nor LUT
CLOCKS = {"CLK", "CLKA", "CLKB", "WCK"}
# Of LUT RAM: they don't reach its output in a cycle.
WRITES = {"DI", "WRE", "WCK", "WAD", "WD", *(f"WAD{k}" for k in range(4))}
RAMS = {"TRELLIS_DPR16X4", "TRELLIS_COMB"}
# Inputs of a CCU2C's lower half: a half whose INIT is 0 stops the carry (hw.carry).
LOWER = {"CIN", "A0", "B0", "C0", "D0"}
UPPER = {"A1", "B1", "C1", "D1"}
MULTIPLEXED = {"M", "F1", "FXA", "FXB"}         # inputs behind the LUT, of an output OFX alone
WITHIN = {"CIN", "FCI", "FXA", "FXB"}           # inputs that a neighbour reaches without a wire


class PathsError(ValueError):
    """A netlist that has no longest paths; the message is one sentence for the user."""


@dataclass(frozen=True)
class Net:
    """A net of a path: its name, what drives it, its sinks, and when it's there, in ns; ``at`` is
    where its driver is placed, ``(x, y)``, or ``None``."""

    name: str
    driver: str
    sinks: int
    ns: float
    at: tuple | None = None


@dataclass(frozen=True)
class LongPath:
    """From a register's output through ``nets`` to the pin ``end``, such as ``"state_FF.CE"``, of
    the cell type ``kind``."""

    ns: float
    kind: str
    end: str
    nets: tuple


def position(cell):
    """Where nextpnr placed a cell of its JSON, ``(x, y)`` in tiles; ``None`` where it didn't."""
    found = re.match(r"X(\d+)/Y(\d+)/", cell.get("attributes", {}).get("NEXTPNR_BEL", ""))
    return found and (int(found[1]), int(found[2]))


def _unplaced_ns(sinks):
    # A guess: half a nanosecond to a neighbour, two to a hundred sinks.
    return 0.5 + 0.05 * min(sinks, 8) + 0.012 * min(sinks, 100)


def _placed_ns(start, end):
    # nextpnr's `Arch::predictDelay` for ECP5, speed grade 6.
    dx, dy = (abs(a - b) for a, b in zip(start, end))
    return 0.12 * (6 + max(dx - 5, 0) + max(dy - 5, 0) + 2 * (min(dx, 5) + min(dy, 5)))


class _Netlist:
    """Cells by name, and of every net its driver and its sinks; constants aren't nets."""

    def __init__(self, module):
        self.cells, self.driver, self.sinks = module["cells"], {}, Counter()
        self.port = {}                          # of its driver
        self.inputs = {name: [] for name in self.cells}
        self.at = {name: at for name, cell in self.cells.items() if (at := position(cell))}
        constant = {bit for name, cell in self.cells.items() if name.startswith("$PACKER_")
                    for bits in cell["connections"].values() for bit in bits}
        for name, cell in self.cells.items():
            for port, bits in cell["connections"].items():
                for bit in bits:
                    if isinstance(bit, str) or bit in constant:
                        continue
                    if cell["port_directions"][port] == "output":
                        self.driver[bit], self.port[bit] = name, port
                    else:
                        self.inputs[name].append((port, bit))
                        self.sinks[bit] += 1
        self.names = {}
        for name, net in module["netnames"].items():
            for k, bit in enumerate(net["bits"]):
                self.names[bit] = min(self.names.get(bit, f"{name}[{k}]"), f"{name}[{k}]", key=len)

    def kind(self, cell):
        return self.cells[cell]["type"]

    def through(self, bit):
        """Inputs of a net's driver, ``(port, net)``, from which a path goes on to it in the same
        cycle."""
        cell = self.driver.get(bit)
        if cell is None or self.kind(cell) not in THROUGH:
            return []
        without = (WRITES if self.kind(cell) in RAMS else set()) | (
            MULTIPLEXED if self.port[bit] in ("F", "FCO") else set()) | (
            _stopped(self.cells[cell], self.port[bit]))
        return [(port, bit) for port, bit in self.inputs[cell] if port not in without]

    def wire_ns(self, bit, cell, port):
        """Of a net to one of its sinks."""
        start, end = self.at.get(self.driver.get(bit)), self.at.get(cell)
        if port in WITHIN or port == "DI" and start is not None and start == end:
            return 0.0
        return _placed_ns(start, end) if start and end else _unplaced_ns(self.sinks[bit])

    def arrivals(self):
        """``(ns, before)``: when a net is there, and the net before it that is to blame."""
        graph = {bit: {before for _, before in self.through(bit)} for bit in self.driver}
        ns, before = {}, {}
        try:
            order = list(TopologicalSorter(graph).static_order())
        except CycleError as error:
            cells = ", ".join(self.driver[bit] for bit in error.args[1][:-1][:5])
            raise PathsError(f"The netlist has a loop through {cells}") from None
        for bit in order:
            cell = self.driver.get(bit)
            ns[bit], before[bit] = FROM_CLOCK.get(self.kind(cell), 0.0) if cell else 0.0, None
            for port, source in self.through(bit):
                at = (ns[source] + self.wire_ns(source, cell, port)
                      + (CARRY if port in ("CIN", "FCI") else THROUGH[self.kind(cell)]))
                if at > ns[bit]:
                    ns[bit], before[bit] = at, source
        return ns, before


def _stopped(cell, port):
    """Inputs of a carry cell from which no signal comes to its output ``port``."""
    lower, upper = (half in cell.get("parameters", {}) and not int(cell["parameters"][half], 2)
                    for half in ("INIT0", "INIT1"))
    if port == "COUT" and upper:
        return LOWER | UPPER
    return LOWER if lower and port in ("COUT", "S1") else set()


def longest_paths(module, count):
    """The ``count`` longest paths of a flat module of Yosys' or nextpnr's JSON for ECP5: a list of
    :class:`LongPath`, longest first. Of those that share their last net but one only one is given.

    Raises :class:`PathsError` where LUTs make a loop.
    """
    netlist = _Netlist(module)
    ns, before = netlist.arrivals()
    ends = sorted(((ns.get(bit, 0.0) + netlist.wire_ns(bit, cell, port),
                    cell, port, bit) for cell in netlist.cells if netlist.kind(cell) in FROM_CLOCK
                   for port, bit in netlist.inputs[cell] if port not in CLOCKS), reverse=True)
    found, seen = [], set()
    for at, cell, port, bit in ends:
        nets = []
        while bit is not None:
            driver = netlist.driver.get(bit)
            nets.append(Net(netlist.names.get(bit, str(bit)), netlist.kind(driver) if driver else
                            "pin", netlist.sinks[bit], ns.get(bit, 0.0), netlist.at.get(driver)))
            bit = before.get(bit)
        shared = nets[min(1, len(nets) - 1)]
        if shared not in seen:
            seen.add(shared)
            found.append(LongPath(at, netlist.kind(cell), f"{cell}.{port}", tuple(reversed(nets))))
            if len(found) == count:
                break
    return found


def main(arguments=None):
    """Exit code: 0, or 2 for bad input."""
    parser = argparse.ArgumentParser(
        prog="python -m boards.paths", description="Prints the longest paths of a netlist before "
        "it's placed: ns guessed from cells and sinks, not those of a routed design.",
        epilog="example: python -m boards.paths build/ulx3s/top.json")
    parser.add_argument("netlist", help="Yosys' JSON, top.json in the board's folder of a build")
    parser.add_argument("--count", type=count, default=5, help="paths (default: 5)")
    return command_line(parser, _tell, arguments, (PathsError, NetlistError))


def _tell(options):
    for path in longest_paths(read_top(options.netlist), options.count):
        print(f"{path.ns:.1f} ns to {path.kind} {path.end}")
        for net in path.nets:
            at = "X{}/Y{}".format(*net.at) if net.at else ""
            print(f"  {net.ns:5.1f}  {net.driver:16} {at:8} {net.sinks:5} sinks  {net.name}")


if __name__ == "__main__":
    sys.exit(main())
