"""Yosys for tests: proofs about Verilog, with the models of the ECP5 cells at hand."""

import re
import subprocess

from boards.tools import tool

__all__ = ["CELLS", "YosysFailed", "proves", "yosys"]

CELLS = "read_verilog +/ecp5/common_sim.vh +/ecp5/ccu2c_sim.vh"


class YosysFailed(AssertionError):
    """Yosys ended with an error; the message is the end of its output."""


def yosys(script, folder):
    """Run the lines of ``script`` in ``folder``; returns what Yosys said."""
    folder.joinpath("script.ys").write_text("\n".join(script) + "\n")
    done = subprocess.run([tool("yosys"), "-q", "-l", "yosys.log", "script.ys"], cwd=folder,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    log = folder.joinpath("yosys.log")
    text = (log.read_text() if log.exists() else "") + done.stdout
    if done.returncode:
        raise YosysFailed("\n".join(text.splitlines()[-15:]))
    return text


def proves(gold, gate, folder, expose=(), sat="-tempinduct"):
    """Whether two Verilog texts, each with a module ``unit``, are the same machine.

    ``expose`` names signals inside that count as outputs; ``sat`` is how Yosys' SAT solver goes
    about it: by induction over time, or from ``-seq`` steps on. Anything but a proof or a
    counterexample raises :class:`YosysFailed`.
    """
    script = []
    for name, text in (("gold", gold), ("gate", gate)):
        folder.joinpath(f"{name}.v").write_text(text)
        script += [CELLS, f"read_verilog {name}.v", "hierarchy -check -top unit", "proc",
                   "flatten", *(f"expose unit/w:{signal}" for signal in expose),
                   "opt_clean", "memory_map", "dffunmap", f"rename unit {name}",
                   f"design -stash {name}"]
    script += [*(f"design -copy-from {name} -as {name} {name}" for name in ("gold", "gate")),
               "miter -equiv -flatten gold gate miter", "hierarchy -top miter",
               f"sat -set-init-zero {sat} -prove trigger 0 miter"]
    text = yosys(script, folder)
    if "SUCCESS!" in text:
        return True
    if re.search(r"model found.*: FAIL!", text):
        return False
    raise YosysFailed("\n".join(text.splitlines()[-15:]))
