"""Yosys, nextpnr and ecppack on an Amaranth design, step by step, with what they measured."""

import hashlib
import json
import re
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

from gen.choose import LARGE_ARRAY
from gen.steps import Quiet

from .contents import CONTENTS
from .floorplan import fix_block_rams
from .netlist import NetlistError, prepare
from .place_route import FIRST_ROUTER, MARGIN, ROUTED, place_and_route
from .shapes import FILES, shape_commands
from .tools import FlowError, run_tool, versions

__all__ = ["AFTER_READ", "PREVIOUS", "Made", "pack", "prepared", "revision", "run", "set_aside",
           "step_count"]

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


# router2 weighs congestion the less the more critical a connection is: with its own numbers (2, 1
# and 3) 6,144 lanes stay at 11,000 overused wires. There are no options for these; nextpnr reads
# settings from the netlist.
# Small arrays fare better without: WRN-20-2 on the 25F (768 lanes) reached 100.0 MHz, not 99.4.
# Twice these weights, and a margin of 6, leave fewer overused wires but a thousand slow connections
# (WRN-20-2 and -4 at 100 MHz), by detours.
SETTINGS = {"router2/currCongWeightMult": "6.0", "router2/histCongWeight": "2.5",
            "router2/bbMargin/x": "4", "router2/bbMargin/y": "4"}

# Of the flash's clock while the FPGA is configured, one of those that it can have; by default it's
# 2.4, and WRN-20-4's bitstream takes 6 s. READ, which it uses, allows 50.
FLASH_MHZ = 38.8

RESULTS = "top.bit", "top.failed-timing.bit", "top.svf", *ROUTED
PREVIOUS = "previous"
CHANGE_NETLISTS = "netlist.py", "contents.py", "floorplan.py", "cluster.py", "anneal.py"
QUIET = Quiet()


def prepared(platform, top, usercode=None):
    """Amaranth's build plan of ``top`` for :func:`run`, with a bitstream's ``usercode``."""
    plan = platform.build(
        # Without names of source files: router2's wires change with them (see .tools.ALONE).
        top, do_build=False, emit_src=False,
        script_after_read="\n".join((*AFTER_READ, *shape_commands("top"))),
        # WRN-20-1 on the 85F (3,072 lanes): HeAP's placement is estimated at 67 MHz, the static
        # placer's at 92.
        nextpnr_opts=f"--placer static --router {FIRST_ROUTER} --report top.report.json "
                     "--timing-allow-fail",
        ecppack_opts=(f"--compress --freq {FLASH_MHZ}"
                      + (f" --usercode {usercode}" if usercode else "")))

    def more(found):
        return f"{found[1]}{float(found[2]) * MARGIN:.10g}{found[3]}"
    # Of the board's oscillator: nextpnr derives the other clocks from it.
    plan.files["top.lpf"] = re.sub(r"(?m)^(FREQUENCY .*?)([\d.]+)( HZ;)$", more,
                                   plan.files["top.lpf"])
    return plan


def step_count(lanes, seeds):
    """Steps that :func:`run` takes, if the first way that it tries works."""
    return 4 + (lanes >= LARGE_ARRAY) + len(seeds)


def run(plan, folder, mhz, step=QUIET, lanes=0, device=None, seeds=(1,),
        every_seed=False, beside=()):
    """Run the tools of the Amaranth build plan ``plan``, made by :func:`prepared`, in ``folder``.

    ``mhz`` is the pipeline's clock, ``step`` a :class:`gen.steps.Steps`. Synthesis and placement
    aren't done again where the last run in this folder did the same; its bitstream, if it made one,
    is set aside with the files ``beside`` (:func:`set_aside`).
    Arrays of ``LARGE_ARRAY`` lanes and more get ``SETTINGS``, and block RAMs with fixed sites on
    ``device``, such as ``"85f"`` (:mod:`.floorplan`). Each of ``seeds`` is placed, and the most
    promising ones are routed, or all (:func:`.place_route.place_and_route`).
    Returns :class:`.place_route.Measured`. The bitstream is ``folder/top.bit`` if timing was met,
    else ``folder/top.failed-timing.bit``; the logs are ``top.rpt`` (Yosys), ``placed-SEED.tim``
    and ``top.tim`` (nextpnr).

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
    set_aside(folder, *beside)
    plan.extract(folder)
    for name, text in FILES.items():
        (folder / name).write_text(text)
    settings = SETTINGS if large else {}
    made = Made(folder, plan, settings)
    made.change("synthesis", step, lambda what: _synthesise(plan, folder, step, what, settings))
    if large:
        made.change("placement of block RAMs", step,
                    lambda what: _fix_block_rams(folder, step, what, device))
    measured = place_and_route(plan, folder, mhz, step, seeds, made, every_seed)
    _pack(plan, folder, step, "top.bit" if measured.met else "top.failed-timing.bit")
    if not measured.met:
        (folder / "top.svf").unlink(missing_ok=True)
    return measured


def set_aside(folder, *beside):
    """Clear the way for another bitstream in ``folder``. One that's there, perhaps the work of an
    hour, goes to its ``previous`` with what was routed for it, and copies of the files ``beside``
    that tell about it, where they exist."""
    previous = folder / PREVIOUS
    if (folder / "top.bit").exists():
        previous.mkdir(exist_ok=True)
        for file in beside:
            (previous / file.name).unlink(missing_ok=True)
            if file.exists():
                shutil.copy2(file, previous)
        for name in reversed(RESULTS):    # the bitstream last: until then all are a build's still
            (previous / name).unlink(missing_ok=True)
            if (folder / name).exists():
                (folder / name).replace(previous / name)
    for name in RESULTS:
        (folder / name).unlink(missing_ok=True)


def pack(plan, folder, step=QUIET):
    """The last step of :func:`run` alone: ``folder/top.bit`` from ``folder/top.config``."""
    _pack(plan, Path(folder), step, "top.bit")


def _pack(plan, folder, step, name):
    """Make the bitstream; it's called ``name`` once it's whole."""
    def options(of_script):
        return [{"top.bit": "top.partial.bit"}.get(word, word) for word in of_script]
    run_tool(plan, "ecppack", folder, step, "bitstream", "ecppack.out", options)
    (folder / "top.partial.bit").rename(folder / name)


class Made:
    """``top.json``, the steps that made it what it is, and those that begin with it: a build that
    was broken off, or is done again with another seed, goes on from there. ``top.made.json`` has
    them, with an identity of all that they are made from."""

    def __init__(self, folder, plan, settings):
        self.netlist, self.made = folder / "top.json", folder / "top.made.json"
        self.contents = folder / CONTENTS
        ours = [Path(__file__).with_name(name).read_text() for name in CHANGE_NETLISTS]
        from_these = [plan.digest().hex(), FILES, settings, versions(), ours]
        self.identity = hashlib.blake2s(json.dumps(from_these).encode()).hexdigest()

    def change(self, what, step, do):
        """Have ``do(what)`` do a step that makes or changes the netlist, if it isn't done; what was
        kept of the one before is removed."""
        if not self._kept(what, step, self.netlist):
            done = self._done()
            self.made.unlink(missing_ok=True)
            for result in self.netlist.parent.glob("placed-*"):
                result.unlink()
            do(what)
            self._write([*done, what])

    def keep(self, what, step, do, result):
        """Have ``do(what)`` do a step that writes the file ``result`` from the netlist, if that
        isn't there."""
        if not self._kept(what, step, result):
            do(what)
            self._write([*self._done(), what])

    def _kept(self, what, step, result):
        if what not in self._done() or not result.exists():
            return False
        with step(f"{what}: kept"):
            return True

    def _done(self):
        try:
            made = json.loads(self.made.read_text())
            same = (made["identity"] == self.identity and self.netlist.exists()
                    and self.contents.exists())
            return made["steps"] if same else []
        except (OSError, ValueError, KeyError, TypeError):
            return []

    def _write(self, steps):
        self.made.write_text(json.dumps({"identity": self.identity, "steps": steps}))


def _synthesise(plan, folder, step, what, settings):
    """Make the netlist with Yosys and prepare it for nextpnr."""
    run_tool(plan, "yosys", folder, step, what, "top.rpt")
    try:
        contents = prepare(folder / "top.json", "top", settings)
    except NetlistError as error:
        raise FlowError(str(error)) from None
    (folder / CONTENTS).write_text(json.dumps(contents))


def _fix_block_rams(folder, step, what, device):
    """Fix the block RAMs of the netlist on sites of ``device``."""
    path = folder / "top.json"
    with step(what) as say:
        netlist = json.loads(path.read_text())
        wire = fix_block_rams(netlist["modules"]["top"], device)
        say(f"{wire:,} tiles of wire between clusters")
        path.write_text(json.dumps(netlist))
