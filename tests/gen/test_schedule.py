"""The layer schedule: smallest gaps at which nothing is read before it's written, and its sums."""

import itertools

import numpy as np
import pytest

from gen.addresses import SLIDE
from gen.network import Network
from gen.schedule import check_lanes, in_passes, in_rounds, make_schedule
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


def passes(schedule, stays):
    """Convolutions in two passes where they have an even number of groups, but for those that read
    the largest maps and of which ``stays`` is true."""
    most = max(layer.x_groups for layer in schedule.layers)
    return [[layer.out_groups] if layer.out_groups % 2 or layer.x_groups == most and stays(layer)
            else [layer.out_groups // 2] * 2 for layer in schedule.layers]


def shapes(net, lanes):
    """The schedule, and with passes of several kinds; each of them frame by frame, in rounds, and
    in rounds with late layers: every number of them for small networks."""
    whole = make_schedule(net, lanes)
    divided = [whole]
    if lanes.groups % lanes.subslices == 0:
        for stays in (lambda layer: True, lambda layer: layer.stride == 1, lambda layer: False):
            groups = passes(whole, stays)
            if any(len(parts) > 1 for parts in groups):
                divided.append(in_passes(whole, groups))
    group = (net.depth - 2) // 3
    late = range(1, group) if net.width == 1 else [group // 2]
    return [[frame, in_rounds(frame), *(in_rounds(frame, count) for count in late)]
            for frame in divided]


def events(schedule):
    """Cycle of every read and every write of the activation maps, from the first step of a round.

    Returns ``(reads, writes, results)``, an entry a layer: ``reads`` has
    ``(cycle, address, map row, word of the row)`` of every word read, ``writes``
    ``(cycle, address, row, word)`` of every word written for the last time, and ``results`` the
    cycles of every step's first word.
    """
    lanes, end = schedule.lanes, 0
    first_word = ARRAY_DELAY + emit_latency(schedule)
    all_reads, all_writes, results = [], [], []
    for layer in schedule.layers:
        at = end + layer.gap
        reads, words, writes = [], [], {}
        product = layer.digits * 3 * layer.slices
        total = layer.out_groups * lanes.groups + layer.skip      # result words of some pixels
        per_row = layer.x_groups // layer.stride * total // lanes.subslices
        for row, x, group in itertools.product(range(layer.rows), range(layer.x_groups),
                                               range(layer.out_groups)):
            for ky, s, side in itertools.product(range(3), range(layer.slices), (-1, 0, 1)):
                map_row = row * layer.stride + ky - 1
                if (0 <= map_row < layer.rows * layer.stride and 0 <= x + side < layer.x_groups
                        and not layer.from_image):
                    word = (x + side) * layer.slices + s
                    reads.append((at + ky * layer.slices + s + ADDRESS_DELAY,
                                  layer.source + map_row * layer.row_words + word, map_row, word))
            result = at + product - 1 + first_word
            words.append(result)
            for k in range(lanes.groups):
                number = (x // layer.stride * total + layer.first_word + group * lanes.groups + k)
                word = number // lanes.subslices
                writes[row, word] = (result + k + CODES_DELAY,
                                     layer.target + row * per_row + word, row, word)
            at += layer.steps
        all_reads.append(reads)
        all_writes.append(list(writes.values()))
        results.append(words)
        end += layer.gap + layer.cycles
        assert at == end
    assert end == schedule.cycles
    return all_reads, all_writes, results


@pytest.mark.parametrize("net,lanes", CASES, ids=IDS)
def test_every_read_finds_the_word_that_the_convolution_before_wrote(net, lanes):
    """With every word's address in the order of cycles: what a word holds when it's read. Two
    rounds, but for the late layers of the first, which have no round before."""
    for schedule in itertools.chain(*shapes(net, lanes)):
        reads, writes, _ = events(schedule)
        order, names = [], [conv.name for conv in net.convs]
        for turn, (index, layer) in itertools.product(range(2), enumerate(schedule.layers)):
            frame, start = (layer.frame, turn - layer.late), turn * schedule.cycles
            if frame[1] < 0:
                continue
            order += [(start + cycle, 0, address, (layer.name, frame, row, word))
                      for cycle, address, row, word in writes[index]]
            before = names[names.index(layer.name) - 1]
            # A word is stored at the end of its cycle.
            order += [(start + cycle, -1, address, (before, frame, row, word))
                      for cycle, address, row, word in reads[index]]
        held = {}
        for _, kind, address, what in sorted(order):
            assert 0 <= address < schedule.map_depth
            if kind == 0:
                held[address] = what
            else:
                assert held.get(address) == what


@pytest.mark.parametrize("net,lanes", CASES, ids=IDS)
def test_gaps_are_the_smallest_that_keep_words_and_residuals_apart(net, lanes):
    """In the second of two rounds."""
    for schedule in itertools.chain(*shapes(net, lanes)):
        reads, writes, results = events(schedule)
        begin, pool_end, last_write, count = 0, None, {}, len(schedule.layers)
        for k in range(2 * count):
            layer, start = schedule.layers[k % count], k // count * schedule.cycles
            frame, first = (layer.frame, k // count - layer.late), results[k % count][0] + start
            begin += layer.gap
            # Every step's results are a word of each group, one a cycle; rounds follow at once.
            before = results[k % count - 1][-1] + start - (0 if k % count else schedule.cycles)
            slacks = {"word": first - before - lanes.groups}
            assert min(np.diff(results[k % count])) >= lanes.groups
            if layer.first_output == 0 and not layer.from_image and frame in last_write:
                # The lowest row that an output row needs is waited for before that row begins.
                rows = last_write[frame]
                slacks["rows"] = min(
                    begin + row * layer.cycles // layer.rows + ADDRESS_DELAY - 1
                    - rows[min(row * layer.stride + 1, len(rows) - 1)]
                    for row in range(layer.rows))
            if pool_end is not None and (layer.pool or not layer.first_conv):
                slacks["pool"] = first + (0 if layer.pool else RESIDUAL_READ_DELAY) - pool_end
            if layer.pool:
                pool_end = first + pool_cycles(layer, lanes)
            if k >= count:
                assert min(slacks.values()) >= 0, (layer, slacks)
                assert layer.gap == MIN_GAP or 0 in slacks.values(), (layer, slacks)
            writes_of = last_write.setdefault(frame, {})
            for cycle, _, row, _ in writes[k % count]:
                cycle += start
                writes_of[row] = cycle if layer.first_output == 0 else max(cycle, writes_of[row])
            for row in [row for row in writes_of if row >= layer.rows]:
                del writes_of[row]
            begin += layer.cycles


@pytest.mark.parametrize("net,lanes", CASES, ids=IDS)
def test_a_round_computes_every_pass_of_both_frames_and_loads_deep_weights_once(net, lanes):
    for one, *pairs in shapes(net, lanes):
        for two in pairs:
            assert two.frames == 2 and two.constant_words == one.constant_words
            assert two.residual_depth == 1.5 * one.residual_depth
            for frame in (0, 1):
                each = [layer for layer in two.layers if layer.frame == frame]
                assert (sorted(layer.part for layer in each)
                        == sorted(layer.part for layer in one.layers))
                # Late ones are the last of the frame's, all others come in order.
                parts = [layer.part for layer in sorted(each, key=lambda layer: not layer.late)]
                count = sum(layer.late for layer in each)
                assert [*parts[count:], *parts[:count]] == [layer.part for layer in one.layers]
            for index, layer in enumerate(two.layers):
                earlier = [y.part for y in two.layers[:index]]
                # All behind the first convolution that halves the map.
                deep = (layer.rows < net.side
                        and (layer.rows, layer.stride) != (net.side // 2, 2))
                assert layer.reuses == (deep and layer.frame == 1)
                assert not layer.reuses or layer.part in earlier


@pytest.mark.parametrize("net,lanes", CASES, ids=IDS)
def test_residual_maps_of_frames_under_way_lie_apart(net, lanes):
    """From the stem, and from either pooling on, up to the next or to the end of the frame."""
    for _, *pairs in shapes(net, lanes):
        for schedule in pairs:
            count, spans = len(schedule.layers), []
            for turn, (k, layer) in itertools.product(range(3), enumerate(schedule.layers)):
                frame, now = (layer.frame, turn - layer.late), turn * count + k
                side = layer.rows
                words = side * side // lanes.pixels * (
                    net.channels(0) * net.side // side // lanes.result_channels)
                if layer.from_image or layer.pool:
                    spans.append([frame, layer.pooled, layer.pooled + words, now, 3 * count])
                    for span in spans[:-1]:
                        if span[0] == frame and span[4] == 3 * count:
                            span[4] = now
                            assert layer.residual == span[1], "pooled from where it was"
                elif not layer.first_conv:
                    if frame[1] >= 0:
                        assert layer.residual == next(
                            span[1] for span in reversed(spans) if span[0] == frame)
                    if layer.last and layer.final:
                        for span in spans:
                            if span[0] == frame:
                                span[4] = min(span[4], now)
            for a, b in itertools.combinations(spans, 2):
                if a[0] != b[0] and a[3] <= b[4] and b[3] <= a[4]:
                    assert a[2] <= b[1] or b[2] <= a[1], (a, b)
                assert max(a[2], b[2]) <= schedule.residual_depth


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
    for layer in schedule.layers:
        assert (layer.weights, layer.constants) == (weights, constants)
        weights += layer.out_groups * 3 * layer.slices
        constants += layer.out_groups * lanes.groups
    largest = max(conv.cout * conv.out_side ** 2 for conv in net.convs)
    words = largest // (lanes.pixels * lanes.slice_channels)
    # Convolutions of the first group and the one behind it slide down by two rows each.
    slides = (net.depth - 2) // 3 + 1
    assert schedule.map_depth == min(2 * words, words + SLIDE * slides * words // net.side)
    assert schedule.constant_words == constants
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


@pytest.mark.parametrize("late", [-1, 6, 7])
def test_no_more_layers_are_late_than_keep_their_pooled_maps(late):
    with pytest.raises(ValueError, match=f"fewer than the 6 of the last group .* not {late}"):
        in_rounds(make_schedule(Network(20, 1), Lanes(8, 16, 16, 8)), late)


def test_odd_pixels_are_refused_where_they_divide_the_map():
    with pytest.raises(ValueError, match="Pixels must be even and divide .* side 6, not 3"):
        check_lanes(Network(8, side=24), Lanes(3, 4, 4, 4))


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
