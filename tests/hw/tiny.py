"""Networks and arrays small enough for the Amaranth simulator."""

from dataclasses import replace

from amaranth.hdl import Fragment

from gen.network import Network
from gen.package import Package
from gen.plan import Plan
from gen.residency import place_weights
from gen.schedule import make_schedule, rounds_of
from hw.schedule import Lanes

__all__ = ["ARRAYS", "SMALLEST", "late_plan", "plan_of", "schedule_of", "tiny_network", "unused"]

SMALLEST = Lanes(2, 4, 4, 4)
# For networks of width 1 by image side: one to four groups of the array, one to four words that
# make a slice.
ARRAYS = {8: (Lanes(2, 4, 8, 4), Lanes(2, 16, 16, 4), Lanes(2, 8, 8, 8)),
          16: (Lanes(4, 8, 16, 4), Lanes(2, 8, 16, 8), Lanes(4, 4, 16, 4)),
          32: (Lanes(8, 8, 16, 8), Lanes(8, 16, 16, 4))}


def tiny_network(**fields):
    """A network of depth 8 for images of 8 by 8 pixels and 3 classes, but for ``fields``."""
    return Network(**{"depth": 8, "width": 1, "classes": 3, "side": 8, **fields})


def schedule_of(lanes=ARRAYS[8][0], **fields):
    return make_schedule(tiny_network(**fields), lanes)


def plan_of(lanes=ARRAYS[8][0], seed=1, **fields):
    return Plan(Package.random(tiny_network(**fields), seed), lanes, "85f")


def late_plan(plan):
    """``plan``, of two frames at a time, with late layers whether they save time or not."""
    plan = replace(plan, batch=2)
    whole = make_schedule(plan.network, plan.lanes)
    plan.__dict__["residency"] = place_weights(
        whole, plan.weight_words or whole.weight_depth, plan.piece_cycles, rounds_of(2, whole)[1])
    return plan


def unused(unit):
    """A unit that's wanted for its numbers alone; elaborates it, or Amaranth would warn."""
    Fragment.get(unit, None)
    return unit
