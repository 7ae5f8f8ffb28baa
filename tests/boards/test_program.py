import pytest

from boards.program import command, main
from boards.ulx3s import Board


@pytest.fixture
def build(tmp_path, monkeypatch):
    monkeypatch.delenv("OPENFPGALOADER", raising=False)
    (tmp_path / "ulx3s").mkdir()
    (tmp_path / "ulx3s" / "top.bit").touch()
    return tmp_path


@pytest.mark.parametrize("more, words", [
    ([], "openFPGALoader -b ulx3s --write-sram {}/ulx3s/top.bit"),
    (["--flash"], "openFPGALoader -b ulx3s --write-flash {}/ulx3s/top.bit"),
    (["--programmer", "fujprog"], "fujprog {}/ulx3s/top.bit"),
    (["--programmer", "fujprog", "--flash"], "fujprog -j flash {}/ulx3s/top.bit"),
])
def test_a_dry_run_prints_the_command(build, capsys, more, words):
    assert main(["--build", str(build), "--dry-run", *more]) == 0
    assert capsys.readouterr().out.strip() == words.format(build)


def test_the_programmer_is_run(build, monkeypatch, capsys):
    monkeypatch.setenv("OPENFPGALOADER", "true")
    assert main(["--build", str(build)]) == 0
    monkeypatch.setenv("OPENFPGALOADER", "false")
    assert main(["--build", str(build)]) == 1
    assert "false failed with exit code 1; is the board connected" in capsys.readouterr().err
    monkeypatch.setenv("OPENFPGALOADER", "no-such-program")
    assert main(["--build", str(build)]) == 2
    assert "no-such-program isn't installed" in capsys.readouterr().err


def test_a_missing_bitstream_says_how_to_make_it(build, capsys):
    assert main(["--build", str(build), "--board", "ulx3s-12f"]) == 2
    assert "top.bit doesn't exist; make it with `python -m boards.build" in capsys.readouterr().err
    assert main(["--build", str(build), "--board", "icebreaker"]) == 2


def test_refuses_other_programmers():
    with pytest.raises(ValueError, match="one of openFPGALoader, fujprog, not 'jtag'"):
        command("jtag", Board.named("ulx3s"), "top.bit")


def test_help_ends_with_an_example(capsys):
    assert main([]) == 0
    assert "python -m boards.program --build" in capsys.readouterr().out.splitlines()[-1]
