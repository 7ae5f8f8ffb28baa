"""Netlists made ready for nextpnr: registers moved into block RAMs and multipliers, carry chains
with open ends, and settings added; before it routes, paths cut that no signal takes; and what one
router made for another one.

From clock to output an ECP5 block RAM takes 5.6 ns, with its own output register 1 ns (speed
grade 6, Project Trellis). Yosys doesn't use that register: it leaves the flip-flops behind the
memory in the fabric, where they cost wire too. Nor does it use a multiplier's, which follows its
3.9 ns of logic without a wire.

nextpnr puts a cell of two LUT sites at the end of every carry chain whose last carry has a net,
whoever takes it, and one at the beginning of those that a constant comes into: 4,096 sites of the
6,144 lanes' 46,652.

Its timing analysis takes a carry through every half of a chain, also through those that stop it
(:mod:`hw.carry`): a chain of eight adders had 3 ns of paths that can't be, and two of them in a row
the longest path of WRN-20-1's array, 84 MHz. Only while it packs does nextpnr need the nets between
such a half and the next adder, to keep the chain together. From carry to carry an ECP5 has wires of
metal, without a switch, so routing without those nets makes the same chain.
"""

import json
from collections import defaultdict
from pathlib import Path

from .contents import take_contents

__all__ = ["OPEN", "NetlistError", "cut_stopped_carries", "open_chains", "prepare",
           "prepare_placed", "prepare_routed", "read_top", "use_output_registers",
           "users_of_nets"]

# A flip-flop that either can have: it loads at every rising edge and is never set.
PLAIN = {"CEMUX": "1", "CLKMUX": "CLK", "REGSET": "RESET"}
OPEN = ["x"]        # a pin without a net: nextpnr wants it there
UNUSED = []         # the same as nextpnr writes it


class NetlistError(ValueError):
    """The file isn't the netlist it should be."""


def read_top(path):
    """The module ``top`` of Yosys' JSON in the file ``path``.

    Raises
    ------
    NetlistError
        The file isn't there, or isn't one.
    """
    try:
        return json.loads(Path(path).read_text())["modules"]["top"]
    except OSError as error:
        raise NetlistError(f"{path} can't be read ({error.strerror}); it's in the board's folder "
                           "of a build once Yosys is through, such as build/ulx3s/top.json"
                           ) from None
    except (ValueError, KeyError, TypeError):
        raise NetlistError(f"{path} isn't Yosys' JSON of a design whose top module is `top`"
                           ) from None


def prepare(path, top, settings):
    """Rewrite the file ``path``, Yosys' JSON: :func:`use_output_registers` and :func:`open_chains`
    in its module ``top``, and ``settings`` for nextpnr there, a dictionary of strings.

    Returns what :func:`.contents.take_contents` took from it.

    Raises
    ------
    NetlistError
        There's no such module.
    """
    netlist, module = _read(path, top)
    use_output_registers(module)
    open_chains(module)
    contents = take_contents(module)
    module["settings"] = settings
    path.write_text(json.dumps(netlist))
    return contents


def prepare_placed(path, top):
    """Rewrite the file ``path``, nextpnr's JSON once it has placed all (``--write``):
    :func:`cut_stopped_carries` in its module ``top``.

    Raises
    ------
    NetlistError
        There's no such module.
    """
    netlist, module = _read(path, top)
    cut_stopped_carries(module)
    path.write_text(json.dumps(netlist))


def prepare_routed(path, top, nets, settings):
    """Rewrite the file ``path``, nextpnr's JSON once it has routed all, so that a router begins
    with the wires of all nets but those of the set ``nets``, and with ``settings``, which go
    before the options of the command.

    Raises
    ------
    NetlistError
        There's no such module.
    """
    netlist, module = _read(path, top)
    module["settings"].update(settings)
    for name in nets & module["netnames"].keys():
        module["netnames"][name]["attributes"].pop("ROUTING", None)
    path.write_text(json.dumps(netlist))


def _read(path, top):
    """A JSON netlist and its module ``top``."""
    try:
        netlist = json.loads(path.read_text())
        return netlist, netlist["modules"][top]
    except (OSError, ValueError, KeyError, TypeError):
        raise NetlistError(f"{path} isn't a netlist with a module {top}") from None


def use_output_registers(module):
    """Turn flip-flops behind block RAMs and multipliers into their own output registers.

    Done where every bit that the cell gives goes to one plain flip-flop and nowhere else, all at
    one clock. A block RAM's is the reading port's clock, and the port reads in every cycle: whether
    its enable holds the output register too isn't relied on.

    Parameters
    ----------
    module : dict
        A module of Yosys' JSON netlist; changed in place.

    Returns the number of cells changed.
    """
    cells, users, changed = module["cells"], users_of_nets(module), 0
    for cell in cells.values():
        if cell["type"] not in TAKERS:
            continue
        pins = cell["connections"]
        used = [pin for pin in pins if cell["port_directions"][pin] == "output"
                and pins[pin][0] in users]
        behind = {pin: _plain_register(cells, users[pins[pin][0]]) for pin in used}
        if not behind or None in behind.values():
            continue
        if not TAKERS[cell["type"]](cell, {pin: cells[name]["connections"]["CLK"]
                                           for pin, name in behind.items()}):
            continue
        for pin, name in behind.items():
            pins[pin] = cells[name]["connections"]["Q"]
            cells[name]["type"] = None
        changed += 1
    for name in [name for name, cell in cells.items() if cell["type"] is None]:
        del cells[name]
    return changed


def _plain_register(cells, users):
    """The flip-flop that alone takes a net, by its ``users``, or ``None``."""
    (name, pin), *others = users
    cell = cells.get(name, {"type": None})
    if others or pin != "DI" or cell["type"] != "TRELLIS_FF":
        return None
    settings = cell["parameters"]
    plain = all(settings.get(key, value).strip() == value for key, value in PLAIN.items())
    return name if plain and cell["connections"]["LSR"] == ["0"] else None


def _block_ram_takes(cell, clocks):
    """Give a block RAM output registers, if it has none and ``clocks``, of those behind its pins,
    are its own."""
    pins, parameters = cell["connections"], cell["parameters"]
    if "OUTREG" in parameters.values():
        return False
    for pin, clock in clocks.items():
        # A word of 36 bits, which only port B reads, comes out of both.
        port = "B" if int(parameters["DATA_WIDTH_B"], 2) == 36 else pin[2]
        if clock != pins[f"CLK{port}"] or not pins[f"CE{port}"] == pins[f"OCE{port}"] == ["1"]:
            return False
    # The timing of either port is that of both.
    parameters.update(REGMODE_A="OUTREG", REGMODE_B="OUTREG")
    return True


def _multiplier_takes(cell, clocks):
    """The same for a multiplier, which Yosys never gives a clock."""
    first = next(iter(clocks.values()))
    if any(key.startswith("REG_") for key in cell["parameters"]) or any(
            clock != first for clock in clocks.values()):
        return False
    cell["parameters"].update(REG_OUTPUT_CLK="CLK0", REG_OUTPUT_CE="CE0", REG_OUTPUT_RST="RST0")
    for pin, bits in {"CLK0": first, "CE0": ["1"], "RST0": ["0"]}.items():
        cell["connections"][pin], cell["port_directions"][pin] = bits, "input"
    return True


TAKERS = {"DP16KD": _block_ram_takes, "MULT18X18D": _multiplier_takes}


def open_chains(module):
    """Leave the ends of carry chains open: the carry that nobody takes, and the constant that comes
    into a cell that begins with a half of INIT 0, whose carry is 0 whatever comes in.

    Parameters
    ----------
    module : dict
        A module of Yosys' JSON netlist; changed in place.

    Returns the number of ends opened.
    """
    users, opened = users_of_nets(module), 0
    for cell in module["cells"].values():
        if cell["type"] != "CCU2C":
            continue
        pins = cell["connections"]
        if pins["CIN"] == ["0"] and not int(cell["parameters"]["INIT0"], 2):
            pins["CIN"], opened = OPEN, opened + 1
        if pins["COUT"] != OPEN and pins["COUT"][0] not in users:
            pins["COUT"], opened = OPEN, opened + 1
    return opened


def cut_stopped_carries(module):
    """Take the nets from the carry outputs of halves that stop the carry, those of INIT 0.

    Such a half's carry is ``LUT4 ? CIN : LUT2``, 0 whatever comes in (Yosys
    ``techlibs/ecp5/cells_sim.v``): a path through it is a false one.

    Parameters
    ----------
    module : dict
        A module of nextpnr's JSON netlist with all cells placed; changed in place.

    Returns the number of nets removed.
    """
    users, gone = users_of_nets(module), set()
    for cell in module["cells"].values():
        if not _stops(cell) or not cell["connections"].get("FCO"):
            continue
        (net,) = cell["connections"]["FCO"]
        if any(pin != "FCI" for _, pin in users[net]):
            continue
        cell["connections"]["FCO"] = UNUSED
        for name, pin in users[net]:
            module["cells"][name]["connections"][pin] = UNUSED
        gone.add(net)
    names = module.get("netnames", {})
    for name in [name for name, net in names.items() if gone.intersection(net["bits"])]:
        del names[name]
    return len(gone)


def _stops(cell):
    """Whether a placed cell is a half of a carry chain whose carry is 0 whatever comes in."""
    parameters = cell["parameters"]
    return (cell["type"] == "TRELLIS_COMB" and parameters.get("MODE") == "CCU2"
            and set(parameters["INITVAL"]) == {"0"})


def users_of_nets(module):
    """``[(cell, pin), ...]`` that take a net, by net; ``(None, port)`` is a port of the module."""
    users = defaultdict(list)
    for name, cell in module["cells"].items():
        for pin, bits in cell["connections"].items():
            if cell["port_directions"].get(pin) == "input":
                for bit in bits:
                    users[bit].append((name, pin))
    for name, port in module["ports"].items():
        if port["direction"] != "input":
            for bit in port["bits"]:
                users[bit].append((None, name))
    return users
