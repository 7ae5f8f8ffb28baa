"""One optimiser step of a training run."""

import math
from contextlib import nullcontext

import torch
from torch.nn import functional as F

from .distil import distillation_loss
from .model import WRN, filter_means
from .passes import compiled
from .plain import PlainNet
from .plain import optimiser as plain_optimiser

__all__ = ["Learner", "add_noise"]


class Learner:
    """A net, its optimiser, and the step that a recipe makes of them.

    Parameters
    ----------
    model : torch.nn.Module
        Of :func:`export.paper.model_as`, on its device, with the weights that training begins with.
    recipe : export.recipe.Recipe
    processes : int
        Those that share each step; all of them make their own learner.
    teachers : list of export.distil.Teacher

    Members
    -------
    model, optimiser
    mixed : context manager
        In which convolutions have the precision of the recipe.

    Raises
    ------
    export.passes.CompileError
        The recipe wants a compiled model and there can't be one here.
    """

    def __init__(self, model, recipe, processes=1, teachers=()):
        self.model, self.recipe, self.teachers = model, recipe, teachers
        device = next(model.parameters()).device
        self.optimiser = _optimiser(model, recipe)
        if recipe.compile:
            passes = compiled(device)
            for net in (model, *(teacher.model for teacher in teachers)):
                if isinstance(net, WRN):
                    net.passes = passes
        # Gradients are written where they're sent from: those of a wide net are many.
        self._parallel = (torch.nn.parallel.DistributedDataParallel(
            model, gradient_as_bucket_view=True) if processes > 1 else model)
        self.mixed = (torch.autocast(device.type, torch.bfloat16) if recipe.amp == "bf16"
                      else nullcontext())

    def step(self, x, y, t, whole=None):
        """Learn from images ``x``, uint8[n, 3, h, w], of the classes ``y``, int64[n], at fraction
        ``t`` of the run; ``whole`` are the images at full size, for the teachers.

        Returns ``(loss, right)``: the mean over this process's images and how many were right.
        """
        recipe = self.recipe
        for group in self.optimiser.param_groups:
            group["lr"] = group["peak"] * recipe.rate_factor(t)
        self.model.rounding = t >= recipe.round_from
        with self.mixed:
            taught = [teacher.logits(whole) for teacher in self.teachers]
            logits = self._parallel(x)
        loss = F.cross_entropy(logits.float(), y, label_smoothing=recipe.smoothing)
        if self.teachers:
            from_them = distillation_loss(logits.float(), taught, recipe.temperature)
            loss = (1 - recipe.distil) * loss + recipe.distil * from_them
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        if isinstance(self.model, PlainNet):
            self.optimiser.look_ahead(t)
        if recipe.normalise:
            _normalise(self.model)
        return loss.item(), (logits.argmax(1) == y).sum().item()


def _optimiser(model, recipe):
    """Each of its groups has its rate at the peak under ``"peak"``."""
    if isinstance(model, PlainNet):
        return plain_optimiser(model, recipe.rate, recipe.batch)
    return torch.optim.Adam([
        {"params": [sign.latent for sign in model.signs.values()], "peak": recipe.rate},
        {"params": [model.log_scale], "peak": recipe.scale_rate}], lr=0.0, fused=True)


@torch.no_grad()
def add_noise(model, noise):
    """Add ``noise``, relative to their standard deviation, to each layer's latents."""
    if not noise:
        return
    for sign in model.signs.values():
        sign.latent += noise * sign.latent.std() * torch.randn_like(sign.latent)


@torch.no_grad()
def _normalise(model):
    for sign in model.signs.values():
        sign.latent.sub_(filter_means(sign.latent))
        # Their mean is 0 now, and the norm is six times as fast as std().
        spread = torch.linalg.vector_norm(sign.latent) / math.sqrt(sign.latent.numel() - 1)
        sign.latent.div_(spread)
