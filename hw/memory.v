// Block RAM with a registered output: data follows the address by two cycles. The second register
// is what makes block RAM fast on ECP5 (5.6 ns from clock to output without it).

// FILE holds one hexadecimal word a line.
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
    reg [WIDTH-1:0] mem [0:DEPTH-1];
    reg [WIDTH-1:0] row;
    // Yosys elaborates the defaults too, when it reads the module.
    generate
        if (FILE != "") initial $readmemh(FILE, mem);
    endgenerate
    always @(posedge clk) begin
        row <= mem[addr];
        data <= row;
    end
endmodule

// A word is never read in the cycle that writes it, so no logic is spent on that case.
module signstream_ram #(
    parameter WIDTH = 1,
    parameter DEPTH = 1,
    parameter ADDR = 1
) (
    input clk,
    input w_en,
    input [ADDR-1:0] w_addr,
    input [WIDTH-1:0] w_data,
    input [ADDR-1:0] r_addr,
    output reg [WIDTH-1:0] r_data
);
    (* no_rw_check *) reg [WIDTH-1:0] mem [0:DEPTH-1];
    reg [WIDTH-1:0] row;
    always @(posedge clk) begin
        if (w_en) mem[w_addr] <= w_data;
        row <= mem[r_addr];
        r_data <= row;
    end
endmodule
