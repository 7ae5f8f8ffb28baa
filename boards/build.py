"""Build a bitstream: ``python -m boards.build --build build --board ulx3s``."""

import argparse
import datetime
import re
import sys
from pathlib import Path

from gen import report
from gen.cli import command_line, count, fail, positive
from gen.plan import Plan
from gen.steps import Quiet, Steps

from . import flow
from .flash import FLASH_WEIGHTS, WeightBoot, flash_file
from .identity import identity_of
from .options import add_build_and_board, board_of
from .pll import Pll
from .protocol import BAUD
from .record import record
from .shell import Shell, Top
from .tools import FlowError, TooLarge, versions
from .uart import Uart
from .weights import weight_source

__all__ = ["BuildError", "build", "design", "gateware", "main", "told_beside"]


class BuildError(ValueError):
    """What was asked for can't be built; the message is one sentence for the user."""


def design(plan, board, mhz=None, baud=BAUD):
    """:class:`~boards.shell.Top` for ``plan`` on ``board``.

    Parameters
    ----------
    plan : gen.plan.Plan
    board : Board
    mhz : float, optional
        Clock of the pipeline, by default the plan's.
    baud : int
        Bits/s of the serial line.

    Raises
    ------
    BuildError
        The plan is for another device, or the clock or the baud rate can't be made.
    """
    if not board.device.lower().endswith(plan.device):
        raise BuildError(f"the plan is for the LFE5U-{plan.device.upper()}, not the {board.device} "
                         f"of {board.name}; plan again with `python -m gen --board {board.name}`")
    try:
        mhz = mhz or plan.clock_mhz
        if not plan.schedule.loads:
            pll = Pll.at(board.clock_mhz, mhz)
        else:
            pll = board.clocks(mhz, plan.memory_mhz)
            if pll.beside_mhz / mhz < plan.memory_mhz / plan.clock_mhz - 1e-3:
                raise ValueError(
                    f"beside a pipeline clock of {mhz:g} MHz the memory's can be {pll.beside_mhz:g}"
                    f" MHz, too slow for this plan; plan again with `python -m gen --clock-mhz "
                    f"{mhz:g}`")
        pll = pll.with_link(baud)
        uart = Uart.at(baud, pll.link_mhz * 1e6)
        identity = identity_of(plan, pll.output_mhz)
        weights = weight_source(plan, board, pll.beside and pll.beside_mhz)
        boot = weights and WeightBoot(pll.link_mhz, plan.contents.stream.nbytes)
    except ValueError as error:
        raise BuildError(str(error)) from None
    shell = Shell(plan.create(), identity, uart, round(1000 * pll.link_mhz), weights=weights,
                  boot=boot)
    return Top(shell, pll, board.high)


def gateware(plan, top, platform):
    """Amaranth's build plan of ``top``, from :func:`design`, for :func:`boards.flow.run`."""
    return flow.prepared(platform, top, int(plan.digest[:8], 16))


def told_beside(folder, out):
    """Files that belong to the bitstream in ``out`` of the build folder ``folder``: its report and
    streamed weights."""
    return folder / report.NAME, out / FLASH_WEIGHTS


def build(folder, board, *, mhz=None, baud=BAUD, seeds=(1,), every_seed=False, out=None,
          steps=None):
    """Make a bitstream for the build folder ``folder`` and write what it measured to its report.

    ``out`` is where the files go, by default ``folder/board``; all ``seeds`` are placed, the most
    promising ones routed until one meets timing, or with ``every_seed`` all of them, of which the
    fastest is kept. What a build before this one, broken off perhaps, has left there is used
    again where it would be the same. Returns ``(Measured, report)``; the
    bitstream is ``out/top.bit`` only if timing was met, and streamed weights lie beside it for the
    flash (:func:`boards.flash.flash_file`).

    Raises
    ------
    gen.plan.PlanError, BuildError, TooLarge, FlowError
    """
    folder, steps = Path(folder), steps or Quiet()
    out = Path(out) if out else folder / board.name
    plan = Plan.load(folder)
    report.read(folder)     # before the work, which ends with what it measured
    try:
        platform = board.create()
    except ModuleNotFoundError:
        raise FlowError("amaranth-boards is needed to build a bitstream and isn't installed; "
                             "run `pip install amaranth-boards`") from None
    out.mkdir(parents=True, exist_ok=True)
    revision = flow.revision()     # of now: half an hour later it may be another one
    top = design(plan, board, mhz, baud)
    steps.total = 1 + flow.step_count(plan.lanes.count, seeds)
    with steps("gateware"):
        products = gateware(plan, top, platform)
    measured = flow.run(products, out, top.pll.output_mhz, steps, plan.lanes.count, plan.device,
                        seeds, every_seed, told_beside(folder, out))
    flash_file(plan, out)
    return measured, report.measure(
        folder, fmax_mhz=measured.fmax_mhz, comb=measured.comb, ff=measured.ff, ebr=measured.ebr,
        dsp=measured.dsp, provenance={"bitstream": {
            "board": board.name, "date": datetime.date.today().isoformat(),
            "seed": measured.seed, "seeds": measured.tried, "placed": measured.placed,
            "clock_mhz": mhz or plan.clock_mhz, "target_mhz": measured.target_mhz,
            "timing_met": measured.met, "baud": baud,
            "revision": revision, "tools": versions()}})


def _seeds(text):
    """Type of ``--seed``: ``"1,2,5"`` as a tuple."""
    if not re.fullmatch(r"\d{1,9}(,\d{1,9})*", text):
        raise argparse.ArgumentTypeError(f"must be a number, or some with commas, not {text}")
    return tuple(dict.fromkeys(map(int, text.split(","))))


def _parser():
    parser = argparse.ArgumentParser(
        prog="python -m boards.build", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Build a bitstream from a build folder, with YoWASP's Yosys and nextpnr.\n"
                    "Exit codes: 0 done, 1 a tool failed or timing was missed, 2 can't be built.",
        epilog="example:\n  python -m boards.build --build build --board ulx3s --seed 3")
    add_build_and_board(parser, "build folder, as `python -m gen` writes it")
    parser.add_argument("--mhz", type=positive, help="clock of the pipeline (default: the plan's)")
    parser.add_argument("--baud", type=count, default=BAUD,
                        help="bits/s of the serial line (default: %(default)s)")
    parser.add_argument("--seed", type=_seeds, default="1", metavar="N[,N...]",
                        help="of place and route; of several, all are placed and the most "
                             "promising ones routed until one meets timing (default: %(default)s)")
    parser.add_argument("--every-seed", action="store_true",
                        help="route all of them and keep the fastest")
    parser.add_argument("--out", metavar="DIR", help="where the files go (default: BUILD/BOARD)")
    parser.add_argument("--record", action="store_true",
                        help="keep the report as boards/results/NETWORK-BOARD.json")
    return parser


def main(arguments=None):
    """Run the command line; returns the exit code."""
    parser = _parser()
    return command_line(parser, lambda options: _build(parser, options), arguments,
                   (FlowError, ValueError))


def _build(parser, options):
    board = board_of(options)
    try:
        measured, _ = build(options.build, board, mhz=options.mhz, baud=options.baud,
                            seeds=options.seed, every_seed=options.every_seed, out=options.out,
                            steps=Steps())
    except TooLarge as error:
        raise BuildError(f"too large for the {board.device}: {error}") from None
    out = Path(options.out or Path(options.build) / board.name)
    words = {"comb": "LUT sites", "ff": "flip-flops", "ebr": "block RAMs", "dsp": "multipliers"}
    shares = ", ".join(f"{getattr(measured, name)} of {measured.available[name]} {text}"
                       for name, text in words.items())
    print(f"{measured.fmax_mhz:g} MHz reached of {measured.target_mhz:g} asked for; {shares}")
    if not measured.met:
        before = out / flow.PREVIOUS / "top.bit"
        kept = f", and {before} the bitstream from before" if before.exists() else ""
        missed = " and ".join(f"{got:g} MHz instead of {wanted:g}"
                              for got, wanted in measured.missed)
        return fail(parser, f"timing missed, {missed}: try another --seed or a lower --mhz "
                            f"({out / 'top.failed-timing.bit'} is for inspection only{kept})", 1)
    print(out / "top.bit")
    if options.record:
        print(record(options.build))
    return 0


if __name__ == "__main__":
    sys.exit(main())
