"""``python -m sim.picture``: drawn only where the hardware agrees, of the numbers it gave."""

import shutil

import numpy as np
import pytest
from PIL import Image

from sim import picture
from tests.sim.builds import flip_weight

pytest.importorskip("cocotb")
pytest.importorskip("matplotlib")


def go(capfd, *arguments):
    """Exit code, stdout, stderr of the command line."""
    capfd.readouterr()
    code = picture.main([str(a) for a in arguments])
    return code, *capfd.readouterr()


def test_an_image_that_agrees_is_drawn(compiled, tmp_path, capfd):
    out = tmp_path / "one.png"
    code, said, errors = go(capfd, "--build", compiled, "--image", "2", "--out", out)
    assert code == 0, errors
    assert "cifar10-sample[2]" in said and "golden = rtl" in said
    with Image.open(out) as drawn:
        assert drawn.width > 2 * drawn.height


def test_a_difference_is_not_drawn(compiled, tmp_path, capfd):
    folder = shutil.copytree(compiled, tmp_path / "turned")
    flip_weight(folder, "g1b0c1")
    code, _, errors = go(capfd, "--build", folder, "--out", tmp_path / "one.svg")
    assert code == 1 and "differs between golden model and rtl" in errors
    assert not (tmp_path / "one.svg").exists()


@pytest.mark.parametrize("arguments, words", [
    (["--out", "one.jpg"], "one.jpg: must end with .png or .svg"),
    (["--out", "nodir/one.png"], "nodir/one.png: must be a file in a folder that exists"),
    (["--out", "folder.png"], "folder.png: must be a file in a folder that exists"),
    (["--out", "one.png", "--image", "300"], "Image must be 0 to 299, not 300"),
    (["--out", "one.png", "--file", "none.png"], "none.png: no such file")])
def test_bad_input_is_one_sentence(built, tmp_path, capfd, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.png").mkdir()
    code, _, errors = go(capfd, "--build", built, *arguments)
    assert code == 2 and words in errors and errors.count("\n") == 1


def test_a_missing_library_says_how_to_get_it(built, tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(picture.importlib.util, "find_spec", lambda name: None)
    code, _, errors = go(capfd, "--build", built, "--out", tmp_path / "one.png")
    assert code == 2 and "matplotlib isn't installed: `make venv-train` or `pip" in errors


def test_maps_lie_side_by_side_with_a_line_between_them():
    maps = np.arange(20 * 2 * 3).reshape(20, 2, 3)
    shown = picture._mosaic(maps)
    assert shown.shape == (4 * 3 - 1, 4 * 4 - 1)
    for channel in range(16):
        row, column = divmod(channel, 4)
        assert (shown[3 * row:3 * row + 2, 4 * column:4 * column + 3] == maps[channel]).all()
    assert np.isnan(shown[2]).all() and np.isnan(shown[:, 3]).all()


def test_no_arguments_print_the_help(capfd):
    code, said, _ = go(capfd)
    assert code == 0 and "example: python -m sim.picture" in said
