"""Distillation: the predictions of trained nets as targets beside the labels.

Source: Hinton, Vinyals and Dean 2015, arXiv 1503.02531, section 2; for nets with 1-bit weights Liu
et al. 2020, arXiv 2003.03488, section 4.3.
"""

import torch
from torch.nn import functional as F

from gen.network import Network

from .checkpoint import restore, variant_of
from .data import check_images
from .paper import model_as
from .recipe import TrainError

__all__ = ["Teacher", "distillation_loss", "load_teachers"]


class Teacher:
    """A trained net that a run learns from.

    Parameters
    ----------
    state : dict
        Its checkpoint, of any :class:`export.paper.Variant`; see
        :func:`export.checkpoint.restore`.
    model : torch.nn.Module
        The net, with the checkpoint's weights.
    """

    def __init__(self, state, model):
        self.model = model.eval().requires_grad_(False)
        self.about = {name: state[name] for name in ("network", "recipe", "history")}

    @torch.no_grad()
    def logits(self, images):
        """float32[n, classes] of uint8[n, 3, h, w] images."""
        return self.model(images).float()


def load_teachers(paths, recipe, images, device):
    """The :class:`Teacher` of each checkpoint of a run on ``images``; there may be none."""
    if bool(paths) != bool(recipe.distil):
        raise TrainError("Teachers' checkpoints and their share of the loss go together: give both "
                         "--teacher and --distil, or neither")
    return [_load(path, images, device) for path in paths]


def _load(path, images, device):
    state = restore(path)
    network = Network.from_dict(state["network"])
    check_images(images, network.side, state["class_names"], path)
    model = model_as(network, variant_of(state))
    model.load_state_dict(state["model"])
    return Teacher(state, model.to(device))


def distillation_loss(logits, taught, temperature):
    """``T² KL(mean of softmax(taught / T) || softmax(logits / T))``, the mean over the batch.

    Parameters
    ----------
    logits : float32[n, classes]
        Of the net that learns.
    taught : list of float32[n, classes]
        Of its teachers.
    temperature : float
        ``T``; with ``T²`` gradients keep their size whatever it is.
    """
    wanted = torch.stack([F.softmax(each / temperature, 1) for each in taught]).mean(0)
    return temperature ** 2 * F.kl_div(F.log_softmax(logits / temperature, 1), wanted,
                                       reduction="batchmean")
