"""Image data sets and augmentation, in uint8 until the model.

Reads the official binary versions of CIFAR-10 (``data_batch_1.bin`` ... ``test_batch.bin``) and
CIFAR-100 (``train.bin``, ``test.bin``), and folders ``train/CLASS/*.png`` with ``test/CLASS/``.
"""

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from gen import picture

__all__ = ["DataError", "Images", "augment", "check_images", "load", "same_classes", "shrink",
           "spare_names"]

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".ppm", ".webp"}
SIDE = 32  # of both CIFAR sets, in pixels


class DataError(ValueError):
    """A data set that can't be used; the message is one sentence for the user."""


@dataclass(frozen=True, eq=False)
class Images:
    """uint8[n, 3, side, side] pixels, int64[n] labels and the classes' names."""

    pixels: torch.Tensor
    labels: torch.Tensor
    class_names: tuple

    def __len__(self):
        return len(self.labels)

    @property
    def side(self):
        """Height and width in pixels."""
        return self.pixels.shape[-1]

    @cached_property
    def digest(self):
        """Hexadecimal identity of the images, their labels and the classes' names."""
        h = hashlib.blake2s(repr((tuple(self.pixels.shape), self.class_names)).encode())
        for tensor in (self.pixels, self.labels):
            h.update(tensor.reshape(-1).numpy())
        return h.hexdigest()

    def head(self, count):
        """The first ``count`` images."""
        return replace(self, pixels=self.pixels[:count], labels=self.labels[:count])

    def of_classes(self, count):
        """These images for a net that tells ``count`` classes apart: spare ones, which no image is
        of, follow those that there are.

        Raises
        ------
        DataError
            There are more than ``count``.
        """
        there = len(self.class_names)
        if count < there:
            raise DataError(f"Classes must be at least the {there} of the data set, not {count}")
        return replace(self, class_names=tuple(self.class_names) + spare_names(there, count))

    def for_net(self, class_names):
        """These images for a net of ``class_names``, with the spare ones of those."""
        there, count = len(self.class_names), len(class_names)
        if count > there and tuple(class_names[there:]) == spare_names(there, count):
            return self.of_classes(count)
        return self


def load(folder, side=None):
    """``(train, test)`` of the data set in ``folder``.

    Parameters
    ----------
    side : int, optional
        Resize the pictures of an image folder to this height and width. CIFAR stays 32.

    Raises
    ------
    DataError
        There is no known data set, or a file of it is missing, truncated or out of range.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder")
    for sub in ("cifar-10-batches-bin", "cifar-100-binary"):
        if (folder / sub).is_dir():
            folder /= sub
            break
    if (folder / "test_batch.bin").exists() or (folder / "data_batch_1.bin").exists():
        names = _names(folder / "batches.meta.txt", 10)
        return (_cifar([folder / f"data_batch_{k}.bin" for k in range(1, 6)], names, 1),
                _cifar([folder / "test_batch.bin"], names, 1))
    if (folder / "train.bin").exists() or (folder / "test.bin").exists():
        names = _names(folder / "fine_label_names.txt", 100)
        return tuple(_cifar([folder / f"{part}.bin"], names, 2) for part in ("train", "test"))
    if (folder / "train").is_dir():
        return _folders(folder, side)
    raise DataError(f"{folder}: holds neither the binary version of CIFAR-10 (data_batch_1.bin) "
                    f"or CIFAR-100 (train.bin) nor class folders train/CLASS and test/CLASS")


def check_images(images, side, class_names, whose):
    """Refuse ``images`` for the net ``whose``, trained for ``class_names`` and ``side`` pixels.

    Names that were made up, because a data set had none, are those of any classes.

    Raises
    ------
    DataError
        Number or names of the classes differ, or the side.
    """
    ours, theirs = tuple(images.class_names), tuple(class_names)
    if len(ours) != len(theirs):
        spare = images.for_net(theirs) is not images
        raise DataError(f"{whose}: tells {len(theirs)} classes apart, and the data set has "
                        f"{len(ours)}; give the data set that it was trained for"
                        + f" and --classes {len(theirs)}" * spare)
    if not same_classes(ours, theirs):
        for number, (our, their) in enumerate(zip(ours, theirs)):
            if our != their:
                raise DataError(f"{whose}: its class {number} is {their}, and the data set's is "
                                f"{our}; give the data set that it was trained for")
    if images.side != side:
        raise DataError(f"{whose}: images must be {side} pixels a side, not {images.side}; "
                        f"--side {side} resizes those of an image folder")


def same_classes(ours, theirs):
    """Whether two nets' or data sets' classes, by their names, are the same ones."""
    ours, theirs = tuple(ours), tuple(theirs)
    return ours == theirs or len(ours) == len(theirs) and _unnamed(len(ours)) in (ours, theirs)


def spare_names(first, count):
    """What spare classes are called, from number ``first`` of ``count`` on."""
    return tuple(f"spare {j}" for j in range(first, count))


def _unnamed(classes):
    return tuple(f"class {j}" for j in range(classes))


def _names(path, classes):
    if not path.exists():
        return _unnamed(classes)
    names = tuple(path.read_text().split())
    if len(names) != classes:
        raise DataError(f"{path}: must name {classes} classes, not {len(names)}")
    return names


def _cifar(paths, names, label_bytes):
    """A record is the label bytes (CIFAR-100: coarse, then fine) and 3 planes of 32x32 bytes."""
    size = label_bytes + 3 * SIDE * SIDE
    parts = []
    for path in paths:
        if not path.exists():
            raise DataError(f"{path}: missing from the data set")
        raw = np.fromfile(path, np.uint8)
        if not raw.size or raw.size % size:
            raise DataError(f"{path}: must be whole records of {size} bytes, "
                            f"not {raw.size} bytes")
        parts.append(raw.reshape(-1, size))
        worst = int(parts[-1][:, label_bytes - 1].max())
        if worst >= len(names):
            raise DataError(f"{path}: labels must be below {len(names)}, not {worst}")
    records = torch.from_numpy(np.concatenate(parts))
    return Images(records[:, label_bytes:].reshape(-1, 3, SIDE, SIDE).contiguous(),
                  records[:, label_bytes - 1].long(), names)


def _folders(folder, side):
    names = tuple(sorted(p.name for p in (folder / "train").iterdir() if p.is_dir()))
    if len(names) < 2:
        raise DataError(f"{folder / 'train'}: must hold at least 2 class folders, "
                        f"not {len(names)}")
    sets = []
    for part in ("train", "test"):
        pixels, labels = [], []
        for label, name in enumerate(names):
            if not (folder / part / name).is_dir():
                raise DataError(f"{folder / part}: class folder {name} is missing")
            paths = sorted(p for p in (folder / part / name).iterdir()
                           if p.suffix.lower() in SUFFIXES)
            if not paths:
                raise DataError(f"{folder / part / name}: holds no pictures")
            pixels += [picture.read(path, side) for path in paths]
            labels += [label] * len(paths)
        shapes = sorted({p.shape for p in pixels})
        if len(shapes) > 1 or shapes[0][1] != shapes[0][2]:
            sizes = ", ".join(f"{w}x{h}" for _, h, w in shapes[:3])
            raise DataError(f"{folder / part}: pictures must all be square and of one size, not "
                            f"{sizes}; resize them with --side N")
        sets.append(Images(torch.from_numpy(np.stack(pixels)), torch.tensor(labels), names))
    if sets[0].side != sets[1].side:
        raise DataError(f"{folder}: test pictures must be {sets[0].side} pixels like the "
                        f"training pictures, not {sets[1].side}; resize them with --side N")
    return tuple(sets)


def shrink(pixels, side):
    """uint8[n, 3, side, side]: each pixel the mean of the area it covers."""
    if pixels.shape[-1] == side:
        return pixels
    return torch.cat([F.interpolate(part.float(), size=(side, side), mode="area")
                      .round_().to(torch.uint8) for part in pixels.split(4096)])


def augment(pixels, generator, cutout=0):
    """Random flip, shift and cutout of uint8[n, 3, side, side], by batch.

    Shifts go up to an eighth of the side and bring in the mid grey 128, the value that the
    network takes for zero. The cut-out square of ``cutout`` pixels is grey as well and may
    overhang the border.
    """
    n, _, side, _ = pixels.shape
    pad = side // 8
    device = pixels.device

    def draw(high, *shape):
        return torch.randint(0, high, shape, generator=generator).to(device)

    flip = draw(2, n, 1, 1, 1).bool()
    down, across = draw(2 * pad + 1, 2, n)
    x = torch.where(flip, pixels.flip(3), pixels)
    windows = F.pad(x, (pad,) * 4, value=128).unfold(2, side, 1).unfold(3, side, 1)
    x = windows[torch.arange(n, device=device), :, down, across]
    if cutout:
        centre = draw(side, 2, n, 1)
        inside = (torch.arange(side, device=device) - centre).add_(cutout // 2)
        inside = (inside >= 0) & (inside < cutout)
        x = x.masked_fill((inside[0][:, :, None] & inside[1][:, None])[:, None], 128)
    return x
