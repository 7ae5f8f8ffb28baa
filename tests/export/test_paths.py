"""Files that commands would write."""

import re

import pytest

pytest.importorskip("torch")

from export.__main__ import main  # noqa: E402
from export.paths import PathError, check_out  # noqa: E402
from tests.export.runs import train  # noqa: E402


def test_a_file_that_can_be_written_is_left_alone(tmp_path):
    check_out(tmp_path / "new" / "run.pt")
    assert not list(tmp_path.iterdir())
    there = tmp_path / "run.pt"
    there.write_text("x")
    check_out(there, tmp_path / "other.pt", tmp_path / "missing.pt")
    assert there.read_text() == "x"


def test_a_folder_a_file_s_content_and_a_source_are_refused(tmp_path):
    there, link = tmp_path / "run.pt", tmp_path / "link.pt"
    there.write_text("x")
    link.symlink_to(there)
    for path, message in ((tmp_path, "is a folder; name a file in it"),
                          (there / "a" / "b", f"{there} is no folder"),
                          (link, "is the file that this would be made from")):
        with pytest.raises(PathError, match=re.escape(message)):
            check_out(path, there)


def test_training_into_a_folder_is_refused_before_the_first_epoch(data, tmp_path, capsys):
    assert train(data, tmp_path, "--epochs", 1) == 2
    told = capsys.readouterr()
    assert "epoch" not in told.out and "is a folder; name a file in it" in told.err
    assert not tmp_path.with_name(tmp_path.name + ".partial").exists()


def test_packing_into_a_folder_or_the_checkpoint_is_refused(data, trained, tmp_path, capsys):
    before = trained.read_bytes()
    for command in ("pack", "keep"):
        assert main([command, str(trained), "--out", str(tmp_path)]) == 2
        assert "is a folder; name a file in it" in capsys.readouterr().err
        assert main([command, str(trained), "--out", str(trained)]) == 2
        assert "is the file that this would be made from" in capsys.readouterr().err
    assert trained.read_bytes() == before
    assert not tmp_path.with_name(tmp_path.name + ".partial").exists()


def test_a_checkpoint_that_is_there_is_not_overwritten(data, trained, capsys):
    before = trained.read_bytes()
    assert train(data, trained, "--epochs", 1) == 2
    assert f"{trained}: exists already; go on with its run with --resume" in capsys.readouterr().err
    assert trained.read_bytes() == before
