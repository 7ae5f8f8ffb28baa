"""Before the tests run side by side: tools that mustn't be compiled by two of them at once."""

import subprocess

from boards.tools import FlowError, tool


def pytest_sessionstart(session):
    """YoWASP compiles a tool where it's run for the first time, and writes the result where every
    process maps it from: Yosys ended in the middle of a script where another one wrote it again."""
    if hasattr(session.config, "workerinput") or not session.config.getoption("numprocesses", None):
        return
    for name in ("yosys", "nextpnr-ecp5", "ecppack"):
        try:
            subprocess.run([tool(name), "--version"], capture_output=True, check=False)
        except (FlowError, OSError):
            pass        # tests that want it skip or say so
