"""The paper's comparison: nets with and without normalisation, of other activation functions,
scales and weights, each trained from scratch on the same budget with several seeds.

Source: the categories of figures 5 and 6 of McDonnell et al. 2019, arXiv 1907.06916. What its
"baselines" 1 and 2 are isn't known; here they are batch normalisation with ReLU and with the
shifted ReLU.
"""

from dataclasses import asdict, replace
from pathlib import Path

from .paper import Variant
from .train import finished

__all__ = ["VARIANTS", "table", "versus"]

_KINDS = {"BN, ReLU": ("bn", "relu"), "BN, shifted ReLU": ("bn", "srelu"),
          "final BN only, shifted ReLU": ("final-bn", "srelu"),
          "mean-only BN, ReLU": ("mean-only-bn", "relu"), "ELU": ("none", "elu"),
          "shifted ReLU": ("none", "srelu")}
VARIANTS = {
    "this project's net, 4-bit activations": Variant(),
    "this project's net, float activations": Variant(floats=True),
    "shifted ReLU, scales powers of two": Variant(scale="he-power-of-two"),
    **{name: Variant(norm, act, 1, "he") for name, (norm, act) in _KINDS.items()},
    **{f"{name}, 32-bit weights": Variant(norm, act, 32, "he")
       for name, (norm, act) in _KINDS.items()},
}


def versus(network, recipe, images, test, folder, seeds=3, variants=VARIANTS, device="cpu",
           log=print):
    """Train ``variants`` from scratch with ``recipe``, seed by seed.

    Parameters
    ----------
    network : gen.network.Network
        Geometry, and the number formats of the variant that has them.
    recipe : export.recipe.Recipe
    images, test : export.data.Images
    folder : path
        Where the runs' checkpoints go. A run that is finished there isn't repeated, one that was
        interrupted goes on.
    seeds : int
        Seeds 1, 2, ... All variants run with a seed before the next one begins.
    variants : dict
        :class:`export.paper.Variant` by a name for the table.

    Returns a dict of lists: for each name the accuracy on ``test``, seed by seed.
    """
    rows = {name: [] for name in variants}
    for seed in range(1, seeds + 1):
        for name, variant in variants.items():
            wanted = replace(recipe, seed=seed, **asdict(variant))
            out = Path(folder) / f"{_slug(name)}-{seed}.pt"
            done = finished(network, wanted, images, test, out, device, log=log)
            rows[name].append(done["history"][-1]["test"])
            log(f"seed {seed}  {name}  {rows[name][-1]:.2%}")
    return rows


def _slug(name):
    return "".join(c if c.isalnum() else "-" for c in name.lower())


def table(rows):
    """The rows of :func:`versus` in Markdown."""
    lines = ["| net | mean | range | seeds |", "|---|---|---|---|"]
    for name, figures in rows.items():
        mean = sum(figures) / len(figures)
        lines.append(f"| {name} | {mean:.2%} | {min(figures):.2%} to {max(figures):.2%} | "
                     f"{len(figures)} |")
    return "\n".join(lines)
