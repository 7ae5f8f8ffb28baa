"""Find Icarus Verilog and compile a design with it for cocotb: slow, but quick to start, and it
shows undefined bits."""

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from .verilator import ToolError

__all__ = ["Icarus", "find"]

MINIMUM = 11           # of cocotb 2.1
CURE = "apt install iverilog, or take --sim verilator"


@dataclass(frozen=True)
class Icarus:
    """A usable Icarus Verilog: its command and version."""

    command: Path
    version: str

    def compile(self, sources, top, folder, waves=False):
        """Compile Verilog ``sources`` into ``folder/sim.vvp``; :class:`ToolError` where that
        fails."""
        folder = Path(folder).resolve()
        program, extra = folder / "sim.vvp", []
        if waves:
            dump = folder / "dump.v"
            dump.write_text(f'module dump; initial begin $dumpfile("{folder / "dump.fst"}"); '
                            f"$dumpvars(0, {top}); end endmodule\n")
            extra = ["-s", "dump", dump]
        copies = []
        for source in map(Path, sources):
            # Yosys writes blocks that Icarus never runs where no input ever changes (a constant
            # or a state that keeps its initial value): their outputs would stay undefined.
            copies.append(folder / source.name)
            copies[-1].write_text(source.read_text().replace("always @*", "always_comb"))
        (folder / "cmds.f").write_text("+timescale+1ns/1ps\n")
        command = [self.command, "-g2012", "-o", program, "-s", top, "-f", folder / "cmds.f",
                   *extra, *copies]
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True,
                              check=False)
        (folder / "compile.log").write_text(done.stdout + done.stderr)
        if done.returncode:
            first = (done.stderr.strip() or "no output").splitlines()[0]
            raise ToolError(f"Icarus's compile failed: {first} "
                            f"(all of it: {folder / 'compile.log'})")
        return program


def find():
    """The Icarus Verilog on the path; :class:`ToolError` where there's none or it's too old."""
    command = shutil.which("iverilog")
    if command is None:
        raise ToolError(f"Icarus Verilog isn't installed: {CURE}")
    said = subprocess.run([command, "-V"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"Icarus Verilog version (\d+)(\S*)", said)
    if not found or int(found[1]) < MINIMUM:
        version = found[1] + found[2] if found else "of unknown version"
        raise ToolError(f"Icarus Verilog {version} is too old for cocotb 2.1 "
                        f"(needs {MINIMUM}): {CURE}")
    return Icarus(Path(command), found[1] + found[2])
