"""A trained network as the start of one for other classes, and spare classes."""

from shutil import copytree

import pytest

torch = pytest.importorskip("torch")

from export.__main__ import main  # noqa: E402
from export.checkpoint import restore  # noqa: E402
from gen.package import Package  # noqa: E402
from tests.export.runs import train  # noqa: E402


def test_a_run_for_other_classes_begins_with_a_new_head_alone(data, trained, tmp_path, capsys):
    """Two of the classes, as many as the parent has of whatever name, and one more, larger."""
    mine = tmp_path / "mine"
    for part in ("train", "test"):
        for name in ("rows", "slopes"):
            copytree(data / part / name, mine / part / name)

    def begun(name, *more, code=0):
        out = tmp_path / f"{name}.pt"
        assert train(mine, out, "--epochs", 1, "--rate", "0.0", "--start-from", trained,
                     *more) == code
        return code or restore(out)

    parent = restore(trained)
    for name, classes, side in (("two", 2, 16), ("three", 3, 16), ("four", 4, 24)):
        state = begun(name, "--side", side, "--classes", classes)
        assert "other classes, so the head begins anew" in capsys.readouterr().out
        assert state["class_names"] == ["rows", "slopes", "spare 2", "spare 3"][:classes]
        head = state["model"].pop("signs.head.latent")
        assert head.shape == (classes, 64) and 0.05 < head.std() < 0.2
        assert not torch.equal(head, parent["model"]["signs.head.latent"])
        assert all(torch.equal(value, parent["model"][name])
                   for name, value in state["model"].items() if name.endswith(".latent"))
        if name == "three":      # so its weights fit what was routed for the parent
            assert state["network"] == parent["network"]
    assert begun("one", "--classes", 1, code=2) == 2
    assert "must be at least the 2 of the data set, not 1" in capsys.readouterr().err
    assert train(mine, tmp_path / "three.pt", "--epochs", 1, "--rate", "0.0", "--resume") == 2
    assert "for and --classes 3\n" in capsys.readouterr().err


def test_spare_classes_are_measured_and_studied_with_what_data_there_is(data, tmp_path, capsys):
    run, package = tmp_path / "run.pt", tmp_path / "run.safetensors"
    assert train(data, run, "--epochs", 6, "--classes", 10) == 0
    assert main(["pack", str(run), "--data", str(data), "--out", str(package)]) == 0
    packed = Package.load(package)
    assert packed.accuracy > 0.8 and packed.class_names[2:5] == ("slopes", "spare 3", "spare 4")
    assert main(["study", str(run), "--data", str(data)]) == 0
    capsys.readouterr()
    about = tmp_path / "about.txt"
    about.write_text("Patterns.")
    assert main(["card", str(run), str(package), "--about", str(about)]) == 0
    text = capsys.readouterr().out
    assert "--classes 10" in text and "begins with a new head" not in text
