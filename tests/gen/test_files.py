"""Files that are there whole or not at all."""

import pytest

from gen.files import whole
from gen.network import Network
from gen.package import Package

NET = Network(8, 1, act_frac=1)


def test_a_file_takes_its_place_once_it_is_whole(tmp_path):
    path = tmp_path / "new" / "report.json"
    for text in ("first", "second"):
        with whole(path) as partial:
            partial.write_text(text)
            assert not path.exists() or path.read_text() == "first"
        assert path.read_text() == text
    assert [each.name for each in path.parent.iterdir()] == ["report.json"]


def test_what_fails_leaves_the_file_that_was_there_and_nothing_else(tmp_path):
    path = tmp_path / "report.json"
    path.write_text("first")
    with pytest.raises(OSError, match="no space"), whole(path) as partial:
        partial.write_text("half")
        raise OSError("no space")
    assert path.read_text() == "first"
    assert [each.name for each in tmp_path.iterdir()] == ["report.json"]


def test_a_package_that_can_not_be_written_leaves_nothing(tmp_path, monkeypatch):
    def full(path, data):
        path.touch()
        raise OSError("No space left on device")
    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        Package.random(NET, 1).save(tmp_path / "net.safetensors")
    assert not list(tmp_path.iterdir())
