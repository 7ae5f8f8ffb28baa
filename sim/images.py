"""Images for simulations: the sample that comes with the project, data set files, PNG files."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gen import picture

__all__ = ["Images", "ImagesError", "fit", "load", "sample"]

SAMPLE = Path(__file__).parent / "testdata" / "cifar10-sample.npz"
RECORD = 1 + 3 * 32 * 32       # a CIFAR-10 record: label, red, green and blue plane


class ImagesError(ValueError):
    """Images that can't be used; the message is one sentence for the user."""


@dataclass(frozen=True, eq=False)
class Images:
    """Test images and what's known of them.

    Members
    -------
    pixels : uint8[n, 3, h, w]
    labels : tuple of int or None
        True class of each image, None where nobody says.
    names : tuple of str
        What to call each image in a report.
    class_names : tuple of str
        Empty where nobody says.
    """

    pixels: np.ndarray
    labels: tuple
    names: tuple
    class_names: tuple = ()

    def __len__(self):
        return len(self.pixels)

    def first(self, count):
        """The first ``count`` images; :class:`ImagesError` where there are fewer."""
        if not 1 <= count <= len(self):
            raise ImagesError(f"Number of images must be 1 to {len(self)}, not {count}")
        return Images(self.pixels[:count], self.labels[:count], self.names[:count],
                      self.class_names)

    def one(self, index):
        """The image at ``index`` alone; :class:`ImagesError` where there's none."""
        if not 0 <= index < len(self):
            raise ImagesError(f"Image must be 0 to {len(self) - 1}, not {index}")
        there = slice(index, index + 1)
        return Images(self.pixels[there], self.labels[there], self.names[there], self.class_names)


def sample():
    """The 300 CIFAR-10 test images of ``sim/testdata``, classes mixed."""
    return load([SAMPLE])


def load(paths, side=None):
    """Images from files of one kind or several, in order.

    ``.npz`` (``images`` uint8[n, 3, h, w], optionally ``labels``, ``class_names``), ``.bin``
    (CIFAR-10 records) and pictures, these resized to ``side`` if that's given.

    Raises
    ------
    ImagesError, gen.picture.PictureError
        A file is absent, isn't what its name says, or differs in size from the first.
    """
    parts = []
    for path in map(Path, paths):
        reader = {".npz": _npz, ".bin": _records}.get(
            path.suffix.lower(), lambda path: _picture(path, side))
        try:
            parts.append(reader(path))
        except FileNotFoundError:
            raise ImagesError(f"{path}: no such file") from None
        except IsADirectoryError:
            raise ImagesError(f"{path}: must be a file, not a folder") from None
        size, wanted = parts[-1].pixels.shape[2:], parts[0].pixels.shape[2:]
        if size != wanted:
            raise ImagesError(f"{path}: image must be {wanted[1]}x{wanted[0]} pixels like the "
                              f"first one, not {size[1]}x{size[0]}")
    if not parts:
        raise ImagesError("At least one image file is needed")
    return Images(np.concatenate([p.pixels for p in parts]),
                  sum((p.labels for p in parts), ()), sum((p.names for p in parts), ()),
                  max((p.class_names for p in parts), key=len))


def fit(pixels, side):
    """``uint8[n, 3, side, side]`` from images of another size: the middle, or copies side by side.

    For networks of other image sides than the sample's; the content matters little there.
    """
    height, width = pixels.shape[2:]
    if height < side or width < side:
        pixels = np.tile(pixels, (1, 1, -(-side // height), -(-side // width)))
        height, width = pixels.shape[2:]
    top, left = (height - side) // 2, (width - side) // 2
    return np.ascontiguousarray(pixels[:, :, top:top + side, left:left + side])


def _npz(path):
    pixels, labels, classes = _arrays(path)
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[1] != 3 or not len(pixels):
        raise ImagesError(f"{path}: images must be uint8[n, 3, h, w], "
                          f"not {pixels.dtype}{list(pixels.shape)}")
    names = tuple(f"{path.stem}[{i}]" for i in range(len(pixels)))
    classes = () if classes is None else _class_names(path, classes)
    labels = (None,) * len(pixels) if labels is None else _labels(path, labels, len(classes))
    if len(labels) != len(pixels):
        raise ImagesError(f"{path}: labels must be {len(pixels)}, not {len(labels)}")
    return Images(pixels, labels, names, classes)


def _arrays(path):
    """``images``, ``labels`` and ``class_names`` of an npz file, None for those it lacks."""
    import zipfile
    import zlib
    try:
        z = np.load(path, allow_pickle=False)
        if isinstance(z, np.ndarray):
            raise ValueError("it's an array without a name")
        with z:     # as bytes comes what isn't an array
            return np.asarray(z["images"]), *(np.asarray(z[name]) if name in z else None
                                              for name in ("labels", "class_names"))
    except (KeyError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ImagesError(f"{path}: not an npz file with images ({error})") from None


def _class_names(path, names):
    if names.dtype.kind != "U" or names.ndim != 1:
        raise ImagesError(f"{path}: class_names must be a row of strings, "
                          f"not {names.dtype}{list(names.shape)}")
    return tuple(names.tolist())


def _labels(path, labels, classes):
    """Labels as integers; ``classes`` is how many have a name, 0 where nobody says."""
    if labels.dtype.kind not in "iu" or labels.ndim != 1:
        raise ImagesError(f"{path}: labels must be a row of integers, "
                          f"not {labels.dtype}{list(labels.shape)}")
    labels = tuple(labels.tolist())
    for label in labels:
        if label < 0 or classes and label >= classes:
            wanted = f"0 to {classes - 1}" if classes else "at least 0"
            raise ImagesError(f"{path}: labels must be {wanted}, not {label}")
    return labels


def _records(path):
    raw = np.fromfile(path, np.uint8)
    if not len(raw) or len(raw) % RECORD:
        raise ImagesError(f"{path}: CIFAR-10 records take {RECORD} bytes each, "
                          f"{len(raw)} bytes are no whole number of them")
    raw = raw.reshape(-1, RECORD)
    return Images(raw[:, 1:].reshape(-1, 3, 32, 32), tuple(raw[:, 0].tolist()),
                  tuple(f"{path.stem}[{i}]" for i in range(len(raw))))


def _picture(path, side):
    return Images(picture.read(path, side)[None], (None,), (path.name,))
