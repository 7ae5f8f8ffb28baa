// Block RAM with a registered output: data follows the address by two cycles. The second register
// is what makes block RAM fast on ECP5 (5.6 ns from clock to output without it).

// FILE holds one hexadecimal word a line. Two more words where they cost nothing, never read, show
// Yosys that every bit can be 0 and 1: it would leave out a bit that this file never changes, and
// other contents (see boards/swap.py) would have no place for it.
module signstream_rom #(
    parameter WIDTH = 1,
    parameter DEPTH = 1,
    parameter ADDR = 1,
    parameter FILE = ""
) (
    input clk,
    input [ADDR-1:0] addr,
    output reg [WIDTH-1:0] data
);
    localparam WORDS = DEPTH + 2 <= (1 << ADDR) ? DEPTH + 2 : DEPTH;
    (* ram_style = "block" *) reg [WIDTH-1:0] mem [0:WORDS-1];
    reg [WIDTH-1:0] row;
    // Yosys elaborates the defaults too, when it reads the module.
    generate
        if (FILE != "") initial begin
            $readmemh(FILE, mem, 0, DEPTH-1);
            if (WORDS != DEPTH) begin
                mem[WORDS-2] = {WIDTH{1'b0}};
                mem[WORDS-1] = {WIDTH{1'b1}};
            end
        end
    endgenerate
    always @(posedge clk) begin
        row <= mem[addr];
        data <= row;
    end
endmodule

// A word is never read in the cycle that writes it, so no logic is spent on that case. FILE holds the
// first WORDS words. STYLE is Yosys' ram_style.
module signstream_ram #(
    parameter WIDTH = 1,
    parameter DEPTH = 1,
    parameter ADDR = 1,
    parameter WORDS = 0,
    parameter FILE = "",
    parameter STYLE = "auto"
) (
    input clk,
    input w_en,
    input [ADDR-1:0] w_addr,
    input [WIDTH-1:0] w_data,
    input [ADDR-1:0] r_addr,
    output reg [WIDTH-1:0] r_data
);
    (* no_rw_check, ram_style = STYLE *) reg [WIDTH-1:0] mem [0:DEPTH-1];
    reg [WIDTH-1:0] row;
    generate
        if (FILE != "") initial $readmemh(FILE, mem, 0, WORDS-1);
    endgenerate
    always @(posedge clk) begin
        if (w_en) mem[w_addr] <= w_data;
        row <= mem[r_addr];
        r_data <= row;
    end
endmodule
