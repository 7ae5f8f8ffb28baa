"""How much of a copy the channels of a widened network still are.

Copies that stay copies compute what one channel does: the network isn't worth its width then.
"""

import numpy as np

__all__ = ["alike", "table"]


def alike(weights):
    """How alike the channels are that widening (:mod:`.adapt`) made of one.

    Parameters
    ----------
    weights : dict of int8[outputs, inputs, ...]
        ±1 by layer, as in :class:`gen.package.Package`.

    Returns a dict of ``(outputs, inputs)`` by layer: the shares of weights that are equal in the
    channels 2k and 2k+1. It's 1 for copies and about 0.5 for channels that have nothing in common;
    ``None`` for what isn't widened: the stem's inputs and the head's outputs.
    """
    def equal(first, second):
        return float(np.mean(first == second))

    return {name: (None if name == "head" else equal(w[0::2], w[1::2]),
                   None if name == "stem" else equal(w[:, 0::2], w[:, 1::2]))
            for name, w in weights.items()}


def table(shares):
    """The shares of :func:`alike` in Markdown."""
    lines = ["| layer | outputs alike | inputs alike |", "|---|---|---|"]
    for name, pair in shares.items():
        cells = ("" if share is None else f"{share:.0%}" for share in pair)
        lines.append(f"| {name} | {' | '.join(cells)} |")
    known = [share for pair in shares.values() for share in pair if share is not None]
    mean = f"{sum(known) / len(known):.0%} on average"
    return "\n".join([*lines, "", f"{mean}; 100 % are copies, 50 % have nothing in common"])
