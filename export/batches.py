"""The images of a run's steps."""

import torch

from .data import augment, shrink

__all__ = ["Batches"]


class Batches:
    """What the steps of a run work on, in this process.

    All processes draw the same order and the same augmentation, and each takes its share.

    Parameters
    ----------
    images : export.data.Images
    recipe : export.recipe.Recipe
    processes : export.processes.Processes
    teachers : bool
        They want the images at full size as well.

    Members
    -------
    side : int
        Of the last images, pixels; ``None`` before the first.
    share : slice
        This process's of a batch.
    """

    def __init__(self, images, recipe, processes, teachers=False):
        self.images, self.recipe, self.device = images, recipe, processes.device
        self.teachers, self.side = teachers, None
        self.share = slice(processes.rank, None, processes.size)

    def __len__(self):
        return len(self.images) // self.recipe.batch

    def of_epoch(self, epoch, steps, fraction):
        """Yield ``(t, x, y, whole)`` for each of ``steps``, 0 and up: the fraction of the run that
        lies behind, images uint8[n, 3, side, side], their classes int64[n], and the images at full
        size or ``None``. Ends early where ``fraction(step)`` reaches 1."""
        images, recipe = self.images, self.recipe
        generator = torch.Generator().manual_seed(recipe.seed * 1_000_003 + epoch)
        order = torch.randperm(len(images), generator=generator)
        for step in steps:
            t = fraction(step)
            if t >= 1:
                return
            side, whole = recipe.side_at(t, images.side), None
            chosen = order[step * recipe.batch:(step + 1) * recipe.batch]
            if self.teachers:
                whole = self._ours(augment(images.pixels[chosen], generator, recipe.cutout))
                x = shrink(whole, side)
            else:
                if self.side != side:
                    self._pixels = shrink(images.pixels, side)
                cutout = recipe.cutout * side // images.side
                x = self._ours(augment(self._pixels[chosen], generator, cutout))
            self.side = side
            yield t, x, self._ours(images.labels[chosen]), whole

    def _ours(self, batch):
        return batch[self.share].to(self.device)
