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

from gen.network import Network

from .adapt import adapted
from .checkpoint import digest, lineage, restore, restore_ours, save, variant_of
from .data import augment, check_images, shrink
from .distil import Teacher
from .learner import Learner, add_noise
from .model import calibrate
from .paper import OURS, model_as
from .paths import check_out
from .processes import Processes, check_batch
from .recipe import Recipe, TrainError

__all__ = ["accuracy", "finished", "train"]

# What the command line decides of a run's network; data and calibration decide the rest.
NETWORK_OPTIONS = "depth", "width", "act_bits", "act_frac", "res_bits", "res_frac"
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


def _teacher(path, images, device):
    """The :class:`.distil.Teacher` with the checkpoint at ``path``."""
    state = restore(path)
    network = Network.from_dict(state["network"])
    check_images(images, network.side, state["class_names"], path)
    model = model_as(network, variant_of(state))
    model.load_state_dict(state["model"])
    return Teacher(state, model.to(device))


def _teachers(paths, recipe, images, device):
    """Those of a run; there may be none."""
    if bool(paths) != bool(recipe.distil):
        raise TrainError("Teachers' checkpoints and their share of the loss go together: give both "
                         "--teacher and --distil, or neither")
    return [_teacher(path, images, device) for path in paths]


def _check_run(path, state, network, recipe, images, test):
    """Refuse the run of the checkpoint ``state`` for one of other options or other data."""
    # Checkpoints from before a setting existed were trained with its default.
    theirs = Recipe(epochs=1).settings | state["recipe"] | state["network"]
    ours = recipe.settings | {name: getattr(network, name) for name in NETWORK_OPTIONS}
    odd = sorted(name for name, value in ours.items() if theirs[name] != value)
    if odd:
        raise TrainError(f"{path}: was trained with another {', '.join(odd)}; resume with the "
                         f"same options")
    check_images(images, state["network"]["side"], state["class_names"], path)
    if state.get("data", _data(images, test)) != _data(images, test):
        raise TrainError(f"{path}: was trained and measured with other images; give the same ones, "
                         f"or another --out")


def _check_start(path, state, start):
    """Refuse the run of the checkpoint ``state`` for one that began with that at ``start``."""
    parent = None if start is None else restore(start)
    if state.get("start"):
        same = parent is not None and state["start"] == digest(parent)
    else:  # it's from before identities were kept, or began with nothing: its history tells
        same = state.get("before", []) == (lineage(parent) if parent else [])
    if not same:
        raise TrainError(f"{path}: didn't begin with {start or 'new weights'}; name another --out")


def _check_effects(recipe, start):
    """Refuse settings that a new run would have no use for."""
    if recipe.noise and start is None:
        raise TrainError("Noise is added to the weights of --start-from: give that as well, or "
                         "leave --noise out")
    if recipe.temperature != Recipe.temperature and not recipe.distil:
        raise TrainError("Temperature is that of teachers' predictions: give --teacher and "
                         "--distil as well, or leave --temperature out")


def _data(images, test):
    """Identity of what a run sees."""
    return [images.digest, test.digest]


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
        :func:`export.adapt.adapted`). Its recipe and history are kept under ``"before"``.
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
    if not resume:
        if out.exists():
            raise TrainError(f"{out}: exists already; go on with its run with --resume, or name "
                             f"another --out")
        _check_effects(recipe, start)
    processes = Processes(device)
    device = processes.device
    check_batch(recipe, processes)
    if recipe.batch > len(images):
        raise TrainError(f"Batch must be at most the {len(images)} training images, "
                         f"not {recipe.batch}")
    network = replace(network, side=images.side, classes=len(images.class_names))
    taught_by = _teachers(teachers, recipe, images, device)
    about_teachers = [teacher.about for teacher in taught_by]
    if resume:
        state = restore(out)
        if "optimiser" not in state:
            raise TrainError(f"{out}: kept without its optimiser, so this run can't go on; begin "
                             f"another with --start-from {out}")
        _check_run(out, state, network, recipe, images, test)
        if about_teachers != state.get("teachers", []):
            raise TrainError(f"{out}: was trained with other teachers than "
                             f"{' and '.join(map(str, teachers))}")
        network, before = Network.from_dict(state["network"]), state.get("before", [])
        begun = state.get("start")
    elif start is not None:
        if not recipe.variant.ours:
            raise TrainError(f"A run that starts from another must be of a net with {OURS}, not "
                             f"{recipe.variant}; leave --start-from out")
        state, parent = None, restore_ours(start, "a run can start only from one")
        narrow = Network.from_dict(parent["network"])
        if network.width > narrow.width and not recipe.noise:
            raise TrainError("Channels of a wider network begin as copies, get the same gradients "
                             "and stay copies: tell them apart with --noise, such as 1")
        network, weights = adapted(narrow, parent["model"], network)
        before, begun = lineage(parent), digest(parent)
    else:
        state, before, begun = None, [], None
        network = calibrate(network, images.pixels[:256], recipe.act_rms, recipe.branch,
                            seed=recipe.seed)
    torch.manual_seed(recipe.seed)
    model = model_as(network, recipe.variant).to(device)
    epoch, seen, elapsed, history = 0, 0, 0.0, []
    if state:
        model.load_state_dict(state["model"])
        epoch, seen = state["epoch"], state["seen"]
        elapsed, history = state["elapsed"], state["history"]
    elif start is not None:
        model.load_state_dict(weights)
        add_noise(model, recipe.noise)
    learner = Learner(model, recipe, processes.size, taught_by)
    if state:
        learner.optimiser.load_state_dict(state["optimiser"])
    ours = slice(processes.rank, None, processes.size)
    if (recipe.amp == "bf16" and device.type == "cpu" and processes.rank == 0
            and torch.backends.cpu.get_cpu_capability() in NO_BF16):
        log("this processor has no instructions for bfloat16: --amp off is some ten times faster")
    steps = len(images) // recipe.batch
    side, began, first = None, time.monotonic(), epoch

    def progress(step):
        """Fraction of the run that lies behind."""
        if recipe.epochs is not None:
            return (epoch * steps + step) / (recipe.epochs * steps)
        return processes.agree((elapsed + time.monotonic() - began) / 60 / recipe.minutes)

    t = progress(0)
    while t < 1 and (stop_after is None or epoch < first + stop_after):
        generator = torch.Generator().manual_seed(recipe.seed * 1_000_003 + epoch)
        order = torch.randperm(len(images), generator=generator)
        loss_sum = right = count = 0.0
        epoch_began = time.monotonic()
        model.train()
        for step in _bar(range(steps), epoch, processes.rank):
            t = progress(step)
            if t >= 1:
                break  # out of time in the middle of an epoch
            if side != recipe.side_at(t, images.side):
                side = recipe.side_at(t, images.side)
                pixels = shrink(images.pixels, side)
            chosen = order[step * recipe.batch:(step + 1) * recipe.batch]
            y = images.labels[chosen][ours].to(device)
            whole = None
            if not taught_by:
                x = augment(pixels[chosen], generator, recipe.cutout * side // images.side)
                x = x[ours].to(device)
            else:
                whole = augment(images.pixels[chosen], generator, recipe.cutout)[ours].to(device)
                x = shrink(whole, side)
            loss, hits = learner.step(x, y, t, whole)
            seen += recipe.batch
            count += len(y)
            loss_sum += loss * len(y)
            right += hits
        if not math.isfinite(loss_sum):
            raise TrainError(f"The loss is not finite in epoch {epoch + 1}; lower the rate "
                             f"{recipe.rate}")
        epoch += 1
        t = progress(0)
        loss_sum, right, count = processes.total(loss_sum, right, count)
        small = replace(test, pixels=shrink(test.pixels, side)) if side else test
        # The last figure is exact. WRN-20-4 would take a fifth of an epoch for each of the others.
        with nullcontext() if t >= 1 else learner.mixed:
            test_right, = processes.total(accuracy(model, small, ours=ours))
        now = time.monotonic()
        total = elapsed + now - began
        history.append({"epoch": epoch, "seen": seen, "side": side, "seconds": round(total, 1),
                        "loss": round(loss_sum / max(count, 1), 4),
                        "train": round(right / max(count, 1), 4),
                        "test": test_right / len(test)})
        if processes.rank == 0:
            state = {"format": "signstream-checkpoint", "network": network.to_dict(),
                     "recipe": recipe.settings, "class_names": list(images.class_names),
                     "train_images": len(images), "model": model.state_dict(),
                     "optimiser": learner.optimiser.state_dict(), "epoch": epoch, "seen": seen,
                     "elapsed": total, "history": history, "before": before,
                     "start": begun, "data": _data(images, test), "teachers": about_teachers,
                     "finished": t >= 1}
            save(out, state)
            length = f"/{recipe.epochs}" if recipe.epochs else f" ({100 * min(t, 1):.0f} %)"
            log(f"epoch {epoch}{length}  side {side}  loss {history[-1]['loss']:.3f}  "
                f"train {100 * history[-1]['train']:.2f} %  test {100 * test_right / len(test):.2f}"
                f" %  {count / (now - epoch_began):.0f} img/s  {total:.0f} s")
    del learner
    processes.close()
    return state if processes.rank == 0 else None


def finished(network, recipe, images, test, out, device="cpu", start=None, log=print):
    """The last checkpoint of the run at ``out``, which is made, gone on with, or there already;
    parameters as for :func:`train`. A run there of another start, recipe or data is refused."""
    out = Path(out)
    done = restore(out) if out.exists() else None
    if done:
        _check_start(out, done, start)
        _check_run(out, done, network, recipe, images, test)
        if done["finished"]:
            return done
    return train(network, recipe, images, test, out, device, done is not None, start=start,
                 log=log)


def _bar(steps, epoch, rank):
    """``steps`` behind a progress bar, on a terminal and where tqdm is installed."""
    if rank or not sys.stderr.isatty():
        return steps
    try:
        from tqdm import tqdm
    except ImportError:
        return steps
    return tqdm(steps, f"epoch {epoch + 1}", leave=False)
