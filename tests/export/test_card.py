"""Model cards, through the command line."""

import pytest

torch = pytest.importorskip("torch")

from export.__main__ import main  # noqa: E402
from export.checkpoint import restore  # noqa: E402
from gen.package import Package  # noqa: E402
from tests.export.runs import train  # noqa: E402


def test_a_card_tells_of_every_run(data, trained, tmp_path, capsys):
    out, package, about = (tmp_path / name for name in ("next.pt", "next.safetensors", "about"))
    assert train(data, out, "--epochs", 2, "--width", 2, "--noise", 0.1, "--start-from",
                 trained) == 0
    about.write_text("Stripes.\n")
    command = ["card", str(out), str(package), "--about", str(about)]
    assert main(["pack", str(out), "--out", str(package)]) == 0
    assert main(command) == 2
    assert "has no accuracy; pack it with --data" in capsys.readouterr().err
    assert main(["pack", str(out), "--data", str(data), "--out", str(package)]) == 0
    capsys.readouterr()
    assert main(command) == 0
    text = capsys.readouterr().out
    accuracy = Package.load(package).accuracy
    assert text.startswith(f"# wrn-8-2\n\n**{accuracy:.2%}** of 24 test images")
    assert "\nStripes.\n" in text and "### Run 1 (wrn-8-1)" in text
    second = text.split("### Run 2 (wrn-8-2)")[1]
    assert "2 epochs, 120 images" in second and "--start-from 1.pt" in second
    assert "--width 2" in second and "--noise 0.1" in second and "--sides 8:0.4" in second
    last = restore(out)["history"][-1]
    assert f"| 2 | 16 | 120 | 0 | {last['loss']:.3f} |" in second
    assert main(["card", str(trained), *command[2:]]) == 2
    assert "next.safetensors wasn't made from" in capsys.readouterr().err
