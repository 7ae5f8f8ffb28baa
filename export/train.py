"""The training loop: seeded, resumable, by epochs or by the clock, on one or several processes.

One optimiser step takes ``batch`` images whatever the number of processes: all of them draw the
same order and the same augmentation and each works on its share, so a run with two processes
follows the run with one up to the order of float sums.
"""

import math
import sys
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import torch

from .batches import Batches
from .beginning import HEAD, begin, check_run, check_start, data_of
from .checkpoint import restore, save
from .data import shrink
from .distil import load_teachers
from .learner import Learner, add_noise
from .paper import model_as
from .paths import check_out
from .plain import LEAST_SIDE, PlainNet
from .processes import Processes, check_batch
from .recipe import TrainError

__all__ = ["accuracy", "finished", "train"]

NO_BF16 = "DEFAULT", "AVX2"  # processors as PyTorch names them, without instructions for bfloat16


@torch.no_grad()
def accuracy(model, images, batch=500, ours=slice(None)):
    """Fraction of ``images`` that ``model`` in evaluation mode gets right; with ``ours`` the
    number among that share of them."""
    training, device = model.training, next(model.parameters()).device
    model.eval()
    right = 0
    pixels, labels = images.pixels[ours], images.labels[ours]
    for x, y in zip(pixels.split(batch), labels.split(batch)):
        right += (model(x.to(device)).argmax(1) == y.to(device)).sum().item()
    model.train(training)
    return right if ours != slice(None) else right / len(labels)


class _Course:
    """How far a run is.

    Parameters
    ----------
    recipe : export.recipe.Recipe
    steps : int
        In an epoch.
    processes : export.processes.Processes
    state : dict, optional
        The checkpoint that it goes on from.
    """

    def __init__(self, recipe, steps, processes, state=None):
        state = state or {"epoch": 0, "seen": 0, "elapsed": 0.0, "history": []}
        self.recipe, self.steps, self.processes = recipe, steps, processes
        self.epoch, self.seen, self.history = state["epoch"], state["seen"], state["history"]
        self._began = time.monotonic() - state["elapsed"]

    @property
    def seconds(self):
        """Since the run began, without what lay between its calls."""
        return time.monotonic() - self._began

    def fraction(self, step=0):
        """Of the run that lies behind before the ``step`` of this epoch; all processes' agree."""
        if self.recipe.epochs is not None:
            return (self.epoch * self.steps + step) / (self.recipe.epochs * self.steps)
        return self.processes.agree(self.seconds / 60 / self.recipe.minutes)


def train(network, recipe, images, test, out, device="cpu", resume=False, stop_after=None,
          start=None, teachers=(), log=print):
    """Train and leave a checkpoint at ``out``, written after every epoch.

    Parameters
    ----------
    network : gen.network.Network
        Its shifts are chosen by :func:`export.model.calibrate`, not taken.
    recipe : Recipe
    images, test : export.data.Images
    out : path
    device : str
        ``"cpu"`` or ``"cuda"``.
    resume : bool
        Go on from ``out``, with the same options and data; the result is that of a run without
        interruption, where its length is in epochs. Without it ``out`` mustn't exist.
    stop_after : int, optional
        End after this many epochs of this call.
    start : path, optional
        Checkpoint of another run whose weights this run begins with, adapted to ``network`` (see
        :func:`export.adapt.adapted`), the head's only where it has the same classes. Its recipe
        and history are kept under ``"before"``.
        ``resume`` doesn't need it again.
    teachers : sequence of path
        Checkpoints of nets whose predictions have the share ``recipe.distil`` of the loss. They see
        the images that the network sees, at their full size. ``resume`` needs them again.
    log : callable
        Takes one line per epoch.

    Returns
    -------
    dict
        The last checkpoint, in the first process. Its accuracy on ``test`` is of the last epoch:
        none is picked.
    """
    out = Path(out)
    check_out(out)
    if not resume and out.exists():
        raise TrainError(f"{out}: exists already; go on with its run with --resume, or name "
                         f"another --out")
    processes = Processes(device)
    device = processes.device
    check_batch(recipe, processes)
    if recipe.batch > len(images):
        raise TrainError(f"Batch must be at most the {len(images)} training images, "
                         f"not {recipe.batch}")
    least = min([images.side, *(side for side, _ in recipe.sides)])
    if recipe.net == "plain" and least < LEAST_SIDE:
        raise TrainError(f"A plain net needs images of at least {LEAST_SIDE} pixels, not {least}")
    network = replace(network, side=images.side, classes=len(images.class_names))
    taught_by = load_teachers(teachers, recipe, images, device)
    about_teachers = [teacher.about for teacher in taught_by]
    beginning = begin(out, network, recipe, images, test, resume, start, about_teachers)
    learner = _learner(beginning, recipe, processes, taught_by, images)
    if (recipe.amp == "bf16" and device.type == "cpu" and processes.rank == 0
            and torch.backends.cpu.get_cpu_capability() in NO_BF16):
        log("this processor has no instructions for bfloat16: --amp off is some ten times faster")
    if start and not resume and HEAD not in beginning.weights and processes.rank == 0:
        log(f"{start}: was trained for other classes, so the head begins anew")
    about = {"format": "signstream-checkpoint", "network": beginning.network.to_dict(),
             "recipe": recipe.settings, "class_names": list(images.class_names),
             "train_images": len(images), "before": list(beginning.before),
             "start": beginning.start, "data": data_of(images, test), "teachers": about_teachers}
    batches = Batches(images, recipe, processes, bool(taught_by))
    course = _Course(recipe, len(batches), processes, beginning.state)
    state, first, t = beginning.state, course.epoch, course.fraction()
    while t < 1 and (stop_after is None or course.epoch < first + stop_after):
        began = course.seconds
        sums = _epoch(learner, batches, course, _bar(range(len(batches)), course, processes))
        loss, right, count = processes.total(*sums)
        # The clock may run out while an epoch is measured: then that one's figure becomes exact.
        last = None if count or not course.history else course.history.pop()
        course.epoch += last is None
        t = course.fraction()
        side = last["side"] if last else batches.side
        small = replace(test, pixels=shrink(test.pixels, side)) if side else test
        # The last figure is exact; exact ones of a wide net would take a good part of each epoch.
        with nullcontext() if t >= 1 else learner.mixed:
            hits, = processes.total(accuracy(learner.model, small, ours=batches.share))
        seconds = course.seconds
        course.history.append({
            **(last or {"epoch": course.epoch, "seen": course.seen, "side": side,
                        "loss": round(loss / max(count, 1), 4),
                        "train": round(right / max(count, 1), 4)}),
            "seconds": round(seconds, 1), "test": hits / len(test)})
        if processes.rank == 0:
            state = {**about, "model": learner.model.state_dict(),
                     "optimiser": learner.optimiser.state_dict(), "epoch": course.epoch,
                     "seen": course.seen, "elapsed": seconds, "history": course.history,
                     "finished": t >= 1}
            save(out, state)
            log(_line(course, t, count / (seconds - began)))
    del learner
    processes.close()
    return state if processes.rank == 0 else None


def _learner(beginning, recipe, processes, teachers, images):
    """The :class:`.learner.Learner` at the beginning, or at where its run goes on."""
    torch.manual_seed(recipe.seed)
    model = model_as(beginning.network, recipe.variant).to(processes.device)
    if beginning.weights:
        tensors = model.state_dict()
        new = {HEAD: tensors[HEAD]} if HEAD in tensors else {}
        model.load_state_dict(new | beginning.weights)
    elif isinstance(model, PlainNet):
        model.fit(images.pixels)
    if not beginning.state:
        add_noise(model, recipe.noise)
    learner = Learner(model, recipe, processes.size, teachers)
    if beginning.state:
        learner.optimiser.load_state_dict(beginning.state["optimiser"])
    return learner


def _epoch(learner, batches, course, steps):
    """Train on the ``steps`` of an epoch, or what time is left for: the sum of the losses, how many
    images were right, and how many there were, of this process."""
    loss_sum = right = count = 0.0
    learner.model.train()
    for t, x, y, whole in batches.of_epoch(course.epoch, steps, course.fraction):
        loss, hits = learner.step(x, y, t, whole)
        course.seen += learner.recipe.batch
        count += len(y)
        loss_sum += loss * len(y)
        right += hits
    if not math.isfinite(loss_sum):
        raise TrainError(f"The loss is not finite in epoch {course.epoch + 1}; lower the rate "
                         f"{learner.recipe.rate}")
    return loss_sum, right, count


def _line(course, t, speed):
    """What's told of the last epoch; ``speed``: images/s."""
    last, epochs = course.history[-1], course.recipe.epochs
    length = f"/{epochs}" if epochs else f" ({100 * min(t, 1):.0f} %)"
    return (f"epoch {last['epoch']}{length}  side {last['side']}  loss {last['loss']:.3f}  "
            f"train {100 * last['train']:.2f} %  test {100 * last['test']:.2f} %  "
            f"{speed:.0f} img/s  {last['seconds']:.0f} s")


def finished(network, recipe, images, test, out, device="cpu", start=None, log=print):
    """The last checkpoint of the run at ``out``, which is made, gone on with, or there already;
    parameters as for :func:`train`. A run there of another start, recipe or data is refused."""
    out = Path(out)
    done = restore(out) if out.exists() else None
    if done:
        check_start(out, done, start)
        check_run(out, done, network, recipe, images, test)
        if done["finished"]:
            return done
    return train(network, recipe, images, test, out, device, done is not None, start=start,
                 log=log)


def _bar(steps, course, processes):
    """``steps`` behind a progress bar, on a terminal and where tqdm is installed."""
    if processes.rank or not sys.stderr.isatty():
        return steps
    try:
        from tqdm import tqdm
    except ImportError:
        return steps
    return tqdm(steps, f"epoch {course.epoch + 1}", leave=False)
