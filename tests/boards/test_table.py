"""README's table of routed designs says what ``boards/results`` says."""

from pathlib import Path

import pytest

from boards.table import main, replace_table, table

README = Path(__file__).parents[2] / "README.md"


def test_readme_shows_the_recorded_results():
    text = README.read_text()
    assert replace_table(text, table()) == text, "run `python -m boards.table --update README.md`"


def test_a_file_without_markers_is_refused_and_left_alone(tmp_path, capsys):
    file = tmp_path / "notes.md"
    file.write_text("no table here\n")
    assert main(["--update", str(file)]) == 2
    assert "must hold the lines" in capsys.readouterr().err
    assert file.read_text() == "no table here\n"


def test_only_the_table_is_replaced():
    text = "a\n<!-- table: python -m boards.table -->\nold\n<!-- end of table -->\nb\n"
    assert replace_table(text, "new") == text.replace("old", "new")
    with pytest.raises(ValueError, match="end of table"):
        replace_table("a", "new")
