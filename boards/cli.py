"""What the boards' command lines share."""

import sys

from .flow import FlowError

__all__ = ["fail", "refused"]


def fail(parser, code, sentence):
    """Print the program's name and ``sentence``; returns the exit code ``code``."""
    print(f"{parser.prog}: {sentence}", file=sys.stderr)
    return code


def refused(parser, error):
    """Exit code of a program that makes bitstreams, after telling what ended it: a ``FlowError`` 1,
    with the last lines of the tool's log; an interruption 130; what a user can put right 2."""
    if isinstance(error, FlowError):
        print(getattr(error, "log", ""), file=sys.stderr)
        return fail(parser, 1, str(error))
    if isinstance(error, KeyboardInterrupt):
        return fail(parser, 130, "interrupted")
    if isinstance(error, OSError):
        return fail(parser, 2, f"{error.filename}: {error.strerror}")
    return fail(parser, 2, str(error))
