"""README's table of routed designs: ``python -m boards.table [--update README.md]``."""

import argparse
import json
import sys
from pathlib import Path

from .build import RESULTS
from .ulx3s import Board

__all__ = ["main", "replace_table", "table"]

BEGIN, END = "<!-- table: python -m boards.table -->", "<!-- end of table -->"


def table(results=RESULTS):
    """Markdown table of every ``results/NETWORK-BOARD.json``, estimates beside measurements."""
    names = ("network, board", "accuracy", "lanes, busy", "cycles a frame", "fmax", "**fps**",
             "latency", "COMB (estimate)", "FF", "EBR", "DSP", "seed, date")
    lines = [f"| {' | '.join(names)} |", "|" + "---|" * len(names)]
    for path in sorted(Path(results).glob("*.json")):
        r = json.loads(path.read_text())
        used, made = r["resources"], r["provenance"]["bitstream"]

        def measured(name, r=r):
            value = r[name]["measured"]
            return r[name]["estimate"] if value is None else value

        accuracy = ("random weights" if r["accuracy"] is None
                    else f"{r['accuracy']:.2%} of {r['test_images']}")
        board = Board.named(made["board"]).full_name
        cycles, clock = f"{measured('cycles_per_frame'):,}", f"{measured('fmax_mhz'):g} MHz"
        if r["streamed_bits"]:
            pairs = ", two frames at a time" if r["batch"] == 2 else ""
            cycles += f" ({r['stall_cycles']:,} wait for weights{pairs})"
            clock += f" (run at {made['clock_mhz']:g}, SDRAM at {r['memory_mhz']:.1f})"
        lines.append(
            f"| {r['network']}, {board} | {accuracy} | {r['lanes']:,}, "
            f"{measured('lane_busy'):.0%} | {cycles} | {clock} | **{int(measured('fps')):,}** "
            f"| {measured('latency_us'):,.0f} us "
            f"| {used['comb']['measured']:,} ({used['comb']['estimate']:,}) "
            f"| {used['ff']['measured']:,} ({used['ff']['estimate']:,}) "
            f"| {used['ebr']['measured']} ({used['ebr']['estimate']}) "
            f"| {used['dsp']['measured']} ({used['dsp']['estimate']}) "
            f"| {made['seed']}, {made['date']} |")
    return "\n".join(lines)


def replace_table(text, new):
    """``text`` with ``new`` between the table's two markers.

    Raises ``ValueError`` where they aren't there.
    """
    if BEGIN not in text or END not in text:
        raise ValueError(f"the file must hold the lines {BEGIN} and {END}")
    before, rest = text.split(BEGIN, 1)
    return f"{before}{BEGIN}\n{new}\n{END}{rest.split(END, 1)[1]}"


def main(arguments=None):
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m boards.table", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Print the table of routed designs from boards/results, as README shows it.",
        epilog="example:\n  python -m boards.table --update README.md")
    parser.add_argument("--update", type=Path, metavar="FILE", help="put it into this file instead")
    options = parser.parse_args(arguments)
    if options.update is None:
        print(table())
        return 0
    try:
        options.update.write_text(replace_table(options.update.read_text(), table()))
    except (OSError, ValueError) as error:
        print(f"boards.table: {options.update}: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
