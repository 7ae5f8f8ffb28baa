"""Which weights stay and which are streamed, and that nothing is overwritten too early."""

import dataclasses
import itertools

import pytest

from gen.device import DEVICES, block_rams
from gen.estimate import PlanTooLarge, estimate_resources
from gen.network import Network
from gen.package import Package
from gen.plan import Plan
from gen.residency import (
    EBR_WORDS,
    SPARE,
    least_words,
    piece_cycles,
    place_weights,
    queue_room,
    weight_room,
)
from gen.schedule import make_schedule, rounds_of
from hw.schedule import Lanes
from hw.weights import PIECE_BITS, pieces

PACE = piece_cycles(100, 100)
CASES = [(Network(8, 1, side=8, classes=3), Lanes(2, 4, 8, 4)),
         (Network(20, 1), Lanes(8, 8, 16, 4)), (Network(20, 4), Lanes(8, 8, 32, 8)),
         (Network(14, 2, side=16), Lanes(4, 16, 16, 8))]


def depths(schedule):
    """From room for the largest pass to a word less than all."""
    least = least_words(schedule)
    return [least + int(share * (schedule.weight_depth - 1 - least))
            for share in (0, 0.01, 0.1, 0.3, 0.6, 1)]


POINTS = [(net, lanes, depth) for net, lanes in CASES for depth in
          depths(make_schedule(net, lanes))]
PAIRS = [point for point in POINTS if point[0].width < 4] + [POINTS[14], POINTS[16]]
# Of each kind of rounds: its frames, and which of the functions for so many it is.
SINGLE, PAIR, LATE = (1, 0), (2, 0), (2, 1)
ROUNDS = [*((*point, SINGLE) for point in POINTS), *((*point, PAIR) for point in PAIRS),
          *((*point, LATE) for point in PAIRS)]


def rounds(schedule, kind):
    frames, which = kind
    return rounds_of(frames, schedule)[which]


@pytest.mark.parametrize("net,lanes,depth,kind", ROUNDS)
def test_every_layer_finds_its_own_weights(net, lanes, depth, kind):
    """Four rounds with every load as early as its rule allows: the latest owner of each word."""
    one = make_schedule(net, lanes)
    schedule = place_weights(one, depth, PACE, rounds(one, kind)).schedule
    assert schedule.loads and schedule.weight_depth <= depth
    assert (schedule.frames, schedule.late) == (kind[0], kind == LATE)
    count = len(schedule.layers)
    owner = {}

    def write(turn, layer):
        for word in range(layer.weights, layer.weights + layer.weight_words):
            owner[word] = turn, layer.part, word - layer.weights

    for layer in schedule.layers:
        if layer.part not in schedule.streamed:
            write("always", layer)
    loads = [(turn, load) for turn in range(4) for load in schedule.loads]
    for turn, index in itertools.product(range(4), range(count)):
        over = turn * count + index                      # layers that are over
        while loads and loads[0][0] * count + loads[0][1].after <= over:
            write(loads[0][0], schedule.layers[loads.pop(0)[1].layer])
        layer = schedule.layers[index]
        when = turn if layer.part in schedule.streamed else "always"
        assert ([owner[layer.weights + word] for word in range(layer.weight_words)]
                == [(when, layer.part, word) for word in range(layer.weight_words)]), (turn, layer)


@pytest.mark.parametrize("kind", [PAIR, LATE])
@pytest.mark.parametrize("net,lanes,depth", PAIRS)
def test_two_frames_at_a_time_load_deep_weights_once(net, lanes, depth, kind):
    """A load for each streamed pass of a frame, but one for both behind the first convolution that
    halves the map; two for the last one, where its weights can't all wait for the second frame."""
    one = make_schedule(net, lanes)
    schedule = place_weights(one, depth, PACE, rounds(one, kind)).schedule
    loaded = [schedule.layers[load.layer] for load in schedule.loads]
    def shared(layer):
        return layer.rows < net.side and (layer.rows, layer.stride) != (net.side // 2, 2)

    def loads(twice):
        return [layer.part for layer in schedule.layers if layer.part in schedule.streamed
                and (not layer.frame or not shared(layer) or layer.last and twice)]
    assert [layer.part for layer in loaded] in (loads(False), loads(True))


@pytest.mark.parametrize("net,lanes,depth,kind", ROUNDS)
def test_the_figures_are_those_of_the_loads(net, lanes, depth, kind):
    schedule = make_schedule(net, lanes)
    round_of = rounds(schedule, kind)
    residency = place_weights(schedule, depth, PACE, round_of)
    placed, schedule = residency.schedule, round_of(schedule)
    streamed = [placed.layers[load.layer] for load in placed.loads]
    words = sum(layer.weight_words for layer in streamed) * lanes.weight_memories * pieces(schedule)
    assert residency.bits == words * PIECE_BITS
    assert residency.cycles == placed.cycles + residency.stalls
    # Passes cost some cycles each.
    assert 0 <= placed.cycles - schedule.cycles <= 60 * (len(placed.layers) - len(schedule.layers))
    # No faster than the stream, nor than the lanes; no slower than one after the other.
    assert residency.cycles >= max(schedule.cycles, words * PACE)
    assert residency.cycles <= 1.02 * (placed.cycles + words * PACE) + 100 * len(streamed)


def test_more_room_is_never_slower():
    schedule = make_schedule(*CASES[2])
    cycles = [place_weights(schedule, depth, PACE).cycles for depth in range(512, 5800, 1024)]
    assert cycles[-1] == schedule.cycles
    assert cycles == sorted(cycles, reverse=True)


@pytest.mark.parametrize("net,lanes", CASES)
def test_passes_are_the_convolutions(net, lanes):
    """Every output group of a convolution in one pass, with its own weights and constants."""
    schedule = make_schedule(net, lanes)
    placed = place_weights(schedule, least_words(schedule), PACE).schedule
    passes = iter(placed.layers)
    for layer in schedule.layers:
        done = 0
        while done < layer.out_groups:
            one = next(passes)
            assert one.name == layer.name and one.first_output == done * lanes.outputs
            assert one.constants == layer.constants + done * lanes.groups
            assert one.first_word == done * lanes.groups
            assert one.skip == (layer.out_groups - one.out_groups) * lanes.groups
            assert one.pool == (layer.pool and done == 0)
            done += one.out_groups
            assert one.final == (done == layer.out_groups)
    assert next(passes, None) is None


def test_layers_whose_passes_would_end_within_a_slice_stay_whole():
    schedule = make_schedule(Network(8, 1, side=8, classes=3), Lanes(2, 16, 8, 4))
    placed = place_weights(schedule, max(y.weight_words for y in schedule.layers),
                           PACE).schedule
    assert len(placed.layers) == len(schedule.layers)


def test_a_faster_memory_saves_waits_until_a_piece_comes_every_cycle():
    schedule = make_schedule(*CASES[2])
    depth = schedule.weight_depth // 3
    cycles = [place_weights(schedule, depth, piece_cycles(100, mhz)).cycles
              for mhz in (50, 100, 400 / 3, 200, 400)]
    assert cycles == sorted(cycles, reverse=True) and cycles[2] < 0.85 * cycles[1]
    # A refresh every 7.8125 us; 10 cycles and 120 ns are lost for it.
    assert piece_cycles(100, 100) == pytest.approx(2 / (1 - 22 / 781.25))
    assert piece_cycles(100, 300) == piece_cycles(100, 900) == 1


def test_weights_that_wait_in_a_queue_save_waits_and_as_few_as_that_takes():
    schedule = make_schedule(*CASES[2])
    depth = schedule.weight_depth // 3
    found = [place_weights(schedule, depth, PACE, queue=queue)
             for queue in (0, 2048, 8192, 1 << 15, 1 << 16)]
    assert [one.schedule.queue_words for one in found[:3]] == [0, 2048, 8192]
    cycles = [one.cycles for one in found]
    assert cycles == sorted(cycles, reverse=True) and cycles[2] < 0.95 * cycles[0]
    # The rest of the frame's weights is in the memories: more than that never waits.
    assert found[3] == found[4] and found[3].schedule.queue_words < 1 << 15
    # A piece every cycle: none has to wait.
    assert place_weights(schedule, depth, 1, queue=8192).schedule.queue_words == 0


@pytest.mark.parametrize("device,width,lanes", [
    ("85f", 4, Lanes(8, 8, 32, 4)), ("45f", 4, Lanes(4, 8, 32, 4)), ("25f", 2, Lanes(4, 4, 16, 4))])
def test_the_queue_takes_block_rams_that_are_left(device, width, lanes):
    net = Network(20, width, act_frac=1, res_bits=8, res_frac=2)
    schedule, device = make_schedule(net, lanes), DEVICES[device]
    depth = weight_room(schedule, device)
    most = queue_room(schedule, depth, device)
    placed = place_weights(schedule, depth, PACE, queue=most).schedule
    assert most % EBR_WORDS == 0 and placed.queue_words <= most
    assert estimate_resources(placed)["ebr"] <= device.ebr
    full = dataclasses.replace(placed, queue_words=most + EBR_WORDS)
    assert estimate_resources(full)["ebr"] > device.ebr


def test_without_need_nothing_is_streamed():
    schedule = make_schedule(*CASES[1])
    residency = place_weights(schedule, schedule.weight_depth, PACE)
    assert residency.schedule == schedule and not residency.stalls and not residency.bits


def test_a_pass_that_does_not_fit_is_refused():
    schedule = make_schedule(*CASES[2])
    least = max(3 * layer.slices for layer in schedule.layers)
    assert place_weights(schedule, least - 1, PACE) is None and place_weights(schedule, least, PACE)
    plan = Plan(Package.random(CASES[2][0], 1), CASES[2][1], "85f", weight_words=least - 1)
    with pytest.raises(PlanTooLarge, match="wrn-20-4 needs weight memories of at least 96 words"):
        plan.create()


def test_the_room_is_what_the_device_has_left():
    """All of it where that saves streaming or where less doesn't do, else a part."""
    small = dict(act_frac=1, res_bits=8, res_frac=2)
    for net, lanes, device, share, all_stay in [
            (Network(20, 2, **small), Lanes(4, 16, 32, 4), "85f", 1, True),
            (Network(20, 4, **small), Lanes(8, 8, 16, 4), "85f", 1 - SPARE, False),
            (Network(20, 2, **small), Lanes(4, 4, 16, 4), "25f", 1, False),
            (Network(20, 4, **small), Lanes(8, 16, 32, 4), "25f", 1, False)]:
        device, schedule = DEVICES[device], make_schedule(net, lanes)
        width, memories = lanes.weight_bits, lanes.weight_memories
        room = weight_room(schedule, device)
        rest = (estimate_resources(schedule)["ebr"]
                - block_rams(width, schedule.weight_depth) * memories)
        most = int(share * device.ebr)
        assert not room or rest + block_rams(width, room) * memories <= most
        assert rest + block_rams(width, room + 1) * memories > most
        assert (room >= schedule.weight_depth) == all_stay
