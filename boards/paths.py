"""``python -m boards.paths``: the longest paths of a netlist before anything is placed.

Place and route takes most of an hour to say which path is too long; this takes seconds. It's no
forecast: a wire's delay is guessed from its sinks alone. But a path that is much longer than the
others here, or a net with sinks in every unit, stays one when it's placed.
"""

import argparse
import json
import sys
from collections import Counter
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from gen.cli import parsed

__all__ = ["LongPath", "Net", "PathsError", "longest_paths", "main"]

# ns from the inputs (or the clock) to the outputs, roughly those of speed grade 6; what's in
# neither table starts paths at 0.
THROUGH = {"LUT4": 0.24, "PFUMX": 0.2, "L6MUX21": 0.2, "CCU2C": 0.45, "TRELLIS_DPR16X4": 0.5}
FROM_CLOCK = {"TRELLIS_FF": 0.52, "DP16KD": 1.0, "MULT18X18D": 4.0}
CARRY = 0.05                                    # from CIN on: neither wire nor LUT
CLOCKS = {"CLK", "CLKA", "CLKB", "WCK"}
WRITES = {"DI", "WAD", "WRE", "WCK"}            # of LUT RAM: they don't reach its output in a cycle


class PathsError(ValueError):
    """A netlist that has no longest paths; the message is one sentence for the user."""


@dataclass(frozen=True)
class Net:
    """A net of a path: its name, what drives it, its sinks, and when it's there, in ns."""

    name: str
    driver: str
    sinks: int
    ns: float


@dataclass(frozen=True)
class LongPath:
    """From a register's output through ``nets`` to the pin ``end``, such as ``"state_FF.CE"``, of
    the cell type ``kind``."""

    ns: float
    kind: str
    end: str
    nets: tuple


def _wire_ns(sinks):
    # A guess: half a nanosecond to a neighbour, two to a hundred sinks.
    return 0.5 + 0.05 * min(sinks, 8) + 0.012 * min(sinks, 100)


class _Netlist:
    """Cells by name, and of every net its driver and its sinks; constants aren't nets."""

    def __init__(self, module):
        self.cells, self.driver, self.sinks = module["cells"], {}, Counter()
        self.inputs = {name: [] for name in self.cells}
        for name, cell in self.cells.items():
            for port, bits in cell["connections"].items():
                for bit in bits:
                    if isinstance(bit, str):
                        continue
                    if cell["port_directions"][port] == "output":
                        self.driver[bit] = name
                    else:
                        self.inputs[name].append((port, bit))
                        self.sinks[bit] += 1
        self.names = {}
        for name, net in module["netnames"].items():
            for k, bit in enumerate(net["bits"]):
                self.names[bit] = min(self.names.get(bit, f"{name}[{k}]"), f"{name}[{k}]", key=len)

    def kind(self, cell):
        return self.cells[cell]["type"]

    def through(self, cell):
        """Inputs, ``(port, net)``, from which a path goes on through a cell in the same cycle."""
        if self.kind(cell) not in THROUGH:
            return []
        ram = self.kind(cell) == "TRELLIS_DPR16X4"
        return [(port, bit) for port, bit in self.inputs[cell] if not (ram and port in WRITES)]

    def arrivals(self):
        """``(ns, before)``: when the outputs of a cell are there, and the net that is to blame."""
        graph = {cell: {self.driver[bit] for _, bit in self.through(cell) if bit in self.driver}
                 for cell in self.cells}
        ns, before = {}, {}
        try:
            order = list(TopologicalSorter(graph).static_order())
        except CycleError as error:
            cells = ", ".join(error.args[1][:-1][:5])
            raise PathsError(f"The netlist has a loop through {cells}") from None
        for cell in order:
            ns[cell], before[cell] = FROM_CLOCK.get(self.kind(cell), 0.0), None
            for port, bit in self.through(cell):
                carry = self.kind(cell) == "CCU2C" and port == "CIN"
                at = (ns.get(self.driver.get(bit), 0.0)
                      + (CARRY if carry else _wire_ns(self.sinks[bit]) + THROUGH[self.kind(cell)]))
                if at > ns[cell]:
                    ns[cell], before[cell] = at, bit
        return ns, before


def longest_paths(module, count):
    """The ``count`` longest paths of a flat module of Yosys' JSON netlist for ECP5, longest first:
    a list of :class:`LongPath`. Of those that share their last net but one only one is given.

    Raises :class:`PathsError` where LUTs make a loop.
    """
    netlist = _Netlist(module)
    ns, before = netlist.arrivals()
    ends = sorted(((ns.get(netlist.driver.get(bit), 0.0) + _wire_ns(netlist.sinks[bit]),
                    cell, port, bit) for cell in netlist.cells if netlist.kind(cell) in FROM_CLOCK
                   for port, bit in netlist.inputs[cell] if port not in CLOCKS), reverse=True)
    found, seen = [], set()
    for at, cell, port, bit in ends:
        nets = []
        while bit is not None:
            driver = netlist.driver.get(bit)
            nets.append(Net(netlist.names.get(bit, str(bit)), netlist.kind(driver) if driver else
                            "pin", netlist.sinks[bit], ns.get(driver, 0.0)))
            bit = before.get(driver)
        shared = nets[min(1, len(nets) - 1)]
        if shared not in seen:
            seen.add(shared)
            found.append(LongPath(at, netlist.kind(cell), f"{cell}.{port}", tuple(reversed(nets))))
            if len(found) == count:
                break
    return found


def _module(file):
    try:
        modules = json.loads(Path(file).read_text())["modules"]
    except OSError as error:
        raise PathsError(f"{file} can't be read ({error.strerror}); it's in the board's folder "
                         "of a build once Yosys is through, such as build/ulx3s/top.json") from None
    except (ValueError, KeyError, TypeError):
        modules = {}
    if "top" not in modules:
        raise PathsError(f"{file} isn't Yosys' JSON of a design whose top module is `top`")
    return modules["top"]


def main(arguments=None):
    """Exit code: 0, or 2 for bad input."""
    parser = argparse.ArgumentParser(
        prog="python -m boards.paths", description="Prints the longest paths of a netlist before "
        "it's placed: ns guessed from cells and sinks, not those of a routed design.",
        epilog="example: python -m boards.paths build/ulx3s/top.json")
    parser.add_argument("netlist", help="Yosys' JSON, top.json in the board's folder of a build")
    parser.add_argument("--count", type=int, default=5, help="paths (default: 5)")
    args = parsed(parser, arguments)
    if args is None:
        return 0
    try:
        found = longest_paths(_module(args.netlist), args.count)
    except PathsError as error:
        print(f"boards.paths: {error}", file=sys.stderr)
        return 2
    for path in found:
        print(f"{path.ns:.1f} ns to {path.kind} {path.end}")
        for net in path.nets:
            print(f"  {net.ns:5.1f}  {net.driver:16} {net.sinks:5} sinks  {net.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
