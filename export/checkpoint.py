"""Checkpoints of training runs: what's in them, and what another run may start from."""

import hashlib
import json

import torch

from gen.files import whole

from .model import centred
from .paper import OURS, Variant
from .recipe import VARIANT, TrainError

__all__ = ["digest", "keep", "lineage", "restore", "restore_ours", "save", "variant_of"]

KEPT = ("network", "recipe", "class_names", "train_images", "model", "epoch", "seen", "elapsed",
        "history", "finished")  # in every checkpoint, whatever version wrote it


def restore(path):
    """The checkpoint at ``path`` as a dict; raises :class:`TrainError` if it isn't one."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        if state["format"] != "signstream-checkpoint":
            raise KeyError
        lacks = [name for name in KEPT if name not in state]
    except FileNotFoundError:
        raise TrainError(f"{path}: no such checkpoint") from None
    except Exception:  # torch.load raises a dozen kinds for damaged files
        raise TrainError(f"{path}: not a signstream checkpoint, or damaged") from None
    if lacks:
        raise TrainError(f"{path}: not a whole checkpoint, it lacks {', '.join(lacks)}")
    return state


def restore_ours(path, why, floats=False):
    """The checkpoint at ``path`` of a net for the hardware, with ``floats`` also of one with
    floating-point activations; raises :class:`TrainError` if it's of another, with ``why`` in its
    sentence."""
    state = restore(path)
    if not (variant_of(state).ours if floats else variant_of(state) == OURS):
        raise TrainError(f"{path}: has a net with {variant_of(state)}; {why} with {OURS}")
    return state


def save(path, state):
    """Write the checkpoint ``state``, a dict, to ``path``; one that's there is replaced whole."""
    with whole(path) as partial:
        torch.save(state, partial)


def _short(latent):
    """``latent`` centred and in bfloat16, with no sign changed: those that are too near their
    filter's mean for that are moved away. (108 of WRN-20-2's signs cost it half a point.)"""
    x = centred(latent)
    least = 0.01 * x.std(tuple(range(1, x.dim())), keepdim=True)
    return torch.where(x > 0, x.clamp(min=least), x.clamp(max=-least)).to(torch.bfloat16)


def keep(state, path):
    """Write the checkpoint ``state`` as one that another run can start or learn from: latents in
    bfloat16 and no optimiser, a sixth of the size. Weights of one bit are the same ones; those of
    32 are rounded."""
    signs = variant_of(state).weight_bits == 1
    tensors = {name: value if value.dim() < 2
               else _short(value) if signs and name.endswith(".latent")
               else value.to(torch.bfloat16) for name, value in state["model"].items()}
    rest = {name: value for name, value in state.items() if name != "optimiser"}
    save(path, {**rest, "model": tensors})


def digest(state):
    """Hexadecimal identity of a checkpoint's network and weights."""
    h = hashlib.blake2s(json.dumps(state["network"], sort_keys=True).encode())
    for name, value in sorted(state["model"].items()):
        h.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        h.update(value.reshape(-1).view(torch.uint8).numpy())
    return h.hexdigest()


def variant_of(state):
    """The :class:`export.paper.Variant` of a checkpoint."""
    return Variant(**{name: state["recipe"].get(name, getattr(OURS, name)) for name in VARIANT})


def lineage(state):
    """The runs that led to the checkpoint ``state``, its own last."""
    return [*state.get("before", []),
            {"teachers": state.get("teachers", []),
             **{name: state[name] for name in ("network", "recipe", "history", "class_names")}}]
