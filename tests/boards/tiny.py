"""A network small enough to simulate a board with in seconds."""

import json

import numpy as np

from gen import report
from gen.network import Network
from gen.package import Package
from gen.plan import Plan
from hw.schedule import Lanes

__all__ = ["IMAGES", "plan", "save"]

NAMES = ("left", "right", "straight on")
IMAGES = np.random.default_rng(7).integers(0, 256, (4, 3, 8, 8), dtype=np.uint8)


def plan():
    """WRN-8-1 with random weights for images of 8x8 pixels, on 384 lanes of a 25F."""
    package = Package.random(Network(8, 1, classes=3, side=8), 5)
    return Plan(Package(package.network, package.weights, NAMES, package.training),
                Lanes(2, 4, 16, 4), "25f")


def save(plan, folder):
    """Write what the boards side reads of a build folder: plan, package and an empty report."""
    plan.package.save(folder / "package.safetensors")
    (folder / "plan.json").write_text(json.dumps(plan.to_dict()))
    report.write(folder, report.new_report(plan))
