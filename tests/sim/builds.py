"""Small build folders for tests."""

import json

from gen.build import write_build
from gen.network import Network
from gen.package import Package
from gen.plan import Plan
from hw.schedule import Lanes

NET = Network(8, 1, side=16)


def make(folder, network=NET, lanes=(4, 4, 16, 4), seed=1):
    """Write a build folder of random weights; its path."""
    write_build(Plan(Package.random(network, seed), Lanes(*lanes), "85f"), folder)
    return folder


def flip_weight(folder, layer):
    """Turn around output 0, input 0, row 0, column 0 of ``layer`` in the init files."""
    weights = json.loads((folder / "weights" / "manifest.json").read_text())["weights"]
    path = folder / "weights" / weights["files"][0][0]
    words = path.read_text().split()
    address = weights["layers"][layer]["first"]
    words[address] = f"{int(words[address], 16) ^ 1:0{len(words[address])}x}"
    path.write_text("\n".join(words) + "\n")
