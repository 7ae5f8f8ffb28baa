"""A trained network as the start of another: wider, in other number formats, or for other images.

Widening copies every channel and keeps the function (Net2Net: Chen et al. 2015, arXiv 1511.05641).
With ±1 weights and power-of-two scales it's exact in integers: ``k`` copies of the inputs make
every sum ``k`` times as large, and log2(k) more shift takes that back before the rounding.
"""

import math
from dataclasses import replace

import torch

__all__ = ["AdaptError", "adapted"]


class AdaptError(ValueError):
    """A network that can't start from another; the message is one sentence for the user."""


def adapted(parent, state, network):
    """``(network, state)``: ``network`` with the shifts, and the tensors, that make it compute
    what ``parent`` does, as far as its formats allow; the head's is for the parent's classes.

    Parameters
    ----------
    parent : gen.network.Network
    state : dict
        The tensors of the parent's :class:`export.model.WRN`.
    network : gen.network.Network
        What is wanted; its width is the parent's times a power of two. Its shifts are not read.
        Nothing but the head depends on the number of classes, and nothing on the side.

    Raises
    ------
    AdaptError
        The depth differs, or the width isn't a multiple by a power of two.
    """
    if network.depth != parent.depth:
        raise AdaptError(f"A network can start only from one of the same depth, {network.depth}, "
                         f"not {parent.depth}")
    copies, rest = divmod(network.width, parent.width)
    if rest or copies & copies - 1:
        raise AdaptError(f"A network can start only from one of its width {network.width}, or that "
                         f"halved as often as you like, not {parent.width}")
    wider = int(math.log2(copies))
    act = network.act_frac - parent.act_frac
    res = network.res_frac - parent.res_frac
    change = {"stem": -res, "first": wider, "second": wider + act - res}
    network = replace(network,
                      shifts=tuple(conv.shift + change[conv.kind] for conv in parent.convs),
                      entries=tuple(entry + res - act for entry in parent.entries))
    state = dict(state)
    for name in network.weight_shapes:
        latent = state[f"signs.{name}.latent"]
        if name != "head":
            latent = latent.repeat_interleave(copies, 0)
        if name != "stem":
            latent = latent.repeat_interleave(copies, 1)
        state[f"signs.{name}.latent"] = latent
    state["log_scale"] = state["log_scale"] - torch.tensor(math.log(copies * 2.0 ** act))
    return network, state
