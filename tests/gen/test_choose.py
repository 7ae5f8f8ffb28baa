"""The array that's chosen, its clock, frames that share weights, and the memory's clock."""

import dataclasses
import re

import pytest

from gen import choose
from gen.choose import (
    FILL,
    ROUTED_COMB,
    ROUTED_MHZ,
    choose_batch,
    choose_lanes,
    choose_memory_clock,
)
from gen.device import DEVICES
from gen.estimate import PlanTooLarge, check_fit, estimate_resources
from gen.network import Network
from gen.package import Package
from gen.plan import Plan, PlanError
from gen.schedule import check_lanes, in_rounds, make_schedule
from gen.timing import scoring_cycles
from hw.schedule import Lanes


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
    assert need["comb"] <= ROUTED_COMB[device] < FILL * DEVICES[device].comb
    assert need["ebr"] <= DEVICES[device].ebr
    check_fit(schedule, DEVICES[device], net.name)


@pytest.mark.parametrize("width", [1, 2])
def test_a_larger_device_is_faster(width):
    """WRN-20-2 streams on the 25F, could stay on 768 lanes of the 45F, and stays on the 85F."""
    package = Package.random(Network(20, width, act_frac=1, res_bits=8, res_frac=2), 1)
    cycles = [Plan(package, choose_lanes(package.network, device), device).cycles_per_frame
              for device in ("25f", "45f", "85f")]
    assert cycles[0] > 1.5 * cycles[1] > 1.5 * 1.5 * cycles[2]


def test_weights_stay_on_the_chip_where_that_reaches_the_target():
    package = Package.random(Network(20, 2, act_frac=1, res_bits=8, res_frac=2), 1)

    def plan(fps):
        return Plan(package, choose_lanes(package.network, "45f", fps), "45f", ROUTED_MHZ)
    slow, fast = plan(500), plan(1500)
    assert not slow.schedule.loads and slow.clock_mhz * 1e6 / slow.cycles_per_frame >= 500
    assert fast.schedule.loads and fast.clock_mhz * 1e6 / fast.cycles_per_frame >= 1500


def test_streaming_must_be_worth_it(monkeypatch):
    network = Network(20, 2, act_frac=1, res_bits=8, res_frac=2)

    def streams():
        lanes = choose_lanes(network, "45f")
        return bool(Plan(Package.random(network, 1), lanes, "45f").schedule.loads)
    assert streams()
    # 2,178 frames a second instead of 550.
    monkeypatch.setattr(choose, "WORTH", 5)
    assert not streams()


@pytest.mark.parametrize("fps", [100, 1000, 3000])
def test_a_target_takes_the_smallest_array_that_reaches_it(fps):
    net = Network(20, 1)
    lanes = choose_lanes(net, "85f", target_fps=fps, mhz=100)
    comb = estimate_resources(make_schedule(net, lanes))["comb"]
    assert 1e8 / make_schedule(net, lanes).cycles >= fps
    fastest = choose_lanes(net, "85f")
    assert comb < estimate_resources(make_schedule(net, fastest))["comb"]
    # Half the clock needs a larger array.
    assert make_schedule(net, choose_lanes(net, "85f", fps, mhz=50)).cycles \
        <= 5e7 / fps


def test_a_target_out_of_reach_names_the_best():
    with pytest.raises(PlanError, match=r"wrn-20-1 reaches [\d,]+ fps on the 25F at 125 MHz, "
                                        r"not 1,000,000"):
        choose_lanes(Network(20, 1), "25f", target_fps=1e6)


def test_a_memory_too_slow_for_the_target_is_named_with_what_it_gives():
    """Nearly all that it gives is what the frame rate takes that is reached."""
    net = Network(20, 4, act_frac=1, res_bits=8, res_frac=2)
    with pytest.raises(PlanError) as error:
        choose_lanes(net, "85f", target_fps=5000, mhz=100, memory_mhz=50)
    found = re.fullmatch(r"wrn-20-4 reaches ([\d,]+) fps on the 85F at 100 MHz, not 5,000; that "
                         r"would take ([\d,]+) MB/s of weights, and the SDRAM gives 96",
                         str(error.value))
    reached, needed = (int(number.replace(",", "")) for number in found.groups())
    assert 0.9 * 96 < needed * reached / 5000 <= 96


def test_arrays_that_are_nearly_as_fast_win_by_their_logic():
    net = Network(20, 4, act_frac=1, res_bits=8, res_frac=2)
    chosen = make_schedule(net, choose_lanes(net, "85f", max_lanes=3072, memory_mhz=133))
    rival = make_schedule(net, Lanes(8, 4, 32, 4))
    assert rival.cycles < chosen.cycles < 1.01 * rival.cycles
    assert estimate_resources(chosen)["comb"] < estimate_resources(rival)["comb"]


@pytest.mark.parametrize("limit", [96, 500, 3000])
def test_an_array_stays_within_the_lanes_allowed(limit):
    assert choose_lanes(Network(20, 1), "85f", max_lanes=limit).count <= limit


def test_arrays_larger_than_any_routed_are_taken_only_when_asked_for():
    def comb(**asked):
        return estimate_resources(make_schedule(net, choose_lanes(net, "85f", **asked)))["comb"]
    net = Network(20, 1)
    assert comb() <= ROUTED_COMB["85f"] < comb(max_lanes=6144)
    assert comb(target_fps=15_000) > ROUTED_COMB["85f"]


def test_of_arrays_that_stream_the_smallest_reaches_the_target():
    net = Network(20, 4, act_frac=1, res_bits=8, res_frac=2)
    package = Package.random(net, 1)

    def plan(lanes):
        return choose_batch(Plan(package, lanes, "85f", ROUTED_MHZ))
    small, large = (plan(choose_lanes(net, "85f", fps)) for fps in (100, None))
    assert small.schedule.loads and large.schedule.loads
    assert small.clock_mhz * 1e6 / small.cycles_per_frame >= 100
    assert (estimate_resources(small.schedule)["comb"]
            < estimate_resources(large.schedule)["comb"] / 2)


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


def test_layers_are_late_where_that_saves_waits_for_weights():
    network = Network(20, 4, act_frac=1, res_bits=8, res_frac=2)
    plan = Plan(Package.random(network, 1), Lanes(8, 8, 32, 4), "85f", 125, batch=2)
    schedule, slower = plan.schedule, dataclasses.replace(plan, clock_mhz=100, memory_mhz=133.33)
    in_time = in_rounds(make_schedule(network, plan.lanes))
    assert schedule.late and plan.stall_cycles == 0
    assert schedule.map_depth == in_time.map_depth
    assert schedule.residual_depth == in_time.residual_depth
    # With a memory that's fast enough a pair waits for hardly anything, and latency counts.
    assert slower.stall_cycles < 100 and not slower.schedule.late
    assert slower.latency_cycles < plan.latency_cycles


def test_layers_are_not_late_where_the_head_takes_as_long():
    network = Network(20, 4, classes=2000, act_frac=1, res_bits=8, res_frac=2)
    plan = Plan(Package.random(network, 1), Lanes(8, 8, 32, 4), "85f", 125, batch=2)
    assert plan.stall_cycles > 0 and not plan.schedule.late
    assert 2 * plan.cycles_per_frame == scoring_cycles(plan.schedule)


def test_a_limit_below_the_smallest_array_names_it():
    with pytest.raises(PlanError, match="No array of at most 3 lanes suits wrn-20-1; "
                                        "the smallest has 96"):
        choose_lanes(Network(20, 1), "85f", max_lanes=3)


def test_pairs_too_large_are_told_from_frames_too_large():
    network = Network(20, 10, act_frac=1, res_bits=5, res_frac=0)
    with pytest.raises(PlanTooLarge, match="wrn-20-10 needs .* block RAMs .*, --batch 1 or"):
        choose_lanes(network, "85f", batches=(2,))


@pytest.mark.parametrize("width,device,memory", [(10, "85f", "208 (3,833,856 bits)"),
                                                 (4, "25f", "56 (1,032,192 bits)")])
def test_a_network_too_large_says_which_bits_are_needed_and_present(width, device, memory):
    """Weights aren't what's too large, and what is goes into no device of that size."""
    network = Network(20, width)
    with pytest.raises(PlanTooLarge) as error:
        choose_lanes(network, device)
    text = str(error.value)
    assert f"{network.name} needs " in text and f"the {device.upper()} has {memory}" in text
    bits = [int(found.replace(",", "")) for found in re.findall(r"([\d,]+) bits[);]", text)]
    needed, present = bits[:2]
    maps, residual = re.search(r"maps take ([\d,]+) bits, the residual ([\d,]+):", text).groups()
    stored = int(maps.replace(",", "")) + int(residual.replace(",", ""))
    assert needed > present and stored < needed < network.weight_bits + stored


def test_fewer_residual_bits_are_a_way_out():
    choose_lanes(Network(20, 10, act_frac=1, res_bits=5, res_frac=0), "85f")


def test_pairs_of_frames_that_do_not_fit_are_no_choice():
    """With few words of weights their maps are what's too large, where a frame alone fits."""
    network = Network(20, 4, act_frac=1, res_bits=8, res_frac=2)
    plan = Plan(Package.random(network, 1), Lanes(4, 8, 32, 4), "45f", ROUTED_MHZ, weight_words=100)
    check_fit(plan.schedule, DEVICES["45f"], network.name)
    assert choose_batch(plan) is plan
    assert choose_batch(dataclasses.replace(plan, device="85f")).batch == 2
