"""The issue sequencer against the loops that a layer's schedule stands for."""

import itertools

import numpy as np
import pytest

from gen.schedule import in_rounds
from hw.array import WEIGHT_LATENCY
from hw.issue import ADDRESS_DELAY, ARRAY_DELAY, SEEN_DELAY, IssueSequencer
from hw.maps import COLUMN_LATENCY
from hw.schedule import LayerTable
from tests.hw.tiny import ARRAYS, SMALLEST, schedule_of
from tests.streams import simulate

CASES = [(ARRAYS[8][0], {"act_bits": 3}), (ARRAYS[8][1], {"act_bits": 8}),
         (ARRAYS[8][2], {"depth": 14}), (ARRAYS[16][0], {"side": 16})]


def steps_of(layer):
    """Every step of a layer as ``(word addresses or None, padding, weight, digit, flags)``, in
    order; bubbles and the cycles of the gap are None."""
    yield from [None] * layer.gap
    for row, x, out, digit, ky, s in itertools.product(
            range(layer.rows), range(layer.x_groups), range(layer.out_groups),
            range(layer.digits), range(3), range(layer.slices)):
        map_row = row * layer.stride + ky - 1
        outside = not 0 <= map_row < layer.rows * layer.stride
        left, right = x == 0, x == layer.x_groups - 1
        middle = layer.source + map_row * layer.row_words + x * layer.slices + s
        last = (digit, ky, s) == (layer.digits - 1, 2, layer.slices - 1)
        yield {
            "address": None if outside else middle,
            "left": None if outside or left else middle - layer.slices,
            "right": None if outside or right else middle + layer.slices,
            "source": {"image": layer.from_image, "digit": digit, "pad_row": outside,
                       "pad_left": left, "pad_right": right},
            "weights": layer.weights + (out * 3 + ky) * layer.slices + s,
            "control": {"active": True, "shift": digit > 0 and (ky, s) == (0, 0), "last": last}}
        if last:
            yield from [None] * layer.bubbles


DELAYS = {"address": ADDRESS_DELAY, "left": ADDRESS_DELAY, "right": ADDRESS_DELAY,
          "source": ADDRESS_DELAY + COLUMN_LATENCY - 1, "weights": ARRAY_DELAY - WEIGHT_LATENCY,
          "control": ARRAY_DELAY}


def record(schedule, cycles, drive=None, names=(*DELAYS, "image_done", "frame_start")):
    """What the sequencer says, a dictionary a cycle."""
    unit = IssueSequencer(schedule, sum(y.out_groups * 3 * y.slices for y in schedule.layers))
    seen = []

    async def bench(ctx):
        ctx.set(unit.image_full, 1)
        ctx.set(unit.head_free, 1)
        for t in range(cycles):
            if drive:
                drive(ctx, unit, t)
            seen.append({name: ctx.get(getattr(unit, name)) for name in names})
            await ctx.tick()
    simulate(unit, bench)
    return seen


def said(value):
    return {name: int(value[name]) for name in ("active", "shift", "last")}


@pytest.mark.parametrize("lanes,fields", CASES)
def test_two_frames_are_the_loops_cycle_by_cycle(lanes, fields):
    schedule = schedule_of(lanes, **fields)
    frame = [step for layer in schedule.layers for step in steps_of(layer)]
    assert len(frame) == schedule.cycles
    seen = record(schedule, 2 * schedule.cycles + 30)
    begin = next(t for t, now in enumerate(seen) if now["control"]["active"]) - ARRAY_DELAY
    begin -= schedule.layers[0].gap
    for t, step in enumerate(frame + frame):
        at = {name: seen[begin + t + delay][name] for name, delay in DELAYS.items()
              if begin + t + delay >= 0}
        if step is None:
            assert "control" not in at or not at["control"]["active"] and not at["control"]["last"]
            continue
        assert said(at["control"]) == step["control"], t
        assert at["weights"] == step["weights"], t
        source = {name: int(at["source"][name]) for name in step["source"]}
        assert source == step["source"], t
        for name in ("address", "left", "right"):
            assert step[name] is None or at[name] == step[name], (t, name)


@pytest.mark.parametrize("lanes,fields", CASES[1:3])
def test_the_image_is_given_back_with_its_last_step(lanes, fields):
    schedule = schedule_of(lanes, **fields)
    seen = record(schedule, 2 * schedule.cycles + 30,
                  names=["control", "image_done", "frame_start"])
    starts = [t for t, now in enumerate(seen) if now["frame_start"]]
    dones = [t for t, now in enumerate(seen) if now["image_done"]]
    assert np.diff(starts)[0] == np.diff(dones)[0] == schedule.cycles
    stem = schedule.layers[0]
    active = [t for t, now in enumerate(seen) if now["control"]["active"]]
    # The last step of the stem, bubbles included, leaves its array delay later.
    assert dones[0] == active[0] - ARRAY_DELAY + stem.cycles - 1


def test_the_first_layer_waits_for_an_image_and_the_last_for_the_head():
    schedule = schedule_of(ARRAYS[8][2])
    undisturbed = [now["control"] for now in record(schedule, schedule.cycles, names=["control"])]
    late = 300

    def drive(ctx, unit, t):
        ctx.set(unit.image_full, int(t >= late))
        ctx.set(unit.head_free, int(t >= schedule.cycles + 2 * late))
    seen = [now["control"] for now in
            record(schedule, schedule.cycles + 3 * late, drive, names=["control"])]
    active = [t for t, now in enumerate(seen) if now["active"]]
    total = sum(1 for step in itertools.chain(*map(steps_of, schedule.layers)) if step)
    before = total - sum(1 for step in steps_of(schedule.layers[-1]) if step)
    assert active[0] > late
    assert len([t for t in active if t < schedule.cycles + 2 * late]) == before
    assert active[before] == schedule.cycles + 2 * late + SEEN_DELAY + 1 + ARRAY_DELAY
    whole = [said(now) for now in seen if now["active"]]
    again = [said(now) for now in undisturbed if now["active"]]
    assert len(whole) > before and whole == again[:len(whole)]


def test_a_second_frame_without_an_image_runs_for_nothing_and_gives_none_back():
    """The image that arrives while the second frame's first layer runs is the next round's."""
    schedule = in_rounds(schedule_of())
    stems = [k for k, layer in enumerate(schedule.layers) if layer.from_image]
    until = [sum(layer.gap + layer.cycles for layer in schedule.layers[:k]) for k in stems]
    arrives = until[1] + schedule.layers[stems[1]].cycles // 2

    def drive(ctx, unit, t):
        ctx.set(unit.image_full, int(t < until[1] // 2 or t >= arrives))
    names = ["control", "absent", "image_done", "frame_start"]
    seen = record(schedule, 2 * schedule.cycles + 30, drive, names)
    starts = [t for t, now in enumerate(seen) if now["frame_start"]]
    assert starts[2] - starts[0] == schedule.cycles, "nothing waited"
    dones = [t for t, now in enumerate(seen) if now["image_done"]]
    stem = schedule.layers[0].cycles
    assert dones == [starts[0] + stem, starts[2] + stem, starts[3] + stem]
    assert not any(now["absent"] for now in seen[:starts[1]])
    assert all(now["absent"] == 2 for now in seen[starts[1] + 1:starts[3]])
    assert not any(now["absent"] for now in seen[starts[3] + 1:])


@pytest.mark.parametrize("rounds", [
    [(1, 1), (1, 1), (1, 1), (0, 0)], [(1, 0), (0, 1), (1, 1), (0, 0)],
    [(1, 1), (0, 0)], [(1, 0), (1, 0), (0, 1), (0, 0)]])
def test_late_layers_run_without_a_new_image_but_not_without_any_frame(rounds):
    """Whether there's an image when the frames of each round begin. Behind the last one nothing is
    under way, and the next begins with an image."""
    schedule = in_rounds(schedule_of(), 1)
    layers, length = schedule.layers, schedule.cycles
    begins = [sum(y.gap + y.cycles for y in layers[:k]) + layer.gap
              for k, layer in enumerate(layers)]
    there, begun = list(itertools.chain(*rounds)), 0
    end = len(rounds) * length + 500

    def drive(ctx, unit, t):
        nonlocal begun
        ctx.set(unit.image_full, there[begun] if begun < len(there) else int(t >= end))
        begun += ctx.get(unit.frame_start)
    names = ["absent", "real", "image_done", "frame_start"]
    seen = record(schedule, end + length, drive, names)
    *starts, again = [t for t, now in enumerate(seen) if now["frame_start"]][:len(there) + 1]
    second = next(k for k, layer in enumerate(layers) if layer.from_image and layer.frame)
    distance = begins[second] - begins[0]
    assert np.diff(starts).tolist() == (
        [distance, length - distance] * len(rounds))[:len(starts) - 1]
    assert again == end + SEEN_DELAY
    dones = [t for t, now in enumerate(seen[:end]) if now["image_done"]]
    assert dones == [start + layers[0].cycles for start, image in zip(starts, there) if image]

    # The head is told of the round before, the tap of each step's frame.
    for before, start in zip([(0, 0), *rounds], starts[::2]):
        absent = {now["absent"] for now in seen[start + 1:start + length]}
        assert absent == {sum(1 - image << frame for frame, image in enumerate(before))}
    for turn, (begin, layer) in itertools.product(range(len(rounds)), zip(begins, layers)):
        begin += starts[2 * turn] - begins[0] + 1 + ARRAY_DELAY
        image = [(0, 0), *rounds][turn + 1 - layer.late][layer.frame]
        assert {now["real"] for now in seen[begin:begin + layer.cycles]} == {image}


def test_a_layer_table_goes_round():
    schedule = schedule_of(SMALLEST)
    unit = LayerTable(schedule, {"rows": lambda y: y.rows, "last": lambda y: y.last})
    rng, seen = np.random.default_rng(1), []

    async def bench(ctx):
        await ctx.tick()                        # the row after the first is read from memory
        for _ in range(3 * len(schedule.layers)):
            seen.append((ctx.get(unit.row.rows), ctx.get(unit.row.last)))
            ctx.set(unit.advance, 1)
            await ctx.tick()
            ctx.set(unit.advance, 0)
            await ctx.tick().repeat(int(rng.integers(2, 5)))
    simulate(unit, bench)
    assert seen == [(y.rows, y.last) for y in schedule.layers] * 3
