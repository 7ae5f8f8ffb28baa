"""Runs of tiny networks, what's left of them, and that two left the same."""

from pathlib import Path

import torch

from export.__main__ import main
from export.checkpoint import restore, variant_of
from gen.network import Network

__all__ = ["ROOT", "assert_same", "described", "train"]

ROOT = Path(__file__).parents[2]


def train(data, out, *more):
    return main(["train", "--data", str(data), "--out", str(out), "--depth", "8", "--batch", "10",
                 "--act-frac", "1", "--sides", "8:0.4", "--rate", "0.02", *map(str, more)])


def described(path):
    """Network and variant of a checkpoint."""
    state = restore(path)
    return Network.from_dict(state["network"]), variant_of(state)


def assert_same(a, b):
    """All that a run leaves, except how long it took."""
    clock = ("elapsed", "history")
    for key in a.keys() - set(clock):
        if key == "model":
            assert all(torch.equal(a[key][n], b[key][n]) for n in a[key])
        elif key == "optimiser":
            assert a[key]["param_groups"] == b[key]["param_groups"]
            for one, two in zip(a[key]["state"].values(), b[key]["state"].values()):
                assert all(torch.equal(one[n], two[n]) for n in one)
        else:
            assert a[key] == b[key], key
    drop = [[{k: v for k, v in row.items() if k != "seconds"} for row in run["history"]]
            for run in (a, b)]
    assert drop[0] == drop[1]
