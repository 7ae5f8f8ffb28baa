"""What number formats cost: one trained network in many formats, as it is and after a little
training in each."""

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from gen.network import Network

from .adapt import adapted
from .checkpoint import restore_ours
from .data import check_images
from .paper import Variant, model_as
from .paths import check_out
from .train import accuracy, finished

__all__ = ["FLOAT", "FORMATS", "PlotError", "check_plot", "plot", "study", "table"]

DRAWN = ".svg", ".png"

# Activation bits and fraction bits, residual bits and fraction bits. Activations reach at least
# 6.5 where bits allow, residuals 32 in units of a block's input.
FLOAT = None
FORMATS = (
    FLOAT,
    *((4, 1, bits, max(0, bits - 6)) for bits in (12, 8, 6, 5, 4)),
    (2, 0, 8, 2), (3, 0, 8, 2), (3, 1, 8, 2), (4, 2, 8, 2), (6, 3, 8, 2), (8, 5, 8, 2))


class PlotError(ValueError):
    """A figure that can't be drawn; the message is one sentence for the user."""


def study(start, recipe, images, test, folder, formats=FORMATS, device="cpu", log=print):
    """Accuracy of the checkpoint ``start`` in each of ``formats``.

    Parameters
    ----------
    start : path
    recipe : export.recipe.Recipe or None
        How each format is trained on; ``None`` for not at all.
    images, test : export.data.Images
    folder : path
        Where the runs' checkpoints go. A run that is finished there isn't repeated, one that was
        interrupted goes on; one of another start, recipe or data is refused.

    Returns a list of ``(format, accuracy as it is, accuracy after training or None)``.
    """
    parent, rows = restore_ours(start, "formats can be studied only of one", floats=True), []
    before = Network.from_dict(parent["network"])
    images, test = (part.for_net(parent["class_names"]) for part in (images, test))
    check_images(images, before.side, parent["class_names"], start)
    for form in formats:
        names = "act_bits", "act_frac", "res_bits", "res_frac"
        wanted = before if form is FLOAT else replace(before, **dict(zip(names, form)))
        network, state = adapted(before, parent["model"], wanted)
        model = model_as(network, Variant(floats=form is FLOAT)).to(device)
        model.load_state_dict(state)
        rows.append((form, accuracy(model, test), None))
        if recipe:
            kind = "float" if form is FLOAT else "b{}f{}-r{}".format(*form)
            out = Path(folder) / f"{network.name}-{kind}.pt"
            done = finished(wanted, replace(recipe, floats=form is FLOAT), images, test, out,
                            device, start, log)
            rows[-1] = (*rows[-1][:2], done["history"][-1]["test"])
        log(_row(rows[-1]))
    return rows


def _row(row):
    form, plain, trained = row
    after = "" if trained is None else f"{trained:.2%}"
    if form is FLOAT:
        cells = "float", "from -1", "float"
    else:
        act_bits, act_frac, res_bits, res_frac = form
        high = ((1 << act_bits) - 1 - (1 << act_frac)) / (1 << act_frac)
        cells = f"{act_bits} ({act_frac})", f"-1 to {high:g}", f"{res_bits} ({res_frac})"
    return f"| {' | '.join((*cells, f'{plain:.2%}', after))} |"


def table(rows):
    """The rows of :func:`study` in Markdown."""
    head = ("activation bits (fraction)", "range", "residual bits (fraction)", "as it is",
            "trained on")
    return "\n".join([f"| {' | '.join(head)} |", "|---" * len(head) + "|", *map(_row, rows)])


def check_plot(path):
    """Refuse a ``path`` that :func:`plot` can't draw into; raises :class:`PlotError`."""
    if path.suffix.lower() not in DRAWN:
        raise PlotError(f"{path}: a figure is drawn as {' or '.join(DRAWN)}, not "
                        f"{path.suffix or 'a file without suffix'}")
    if find_spec("matplotlib") is None:
        raise PlotError("Drawing needs matplotlib; pip install matplotlib")
    check_out(path)


def plot(rows, path):
    """Draw the rows of :func:`study` into the file ``path``: accuracy against activation bits,
    each with its best fraction, and against residual bits. Needs matplotlib."""
    from matplotlib import pyplot
    formats = [row for row in rows if row[0] is not FLOAT]
    figure, axes = pyplot.subplots(1, 2, figsize=(8, 3.2), sharey=True, layout="constrained")
    for which, label in ((1, "as it is"), (2, "trained on")):
        if any(row[which] is None for row in rows):
            continue
        activations, residuals = {}, {}
        for (act_bits, act_frac, res_bits, _), *figures in formats:
            accuracy = 100 * figures[which - 1]
            if res_bits == 8:
                activations[act_bits] = max(accuracy, activations.get(act_bits, 0))
            if (act_bits, act_frac) == (4, 1):
                residuals[res_bits] = accuracy
        for axis, points in zip(axes, (activations, residuals)):
            axis.plot(*zip(*sorted(points.items())), "o-", label=label)
        for form, *figures in rows:
            if form is FLOAT:
                for axis in axes:
                    axis.axhline(100 * figures[which - 1], color=f"C{which - 1}", linestyle=":",
                                 label=f"float, {label}")
    axes[0].set(xlabel="activation bits (residual: 8)", ylabel="accuracy, %")
    axes[1].set(xlabel="residual bits (activations: 4)")
    for axis in axes:
        axis.grid(alpha=0.3)
    axes[1].legend()
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
