"""Contents of block RAMs: kept from nextpnr, written into the configuration that it makes, and
others instead.

How nextpnr 0.11 routes a netlist that it reads with its places depends on what's in the block RAMs,
so it isn't told: the same gateware is placed and routed the same whatever the weights.

Yosys spreads a memory over block RAMs and each one's bits are a block ``.bram_init`` of the
configuration. Synthesised alone, a memory spreads the same way, so its old contents say
which blocks are its own and its new ones what to write there.
"""

import itertools
import json
import re
import shlex
import subprocess

from hw.memory import SOURCE, Ram

from .shapes import FILES, shape_commands
from .tools import FlowError, tool

__all__ = ["CONTENTS", "SwapError", "block_rams", "filled", "swapped", "take_contents"]

BLOCK = re.compile(r"^\.bram_init (\d+)\n((?:[0-9a-f]{3}\s+)+)", re.M)
TYPES = ("DP16KD", "PDPW16KD")
CONTENTS = "top.contents.json"      # beside top.json, what was taken from it
INITIAL = "INITVAL_"                # what parameters of contents begin with


class SwapError(ValueError):
    """The contents can't be swapped; the message is one sentence for the user."""


def _instance(memory):
    """``(ports of the top level, Verilog instance)`` of a memory."""
    name, bits = memory.name, memory.width
    given = f'.WIDTH({bits}), .FILE("{memory.path}")'
    if isinstance(memory, Ram):
        address = len(memory.r_addr)
        module, given = "signstream_ram", (f"{given}, .DEPTH({memory.depth}), .ADDR({address}), "
                                           f".WORDS({len(memory.words)})")
        ports = [("input", "w_en", 1), ("input", "w_addr", address), ("input", "w_data", bits),
                 ("input", "r_addr", address), ("output", "r_data", bits)]
    else:
        address = len(memory.addr)
        module, given = "signstream_rom", f"{given}, .DEPTH({len(memory.words)}), .ADDR({address})"
        ports = [("input", "addr", address), ("output", "data", bits)]
    wires = ", ".join(f".{port}({name}_{port})" for _, port, _ in ports)
    return ([f"{way} [{width - 1}:0] {name}_{port}" for way, port, width in ports],
            f"{module} #({given}) {name} (.clk(clk), {wires});")


def _words(parameters):
    """The 2,048 words of 9 bits that nextpnr makes of a cell's ``INITVAL_00`` to ``INITVAL_3F``:
    each holds 16 words of 18 bits, 20 bits apart (nextpnr, ``ecp5/bitstream.cc``)."""
    words = []
    for row in range(64):
        bits = parameters.get(f"{INITIAL}{row:02X}", "").replace("x", "0")
        value = int(bits or "0", 2)
        for start in range(0, 320, 20):
            words += [value >> start & 0x1FF, value >> start + 9 & 0x1FF]
    return tuple(words)


def take_contents(module):
    """Take the contents from the block RAMs of a ``module`` of Yosys' JSON, which is changed in
    place; returns ``{name of the cell: words}`` with the 2,048 words of 9 bits of each."""
    found = {}
    for name, cell in module["cells"].items():
        if cell["type"] in TYPES:
            found[name] = _words(cell["parameters"])
            cell["parameters"] = _without_contents(cell["parameters"])
    return found


def _without_contents(parameters):
    return {name: value for name, value in parameters.items() if not name.startswith(INITIAL)}


def filled(config, contents, placed):
    """nextpnr's configuration ``config`` with ``contents`` from :func:`take_contents`; ``placed``
    is the module of nextpnr's JSON that it was routed from, which has the blocks' numbers."""
    words = {int(placed["cells"][name]["attributes"]["WID"], 2): words
             for name, words in contents.items()}
    return BLOCK.sub(lambda match: _block(match, words.get(int(match[1]))), config)


def _block(match, words):
    """A ``match`` of ``BLOCK`` with ``words``, or unchanged where that's ``None``."""
    if words is None:
        return match[0]
    values = iter(words)
    return f".bram_init {match[1]}\n" + re.sub(r"[0-9a-f]{3}", lambda _: f"{next(values):03x}",
                                               match[2])


def block_rams(memories, folder):
    """Block RAMs of memories with init files, by Yosys.

    Parameters
    ----------
    memories : list of hw.memory.Rom or hw.memory.Ram
    folder : Path
        Where the files for Yosys go.

    Returns ``{(name of the memory, name of the cell): (parameters, words)}`` with the 2,048 words
    of 9 bits of each block RAM.

    Raises
    ------
    FlowError
        Yosys is missing or failed.
    """
    (folder / "weights").mkdir(parents=True, exist_ok=True)
    ports, instances = ["input clk"], []
    for bank in itertools.chain.from_iterable(memory.banks for memory in memories):
        if bank.words:
            (folder / bank.path).write_text(bank.hex())
            more, instance = _instance(bank)
            ports += more
            instances.append(instance)
    (folder / "roms.v").write_text(
        f"module roms({', '.join(ports)});\n" + "\n".join(instances) + "\nendmodule\n")
    (folder / SOURCE.name).write_text(SOURCE.read_text())
    for name, text in FILES.items():
        (folder / name).write_text(text)
    (folder / "roms.ys").write_text("\n".join((
        f"read_verilog {SOURCE.name} roms.v", *shape_commands("roms"), "synth_ecp5 -top roms",
        "write_json roms.json\n")))
    done = subprocess.run([*shlex.split(tool("yosys")), "-q", "roms.ys"], cwd=folder, text=True,
                          check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode:
        error = FlowError(f"synthesis of the memories failed with exit code {done.returncode}")
        error.log = "\n".join(done.stdout.splitlines()[-12:])
        raise error
    cells = json.loads((folder / "roms.json").read_text())["modules"]["roms"]["cells"]
    found = {}
    for path, cell in cells.items():
        if cell["type"] in TYPES:
            rom, _, name = path.partition(".")
            settings = _without_contents(cell["parameters"])
            found[rom, name] = ({**settings, "type": cell["type"]}, _words(cell["parameters"]))
    return found


def swapped(config, old, new):
    """nextpnr's configuration ``config`` with the block RAMs ``new`` in place of ``old``, both
    from :func:`block_rams`.

    Raises
    ------
    SwapError
        The memories spread in another way, or the old ones aren't in the configuration.
    """
    spread = [{key: settings for key, (settings, _) in cells.items()} for cells in (old, new)]
    if spread[0] != spread[1]:
        odd = sorted({key[0] for key in spread[0].keys() | spread[1].keys()
                      if spread[0].get(key) != spread[1].get(key)})
        raise SwapError(f"the memories {', '.join(odd)} take other block RAMs with the new "
                        f"contents; place and route again with `python -m boards.build`")
    wanted, count = {}, {}
    for key, (_, words) in old.items():
        if wanted.setdefault(words, new[key][1]) != new[key][1]:
            raise SwapError(f"two block RAMs of the routed design hold the same contents (one is "
                            f"of {key[0]}); place and route again with `python -m boards.build`")
        count[words] = count.get(words, 0) + 1
    # What stays may be anywhere else too, such as an empty block.
    count = {words: number for words, number in count.items() if wanted[words] != words}
    seen = dict.fromkeys(count, 0)

    def replace(match):
        words = tuple(int(word, 16) for word in match[2].split())
        if words in count:
            seen[words] += 1
        return _block(match, wanted[words] if words in count else None)

    config = BLOCK.sub(replace, config)
    for (rom, _), (_, words) in old.items():
        if seen.get(words) != count.get(words):
            raise SwapError(f"the routed design doesn't hold the weights of its own build "
                            f"({rom} isn't in it); build it again with `python -m boards.build`")
    return config
