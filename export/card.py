"""Model cards: where a package's weights come from, and what they are worth."""

from dataclasses import fields
from itertools import pairwise
from string import ascii_lowercase
from textwrap import fill

from gen.network import Network

from .data import spare_names
from .recipe import Recipe

__all__ = ["card"]

SHOWN = 12  # rows of a run's table


def _command(recipe, network, class_names, out, start=None, teachers=()):
    """The command line of a run."""
    words = ["python -m export train --data DIR", f"--out {out}.pt"]
    if recipe.get("net") == "plain":
        words.append(f"--width {network.width}")
    elif network is not None:
        words += [f"--depth {network.depth}", f"--width {network.width}",
                  f"--act-bits {network.act_bits}", f"--act-frac {network.act_frac}",
                  f"--res-bits {network.res_bits}", f"--res-frac {network.res_frac}"]
        if class_names and class_names[-1] in spare_names(0, network.classes):
            words.append(f"--classes {network.classes}")
    if start:
        words.append(f"--start-from {start}.pt")
    if teachers:
        words.append(" ".join(["--teacher", *(f"{name}.pt" for name in teachers)]))
    for field in fields(Recipe):
        value = recipe.get(field.name, field.default)
        if isinstance(field.default, tuple):
            value = tuple(map(tuple, value))
        if value is True:
            words.append(f"--{field.name}")
        elif value != field.default:
            text = (",".join(f"{side}:{until:g}" for side, until in value)
                    if field.name == "sides" else value)
            words.append(f"--{field.name.replace('_', '-')} {text}")
    lines, line = [], ""
    for word in words:
        if len(line) + len(word) > 92:
            lines.append(line + "\\")
            line = "    "
        line += word + " "
    return "\n".join([*lines, line.rstrip()])


def _table(history):
    head = ("epoch", "image side", "images seen", "minutes", "training loss",
            "training accuracy", "test accuracy at that side")
    step = -(-len(history) // SHOWN)
    rows = [row for k, row in enumerate(history) if k % step == 0 or k == len(history) - 1]
    return "\n".join([
        f"| {' | '.join(head)} |", "|---" * len(head) + "|",
        *(f"| {r['epoch']} | {r['side']} | {r['seen']:,} | {r['seconds'] / 60:.0f} | "
          f"{r['loss']:.3f} | {r['train']:.1%} | {r['test']:.2%} |" for r in rows)])


def _run(title, run, *files):
    """Parts of a card on one run; ``files``: what :func:`_command` names."""
    network = Network.from_dict(run["network"]) if run.get("network") else None
    names, last = run.get("class_names"), run["history"][-1]
    name = network and (f"plain net of width {network.width}"
                        if run["recipe"].get("net") == "plain" else network.name)
    return [
        f"### {title} ({name})" if name else f"### {title}",
        f"{last['epoch']} epochs, {last['seen']:,} images, {last['seconds'] / 60:.0f} minutes.",
        f"```\n{_command(run['recipe'], network, names, *files)}\n```",
        _table(run["history"])]


def card(checkpoint, package, data):
    """Markdown card of a package.

    Parameters
    ----------
    checkpoint : dict
        From :func:`export.checkpoint.restore`: the last run, with those before it.
    package : gen.package.Package
        Made from it, with its accuracy.
    data : str
        What the images are: a paragraph.
    """
    net = package.network
    runs = [*checkpoint.get("before", []), {**checkpoint, "network": checkpoint["network"]}]
    worth = (f"**{package.accuracy:.2%}** of {package.test_images:,} test images: the golden "
             f"model, and PyTorch with it, equal in every score. {net.weight_bits:,} ±1 weights, "
             f"{net.act_bits}-bit activations ({net.act_frac} of them fraction; codes 0 to "
             f"{net.top}, zero is {net.zero}), {net.res_bits}-bit residual ({net.res_frac} "
             "fraction).")
    how = ("Adam on the latent weights; the rate falls to zero as half a cosine. Each run begins "
           "with the weights of the one before; a wider network starts with copies of its "
           "channels. The last epoch is taken, none is picked. A run by the clock doesn't repeat "
           "exactly: how far it comes depends on the machine.")
    names = [run["class_names"] for run in runs if "class_names" in run]
    if any(before != after for before, after in pairwise(names)):
        how += " A run for other classes than those of the one before begins with a new head."
    if any(run["recipe"].get("amp") == "bf16" for run in runs):
        how += (" Test accuracies before a run's last may be measured in bfloat16 where it trained "
                "in that (since 2026-11-27): near the exact ones.")
    parts = [f"# {net.name}", fill(worth, 96), "## Data", data, "## Training", fill(how, 96)]
    for number, run in enumerate(runs, 1):
        teachers = {f"teacher{number}{letter}": each for letter, each in
                    zip(ascii_lowercase, run.get("teachers", []))}
        for name, teacher in teachers.items():
            parts += _run(f"Teacher {name.removeprefix('teacher')}", teacher, name)
        parts += _run(f"Run {number}", run, number, number - 1, teachers)
    parts.append(f"Packed on {package.training['date']}; digest `{package.digest[:16]}`.")
    return "\n\n".join(parts) + "\n"
