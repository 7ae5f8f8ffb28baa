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


@pytest.fixture
def streamed(build):
    """A build that streams its weights."""
    (build / "weights").mkdir()
    (build / "weights" / "sdram.bin").touch()
    (build / "ulx3s" / "weights.flash.bin").touch()
    return build


@pytest.mark.parametrize("more, words", [
    ([], ["openFPGALoader -b ulx3s --write-sram {}/top.bit"]),
    (["--flash"], [
        "openFPGALoader -b ulx3s --write-flash {}/top.bit",
        "openFPGALoader -b ulx3s --write-flash -o 0x200000 --file-type raw {}/weights.flash.bin"]),
    (["--programmer", "fujprog"], ["fujprog {}/top.bit"]),
    (["--programmer", "fujprog", "--flash"], [
        "fujprog -j flash {}/top.bit", "fujprog -j flash -f 0x200000 -T img {}/weights.flash.bin"]),
])
def test_streamed_weights_are_written_behind_the_bitstream(streamed, capsys, more, words):
    assert main(["--build", str(streamed), "--dry-run", *more]) == 0
    assert capsys.readouterr().out.splitlines() == [line.format(streamed / "ulx3s")
                                                    for line in words]


def test_a_failing_bitstream_leaves_the_weights_alone(streamed, monkeypatch, capsys):
    monkeypatch.setenv("OPENFPGALOADER", "false")
    assert main(["--build", str(streamed), "--flash"]) == 1
    assert len(capsys.readouterr().out.splitlines()) == 1
    monkeypatch.setenv("OPENFPGALOADER", "true")
    assert main(["--build", str(streamed), "--flash"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_weights_that_are_missing_or_in_the_way_are_refused(streamed, capsys):
    command = ["--build", str(streamed), "--dry-run"]
    with (streamed / "ulx3s" / "top.bit").open("wb") as file:
        file.truncate(0x200001)
    assert main([*command, "--flash"]) == 2
    assert ("top.bit must be at most 2,097,152 bytes to lie before the weights in the flash, not "
            "2,097,153; program without --flash") in capsys.readouterr().err
    (streamed / "ulx3s" / "weights.flash.bin").unlink()
    assert main([*command, "--flash"]) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1
    assert "weights.flash.bin doesn't exist; make it with `python -m boards.build" in said.err
    assert main(command) == 0


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
