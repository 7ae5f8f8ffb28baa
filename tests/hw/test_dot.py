"""DotUnit against Dot, both bodies: word-level and, with a model of the cell, carry chains."""

import numpy as np
import pytest

from hw.dot import Dot
from tests.hw.cells import Mapped, instance
from tests.streams import simulate

# lanes, bits, accumulator bits
SHAPES = [(12, 2, 10), (12, 3, 12), (24, 4, 14), (6, 6, 12), (24, 8, 16), (9, 4, 14), (7, 3, 9),
          (2, 2, 4), (3, 8, 11), (48, 4, 14)]


@pytest.fixture(params=["words", "carry cells"])
def body(request, monkeypatch):
    """Makes what is simulated of a DotUnit."""
    if request.param == "words":
        return lambda unit: unit
    monkeypatch.setattr("hw.carry.Instance", instance)
    return Mapped


def reference(dot, x, invert, shift, clear, capture):
    """Result after every step, from the accumulator's definition."""
    acc, result, results = 0, 0, []
    for added, *control in zip(dot.compute(x, invert), shift, clear, capture):
        shifted, cleared, captured = control
        total = ((acc << dot.bits if shifted else acc) + int(added)) % (1 << dot.acc_bits)
        result = total if captured else result
        acc = 0 if cleared else total
        results.append(result)
    return results


def run(dot, body, x, invert, shift, clear, capture):
    """Results of the gateware ``dot.latency`` cycles after every step."""
    unit, results = dot.create(), []
    steps, late = len(x), dot.latency - 1
    packed = [sum(int(u) << dot.bits * i for i, u in enumerate(row)) for row in x]
    signs = [sum(int(bit) << i for i, bit in enumerate(row)) for row in invert]

    async def bench(ctx):
        for t in range(steps + dot.latency):
            if t < steps:
                ctx.set(unit.x.as_value(), packed[t])
                ctx.set(unit.invert, signs[t])
            now = t - late
            for port, values in ((unit.shift, shift), (unit.clear, clear),
                                 (unit.capture, capture)):
                ctx.set(port, int(values[now]) if 0 <= now < steps else 0)
            if t >= dot.latency:
                results.append(ctx.get(unit.result))
            await ctx.tick()
    simulate(body(unit), bench)
    return results


def check(dot, body, x, invert, **control):
    control = {name: control.get(name, np.zeros(len(x), bool))
               for name in ("shift", "clear", "capture")}
    got, want = run(dot, body, x, invert, **control), reference(dot, x, invert, **control)
    wrong = [t for t in range(len(x)) if got[t] != want[t]]
    assert not wrong, f"{dot}: step {wrong[0]} gave {got[wrong[0]]}, not {want[wrong[0]]}"


@pytest.mark.parametrize("lanes,bits,acc_bits", SHAPES)
def test_the_gateware_computes_the_model(body, lanes, bits, acc_bits):
    rng = np.random.default_rng(lanes * 100 + bits)
    steps = 2400 // max(lanes, 16)
    check(Dot(lanes, bits, acc_bits), body, rng.integers(0, 1 << bits, (steps, lanes)),
          rng.integers(0, 2, (steps, lanes), bool), shift=rng.random(steps) < 0.2,
          clear=rng.random(steps) < 0.3, capture=rng.random(steps) < 0.4)


@pytest.mark.parametrize("lanes,bits", [(12, 4), (9, 2), (24, 8)])
def test_the_largest_sum_fits_and_one_more_step_wraps(body, lanes, bits):
    top, steps = (1 << bits) - 1, 8
    acc_bits = (lanes * top * steps).bit_length()
    # All lanes at the top, the ones as they are and the others inverted from zero.
    invert = np.tile(np.arange(lanes) % 2 == 1, (2 * steps, 1))
    x = np.where(invert, 0, top)
    always = np.ones(2 * steps, bool)
    assert reference(Dot(lanes, bits, acc_bits), x, invert, ~always, ~always,
                     always)[steps - 1] == lanes * top * steps
    check(Dot(lanes, bits, acc_bits), body, x, invert, capture=always)


@pytest.mark.parametrize("bits", [2, 3, 4, 6, 8])
def test_digits_add_up_to_the_dot_product_of_pixels(body, bits):
    """High digit first, shifted by the accumulator: what the stem does."""
    rng, lanes, digits, products = np.random.default_rng(bits), 9, -(-8 // bits), 6
    values = np.concatenate([rng.integers(0, 256, (products, lanes)), np.full((1, lanes), 255)])
    invert = rng.integers(0, 2, values.shape, bool)
    x = np.stack([values >> bits * d & (1 << bits) - 1 for d in reversed(range(digits))], 1)
    places = np.tile(np.arange(digits), len(values))
    dot = Dot(lanes, bits, (lanes * ((1 << bits * digits) - 1)).bit_length())
    control = {"shift": places > 0, "clear": places == digits - 1,
               "capture": places == digits - 1}
    flat, signs = x.reshape(-1, lanes), np.repeat(invert, digits, 0)
    top = (1 << bits * digits) - 1
    wanted = np.where(invert, top - values, values).sum(1)
    assert reference(dot, flat, signs, **control)[digits - 1::digits] == wanted.tolist()
    check(dot, body, flat, signs, **control)


def test_the_sum_of_a_step_is_the_signed_one_and_a_constant():
    """``sum w * u = compute(u) - top * negatives``: what the result's constant takes off."""
    rng, dot = np.random.default_rng(1), Dot(24, 4, 14)
    x, invert = rng.integers(0, 16, (50, 24)), rng.integers(0, 2, (50, 24), bool)
    signed = (np.where(invert, -1, 1) * x).sum(1)
    assert (dot.compute(x, invert) - 15 * invert.sum(1) == signed).all()


def test_the_result_stands_between_captures(body):
    dot = Dot(4, 4, 10)
    x = np.arange(40).reshape(10, 4) % 16
    capture = np.zeros(10, bool)
    capture[[2, 7]] = True
    got = run(dot, body, x, np.zeros_like(x, bool), ~capture & False, capture, capture)
    assert got[2:7] == [x[:3].sum()] * 5
    assert got[7:] == [x[3:8].sum()] * 3


@pytest.mark.parametrize("lanes,blocks,chained", [(48, 3, True), (24, 3, True), (12, 3, False),
                                                  (9, 3, False), (40, 2, True), (7, 1, False)])
def test_a_block_s_sums_are_those_of_its_lanes_alone(lanes, blocks, chained):
    dot = Dot(lanes, 4, 16, blocks)
    assert len(dot.levels()) == len(dot.registered)
    terms, sums = [{lane} for lane in range(lanes)], 0
    for level in dot.levels():
        assert [i for pair in level for i in pair[:2] if i is not None] == list(range(len(terms)))
        for i, j, block in level:
            of = {lane * blocks // lanes for lane in terms[i] | terms[i if j is None else j]}
            assert block == (of.pop() if chained and len(of) == 1 else None)
            sums += j is not None
        terms = [terms[i] | (set() if j is None else terms[j]) for i, j, _ in level]
    assert terms == [set(range(lanes))] and sums == lanes - 1
