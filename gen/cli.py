"""What all command lines share: how they begin, and how they refuse."""

import argparse
import math
import signal
import sys
import threading
from contextlib import contextmanager

__all__ = ["command_line", "count", "fail", "number", "positive"]


def command_line(parser, do, arguments=None, refusals=(ValueError,), bare=False):
    """Run ``do(options)`` with what ``parser`` makes of ``arguments`` (the command line's by
    default); returns the exit code: what ``do`` returns, or 0.

    Without any arguments the help is printed, unless the program runs ``bare``. One of
    ``refusals``, or an ``OSError``, is told in a sentence; the code is then 2 or the error's own
    ``exit_code``, and an error's ``log`` (lines of a tool) comes first. An interruption is 130, and
    a termination takes the same way out, so that no tool that was started goes on for an hour.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments and not bare:
        parser.print_help()
        return 0
    options = parser.parse_args(arguments)
    try:
        with _termination_interrupts():
            return do(options) or 0
    except KeyboardInterrupt:
        return fail(parser, "interrupted", 130)
    except refusals as error:
        if getattr(error, "log", ""):
            print(error.log, file=sys.stderr)
        return fail(parser, error, getattr(error, "exit_code", 2))
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return fail(parser, f"{where}{error.strerror or error}")


@contextmanager
def _termination_interrupts():
    """Within, SIGTERM is what SIGINT is; only the main thread may say so."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def fail(parser, sentence, code=2):
    """Print the program's name and ``sentence``; returns the exit code ``code``."""
    print(f"{parser.prog.removeprefix('python -m ')}: {sentence}", file=sys.stderr)
    return code


def number(kind, low, high, wanted):
    """An argument type: numbers of ``kind`` from ``low`` to ``high``, both left out."""
    def parse(text):
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if not low < value < high:
            raise argparse.ArgumentTypeError(f"must be {wanted}, not {text}")
        return value
    return parse


positive = number(float, 0, math.inf, "a number above 0")
count = number(int, 0, math.inf, "an integer of at least 1")
