"""Place and route by nextpnr: every seed is placed, the most promising placements are routed.

Runs of nextpnr of their own, since placements of one netlist differ by a quarter in speed (93 to
120 MHz for WRN-20-4 on the 85F) and tell after half of the time what they're worth, and since two
routers do what neither does alone. Router2 finds a wire for every connection, in minutes also where
an array fills the chip. It could rip up for timing as well, but ends with a few overused wires
or slow connections then, since every detour leads to others; and it doesn't count what a wire's
fan-out adds to its delay (``Arch::getPipDelay`` counts the switches that are bound, and none are
while it routes). Router1, which begins with that routing, does, and moves a connection at a time
with what is in its way. WRN-20-4, from one placement: 101 MHz by router2 ripping up for timing, 125
by router1 from there.
"""

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from gen.files import whole

from .contents import CONTENTS, filled
from .netlist import NetlistError, prepare_placed, prepare_routed, read_top
from .nextpnr_log import estimates, gets_nowhere, takes_too_long
from .tools import FlowError, run_tool

__all__ = ["CELLS", "FIRST_ROUTER", "MARGIN", "ROUTED", "Measured", "measure", "place_and_route"]

CELLS = {"comb": "TRELLIS_COMB", "ff": "TRELLIS_FF", "ebr": "DP16KD", "dsp": "MULT18X18D"}
# nextpnr is asked for so much more than the clock that is needed: its router2 stops once it thinks
# that all is fast enough, and the analysis afterwards has been a picosecond slower (87.49 of 87.5).
# Router1 knows better, and doesn't stop before: asked for as much, it moved three connections of
# WRN-20-4 over and over that were 0.02 ns too slow for 125.6 MHz, with 125 there for long.
MARGIN, SECOND_MARGIN = 1.005, 1.0005
FIRST_ROUTER = "router2"
# The other router, ripping up for timing (a true one is nextpnr's integer, in 32 bits).
SECOND_ROUTER = {"router": "router1", "router/tmg_ripup": "1".zfill(32)}
# Routing isn't begun where the placement's estimate is below this share of a clock: of WRN-20-4's,
# one at 89.4 MHz was routed at 126.0, one at 98.3, the SDRAM's clock at 92.3, at 126.1 and 138.9,
# one at 101.5 at 128.1. On the 45F one at 87.5 came to 120.05 of 125. Another one stood at 69 of
# 100, for a single path.
ROUTABLE = 0.7
ROUTED = "top.config", "top.report.json", "top.tim"     # nextpnr's files
OF_ROUTING = "--report", "--textcfg"                    # options that placement has no use for
ROUTING = "routing.json"


@dataclass(frozen=True)
class Measured:
    """What place and route made of a design.

    ``fmax_mhz`` is that of the pipeline's clock, ``target_mhz`` what was asked of it; ``missed``
    has both for every clock, this or another, that doesn't do what was asked. ``comb``, ``ff``,
    ``ebr`` and ``dsp`` are cells used; ``available`` has the device's totals under the same names.
    ``seed`` is nextpnr's, the best one of those in ``tried``: ``{seed: fmax_mhz}``, with ``None``
    where it found no way to route; ``placed`` is what was estimated after placement, ``{seed:
    fmax_mhz}``, also of seeds that weren't routed.
    """

    fmax_mhz: float
    target_mhz: float
    comb: int
    ff: int
    ebr: int
    dsp: int
    available: dict = field(default_factory=dict)
    missed: tuple = ()
    seed: int = 1
    tried: dict = field(default_factory=dict)
    placed: dict = field(default_factory=dict)

    @property
    def met(self):
        """Whether the design runs at the clocks that were asked for."""
        return not self.missed


def measure(report, mhz):
    """:class:`Measured` from nextpnr's JSON report; ``mhz`` is the pipeline's clock, and there may
    be others. Constraints are those of the placement, with ``MARGIN``."""
    cells = report["utilization"]
    clocks = [(clock["achieved"], clock["constraint"] / MARGIN)
              for clock in report["fmax"].values()]
    if not clocks:
        raise FlowError("nextpnr reported no clock: is the design empty?")
    clocks = [(got, mhz if _same(wanted, mhz) else wanted) for got, wanted in clocks]
    ours = [(got, wanted) for got, wanted in clocks if wanted == mhz]
    if not ours:
        raise FlowError(f"nextpnr reported no clock of {mhz:g} MHz, only "
                        f"{', '.join(f'{wanted:.5g}' for _, wanted in clocks)}")
    worst, target = min(ours)
    return Measured(
        fmax_mhz=round(worst, 2), target_mhz=round(target, 2),
        missed=tuple((round(got, 2), round(wanted, 2)) for got, wanted in clocks
                     if got < wanted - 0.005),
        available={name: cells[cell]["available"] for name, cell in CELLS.items()},
        **{name: cells[cell]["used"] for name, cell in CELLS.items()})


def _same(wanted, mhz):
    """Whether a clock that nextpnr was asked for, rounded in its log, is one of ``mhz``."""
    return abs(wanted - mhz) < 0.1


@dataclass(frozen=True)
class _Placement:
    """A placed netlist and its log, and what is estimated of its clocks: ``{clock: (MHz, MHz asked
    for)}``."""

    seed: int
    netlist: Path
    log: Path
    clocks: dict

    @property
    def headroom(self):
        """Share of what was asked for that the worst clock has."""
        return min((got / asked for got, asked in self.clocks.values()), default=0)

    def fmax(self, mhz):
        """Estimate in MHz of the pipeline's clock, which is to be ``mhz``; ``None`` where the log
        has none."""
        return min((got for got, asked in self.clocks.values()
                    if _same(asked / MARGIN, mhz)), default=None)


def place_and_route(plan, folder, mhz, step, seeds, made, every_seed=False):
    """Place with each of ``seeds`` and route, the best placement first, until one does what was
    asked for, or all are routed where ``every_seed`` is.

    ``plan``, ``folder``, ``mhz`` and ``step`` are those of :func:`.flow.run`, ``made`` the
    netlist's :class:`.flow.Made`, which remembers placements. Returns :class:`Measured`; nextpnr's
    files of the best result are left in ``folder``.

    Raises
    ------
    FlowError
        nextpnr failed with every seed.
    TooLarge
    """
    placements, failed = [], None
    for seed in seeds:
        try:
            placements.append(_place(plan, folder, step, seed, made))
        except FlowError as error:
            failed = error
    found = {}
    with TemporaryDirectory(prefix=".best-", dir=folder) as best:
        def keep(placement):
            """Measure what was routed, and keep it if it's the best."""
            report = json.loads((folder / "top.report.json").read_text())
            for clock in report["fmax"].keys() & placement.clocks:  # routers are asked for others
                report["fmax"][clock]["constraint"] = placement.clocks[clock][1]
            measured = measure(report, mhz)
            before = found.get(placement.seed)
            found[placement.seed] = _fastest({"before": before, "now": measured})
            if measured is _fastest(found):
                for name in ROUTED:
                    (folder / name).replace(Path(best) / name)

        for each in sorted(placements, key=lambda each: -each.headroom):
            try:
                _route(plan, folder, step, each)
                keep(each)
                _route_faster(plan, folder, step, each)
                keep(each)
            except FlowError as error:
                found.setdefault(each.seed, None)
                failed = error
            finally:
                (folder / ROUTING).unlink(missing_ok=True)
            if not every_seed and found[each.seed] and found[each.seed].met:
                break
        fastest = _fastest(found)
        if fastest is None:
            raise failed
        for name in ROUTED:
            (Path(best) / name).replace(folder / name)
    seed = next(seed for seed in found if found[seed] is fastest)
    _fill(folder, next(each.netlist for each in placements if each.seed == seed))
    return replace(fastest, seed=seed,
                   tried={seed: each and each.fmax_mhz for seed, each in found.items()},
                   placed={each.seed: each.fmax(mhz) for each in placements})


def _place(plan, folder, step, seed, made):
    """:class:`_Placement` of the netlist with ``seed``."""
    netlist, log = f"placed-{seed}.json", f"placed-{seed}.tim"

    def place(what):
        def options(of_script):
            kept = _without(of_script, OF_ROUTING)
            return [*({"top.tim": log}.get(word, word) for word in kept), "--no-route",
                    "--write", partial.name, "--seed", str(seed)]

        with whole(folder / netlist) as partial:
            run_tool(plan, "nextpnr-ecp5", folder, step, what, log, options)
            try:
                prepare_placed(partial, "top")
            except NetlistError as error:
                raise FlowError(str(error)) from None
    made.keep(f"placement with seed {seed}", step, place, folder / netlist)
    return _Placement(seed, folder / netlist, folder / log, estimates(folder / log))


def _route(plan, folder, step, placement):
    """A wire for every connection; ``ROUTING`` is what the other router begins with."""
    for got, asked in placement.clocks.values():
        if got < ROUTABLE * asked / MARGIN:
            raise FlowError(f"the placement with seed {placement.seed} is estimated at {got:g} MHz "
                            f"where {asked / MARGIN:.5g} are needed, too far to be routed; try "
                            f"another --seed, or a slower clock")
    _ask(folder, placement, MARGIN)
    _run_router(plan, folder, step, f"routing of seed {placement.seed}", placement.netlist.name,
                gets_nowhere, "--write", ROUTING)
    # The other router ends at once where no connection lacks a wire: those of the slowest paths do.
    report = json.loads((folder / "top.report.json").read_text())
    slowest = {part["net"] for path in report["critical_paths"] if path["from"] == path["to"]
               for part in path["path"] if "net" in part}
    try:
        prepare_routed(folder / ROUTING, "top", slowest, SECOND_ROUTER)
    except NetlistError as error:
        raise FlowError(str(error)) from None


def _ask(folder, placement, margin):
    """Ask a router for all clocks with this margin; some of them nextpnr derives itself, only while
    it packs. They come from the placement's log, ``MARGIN`` included and rounded to two decimals.
    """
    clocks = "".join(f'\nFREQUENCY NET "{clock}" {asked / MARGIN * margin + 0.005:.3f} MHZ;'
                     for clock, (_, asked) in placement.clocks.items())
    (folder / "routed.lpf").write_text((folder / "top.lpf").read_text() + clocks)


def _route_faster(plan, folder, step, placement):
    """Go on from there with the other router, which rips up what's too slow."""
    _ask(folder, placement, SECOND_MARGIN)
    _run_router(plan, folder, step, f"faster wires for seed {placement.seed}", ROUTING,
                takes_too_long)


def _run_router(plan, folder, step, what, netlist, hopeless, *options):
    """One run of a router, until it's ``hopeless``."""
    def change(of_script):
        names = {"top.json": netlist, "top.lpf": "routed.lpf"}
        return [*(names.get(word, word) for word in of_script), *options, "--no-pack", "--no-place"]
    run_tool(plan, "nextpnr-ecp5", folder, step, what, "top.tim", change, hopeless)


def _fill(folder, netlist):
    """Write the block RAMs' contents into the configuration of what was placed as ``netlist``."""
    config, contents = folder / "top.config", json.loads((folder / CONTENTS).read_text())
    config.write_text(filled(config.read_text(), contents, read_top(netlist)))


def _without(options, flags):
    """``options`` of a command but for the ``flags``, each followed by a value."""
    kept, words = [], iter(options)
    for word in words:
        if word in flags:
            next(words)
        else:
            kept.append(word)
    return kept


def _fastest(found):
    """The best :class:`Measured` of several, the first one of equals; ``None`` where there's none.

    One that meets its clocks goes before one that doesn't.
    """
    return max(filter(None, found.values()), key=lambda each: (each.met, each.fmax_mhz),
               default=None)
