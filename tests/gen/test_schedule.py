"""The layer schedule: smallest gaps at which nothing is read before it's written, and its sums."""

import itertools

import numpy as np
import pytest

from gen.network import Network
from gen.schedule import check_lanes, make_schedule
from hw.issue import ADDRESS_DELAY, ARRAY_DELAY, MIN_GAP
from hw.pool import pool_cycles
from hw.results import CODES_DELAY, RESIDUAL_READ_DELAY, emit_latency
from hw.schedule import Lanes

CASES = [
    (Network(8, 1, side=8, classes=3), Lanes(2, 4, 8, 4)),
    (Network(8, 1, side=8, classes=3), Lanes(2, 16, 16, 4)),
    (Network(8, 1, side=8, act_bits=2), Lanes(2, 4, 4, 4)),
    (Network(14, 1, side=16, act_bits=8), Lanes(4, 8, 16, 4)),
    (Network(8, 2, side=16, act_bits=3), Lanes(2, 16, 32, 4)),
    (Network(20, 1), Lanes(8, 16, 16, 8)),
    (Network(20, 1), Lanes(8, 16, 16, 4)),
    (Network(8, 2), Lanes(8, 8, 32, 8)),
    (Network(8, 1, act_bits=6), Lanes(4, 16, 8, 8)),
    (Network(8, 4, side=8), Lanes(2, 4, 64, 4)),           # 16 groups
    (Network(20, 4), Lanes(8, 4, 64, 4)),
    (Network(8, 2, side=16, act_bits=8), Lanes(4, 32, 32, 4)),
]
IDS = [f"{net.name}-{net.side}-{net.act_bits}-{'x'.join(map(str, vars(lanes).values()))}"
       for net, lanes in CASES]


def events(schedule):
    """Cycle of every read and of every write of the maps, layer by layer, frame start at 0.

    Returns ``(reads, writes, results, pools)``, a list entry a layer: ``reads`` maps
    ``(row, x group)`` of the layer's input to the first cycle in which a word of it is read,
    ``writes`` those of its output to the last cycle in which one is written. Results are the
    cycles of every step's first word; a pool is the first cycle in which all of it may be read.
    """
    lanes, at = schedule.lanes, 0
    first_word = ARRAY_DELAY + emit_latency(schedule)
    all_reads, all_writes, results, pools = [], [], [], []
    for layer in schedule.layers:
        at += layer.gap
        reads, writes, words = {}, {}, []
        product = layer.digits * 3 * layer.slices
        for row, x, _ in itertools.product(range(layer.rows), range(layer.x_groups),
                                             range(layer.out_groups)):
            for digit, ky in itertools.product(range(layer.digits), range(3)):
                map_row = row * layer.stride + ky - 1
                for side in (-1, 0, 1):
                    place = (map_row, x + side)
                    if 0 <= map_row < layer.rows * layer.stride and 0 <= x + side < layer.x_groups:
                        step = at + (digit * 3 + ky) * layer.slices
                        reads.setdefault(place, step + ADDRESS_DELAY)
            word = at + product - 1 + first_word
            words.append(word)
            writes[row, x // layer.stride] = word + lanes.groups - 1 + CODES_DELAY
            at += layer.steps
        all_reads.append(reads)
        all_writes.append(writes)
        results.append(words)
        pools.append(words[0] + pool_cycles(layer, lanes) if layer.pool else None)
    assert at == schedule.cycles
    return all_reads, all_writes, results, pools


@pytest.mark.parametrize("net,lanes", CASES, ids=IDS)
def test_nothing_is_read_before_it_is_written_and_gaps_are_the_smallest(net, lanes):
    schedule = make_schedule(net, lanes)
    reads, writes, results, pools = events(schedule)
    for k, layer in enumerate(schedule.layers):
        # Every step's results are a word of each group, one a cycle; frames follow at once.
        before = results[k - 1][-1] - (0 if k else schedule.cycles)
        word_slack = results[k][0] - before - lanes.groups
        assert word_slack >= 0, layer.name
        assert min(np.diff(results[k])) >= lanes.groups
        if k == 0:
            assert layer.gap == MIN_GAP or word_slack == 0
            continue
        assert set(reads[k]) == set(writes[k - 1])
        # A word is stored at the end of its cycle.
        slack = min(reads[k][place] - writes[k - 1][place] - 1 for place in reads[k])
        assert slack >= 0, layer.name
        pooled = pools[k - 1]
        pool_slack = (np.inf if pooled is None
                      else results[k][0] + RESIDUAL_READ_DELAY - pooled)
        assert pool_slack >= 0, layer.name
        # The lowest row that an output row needs is waited for before that row begins.
        last_write = {}
        for (row, _), cycle in writes[k - 1].items():
            last_write[row] = max(cycle, last_write.get(row, 0))
        begin = sum(before.gap + before.cycles for before in schedule.layers[:k]) + layer.gap
        row_slack = min(
            begin + row * layer.cycles // layer.rows + ADDRESS_DELAY - 1
            - last_write[min(row * layer.stride + 1, len(last_write) - 1)]
            for row in range(layer.rows))
        assert row_slack >= 0
        assert (layer.gap == MIN_GAP or row_slack == 0 or pool_slack == 0
                or word_slack == 0), layer


@pytest.mark.parametrize("net,lanes", CASES, ids=IDS)
def test_layers_do_all_multiplications_and_none_twice(net, lanes):
    schedule = make_schedule(net, lanes)
    for layer, conv in zip(schedule.layers, net.convs, strict=True):
        products = layer.rows * layer.x_groups * layer.out_groups * 3 * layer.slices
        # A strided layer computes every column; the stem's slice has room for more channels.
        cin = lanes.slice_channels if conv.kind == "stem" else conv.cin
        assert products * lanes.count == conv.macs // conv.cin * cin * conv.stride
        assert layer.digits == (-(-8 // net.act_bits) if conv.kind == "stem" else 1)
        assert layer.cycles == layer.rows * layer.x_groups * layer.out_groups * (
            layer.digits * 3 * layer.slices + layer.bubbles)
        assert layer.steps >= lanes.groups, "results would come faster than a word a cycle"
        assert layer.bubbles == 0 or layer.steps == lanes.groups
    assert schedule.cycles == sum(layer.gap + layer.cycles for layer in schedule.layers)


@pytest.mark.parametrize("net,lanes", CASES, ids=IDS)
def test_memories_hold_what_is_addressed_and_no_more(net, lanes):
    schedule = make_schedule(net, lanes)
    weights = constants = 0
    for layer, conv in zip(schedule.layers, net.convs):
        assert (layer.weights, layer.constants) == (weights, constants)
        weights += layer.out_groups * 3 * layer.slices
        constants += layer.out_groups * lanes.groups
        words = conv.side ** 2 // lanes.pixels * layer.slices
        assert layer.source in (0, schedule.map_words) and words <= schedule.map_words
        if conv.kind != "stem":
            assert layer.source + layer.target == schedule.map_words, "reads what it writes"
    largest = max(conv.cout * conv.out_side ** 2 for conv in net.convs)
    assert schedule.map_words * lanes.pixels * lanes.slice_channels == largest
    assert schedule.residual_depth * lanes.pixels * lanes.result_channels == largest
    # A layer reads the map that the one before it wrote.
    for before, layer in itertools.pairwise(schedule.layers):
        assert layer.source == before.target


@pytest.mark.parametrize("net,lanes", CASES, ids=IDS)
def test_the_accumulator_holds_the_largest_sum_and_no_bit_more(net, lanes):
    schedule = make_schedule(net, lanes)
    digits = schedule.digits
    sums = [9 * conv.cin * net.top for conv in net.convs[1:]]
    sums.append(27 * ((1 << digits * net.act_bits) - 1))
    assert (1 << schedule.acc_bits - 1) <= max(sums) < 1 << schedule.acc_bits


@pytest.mark.parametrize("net,lanes", CASES[:4], ids=IDS[:4])
def test_residual_words_are_those_of_channels_that_exist(net, lanes):
    """The new channels of a strided block have no residual yet."""
    schedule = make_schedule(net, lanes)
    residual = 0
    for layer, conv in zip(schedule.layers, net.convs):
        if conv.kind == "second":
            assert layer.residual_words * lanes.result_channels == residual
        if conv.kind != "first":
            residual = conv.cout
        assert layer.pool == (conv.stride == 2)


@pytest.mark.parametrize("lanes,message", [
    (Lanes(3, 4, 4, 4), "Pixels must be even and divide the smallest map's side 8, not 3"),
    (Lanes(16, 4, 4, 4), "Pixels must be even and divide the smallest map's side 8, not 16"),
    (Lanes(0, 4, 4, 4), "Pixels must be even"),
    (Lanes(6, 4, 4, 4), "Pixels must be even and divide"),
    (Lanes(8, 3, 4, 3), "Slice channels must be at least 4"),
    (Lanes(8, 2, 4, 2), "Slice channels must be at least 4"),
    (Lanes(8, 32, 4, 4), "divide the 16 channels of the first group, not 32"),
    (Lanes(8, 8, 16, 16), "Result channels must divide the slice channels 8, not 16"),
    (Lanes(8, 8, 12, 4), "Outputs must be a multiple of the result channels 4 that divides 16"),
    (Lanes(8, 8, 4, 8), "Outputs must be a multiple of the result channels 8"),
    (Lanes(8, 8, 32, 8), "divides 16, not 32"),
])
def test_an_array_that_doesnt_suit_is_refused_by_the_number_at_fault(lanes, message):
    with pytest.raises(ValueError, match="must be|must divide") as error:
        make_schedule(Network(20, 1), lanes)
    assert message in str(error.value)


@pytest.mark.parametrize("lanes", [Lanes(8, 0, 4, 4), Lanes(8, 4, 4, 0), Lanes(8, 4, 0, 4),
                                   Lanes(-2, 4, 4, 4), Lanes(1, 4, 4, 4)])
def test_zeros_and_negative_numbers_are_refused(lanes):
    with pytest.raises(ValueError, match="must"):
        check_lanes(Network(20, 1), lanes)
