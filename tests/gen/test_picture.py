"""Pictures from files."""

import numpy as np
import pytest
from PIL import Image

from gen.picture import PictureError, read

SIDE = 8
PIXELS = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA"])
def test_pictures_of_every_mode_are_read_as_rgb(tmp_path, mode):
    Image.new("RGB", (SIDE, 2 * SIDE), (51, 51, 51)).convert(mode).save(tmp_path / "x.png")
    picture = read(tmp_path / "x.png")
    assert picture.shape == (3, 2 * SIDE, SIDE) and picture.dtype == np.uint8
    assert (picture == 51).all()


def test_a_photo_from_a_turned_camera_is_upright(tmp_path):
    photo = Image.fromarray(PIXELS)
    exif = photo.getexif()
    exif[0x0112] = 6            # orientation: turn by a quarter, clockwise
    photo.save(tmp_path / "x.png", exif=exif)
    upright = np.rot90(PIXELS, -1)
    assert (read(tmp_path / "x.png") == upright.transpose(2, 0, 1)).all()


@pytest.mark.parametrize("down, across", [(1, 1), (2, 2), (3, 4)])
def test_a_resized_picture_has_the_means_of_areas(tmp_path, down, across):
    large = PIXELS.astype(int).repeat(down, 0).repeat(across, 1)
    if down > 1:                                    # neighbours that cancel out in each area
        ripple = np.minimum(large, 255 - large).clip(max=9)
        large[::down] += ripple[::down]
        large[1::down] -= ripple[1::down]
    Image.fromarray(large.astype(np.uint8)).save(tmp_path / "x.png")
    assert (read(tmp_path / "x.png", SIDE) == PIXELS.transpose(2, 0, 1)).all()


def test_unreadable_pictures_are_one_sentence(tmp_path):
    (tmp_path / "x.png").write_bytes(b"no picture")
    with pytest.raises(PictureError, match="x.png: can't be read as an image"):
        read(tmp_path / "x.png")
    with pytest.raises(PictureError, match="y.png: no such file"):
        read(tmp_path / "y.png", SIDE)
    with pytest.raises(PictureError, match="must be a file, not a folder"):
        read(tmp_path)
