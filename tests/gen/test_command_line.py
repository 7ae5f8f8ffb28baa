"""What a command line makes of nothing, of refusals and of an interruption."""

import argparse
import os
import signal
import time

import pytest

from gen.cli import command_line, fail


class Refused(RuntimeError):
    pass


class ToolFailed(Refused):
    exit_code, log = 1, "last line of the tool"


@pytest.fixture
def parser():
    parser = argparse.ArgumentParser(prog="python -m some.program")
    parser.add_argument("--wide", action="store_true")
    return parser


def raising(error):
    def do(options):
        raise error
    return do


def test_nothing_given_prints_the_help(parser, capsys):
    assert command_line(parser, raising(AssertionError), []) == 0
    assert "--wide" in capsys.readouterr().out


def test_a_program_that_runs_bare_runs(parser):
    assert command_line(parser, lambda options: 3 + options.wide, [], bare=True) == 3


@pytest.mark.parametrize(("returned", "code"), [(None, 0), (0, 0), (1, 1)])
def test_what_is_done_gives_the_exit_code(parser, returned, code):
    assert command_line(parser, lambda options: returned, ["--wide"]) == code


@pytest.mark.parametrize(("error", "code", "told"), [
    (Refused("a wrong shape"), 2, "some.program: a wrong shape\n"),
    (ToolFailed("it failed"), 1, "last line of the tool\nsome.program: it failed\n"),
    (FileNotFoundError(2, "No such file or directory", "here.json"), 2,
     "some.program: here.json: No such file or directory\n"),
    (OSError("no disk"), 2, "some.program: no disk\n"),
    (KeyboardInterrupt(), 130, "some.program: interrupted\n"),
])
def test_an_error_is_told_in_a_sentence(parser, capsys, error, code, told):
    assert command_line(parser, raising(error), ["--wide"], (Refused,)) == code
    assert capsys.readouterr().err == told


def test_a_termination_is_an_interruption(parser, capsys):
    """nextpnr went on for hours behind a build that was ended with `kill`."""
    def ignored(number, frame):
        pass

    def do(options):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(1)

    before = signal.signal(signal.SIGTERM, ignored)
    try:
        assert command_line(parser, do, ["--wide"]) == 130
        assert signal.getsignal(signal.SIGTERM) is ignored
    finally:
        signal.signal(signal.SIGTERM, before)
    assert capsys.readouterr().err == "some.program: interrupted\n"


def test_an_error_of_ours_is_not_hidden(parser):
    with pytest.raises(ZeroDivisionError):
        command_line(parser, raising(ZeroDivisionError()), ["--wide"], (Refused,))


def test_failing_tells_the_program_and_gives_the_code(parser, capsys):
    assert (fail(parser, "timing missed", 1), fail(parser, "no port")) == (1, 2)
    assert capsys.readouterr().err == "some.program: timing missed\nsome.program: no port\n"
