"""Data sets made by the test are read byte for byte, and damaged ones refused."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from export.data import DataError, Images, augment, check_images, load, shrink  # noqa: E402
from gen.picture import PictureError  # noqa: E402


def write_cifar(folder, parts, classes, label_bytes, seed=0):
    """Write ``{file: records}`` and return the records by file."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    written = {}
    for name, count in parts.items():
        records = rng.integers(0, 256, (count, label_bytes + 3072), np.uint8)
        records[:, :label_bytes] = 1
        records[:, label_bytes - 1] = np.arange(count) % classes
        records.tofile(folder / name)
        written[name] = records
    return written


@pytest.fixture
def cifar10(tmp_path):
    parts = {f"data_batch_{k}.bin": 3 for k in range(1, 6)} | {"test_batch.bin": 4}
    return tmp_path, write_cifar(tmp_path / "cifar-10-batches-bin", parts, 10, 1)


@pytest.mark.parametrize("inside", (True, False))
def test_cifar10_is_read(cifar10, inside):
    folder, written = cifar10
    (folder / "cifar-10-batches-bin/batches.meta.txt").write_text("\n".join("abcdefghij") + "\n\n")
    train, test = load(folder / "cifar-10-batches-bin" if inside else folder)
    records = np.concatenate([written[f"data_batch_{k}.bin"] for k in range(1, 6)])
    assert np.array_equal(train.pixels.numpy().reshape(15, -1), records[:, 1:])
    assert np.array_equal(train.labels.numpy(), records[:, 0])
    # A record is the red plane, then green, then blue, row by row.
    assert test.pixels[2, 1, 3, 5] == written["test_batch.bin"][2, 1 + 1024 + 3 * 32 + 5]
    assert test.class_names == tuple("abcdefghij") and test.side == 32 and len(test) == 4


def test_cifar100_takes_the_fine_label(tmp_path):
    written = write_cifar(tmp_path / "cifar-100-binary", {"train.bin": 5, "test.bin": 3}, 100, 2)
    train, test = load(tmp_path)
    assert np.array_equal(train.labels.numpy(), written["train.bin"][:, 1])
    assert np.array_equal(test.pixels.numpy().reshape(3, -1), written["test.bin"][:, 2:])
    assert len(train.class_names) == 100


@pytest.fixture
def pictures(tmp_path):
    image = pytest.importorskip("PIL.Image")
    rng = np.random.default_rng(0)
    arrays = {}
    for part in ("train", "test"):
        for name in ("cat", "ant"):
            (tmp_path / part / name).mkdir(parents=True)
            for k in range(3):
                a = rng.integers(0, 256, (16, 16, 3), np.uint8)
                image.fromarray(a).save(tmp_path / part / name / f"{k}.png")
                arrays[part, name, k] = a
    return tmp_path, arrays


def test_an_image_folder_is_read(pictures):
    folder, arrays = pictures
    train, test = load(folder)
    assert train.class_names == ("ant", "cat")
    assert train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert np.array_equal(test.pixels[4].numpy(), arrays["test", "cat", 1].transpose(2, 0, 1))
    assert load(folder, side=8)[0].pixels.shape == (6, 3, 8, 8)


def test_damaged_cifar_is_refused(cifar10):
    folder = cifar10[0] / "cifar-10-batches-bin"
    batch = folder / "data_batch_3.bin"
    raw = batch.read_bytes()
    for content, message in ((raw[:-1], "whole records of 3073 bytes, not 9218"),
                             (b"", "whole records of 3073 bytes, not 0"),
                             (b"\x0a" + raw[1:], "labels must be below 10, not 10")):
        batch.write_bytes(content)
        with pytest.raises(DataError, match=message):
            load(folder)
    batch.unlink()
    with pytest.raises(DataError, match="data_batch_3.bin: missing from the data set"):
        load(folder)
    batch.write_bytes(raw)
    (folder / "batches.meta.txt").write_text("cat dog")
    with pytest.raises(DataError, match="must name 10 classes, not 2"):
        load(folder)


def test_odd_image_folders_are_refused(pictures):
    from PIL import Image
    folder, _ = pictures
    odd = folder / "train/cat/odd.png"
    Image.new("RGB", (16, 8)).save(odd)
    with pytest.raises(DataError, match="all be square and of one size, not .*16x8"):
        load(folder)
    odd.write_bytes(b"not a picture")
    with pytest.raises(PictureError, match="odd.png: can't be read"):
        load(folder)
    odd.unlink()
    (folder / "test/cat").rename(folder / "test/cow")
    with pytest.raises(DataError, match="class folder cat is missing"):
        load(folder)


def test_a_folder_without_data_is_refused(tmp_path):
    with pytest.raises(DataError, match="holds neither the binary version of CIFAR-10"):
        load(tmp_path)
    with pytest.raises(DataError, match="no such folder"):
        load(tmp_path / "absent")


def test_augmentation_moves_whole_pictures():
    """Every result is a crop of the grey-padded picture or of its mirror, and all shifts occur."""
    rng = torch.Generator().manual_seed(1)
    x = torch.randint(0, 256, (400, 3, 16, 16), generator=rng, dtype=torch.uint8)
    y = augment(x, rng)
    assert y.dtype == torch.uint8 and y.shape == x.shape
    found = set()
    for a, b in zip(x, y):
        crops = {}
        for flip in (0, 1):
            padded = torch.full((3, 20, 20), 128, dtype=torch.uint8)
            padded[:, 2:18, 2:18] = a.flip(2) if flip else a
            crops |= {(flip, r, c): padded[:, r:r + 16, c:c + 16]
                      for r in range(5) for c in range(5)}
        match = [key for key, crop in crops.items() if torch.equal(crop, b)]
        assert len(match) == 1
        found.add(match[0])
    assert len(found) == 50


def test_cutout_is_a_grey_square():
    rng = torch.Generator().manual_seed(1)
    x = torch.zeros(64, 3, 16, 16, dtype=torch.uint8)
    grey = (augment(x, rng, cutout=6)[:, 0, 2:14, 2:14] == 128).sum((1, 2))
    assert grey.max() == 36 and grey.min() < 36


def test_the_same_seed_gives_the_same_pictures():
    x = torch.randint(0, 256, (8, 3, 16, 16), dtype=torch.uint8)
    one, two = (augment(x, torch.Generator().manual_seed(7), cutout=4) for _ in range(2))
    assert torch.equal(one, two)


def test_shrinking_averages_areas():
    x = torch.randint(0, 256, (5, 3, 32, 32), dtype=torch.uint8)
    expected = x.reshape(5, 3, 16, 2, 16, 2).float().mean((3, 5)).round().to(torch.uint8)
    assert torch.equal(shrink(x, 16), expected)
    assert shrink(x, 32) is x


def test_images_suit_a_net_of_their_classes_and_side_alone():
    named, unnamed = ("cat", "dog"), ("class 0", "class 1")

    def check(ours, theirs, side=16):
        images = Images(torch.zeros(1, 3, 16, 16, dtype=torch.uint8), torch.zeros(1).long(), ours)
        check_images(images, side, theirs, "net.pt")

    for ours, theirs in ((named, named), (named, unnamed), (unnamed, named), (named, list(named))):
        check(ours, theirs)
    for arguments, message in (
            ((named, ("dog", "cat")), "net.pt: its class 0 is dog, and the data set's is cat"),
            ((unnamed, (*named, "eel")), "net.pt: tells 3 classes apart, and the data set has 2"),
            ((named, named, 32), "net.pt: images must be 32 pixels a side, not 16")):
        with pytest.raises(DataError, match=message):
            check(*arguments)


def test_the_digest_tells_pixels_labels_and_names_apart():
    def digest(pixel=0, label=0, name="cat"):
        pixels = torch.full((2, 3, 8, 8), pixel, dtype=torch.uint8)
        return Images(pixels, torch.tensor([0, label]), (name, "dog")).digest

    assert digest() == digest()
    assert len({digest(), digest(pixel=1), digest(label=1), digest(name="cow")}) == 4
