"""``python -m gen``: what it writes, what it refuses, and what it leaves behind."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gen import build, report
from gen.__main__ import main
from gen.network import ACT_BITS, Network
from gen.package import Package
from gen.plan import Plan
from hw.schedule import Lanes

ROOT = Path(__file__).parents[2]
TINY = ["--width", "1", "--depth", "8", "--side", "8", "--classes", "3", "--random-weights", "1",
        "--lanes", "2,4,4,4"]


STREAMED = [*TINY, "--weight-words", "60"]


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def no_gateware(monkeypatch):
    """Spares the seconds that the Verilog takes, where it's about the folder."""
    monkeypatch.setattr(build, "_files", lambda plan: {"top.v": plan.digest, "weights/w.hex": ""})


def command(*arguments, cwd=ROOT):
    return subprocess.run([sys.executable, "-m", "gen", *arguments], cwd=cwd, text=True,
                          capture_output=True, check=False,
                          env=os.environ | {"PYTHONPATH": str(ROOT)})


def refused(capsys, *arguments):
    """The sentence with which the arguments are refused, with exit code 2."""
    try:
        code = main([str(argument) for argument in arguments])
    except SystemExit as error:
        code = error.code
    said = capsys.readouterr()
    assert code == 2, said
    assert "Traceback" not in said.err
    return said.err


def test_no_arguments_print_the_help():
    done = command()
    assert done.returncode == 0 and done.stdout.startswith("usage: python -m gen")
    assert not done.stderr


def test_the_help_ends_with_an_example():
    done = command("--help")
    assert done.returncode == 0
    *_, head, first, second = done.stdout.rstrip().splitlines()
    assert "example" in done.stdout and "python -m gen" in first + second, head


def test_a_build_is_reported_step_by_step(tmp_path):
    done = command(*TINY, "--out", str(tmp_path / "some" / "build"))
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line[:5] for line in lines if line.startswith("[")] == ["[1/2]", "[2/2]"]
    plan = Plan.load(tmp_path / "some" / "build")
    assert f"{plan.cycles_per_frame:,} cycles a frame" in done.stdout
    assert "2 pixels x 3 x 4 channels x 4 outputs = 96 lanes" in done.stdout
    assert "random weights" in done.stdout
    assert names(tmp_path / "some") == ["build"]


@pytest.mark.parametrize("bits", ACT_BITS)
def test_every_precision_is_generated(bits, tmp_path):
    assert main([*TINY, "--act-bits", str(bits), "--out", str(tmp_path / "build")]) == 0
    plan = Plan.load(tmp_path / "build")
    assert plan.network.act_bits == bits and plan.schedule.digits == -(-8 // bits)


def test_a_build_folder_is_replaced_and_keeps_compiled_simulations(tmp_path):
    out = tmp_path / "build"
    assert main([*TINY, "--out", str(out)]) == 0
    (out / "sim-verilator").mkdir()
    (out / "sim-verilator" / "digest").write_text("x")
    (out / "stale.txt").write_text("x")
    assert main([*TINY, "--random-weights", "2", "--out", str(out)]) == 0
    assert Plan.load(out).package.training == {"random_weights": 2}
    assert (out / "sim-verilator" / "digest").read_text() == "x"
    assert not (out / "stale.txt").exists()
    assert names(tmp_path) == ["build"]


@pytest.mark.usefixtures("no_gateware")
def test_the_folder_that_one_is_in_is_replaced(tmp_path, monkeypatch):
    """Its name is empty: what was written within it went with it."""
    monkeypatch.chdir(tmp_path)
    for seed in ("1", "2"):
        assert main([*TINY, "--random-weights", seed, "--out", "."]) == 0
        assert Plan.load(tmp_path).package.training == {"random_weights": int(seed)}
        assert Path("plan.json").exists(), "the shell's folder is still this one"
        assert not [name for name in names(tmp_path) if name.startswith(".")]
        (tmp_path / "sim-verilator").mkdir(exist_ok=True)
    assert (tmp_path / "sim-verilator").is_dir()


@pytest.mark.usefixtures("no_gateware")
def test_a_link_to_a_build_folder_is_followed(tmp_path):
    real, link = tmp_path / "real", tmp_path / "link"
    link.symlink_to(real)
    for seed in ("1", "2"):
        assert main([*TINY, "--random-weights", seed, "--out", str(link)]) == 0
        assert Plan.load(real).package.training == {"random_weights": int(seed)}
        (real / "sim-verilator").mkdir(exist_ok=True)
    assert link.is_symlink() and (real / "sim-verilator").is_dir()
    assert names(tmp_path) == ["link", "real"]


def routed(out, board="ulx3s"):
    """Put a bitstream into a build folder, and what was measured of it into the report."""
    (out / board).mkdir(parents=True)
    (out / board / "top.bit").write_text("an hour's work")
    report.measure(out, cycles_per_frame=5000, latency_cycles=6000, fmax_mhz=99.0, ebr=7,
                   provenance={"bitstream": {"board": board}})
    return report.read(out)


@pytest.mark.usefixtures("no_gateware")
def test_the_same_plan_again_keeps_bitstream_and_measurements(tmp_path):
    out = tmp_path / "build"
    assert main([*TINY, "--out", str(out)]) == 0
    measured = routed(out)
    (out / "stale.txt").write_text("x")
    assert main([*TINY, "--out", str(out)]) == 0
    assert (out / "ulx3s" / "top.bit").read_text() == "an hour's work"
    assert report.read(out) == measured and not (out / "stale.txt").exists()


@pytest.mark.parametrize("board", ["ulx3s", "tries/seed-3"])
@pytest.mark.usefixtures("no_gateware")
def test_a_bitstream_of_another_plan_is_not_lost(board, tmp_path, capsys):
    out = tmp_path / "build"
    assert main([*TINY, "--out", str(out)]) == 0
    measured, bitstream = routed(out, board), out / board / "top.bit"
    before = names(out)
    again = [*TINY, "--random-weights", "2", "--out", str(out)]
    said = refused(capsys, *again)
    assert f"{bitstream} was made from another plan" in said and "another folder with --out" in said
    assert names(out) == before and report.read(out) == measured and bitstream.exists()
    bitstream.unlink()
    assert main(again) == 0
    assert report.read(out)["provenance"] == {} and not bitstream.parent.exists()


@pytest.mark.usefixtures("no_gateware")
def test_a_build_folder_within_one_stays(tmp_path):
    out = tmp_path / "build"
    assert main([*TINY, "--out", str(out)]) == 0
    assert main([*TINY, "--random-weights", "3", "--out", str(out / "sizing")]) == 0
    routed(out / "sizing")
    assert main([*TINY, "--random-weights", "2", "--out", str(out)]) == 0
    assert Plan.load(out / "sizing").package.training == {"random_weights": 3}
    assert (out / "sizing" / "ulx3s" / "top.bit").exists()


def test_an_empty_folder_is_taken(tmp_path):
    out = tmp_path / "build"
    out.mkdir()
    assert main([*TINY, "--out", str(out)]) == 0
    assert Plan.load(out)


def test_a_package_of_ones_own(tmp_path):
    network = Network(8, 1, side=8, classes=5, shifts=(3, 4, 0, 4, 0, 4, 1), res_bits=10)
    Package.random(network, 7).save(tmp_path / "own.safetensors")
    out = tmp_path / "build"
    assert main(["--package", str(tmp_path / "own.safetensors"), "--lanes", "2,4,4,4",
                 "--board", "ulx3s-45f", "--clock-mhz", "75", "--out", str(out)]) == 0
    plan = Plan.load(out)
    assert plan.network == network and (plan.device, plan.clock_mhz) == ("45f", 75.0)


@pytest.mark.parametrize("arguments,sentence", [
    (["--depth", "20"], "name a network with --width"),
    (["--random-weights", "1"], "--random-weights needs --width"),
    (["--width", "1", "--depth", "21", "--random-weights", "1"],
     "Depth must be 6n+2, not 21; try 20"),
    (["--width", "0", "--random-weights", "1"], "Width must be at least 1, not 0"),
    (["--width", "7", "--depth", "20"], "No trained package for WRN-20-7 is shipped"),
    (["--width", "1", "--random-weights", "1", "--act-bits", "5"],
     "Activation bits must be one of (2, 3, 4, 6, 8), not 5"),
    (["--width", "1", "--random-weights", "1", "--side", "12"],
     "Image side must be a multiple of 8, not 12; try 8 or 16"),
    (["--width", "1", "--random-weights", "1", "--classes", "1"], "Classes must be at least 2"),
    (["--width", "1", "--random-weights", "1", "--lanes", "8,8"],
     "--lanes must be a number or four, P,CS,M,CR, not 8,8"),
    (["--width", "1", "--random-weights", "1", "--lanes", "many"],
     "--lanes must be a number or four, P,CS,M,CR, not many"),
    (["--width", "1", "--random-weights", "1", "--lanes", ""],
     "--lanes must be a number or four, P,CS,M,CR, not empty"),
    (["--width", "1", "--random-weights", "1", "--depth", "0"], "Depth must be at least 8, not 0"),
    (["--width", "1", "--depth", "0"], "No trained package for WRN-0-1 is shipped"),
    (["--width", "100000", "--random-weights", "1"],
     "weights, and the memory of ulx3s holds 268,435,456; take a smaller --width or --depth"),
    (["--width", "1", "--random-weights", "1", "--lanes", "-5"], "--lanes"),
    (["--width", "1", "--random-weights", "1", "--lanes", "5,8,8,8"],
     "Pixels must be even and divide the smallest map's side 8, not 5"),
    (["--width", "1", "--random-weights", "1", "--lanes", "8,8,8,0"],
     "Result channels must divide the slice channels 8, not 0"),
    (["--width", "1", "--random-weights", "1", "--lanes", "8,8,0,8"],
     "Outputs must be a multiple of the result channels 8"),
    (["--width", "1", "--random-weights", "1", "--lanes", "8,8,16,4", "--target-fps", "10"],
     "--target-fps picks an array, and --lanes P,CS,M,CR names one"),
    (["--width", "1", "--random-weights", "1", "--lanes", "4"],
     "No array of at most 4 lanes suits wrn-20-1"),
    (["--width", "1", "--random-weights", "1", "--target-fps", "1e9"], "wrn-20-1 reaches"),
    (["--width", "10", "--random-weights", "1"], "wrn-20-10 needs"),
    (["--width", "1", "--random-weights", "1", "--board", "ulx3s-99f"], "ulx3s-99f"),
    (["--package", "absent.safetensors"], "absent.safetensors: no such package"),
    (["--package", "x", "--random-weights", "1"], "not allowed with"),
    (["--width", "1.5", "--random-weights", "1"], "invalid int value"),
])
def test_bad_input_is_refused_and_nothing_is_written(arguments, sentence, tmp_path, capsys):
    said = refused(capsys, *arguments, "--out", tmp_path / "new" / "build")
    assert sentence in said
    assert names(tmp_path) == []


@pytest.mark.parametrize("option,value", [
    ("--target-fps", "0"), ("--target-fps", "-3"), ("--target-fps", "nan"),
    ("--clock-mhz", "0"), ("--clock-mhz", "-1"), ("--clock-mhz", "nan"), ("--clock-mhz", "inf"),
    ("--clock-mhz", "fast"), ("--random-weights", "-1")])
def test_numbers_without_sense_are_refused(option, value, tmp_path, capsys):
    said = refused(capsys, *TINY[:-2], option, value, "--out", tmp_path / "build")
    assert f"{option}: must be" in said and f"not {value}" in said
    assert names(tmp_path) == []


@pytest.mark.parametrize("options,named", [
    (["--weight-words", "5000"], "--weight-words"), (["--memory-mhz", "100"], "--memory-mhz"),
    (["--weight-words", "5000", "--memory-mhz", "100"], "--weight-words and --memory-mhz")])
@pytest.mark.usefixtures("no_gateware")
def test_options_about_streaming_are_refused_where_all_stays(options, named, tmp_path, capsys):
    said = refused(capsys, *TINY, *options, "--out", tmp_path / "build")
    assert f"all weights of wrn-8-1 stay on the chip, so nothing follows from {named}; drop" in said
    assert names(tmp_path) == []
    assert main([*STREAMED, "--memory-mhz", "100", "--out", str(tmp_path / "build")]) == 0
    assert Plan.load(tmp_path / "build").schedule.loads


@pytest.mark.parametrize("option,value", [("--classes", "3"), ("--side", "16"),
                                          ("--act-bits", "2"), ("--res-bits", "8"),
                                          ("--width", "2")])
def test_an_option_that_contradicts_the_package_is_refused(option, value, tmp_path, capsys):
    Package.random(Network(8, 1, side=8, classes=5), 7).save(tmp_path / "own.safetensors")
    said = refused(capsys, "--package", tmp_path / "own.safetensors", option, value,
                   "--out", tmp_path / "build")
    assert f"own.safetensors has {option} " in said and f"not {value}" in said
    assert names(tmp_path) == ["own.safetensors"]


def test_a_folder_that_isnt_a_build_is_left_alone(tmp_path, capsys):
    out = tmp_path / "thesis"
    out.mkdir()
    (out / "chapter.txt").write_text("years of work")
    said = refused(capsys, *TINY, "--out", out)
    assert "exists and isn't a build folder; name another with --out" in said
    assert (out / "chapter.txt").read_text() == "years of work"
    assert names(tmp_path) == ["thesis"]


def test_a_file_in_the_way_is_left_alone(tmp_path, capsys):
    (tmp_path / "file").write_text("x")
    (tmp_path / "loop").symlink_to("loop")
    assert "exists and isn't a build folder" in refused(capsys, *TINY, "--out", tmp_path / "loop")
    assert "exists and isn't a build folder" in refused(capsys, *TINY, "--out", tmp_path / "file")
    assert str(tmp_path / "file") in refused(capsys, *TINY, "--out", tmp_path / "file" / "build")
    assert (tmp_path / "file").read_text() == "x"


def test_a_build_that_breaks_off_leaves_the_old_one(tmp_path, monkeypatch, capsys):
    out = tmp_path / "build"
    assert main([*TINY, "--out", str(out)]) == 0
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}

    def full(self, path):
        raise OSError(28, "No space left on device", str(path))
    monkeypatch.setattr(Package, "save", full)
    capsys.readouterr()
    said = refused(capsys, *TINY, "--random-weights", "2", "--out", out)
    assert "No space left on device" in said
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    assert names(tmp_path) == ["build"]


@pytest.mark.usefixtures("no_gateware")
def test_a_replacement_that_breaks_off_is_taken_back(tmp_path, monkeypatch, capsys):
    out = tmp_path / "build"
    assert main([*TINY, "--out", str(out)]) == 0
    (out / "sim-verilator").mkdir()
    (out / "stale").symlink_to("nowhere")
    before, there = names(out), (out / "top.v").read_bytes()
    rename = Path.rename
    for name in ("top.v", "weights"):
        def breaking(self, target):
            if self.name == name and self.parent != out and Path(target).parent == out:
                monkeypatch.setattr(Path, "rename", rename)
                raise KeyboardInterrupt
            return rename(self, target)
        monkeypatch.setattr(Path, "rename", breaking)
        assert main([*TINY, "--random-weights", "2", "--out", str(out)]) == 130
        assert names(out) == before and (out / "top.v").read_bytes() == there
        assert Plan.load(out).package.training == {"random_weights": 1}


@pytest.mark.usefixtures("no_gateware")
def test_what_an_earlier_run_left_unfinished_goes(tmp_path):
    out = tmp_path / "build"
    for _ in range(2):
        assert main([*TINY, "--out", str(out)]) == 0
        assert not list(out.glob(f"{build.UNFINISHED}*"))
        (out / f"{build.UNFINISHED}killed").mkdir()


def test_the_same_command_writes_the_same_files(tmp_path):
    """Whatever order sets and dictionaries are hashed in."""
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-m", "gen", *TINY, "--out", str(tmp_path / seed)], cwd=ROOT,
            env=os.environ | {"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    files = [{path.relative_to(tmp_path / seed): path.read_bytes()
              for path in (tmp_path / seed).rglob("*") if path.is_file()} for seed in ("1", "2")]
    assert list(map(len, files)) == [9, 9]
    assert files[0] == files[1]


@pytest.mark.parametrize("network, fields", [
    (Network(8, 1, classes=3, side=8), {}),
    (Network(8, 1, classes=10, side=16, act_bits=2), {"clock_mhz": 87.5}),
    (Network(8, 1, classes=3, side=8), {"batch": 2}),
    (Network(8, 1, classes=3, side=8, res_bits=10),
     {"clock_mhz": 100.0, "weight_words": 60, "memory_mhz": 400 / 3, "batch": 2}),
    (Network(8, 1, classes=3, side=8), {"weight_words": 60, "memory_mhz": 800 / 7})])
@pytest.mark.usefixtures("no_gateware")
def test_the_options_of_a_plan_make_it_again(network, fields, tmp_path):
    plan = Plan(Package.random(network, 4), Lanes(2, 4, 4, 4), "45f", **fields)
    assert main([*plan.options.split(), "--board", "ulx3s-45f", "--out", str(tmp_path / "b")]) == 0
    again = Plan.load(tmp_path / "b")
    assert (again.options, again.to_dict()["layers"]) == (plan.options, plan.to_dict()["layers"])
    assert again.schedule.loads == plan.schedule.loads
    if plan.schedule.loads:
        assert again.digest == plan.digest
