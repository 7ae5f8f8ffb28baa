// A block-RAM ROM with a registered output: data follows addr by two cycles.
// FILE holds one hexadecimal word a line. The second register is what makes block RAM fast
// on ECP5 (5.6 ns from clock to output without it).
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
