"""What a board says it runs."""

from amaranth import *

from boards.build import design
from boards.identity import LONGEST_NAMES, identity_of
from boards.protocol import Identity
from boards.ulx3s import Board
from gen.package import Package
from tests.boards import tiny


def test_the_identity_is_the_plan_s():
    plan = tiny.plan()
    identity = identity_of(plan, 112.5)
    assert identity == Identity("wrn-8-1", 8, 3, 112_500, plan.digest, tiny.NAMES)
    package = plan.package
    long = Package(package.network, package.weights, ["x" * LONGEST_NAMES, "y", "z"])
    assert identity_of(type(plan)(long, plan.lanes, plan.device), 100).class_names == ()


def test_the_identity_tells_the_actual_clock():
    plan = tiny.plan()
    top = design(plan, Board.named("ulx3s-25f"), 75)
    assert top.shell.identity.clock_khz == 75_000
    Fragment.get(top, Board.named("ulx3s-25f").create())  # everything made is used
