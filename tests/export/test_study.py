"""The study of number formats, through the command line."""

import re

import pytest

torch = pytest.importorskip("torch")

from export.__main__ import main  # noqa: E402
from export.checkpoint import restore  # noqa: E402
from export.study import FORMATS  # noqa: E402


def test_a_study_tells_what_formats_cost_and_goes_on_where_it_was(data, trained, tmp_path, capsys):
    command = ["study", str(trained), "--data", str(data), "--out", str(tmp_path / "runs")]
    formats = len(FORMATS)
    assert main([*command, "--epochs", "1", "--batch", "10"]) == 0
    first = capsys.readouterr()
    rows = [line.split(" | ") for line in first.out.splitlines()]
    assert len(rows) == formats + 2 and len(list((tmp_path / "runs").glob("*.pt"))) == formats
    assert rows[2][0] == "| float"
    # As the network was trained, but for the residual's fraction.
    assert float(rows[3][3].rstrip("%")) == pytest.approx(
        100 * restore(trained)["history"][-1]["test"], abs=15)
    assert first.err.count("epoch 1/1") == formats
    drawn = tmp_path / "formats.svg"
    assert main([*command, "--epochs", "1", "--batch", "10", "--plot", str(drawn)]) == 0
    again = capsys.readouterr()
    assert again.out == first.out and "epoch" not in again.err
    assert {"activation bits", "residual bits", "as it is", "trained on", "float, trained on"} <= {
        text for text in re.findall(r"<!-- (.*?)(?: \(.*)? -->", drawn.read_text())}
    assert main([*command[:-2], "--epochs", "1"]) == 2
    assert "needs a folder for the runs: give --out" in capsys.readouterr().err
