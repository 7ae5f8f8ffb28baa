"""Progress of a command that takes minutes: a line per step."""

import contextlib
import sys
import time

__all__ = ["Quiet", "Steps"]


class Steps:
    """Progress: a line per step with its seconds, printed as it ends.

    ``total`` may be set before the first step, where it isn't known earlier. In the context of a
    step is a function that says how far it is: on a terminal, where the next word replaces it.
    """

    def __init__(self, total=1):
        self.total, self.number = total, 0

    @contextlib.contextmanager
    def __call__(self, what):
        self.number += 1
        self.total = max(self.total, self.number)
        began, live = time.monotonic(), sys.stdout.isatty()
        line = f"[{self.number}/{self.total}] {what} "

        def say(text):
            if live:
                print(f"\r\x1b[K{line} {time.monotonic() - began:.0f} s  {text[:50]}", end="",
                      flush=True)
        print(line, end="", flush=True)
        try:
            yield say
        finally:
            again = f"\r\x1b[K{line}" if live else ""
            print(f"{again} {time.monotonic() - began:.0f} s", flush=True)


class Quiet(Steps):
    """No progress."""

    @contextlib.contextmanager
    def __call__(self, what):
        yield lambda text: None
