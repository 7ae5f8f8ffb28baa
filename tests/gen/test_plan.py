"""Plans: saved and loaded, refused when damaged, and the array that's chosen."""

import dataclasses
import json
import re

import pytest

from gen.build import write_build
from gen.device import DEVICES, block_rams
from gen.estimate import PlanTooLarge, check_fit, estimate_resources
from gen.network import Network
from gen.package import Package
from gen.plan import (
    FILL,
    ROUTED_LANES,
    Plan,
    PlanError,
    choose_batch,
    choose_lanes,
    choose_memory_clock,
)
from gen.schedule import check_lanes, make_schedule
from hw.schedule import Lanes

TINY = Network(8, 1, side=8, classes=3)
LANES = Lanes(2, 4, 4, 4)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A build folder; copy it before changing anything."""
    folder = tmp_path_factory.mktemp("plan") / "build"
    write_build(Plan(Package.random(TINY, 1), LANES, "45f", 80.0), folder)
    return folder


@pytest.fixture
def folder(built, tmp_path):
    """Plan and package of a build, to spoil."""
    for name in ("plan.json", "package.safetensors"):
        (tmp_path / name).write_bytes((built / name).read_bytes())
    return tmp_path


def edit(folder, **fields):
    path = folder / "plan.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def refusal(folder):
    with pytest.raises(PlanError) as error:
        Plan.load(folder)
    return str(error.value)


def test_a_plan_survives_its_build_folder(built):
    plan, saved = Plan.load(built), Plan(Package.random(TINY, 1), LANES, "45f", 80.0)
    assert (plan.lanes, plan.device, plan.clock_mhz) == (LANES, "45f", 80.0)
    assert plan.network == TINY
    assert plan.digest == saved.digest and len(plan.digest) == 32
    assert plan.schedule == saved.schedule
    fields = json.loads((built / "plan.json").read_text())
    assert fields["cycles_per_frame"] == plan.schedule.cycles
    assert fields["lanes"] == 2 * 3 * 4 * 4
    assert [layer["name"] for layer in fields["layers"]] == [conv.name for conv in TINY.convs]
    assert sum(layer["gap"] + layer["cycles"] for layer in fields["layers"]) == plan.schedule.cycles


def test_a_build_folder_holds_every_file(built):
    names = {str(path.relative_to(built)) for path in built.rglob("*") if path.is_file()}
    assert names == {"plan.json", "network.json", "package.safetensors", "report.json", "top.v",
                     "weights/manifest.json", "weights/weights0.hex", "weights/constants.hex",
                     "weights/head.hex"}
    assert Network.from_dict(json.loads((built / "network.json").read_text())) == TINY
    text = (built / "top.v").read_text()
    assert Plan.load(built).digest in text.splitlines()[0]
    for module in ("signstream", "signstream_rom", "signstream_dot", "signstream_group"):
        assert text.count(f"\nmodule {module}(") + text.count(f"\nmodule {module} #(") == 1, module


@pytest.mark.parametrize("change", [
    {"lanes": Lanes(2, 4, 8, 4)}, {"device": "85f"}, {"clock_mhz": 81.0},
    {"batch": 2}, {"package": Package.random(TINY, 2)},
    {"package": Package.random(Network(8, 1, side=8, classes=3, entries=(4, 4, 4, 3)), 1)}])
def test_every_choice_is_in_the_digest(change):
    choices = {"package": Package.random(TINY, 1), "lanes": LANES, "device": "45f",
               "clock_mhz": 80.0}
    assert Plan(**choices).digest == Plan(**choices).digest
    assert Plan(**choices | change).digest != Plan(**choices).digest


def test_a_folder_without_a_plan_is_refused_with_the_command_that_makes_one(tmp_path):
    assert "holds no plan.json; make one with `python -m gen" in refusal(tmp_path)
    assert "holds no plan.json" in refusal(tmp_path / "absent")


def test_a_damaged_plan_is_refused(folder):
    (folder / "plan.json").write_text("{")
    assert "is damaged" in refusal(folder)
    assert "generate it again" in refusal(folder)


@pytest.mark.parametrize("fields", [
    {"version": 2}, {"format": "other"}])
def test_a_plan_of_another_release_is_refused(folder, fields):
    edit(folder, **fields)
    assert "isn't a plan of this release; generate it again" in refusal(folder)


@pytest.mark.parametrize("text", ["[]", "3", "null", '{"format": "signstream-plan"}'])
def test_json_that_is_no_plan_is_refused(folder, text):
    (folder / "plan.json").write_text(text)
    assert "isn't a plan of this release" in refusal(folder)


@pytest.mark.parametrize("fields", [
    {"digest": "0" * 32}, {"clock_mhz": 99.0}, {"pixels": 4}, {"slice_channels": 8},
    {"device": "12f"}])
def test_a_plan_with_an_edited_choice_is_refused(folder, fields):
    edit(folder, **fields)
    assert "plan for another package or release; generate it again" in refusal(folder)


def test_another_package_beside_the_plan_is_refused(folder):
    Package.random(TINY, 2).save(folder / "package.safetensors")
    assert "plan for another package or release" in refusal(folder)


def test_a_missing_or_damaged_package_is_refused(folder):
    raw = (folder / "package.safetensors").read_bytes()
    (folder / "package.safetensors").write_bytes(raw[:-3])
    assert "package.safetensors" in refusal(folder)
    (folder / "package.safetensors").unlink()
    assert "no such package; generate it again" in refusal(folder)


# ---- the choice of the array ---------------------------------------------------------------------

@pytest.mark.parametrize("device", ["25f", "45f", "85f"])
@pytest.mark.parametrize("net", [Network(20, 1), Network(20, 2), Network(8, 1, act_bits=8)],
                         ids=lambda net: f"{net.name}-{net.act_bits}")
def test_the_array_fits(net, device):
    try:
        lanes = choose_lanes(net, device)
    except PlanTooLarge:
        assert device != "85f" and net.width > 1
        return
    check_lanes(net, lanes)
    schedule = Plan(Package.random(net, 1), lanes, device).schedule
    need = estimate_resources(schedule)
    assert need["comb"] <= FILL * DEVICES[device].comb and need["ebr"] <= DEVICES[device].ebr
    check_fit(schedule, DEVICES[device], net.name)


def test_a_larger_device_is_never_slower():
    cycles = [make_schedule(net, choose_lanes(net, device)).cycles
              for net in [Network(20, 1)] for device in ("25f", "45f", "85f")]
    assert cycles == sorted(cycles, reverse=True) and cycles[-1] < cycles[0]


@pytest.mark.parametrize("fps", [100, 1000, 3000])
def test_a_target_takes_the_smallest_array_that_reaches_it(fps):
    net = Network(20, 1)
    lanes = choose_lanes(net, "85f", target_fps=fps)
    comb = estimate_resources(make_schedule(net, lanes))["comb"]
    assert 1e8 / make_schedule(net, lanes).cycles >= fps
    fastest = choose_lanes(net, "85f")
    assert comb < estimate_resources(make_schedule(net, fastest))["comb"]
    # Half the clock needs a larger array.
    assert make_schedule(net, choose_lanes(net, "85f", fps, clock_mhz=50.0)).cycles \
        <= 5e7 / fps


def test_a_target_out_of_reach_names_the_best():
    with pytest.raises(PlanError, match=r"wrn-20-1 reaches [\d,]+ fps on the 25F at 100 MHz, "
                                        r"not 1,000,000"):
        choose_lanes(Network(20, 1), "25f", target_fps=1e6)


def test_a_memory_too_slow_for_the_target_is_named_with_what_it_gives():
    """WRN-20-4's last blocks alone have 3.2 Mbit, which two frames share."""
    net = Network(20, 4, act_frac=1, res_bits=8, res_frac=2)
    with pytest.raises(PlanError) as error:
        choose_lanes(net, "85f", target_fps=5000, memory_mhz=50)
    found = re.fullmatch(r"wrn-20-4 reaches ([\d,]+) fps on the 85F at 100 MHz, not 5,000; that "
                         r"would take ([\d,]+) MB/s of weights, and the SDRAM gives 95",
                         str(error.value))
    reached, needed = (int(number.replace(",", "")) for number in found.groups())
    assert reached < 500 and needed > 5000 * 1.6e6 / 8e6


def test_arrays_that_are_nearly_as_fast_win_by_their_logic():
    net = Network(20, 4, act_frac=1, res_bits=8, res_frac=2)
    chosen = make_schedule(net, choose_lanes(net, "85f", memory_mhz=133))
    rival = make_schedule(net, Lanes(8, 4, 32, 4))
    assert rival.cycles < chosen.cycles < 1.01 * rival.cycles
    assert estimate_resources(chosen)["comb"] < estimate_resources(rival)["comb"]


@pytest.mark.parametrize("limit", [96, 500, 3000])
def test_an_array_stays_within_the_lanes_allowed(limit):
    assert choose_lanes(Network(20, 1), "85f", max_lanes=limit).count <= limit


def test_arrays_larger_than_any_routed_are_taken_only_when_asked_for():
    net = Network(20, 2, act_frac=1, res_bits=8, res_frac=2)
    assert choose_lanes(net, "85f").count <= ROUTED_LANES
    assert choose_lanes(net, "85f", max_lanes=6144).count == 6144
    assert choose_lanes(net, "85f", target_fps=2500).count == 6144


def test_the_memory_is_as_slow_as_costs_no_time():
    clocks = [50.0, 66.7, 100.0, 133.3]
    network = Network(20, 2, act_frac=1, res_bits=8, res_frac=2)
    plan = Plan(Package.random(network, 1), Lanes(8, 4, 8, 4), "25f", memory_mhz=clocks[-1])
    chosen = choose_memory_clock(plan, clocks)
    cycles = [dataclasses.replace(plan, memory_mhz=mhz).cycles_per_frame for mhz in clocks]
    slow = [n > 1.002 * cycles[-1] for n in cycles]
    assert clocks.index(chosen) == slow.count(True) and 0 < slow.count(True) < len(clocks) - 1
    stays = Plan(Package.random(Network(8, 1, side=8), 1), Lanes(2, 4, 4, 4), "85f")
    assert choose_memory_clock(stays, clocks) == clocks[-1]


def test_frames_go_in_pairs_where_that_saves_waits_for_weights():
    network = Network(20, 4, act_frac=1, res_bits=8, res_frac=2)
    plan = Plan(Package.random(network, 1), Lanes(8, 16, 16, 4), "85f", 80, memory_mhz=100)
    pairs = choose_batch(plan)
    assert pairs.batch == 2 and pairs.cycles_per_frame < 0.85 * plan.cycles_per_frame
    assert pairs.stall_cycles < plan.stall_cycles and pairs.streamed_bits < plan.streamed_bits
    # Both frames wait for each other: latency is what the frames a second cost.
    assert pairs.latency_cycles > plan.latency_cycles
    stays = Plan(Package.random(Network(8, 1, side=8), 1), Lanes(2, 4, 4, 4), "85f")
    assert choose_batch(stays) is stays


def test_a_limit_below_the_smallest_array_names_it():
    with pytest.raises(PlanError, match="No array of at most 3 lanes suits wrn-20-1; "
                                        "the smallest has 96"):
        choose_lanes(Network(20, 1), "85f", max_lanes=3)


def test_a_network_too_large_says_which_bits_are_needed_and_present():
    with pytest.raises(PlanTooLarge) as error:
        choose_lanes(Network(20, 10), "85f")
    text = str(error.value)
    assert "wrn-20-10 needs " in text and "the 85F has 208 (3,833,856 bits)" in text
    needed = int(text.split("block RAMs (")[1].split(" bits")[0].replace(",", ""))
    assert needed > Network(20, 10).weight_bits and "stored are weights " in text


def test_an_array_too_large_says_which_sites_are_needed():
    """Much logic and little memory: 8 bits on a small image."""
    schedule = make_schedule(Network(8, 1, act_bits=8), Lanes(8, 16, 16, 8))
    small = dataclasses.replace(DEVICES["25f"], ebr=1000)
    with pytest.raises(PlanTooLarge, match=r"needs about [\d,]+ LUT sites .* has 24,288; "
                                           r"use fewer --lanes"):
        check_fit(schedule, small, "wrn-8-1")


@pytest.mark.parametrize("width,depth,blocks", [
    (36, 512, 1), (36, 513, 2), (32, 1024, 2), (9, 2048, 1), (1, 16384, 1), (1, 16385, 2),
    (768, 400, 22), (18, 1024, 1), (48, 512, 2)])
def test_block_rams_are_counted_in_their_shapes(width, depth, blocks):
    assert block_rams(width, depth) == blocks
