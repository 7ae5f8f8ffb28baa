"""Tables of what was measured, for README and ``boards/results``: ``python -m boards.table``."""

import argparse
import json
import sys
from pathlib import Path

from gen.cli import command_line
from gen.device import DEVICES

from .record import RESULTS
from .ulx3s import Board

__all__ = ["main", "marks", "replace_tables", "routed_table", "short_table", "simulated_table"]


def _reports(results, routed):
    """Reports of designs that were routed, or of those that were only simulated."""
    reports = [json.loads(path.read_text()) for path in sorted(Path(results).glob("*.json"))]
    return [r for r in reports if ("bitstream" in r["provenance"]) == routed]


def _lines(names, rows):
    return "\n".join([f"| {' | '.join(names)} |", "|" + "---|" * len(names),
                      *(f"| {' | '.join(row)} |" for row in rows)])


def _measured(report, name):
    pair = report[name]
    return pair["estimate"] if pair["measured"] is None else pair["measured"]


def _name(report):
    return f"{report['network']}, {Board.of_report(report).full_name}"


def _accuracy(report):
    return ("random weights" if report["accuracy"] is None
            else f"{report['accuracy']:.2%} of {report['test_images']}")


def _cycles(report):
    cycles = f"{_measured(report, 'cycles_per_frame'):,}"
    if report["streamed_bits"]:
        pairs = ", two frames at a time" if report["batch"] == 2 else ""
        cycles += f" ({report['stall_cycles']:,} wait for weights{pairs})"
    return cycles


def _lanes(report):
    return f"{report['lanes']:,}, {_measured(report, 'lane_busy'):.0%}"


def _fps(report):
    return f"**{int(_measured(report, 'fps')):,}**"


def _latency(report):
    return f"{_measured(report, 'latency_us'):,.0f} us"


def _work(report):
    """10**9 of the network's multiply-accumulates a second, and those of 1,000 LUT sites."""
    work = report["macs"] * _measured(report, "fps") / 1e9
    return f"{work:,.0f} ({1000 * work / report['resources']['comb']['measured']:.1f})"


def _seeds(made):
    """The seed, and what others gave, or were estimated at where they weren't routed."""
    tried, placed = made.get("seeds", {}), made.get("placed", {})
    others = [f"{seed}: {fmax or 'not routed'}" for seed, fmax in tried.items()
              if int(seed) != made["seed"]]
    others += [f"{seed}: placed, {fmax:g}" for seed, fmax in placed.items()
               if fmax and seed not in tried]
    return f"{made['seed']}" + (f" ({', '.join(others)})" if others else "")


def short_table(results=RESULTS):
    """Markdown table of the routed designs in ``results``: what most want to know."""
    names = ("network", "board", "accuracy", "**fps**", "latency", "clock", "lanes, busy",
             "LUT sites", "block RAMs")
    rows = []
    for r in _reports(results, routed=True):
        device = DEVICES[r["device"]]

        def share(name, of, used=r["resources"]):
            count = used[name]["measured"]
            return f"{count:,} ({count / of:.0%})"
        accuracy = _accuracy(r).partition(" of ")[0]
        rows.append((r["network"].upper(), Board.of_report(r).full_name, accuracy, _fps(r),
                     _latency(r), f"{_measured(r, 'fmax_mhz'):.1f} MHz", _lanes(r),
                     share("comb", device.comb), share("ebr", device.ebr)))
    return _lines(names, rows)


def routed_table(results=RESULTS):
    """Markdown table of the routed designs in ``results``, estimates beside measurements."""
    names = ("network, board", "accuracy", "lanes, busy", "cycles a frame", "fmax", "**fps**",
             "GMAC/s (of 1,000 COMB)", "latency", "COMB (estimate)", "FF", "EBR", "DSP",
             "seed (fmax of others), date, commit", "options of `gen`")
    rows = []
    for r in _reports(results, routed=True):
        made = r["provenance"]["bitstream"]
        clock = f"{_measured(r, 'fmax_mhz'):g} MHz"
        if r["streamed_bits"]:
            clock += f" (run at {made['clock_mhz']:g}, SDRAM at {r['memory_mhz']:.1f})"
        rows.append((
            _name(r), _accuracy(r), _lanes(r), _cycles(r), clock, _fps(r), _work(r), _latency(r),
            *(f"{used['measured']:,} ({used['estimate']:,})" for used in r["resources"].values()),
            ", ".join(filter(None, (_seeds(made), made["date"], made.get("revision")))),
            f"`{r['options']}`"))
    return _lines(names, rows)


def simulated_table(results=RESULTS):
    """Markdown table of the designs in ``results`` that were simulated, but not routed."""
    names = ("network, board", "accuracy", "lanes, busy", "cycles a frame", "fps at that clock",
             "latency", "COMB (estimate)", "EBR (estimate)", "date", "options of `gen`")
    rows = []
    for r in _reports(results, routed=False):
        mhz, cycles = r["fmax_mhz"]["estimate"], r["cycles_per_frame"]["measured"]
        rows.append((
            _name(r), _accuracy(r), _lanes(r), _cycles(r),
            f"{int(mhz * 1e6 / cycles):,} at {mhz:g} MHz",
            f"{r['latency_cycles'] / mhz:,.0f} us",
            *(f"{r['resources'][name]['estimate']:,}" for name in ("comb", "ebr")),
            r["provenance"]["cycles_date"], f"`{r['options']}`"))
    return _lines(names, rows)


TABLES = {"short": short_table, "routed": routed_table, "simulated": simulated_table}


def marks(name):
    """The lines before and after the table ``name`` of ``TABLES`` in a Markdown file."""
    return f"<!-- {name} table: python -m boards.table -->", f"<!-- end of the {name} table -->"


def replace_tables(text, results=RESULTS):
    """``text`` with those of ``TABLES`` renewed whose :func:`marks` it has.

    Raises ``ValueError`` where it has none, or one without its end.
    """
    found = [name for name in TABLES if marks(name)[0] in text]
    if not found:
        raise ValueError(f"the file must hold a line like {marks('short')[0]}")
    for name in found:
        begin, end = marks(name)
        before, rest = text.split(begin, 1)
        if end not in rest:
            raise ValueError(f"the line {begin} must be followed by {end}")
        text = f"{before}{begin}\n{TABLES[name](results)}\n{end}{rest.split(end, 1)[1]}"
    return text


def main(arguments=None):
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m boards.table", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Print the tables of routed and of simulated designs from boards/results, as "
                    "README and boards/results/README.md show them.",
        epilog="example:\n  python -m boards.table --update README.md boards/results/README.md")
    parser.add_argument("--update", type=Path, nargs="+", metavar="FILE",
                        help="put them into these files instead, where there are marks for them")
    return command_line(parser, _tell, arguments, bare=True)


def _tell(options):
    if options.update is None:
        print("\n\n".join(make() for make in TABLES.values()))
        return
    new = {}
    for path in options.update:
        try:
            new[path] = replace_tables(path.read_text())
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
    for path, text in new.items():
        path.write_text(text)


if __name__ == "__main__":
    sys.exit(main())
