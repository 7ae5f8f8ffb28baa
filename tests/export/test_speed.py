"""Timing training steps."""

import re

import pytest

torch = pytest.importorskip("torch")

from torch._dynamo.utils import counters  # noqa: E402

from export.__main__ import main  # noqa: E402
from export.learner import Learner  # noqa: E402
from export.passes import EAGER  # noqa: E402
from export.processes import Processes  # noqa: E402
from export.recipe import Recipe  # noqa: E402
from export.speed import FIRST, speed  # noqa: E402
from gen.network import Network  # noqa: E402
from tests.export.test_passes import compiler  # noqa: E402


def test_every_network_and_side_has_its_row(capsys):
    assert main(["speed", "--depth", "8", "--width", "1", "2", "--side", "8", "16", "--batch", "4",
                 "--steps", "1"]) == 0
    out, err = capsys.readouterr()
    head, _, *rows = out.splitlines()
    assert head == "| network | side | images/s, plain |"
    assert [re.fullmatch(r"\| wrn-8-(\d) \| (\d+) \| [\d,]*[1-9][\d,]* \|", row).groups()
            for row in rows] == [("1", "8"), ("1", "16"), ("2", "8"), ("2", "16")]
    assert err.splitlines() == rows   # each as it comes


@compiler
def test_compiled_and_not_take_turns(monkeypatch):
    ways, step = [], Learner.step
    monkeypatch.setattr(Learner, "step", lambda self, *args: (
        ways.append("plain" if self.model.passes is EAGER else "compiled"), step(self, *args))[1])
    counters.clear()
    recipe = Recipe(epochs=1, batch=4, compile=True)
    (row,) = speed([Network(8, 1, side=8, act_frac=1)], recipe, Processes("cpu"), 2,
                   log=lambda line: None)
    assert row["plain"] > 0 < row["compiled"]
    assert ways[2 * FIRST:] == ["plain", "compiled"] * 2
    assert counters["stats"]["unique_graphs"] > 0


@pytest.mark.parametrize("command", ["study run.pt --data d", "versus --data d --out o --epochs 1"])
def test_a_device_that_is_not_there_is_refused(command, capsys):
    if torch.cuda.is_available():
        pytest.skip("there's a CUDA device")
    assert main([*command.split(), "--device", "cuda"]) == 2
    assert "Device must be cpu: this PyTorch sees no CUDA device" in capsys.readouterr().err


@pytest.mark.parametrize("options, told", [
    (["--side", "9"], "side must be a multiple of 8"), (["--depth", "9"], "Depth must be 6n+2"),
    (["--batch", "0"], "Batch must be at least 1"),
    (["--device", "cuda"], "Device must be cpu: this PyTorch sees no CUDA device")])
def test_what_cannot_be_timed_is_refused(options, told, capsys):
    if "cuda" in options and torch.cuda.is_available():
        pytest.skip("there's a CUDA device")
    assert main(["speed", *options]) == 2
    out, err = capsys.readouterr()
    assert told in err and not out
