"""Pictures from files, as training, simulation and boards take them."""

import numpy as np

__all__ = ["PictureError", "add_resize", "read"]


class PictureError(ValueError):
    """A file that is no picture; the message is one sentence for the user."""


def add_resize(parser):
    """The option with which pictures may have any size."""
    parser.add_argument("--resize", action="store_true",
                        help="resize pictures to the network's size, as `export train --side` "
                             "does; those that aren't square are squeezed")


def read(path, side=None):
    """uint8[3, h, w] red, green and blue of the file at ``path``, whatever Pillow opens, upright.

    With ``side`` it's resized to so many pixels in height and width: each of them is the mean of
    the area that it covers.

    Raises
    ------
    PictureError
        There's no such file, or it can't be read as an image.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError
    try:
        with Image.open(path) as picture:
            picture = ImageOps.exif_transpose(picture).convert("RGB")
            if side:
                picture = picture.resize((side, side), Image.Resampling.BOX)
            return np.ascontiguousarray(np.asarray(picture).transpose(2, 0, 1))
    except FileNotFoundError:
        raise PictureError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise PictureError(f"{path}: must be a file, not a folder") from None
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
        raise PictureError(f"{path}: can't be read as an image ({error})") from None
