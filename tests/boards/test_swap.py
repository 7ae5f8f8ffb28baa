"""Other weights in a routed design: the configuration is what place and route would make."""

import json

import numpy as np
import pytest
from amaranth import *
from amaranth.lib import io

from boards import flow
from boards.build import build, design, gateware
from boards.contents import SwapError, block_rams, swapped
from boards.swap import main
from boards.ulx3s import Board
from gen import report
from gen.package import Package
from gen.plan import Plan
from hw.memory import Ram, Rom
from tests.boards import tiny
from tests.hw.tiny import unused

BOARD = Board.named("ulx3s-25f")
# As builds of until 2026-11-27 have them.
SOURCE = '\n  attribute \\src "/elsewhere/hw/dot.py:1"'


class Readout(Elaboratable):
    """Memories whose bits all reach a light."""

    def __init__(self, memories):
        self.memories = memories

    def elaborate(self, platform):
        m = Module()
        address, parity = Signal(11), Signal()
        m.submodules += self.memories
        read = []
        for memory in self.memories:
            if isinstance(memory, Ram):          # written by nobody knows what
                m.d.sync += [memory.w_en.eq(parity), memory.w_addr.eq(~address),
                             memory.w_data.eq(memory.r_data + 1)]
                m.d.comb += memory.r_addr.eq(address)
                read.append(memory.r_data)
            else:
                m.d.comb += memory.addr.eq(address)
                read.append(memory.data)
        m.d.sync += [address.eq(address + 1), parity.eq(Cat(read).xor())]
        m.submodules.light = light = io.Buffer("o", platform.request("led", 0, dir="-"))
        m.d.comb += light.o.eq(parity)
        return m


def memories(seed, zero_bits=6):
    """Narrow, wide and deep, one in banks, and one whose last words are written later; the narrow
    one's upper bits are always 0 in this network."""
    rng = np.random.default_rng(seed)

    def words(width, depth):
        return [int.from_bytes(rng.bytes(16), "little") % (1 << width) for _ in range(depth)]
    return [unused(rom) for rom in (
        Rom("narrow", 20, words(20 - zero_bits, 160)), Rom("wide", 96, words(96, 354)),
        Rom("deep", 5, words(5, 1024)), Rom("banked", 30, words(30, 1100)),
        Ram(40, 1024, "buffer", words(40, 300)))]


@pytest.fixture(scope="module")
def routed(tmp_path_factory):
    """``seed -> (configuration, folder)`` through the real tools, half a minute each."""
    def make(seed, **options):
        folder = tmp_path_factory.mktemp("routed")
        plan = flow.prepared(BOARD.create(), Readout(memories(seed, **options)))
        flow.run(plan, folder, BOARD.clock_mhz)
        return (folder / "top.config").read_text()
    return make


@pytest.fixture(scope="module")
def first(routed):
    return routed(1)


def test_a_swapped_configuration_is_the_one_of_place_and_route(routed, first, tmp_path):
    """The second contents use bits that are constant in the first."""
    old, new = (block_rams(memories(*of), tmp_path / str(of)) for of in ((1,), (2, 0)))
    second = routed(2, zero_bits=0)
    assert first != second
    assert swapped(first, old, new) == second
    assert swapped(second, new, old) == first


def test_contents_that_are_not_there_are_refused(first, tmp_path):
    old, other = (block_rams(memories(seed), tmp_path / str(seed)) for seed in (3, 4))
    with pytest.raises(SwapError, match="doesn't hold the weights of its own build"):
        swapped(first, old, other)


def test_memories_of_another_shape_are_refused(first, tmp_path):
    old = block_rams(memories(1), tmp_path / "old")
    fewer = memories(1)
    fewer[2] = unused(Rom("deep", 5, [1, 2, 3]))
    fewer = block_rams(fewer, tmp_path / "new")
    with pytest.raises(SwapError, match="the memories deep take other block RAMs"):
        swapped(first, old, fewer)


def test_contents_that_cannot_be_told_apart_are_refused(tmp_path):
    same = [3, 5, 9] * 30
    old, new = (block_rams([unused(Rom("a", 4, same)), unused(Rom("b", 4, other))],
                           tmp_path / str(other[0])) for other in (same, same[1:] + [0]))
    with pytest.raises(SwapError, match="two block RAMs of the routed design hold the same"):
        swapped("", old, new)


@pytest.fixture
def folders(tmp_path):
    """Build folders of two networks that differ in their weights."""
    made = []
    for seed in (5, 6):
        one = tiny.plan()
        package = Package.random(one.network, seed)
        package = Package(package.network, package.weights, tiny.NAMES, package.training)
        made.append(tmp_path / f"build{seed}")
        made[-1].mkdir()
        tiny.save(Plan(package, one.lanes, one.device), made[-1])
    return made


def command(new, old):
    return main(["--build", str(new), "--from", str(old), "--board", BOARD.name])


def pretend(folder, met=True):
    """A report that says there's a bitstream."""
    report.measure(folder, provenance={"bitstream": {
        "board": BOARD.name, "timing_met": met, "clock_mhz": 100.0, "baud": 2_000_000,
        "seed": 1}})


def test_only_a_bitstream_that_met_its_clock_is_swapped(folders, capsys):
    old, new = folders
    for prepare in (lambda: None, lambda: pretend(old, met=False)):
        prepare()
        assert command(new, old) == 2
        assert ("holds no bitstream for ulx3s-25f that meets its clock; make one with `python -m "
                "boards.build" in capsys.readouterr().err)


def test_other_gateware_is_refused_with_what_differs(folders, capsys):
    old, new = folders
    pretend(old)
    one = Plan.load(new)
    fields = one.network.to_dict()
    network = type(one.network).from_dict({**fields, "shifts": [3] * len(fields["shifts"])})
    package = Package.random(network, 1)
    package = Package(network, package.weights, tiny.NAMES, package.training)
    tiny.save(Plan(package, one.lanes, one.device), new)
    assert command(new, old) == 2
    error = capsys.readouterr().err
    assert "need different gateware: their shifts differ; place and route with" in error
    assert not (new / BOARD.name).exists()


def test_class_names_that_need_a_longer_memory_are_named(folders, capsys):
    old, new = folders
    pretend(old)
    one = Plan.load(new)
    names = ["a name of many letters, " * 9 + name for name in tiny.NAMES]
    package = Package(one.network, one.package.weights, names, one.package.training)
    tiny.save(Plan(package, one.lanes, one.device), new)
    assert command(new, old) == 2
    assert "need different gateware: their class names' lengths differ; place and" \
        in capsys.readouterr().err


def test_a_build_takes_no_weights_from_itself(folders, capsys):
    old, _ = folders
    pretend(old)
    assert command(old, old) == 2
    assert "--build must be another folder than --from" in capsys.readouterr().err


def test_a_routed_folder_without_its_files_is_refused(folders, capsys):
    old, new = folders
    pretend(old)
    assert command(new, old) == 2
    assert "top.config is gone; build" in capsys.readouterr().err


@pytest.mark.parametrize(("change", "told"), [
    (lambda text: text.replace("\n  wire ", SOURCE + "\n  wire "),
     "doesn't hold the weights of its own"),
    (lambda text: text.replace("clk", "clock"), "was built by another release")])
def test_a_build_by_another_checkout_is_taken_by_another_release_is_not(folders, capsys, change,
                                                                         told):
    """The routed folder is one without a configuration, which is looked at last."""
    old, new = folders
    pretend(old)
    out, plan = old / BOARD.name, Plan.load(old)
    products = gateware(plan, design(plan, BOARD, 100.0, 2_000_000), BOARD.create())
    products.extract(out)
    changed = change((out / "top.il").read_text())
    assert changed != (out / "top.il").read_text()
    (out / "top.il").write_text(changed)
    for name in ("top.config", "top.report.json", "top.tim"):
        (out / name).write_text("")
    assert command(new, old) == 2
    assert told in capsys.readouterr().err


@pytest.mark.slow
def test_a_swapped_bitstream_is_the_routed_one(folders):
    """A whole board design with either network through the real tools: minutes."""
    old, new = folders
    for folder in folders:
        measured, _ = build(folder, BOARD, mhz=50)
        assert measured.met
    out = new / BOARD.name
    want = {name: (out / name).read_bytes() for name in ("top.config", "top.bit", "top.svf")}
    for name in want:
        (out / name).unlink()
    before = report.read(new)
    tiny.save(Plan.load(new), new)
    assert command(new, old) == 0
    assert {name: (out / name).read_bytes() for name in want} == want
    after = report.read(new)
    swap = after["provenance"]["bitstream"].pop("swapped")
    assert swap["routed_digest"] == Plan.load(old).digest
    assert json.dumps(after["resources"]) == json.dumps(before["resources"])
    assert after["fmax_mhz"] == before["fmax_mhz"]
