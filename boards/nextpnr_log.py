"""nextpnr's log, also while it's written: cells, estimates, whether a router will get there."""

import re

__all__ = ["DIVERGED", "DIVERGED_BY", "FEW", "LONGEST", "OFTEN", "estimates", "gets_nowhere",
           "last_line", "shortage", "takes_too_long", "utilisation"]

WORDS = {"TRELLIS_COMB": "logic cells", "TRELLIS_FF": "flip-flops", "DP16KD": "block RAMs",
         "MULT18X18D": "multipliers", "TRELLIS_IO": "pins", "EHXPLLL": "PLLs",
         "TRELLIS_RAMW": "LUT RAM write ports"}

# Iterations of the router with few overused wires after which it's stopped: it would go on to its
# 500th, for an hour. WRN-20-4 was routed after some 50 such ones.
FEW, OFTEN = 50, 150
# It's also stopped so many iterations after its best one where that had more than a few, or where
# it has got this far from it again: WRN-20-4's had 1,834 overused wires after nine and 15,412 after
# thirty, and went on; another one 2,757 after eight and 3,028 after eleven. Designs that were
# routed had every other iteration better than all before.
DIVERGED, DIVERGED_BY = 15, 2000
# Seconds that the other router may take: WRN-20-4 took 684 beside two other jobs on two cores.
LONGEST = 3600


def utilisation(log):
    """``{cell type: (used, available)}`` as the text ``log`` tells it."""
    return {cell: (int(used), int(available)) for cell, used, available in
            re.findall(r"^Info:\s+(\w+):\s+(\d+)/\s*(\d+)\s+\d+%", log, re.M)}


def shortage(log):
    """Sentence on the cells that the text ``log`` says are short, or ``None``."""
    short = [f"{used} {WORDS.get(cell, cell)} of {available}"
             for cell, (used, available) in utilisation(log).items() if used > available]
    return "the design needs " + ", ".join(short) if short else None


def estimates(log):
    """``{clock: (estimate, asked)}`` in MHz, as the file ``log`` says once all is placed."""
    clocks = re.findall(r"Max frequency for clock\s+'(.*)':\s+([\d.]+) MHz \(\w+ at ([\d.]+) MHz\)",
                        _tail(log, 1 << 20))
    return {clock: (float(got), float(asked)) for clock, got, asked in clocks}


def gets_nowhere(log):
    """Whether nextpnr's router2, as the file ``log`` says, will never have a wire for all: it keeps
    to a few that are asked for twice, or needs more and more of them."""
    text = _tail(log, 1 << 16)
    overused = [int(count) for count in re.findall(r"iter=\d+ wires=\d+ overused=(\d+)", text)]
    if sum(count <= FEW for count in overused) >= OFTEN:
        return True
    since_best = overused[::-1].index(min(overused)) if overused else 0
    return since_best >= DIVERGED and (
        min(overused) > FEW or overused[-1] - min(overused) > DIVERGED_BY)


def takes_too_long(log):
    """Whether nextpnr's router1, as the file ``log`` says, is at it for ``LONGEST`` seconds."""
    totals = re.findall(r"\d+\| +[\d.]+ +([\d.]+)\|", _tail(log, 4096))
    return bool(totals) and float(totals[-1]) > LONGEST


def _tail(log, size):
    """The last ``size`` bytes of a log as text; nothing where there's none."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - size))
            return file.read().decode(errors="replace")
    except OSError:
        return ""


def last_line(log):
    """What a tool, any of ours, is at: the last whole line of its file ``log``."""
    lines = _tail(log, 4096).split("\n")[:-1]
    words = [line.removeprefix("Info:").strip() for line in lines]
    return next(filter(None, reversed(words)), "")
