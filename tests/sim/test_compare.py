import json
import shutil

import pytest

from sim import compare
from tests.sim.builds import flip_weight

pytest.importorskip("cocotb")


def go(capfd, *arguments):
    """Exit code, stdout, stderr of the command line."""
    capfd.readouterr()
    code = compare.main([str(a) for a in arguments])
    return code, *capfd.readouterr()


def test_golden_verilog_and_torch_are_equal(built, capfd):
    pytest.importorskip("torch")
    code, out, err = go(capfd, "--build", built, "--images", "2")
    assert code == 0, out + err
    assert out.count("golden = rtl") == out.count("golden = torch") == 2
    assert out.rstrip().endswith("2 images: all equal")


def test_a_turned_weight_in_the_verilog_is_located(compiled, tmp_path, capfd):
    folder = shutil.copytree(compiled, tmp_path / "turned")
    flip_weight(folder, "g1b0c1")
    code, out, _ = go(capfd, "--build", folder, "--images", "1", "--with", "golden,rtl", "--json")
    verdict = json.loads(out)
    assert code == 1 and not verdict["equal"]
    row, = verdict["images"]
    assert "torch" not in row and row["rtl"]["layer"] == "g1b0c1"
    assert {"channel", "row", "column", "expected", "got"} <= set(row["rtl"])


@pytest.mark.parametrize("layer", ["stem", "g1b0c0", "head"])
def test_a_turned_weight_in_torch_is_located(built, layer, monkeypatch, capfd):
    pytest.importorskip("torch")
    from export.model import WRN
    load = WRN.load_weights

    def other(self, weights):
        weights = {name: w.copy() for name, w in weights.items()}
        weights[layer][(2,) + (0,) * (weights[layer].ndim - 1)] *= -1
        load(self, weights)

    monkeypatch.setattr(WRN, "load_weights", other)
    code, out, _ = go(capfd, "--build", built, "--images", "1", "--with", "torch")
    assert code == 1 and "NOT equal" in out
    place = "scores, class 2" if layer == "head" else f"{layer}, channel 2"
    assert f"golden and torch differ: first difference at {place}" in out


def test_torch_is_left_out_where_it_is_not_installed(built, monkeypatch, capfd):
    find = compare.importlib.util.find_spec
    monkeypatch.setattr(compare.importlib.util, "find_spec",
                        lambda name: None if name == "torch" else find(name))
    code, out, _ = go(capfd, "--build", built, "--images", "1")
    assert code == 0 and "golden = rtl" in out and "torch" not in out
    code, _, err = go(capfd, "--build", built, "--with", "golden,torch")
    assert code == 2 and "PyTorch isn't installed: pip install torch" in err


@pytest.mark.parametrize("arguments, words", [
    (["--with", "golden,board"], "Each of --with must be one of golden, rtl, torch, not 'board'"),
    (["--with", "golden"], "--with must name rtl, torch or both"),
    (["--with", ","], "--with must name rtl"),
    (["--images", "0"], "Number of images must be 1 to 300, not 0"),
    (["--files", "no.npz"], "no.npz: no such file"),
])
def test_bad_arguments_are_refused(built, arguments, words, capfd):
    code, out, err = go(capfd, "--build", built, *arguments)
    assert code == 2 and out == "" and words in err


def test_bad_folders_are_refused(tmp_path, capfd):
    code, _, err = go(capfd, "--build", tmp_path / "none")
    assert code == 2 and err.startswith("sim.compare: ") and "holds no plan.json" in err


def test_no_arguments_print_the_help(capfd):
    code, out, _ = go(capfd)
    assert code == 0 and out.rstrip().splitlines()[-1].startswith("example: python -m sim.compare")
