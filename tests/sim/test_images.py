import struct
import zipfile
import zlib

import numpy as np
import pytest
from PIL import Image

from gen.picture import PictureError
from sim.images import ImagesError, fit, load, sample


def test_sample_holds_thirty_real_images_of_each_class():
    images = sample()
    assert images.pixels.shape == (300, 3, 32, 32) and images.pixels.dtype == np.uint8
    assert np.bincount(images.labels).tolist() == [30] * 10
    assert images.class_names == tuple(
        "airplane automobile bird cat deer dog frog horse ship truck".split())
    assert len(np.unique(images.pixels.reshape(300, -1), axis=0)) == 300
    assert len(set(images.first(8).labels)) > 3, "a few images must be of mixed classes"


def test_sample_keeps_planes_and_rows():
    """Neighbours in a row, in a column and across planes are alike in photographs; any other
    order of the bytes would tear them apart."""
    p = sample().pixels.astype(int)
    row, column = np.abs(np.diff(p, axis=3)).mean(), np.abs(np.diff(p, axis=2)).mean()
    planes = np.abs(np.diff(p, axis=1)).mean()
    apart = np.abs(p - p[:, :, ::-1, ::-1]).mean()
    assert max(row, column, planes) < apart / 2


def test_png_gives_its_pixels(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (2, 16, 24, 3), dtype=np.uint8)
    for i, picture in enumerate(pixels):
        Image.fromarray(picture).save(tmp_path / f"{i}.png")
    images = load([tmp_path / "0.png", tmp_path / "1.png"])
    assert (images.pixels == pixels.transpose(0, 3, 1, 2)).all()
    assert images.labels == (None, None) and images.names == ("0.png", "1.png")


def test_grey_and_palette_pictures_become_rgb(tmp_path):
    grey = np.arange(64, dtype=np.uint8).reshape(8, 8)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    assert (load([tmp_path / "grey.png"]).pixels[0] == grey).all()


def test_cifar_records_give_labels_and_planes(tmp_path):
    images = sample().first(5)
    records = np.concatenate([np.array(images.labels, np.uint8)[:, None],
                              images.pixels.reshape(5, -1)], axis=1)
    records.tofile(tmp_path / "test_batch.bin")
    again = load([tmp_path / "test_batch.bin"])
    assert (again.pixels == images.pixels).all() and again.labels == images.labels


def test_fit_takes_the_middle_or_copies():
    pixels = sample().pixels[:2]
    assert (fit(pixels, 16) == pixels[:, :, 8:24, 8:24]).all()
    assert (fit(pixels, 32) == pixels).all()
    wide = fit(pixels, 48)          # the middle 48 of two copies: from 8
    assert (wide[:, :, :24, :24] == pixels[:, :, 8:, 8:]).all()
    assert (wide[:, :, 24:, 24:] == pixels[:, :, :24, :24]).all()


def test_too_many_images_are_refused():
    with pytest.raises(ImagesError, match="must be 1 to 300, not 301"):
        sample().first(301)
    with pytest.raises(ImagesError, match="not 0"):
        sample().first(0)


def bad_text(path):
    path.write_text("hello")


def cut_png(path):
    Image.fromarray(sample().pixels[0].transpose(1, 2, 0)).save(path)
    path.write_bytes(path.read_bytes()[:300])


def bare(path):
    with path.open("wb") as file:
        np.save(file, np.zeros((1, 3, 8, 8), np.uint8))


def no_array(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("images.npy", "hello")


def oversized(path):
    """A PNG that says it has more pixels than Pillow takes."""
    Image.new("RGB", (8, 8)).save(path)
    raw = bytearray(path.read_bytes())
    raw[16:24] = struct.pack(">II", 1 << 15, 1 << 15)
    raw[29:33] = struct.pack(">I", zlib.crc32(raw[12:29]))
    path.write_bytes(raw)


def with_labels(labels, **others):
    return npz(images=np.zeros((2, 3, 8, 8), np.uint8), labels=np.array(labels), **others)


def npz(**arrays):
    return lambda path: np.savez(path, **arrays)


@pytest.mark.parametrize("name, make, words", [
    ("absent.png", None, "no such file"),
    ("absent.npz", None, "no such file"),
    ("text.png", bad_text, "can't be read as an image"),
    ("cut.png", cut_png, "can't be read as an image"),
    ("text.npz", bad_text, "not an npz file"),
    ("text.bin", bad_text, "3073 bytes each, 5 bytes"),
    ("empty.bin", lambda path: path.touch(), "0 bytes"),
    ("none.npz", npz(pictures=np.zeros(3)), "not an npz file with images"),
    ("float.npz", npz(images=np.zeros((1, 3, 8, 8))), r"not float64\[1, 3, 8, 8\]"),
    ("hwc.npz", npz(images=np.zeros((1, 8, 8, 3), np.uint8)), r"not uint8\[1, 8, 8, 3\]"),
    ("labels.npz", npz(images=np.zeros((2, 3, 8, 8), np.uint8), labels=np.zeros(1, np.uint8)),
     "labels must be 2, not 1"),
    ("scalar.npz", with_labels(3), r"labels must be a row of integers, not int64\[\]"),
    ("strings.npz", with_labels(["cat", "dog"]), "labels must be a row of integers, not <U3"),
    ("floats.npz", with_labels([1.0, 2.0]), "labels must be a row of integers, not float64"),
    ("nested.npz", with_labels([[1], [2]]), r"row of integers, not int64\[2, 1\]"),
    ("negative.npz", with_labels([0, -11]), "labels must be at least 0, not -11"),
    ("unnamed.npz", with_labels([0, 2], class_names=np.array(["cat", "dog"])),
     "labels must be 0 to 1, not 2"),
    ("numbered.npz", with_labels([0, 1], class_names=np.arange(2)),
     "class_names must be a row of strings, not int64"),
    ("one_name.npz", with_labels([0, 1], class_names=np.array("cat")), "row of strings, not <U3"),
    ("bare.npz", bare, "not an npz file with images .*without a name"),
    ("no_array.npz", no_array, r"images must be uint8\[n, 3, h, w\], not"),
    ("oversized.png", oversized, "can't be read as an image .*decompression bomb"),
    ("pickle.npz", npz(images=np.array([{}], object)), "not an npz file with images"),
])
def test_unusable_files_are_refused(tmp_path, name, make, words):
    path = tmp_path / name
    if make:
        make(path)
    with pytest.raises((ImagesError, PictureError), match=words) as refusal:
        load([path])
    refusal.match(name)


def test_mixed_sizes_folders_and_nothing_are_refused(tmp_path):
    Image.new("RGB", (8, 16)).save(tmp_path / "a.png")
    Image.new("RGB", (8, 8)).save(tmp_path / "b.png")
    with pytest.raises(ImagesError, match="b.png: image must be 8x16 pixels like the first one"):
        load([tmp_path / "a.png", tmp_path / "b.png"])
    with pytest.raises(PictureError, match="must be a file, not a folder"):
        load([tmp_path])
    with pytest.raises(ImagesError, match="At least one"):
        load([])
