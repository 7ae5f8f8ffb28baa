"""From a checkpoint to the network package that the hardware side reads, and its evaluation."""

from datetime import UTC, datetime

import numpy as np

from gen.network import Network
from gen.package import Package

from .checkpoint import variant_of
from .data import check_images
from .model import WRN
from .paper import OURS
from .train import accuracy

__all__ = ["PackError", "evaluate", "model_of", "pack"]

GOLDEN_BATCH = 250


class PackError(ValueError):
    """A net that can't be packed; the message is one sentence for the user."""


def model_of(source):
    """A :class:`export.model.WRN` in evaluation mode, of a checkpoint dict or a ``Package``."""
    if isinstance(source, Package):
        model = WRN(source.network)
        model.load_weights(source.weights)
    else:
        if variant_of(source) != OURS:
            raise PackError(f"The hardware runs nets with {OURS}, not {variant_of(source)}")
        model = WRN(Network.from_dict(source["network"]))
        try:
            model.load_state_dict(source["model"])
        except RuntimeError:
            raise PackError(f"The checkpoint's tensors are not those of "
                            f"{model.network.name}; train it again") from None
    return model.eval()


def evaluate(package, images, log=lambda line: None):
    """``(PyTorch's accuracy, the golden model's)`` on ``images``, as fractions.

    Raises
    ------
    PackError
        The two disagree in a score of an image: one of them is wrong.
    DataError
        The images are not of the network's classes and side.
    """
    from sim.golden import Golden
    images = images.for_net(package.class_names)
    check_images(images, package.network.side, package.class_names, package.network.name)
    model, golden, right = model_of(package), Golden(package), 0
    ours = accuracy(model, images)
    for begin in range(0, len(images), GOLDEN_BATCH):
        part = slice(begin, begin + GOLDEN_BATCH)
        pixels, labels = images.pixels[part], images.labels[part].numpy()
        scores = golden.run(pixels.numpy()).scores
        wrong = np.flatnonzero((scores != model.run(pixels)[0]).any(1))
        if len(wrong):
            raise PackError(f"PyTorch and the golden model differ on image {begin + wrong[0]}: "
                            f"please report this with the package")
        right += int((scores.argmax(1) == labels).sum())
        log(f"{begin + len(labels)}/{len(images)} images  golden "
            f"{100 * right / (begin + len(labels)):.2f} %")
    return ours, right / len(images)


def pack(checkpoint, test=None, notes=None, log=lambda line: None):
    """The package of a checkpoint, with the golden model's accuracy on ``test`` if given.

    Parameters
    ----------
    checkpoint : dict
        From :func:`export.checkpoint.restore`.
    test : export.data.Images, optional
    notes : dict, optional
        More entries for the package's ``training``: the data, remarks.

    Raises
    ------
    PackError
        A latent weight is not finite, or the two models disagree.
    """
    model = model_of(checkpoint)
    for name, sign in model.signs.items():
        if not sign.latent.isfinite().all():
            raise PackError(f"{name}: latent weights must be finite, the training diverged; "
                            f"lower the rate")
    training = {"recipe": checkpoint["recipe"], "epochs": checkpoint["epoch"],
                "images_seen": checkpoint["seen"], "seconds": round(checkpoint["elapsed"]),
                "finished": checkpoint["finished"], "train_images": checkpoint["train_images"],
                **{kind: [{"recipe": run["recipe"], "epochs": run["history"][-1]["epoch"]}
                          for run in checkpoint.get(kind, [])] for kind in ("before", "teachers")},
                "date": datetime.now(UTC).date().isoformat(), **(notes or {})}
    package = Package(model.network, model.weights(), checkpoint["class_names"], training)
    if test is None:
        return package
    _, golden = evaluate(package, test, log)
    return Package(package.network, package.weights, package.class_names, training, golden,
                   len(test))
