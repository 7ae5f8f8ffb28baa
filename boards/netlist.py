"""Yosys' netlist made ready for nextpnr: registers moved into block RAMs, carry chains with open
ends, and settings added.

From clock to output an ECP5 block RAM takes 5.6 ns, with its own output register 1 ns (speed
grade 6, Project Trellis). Yosys doesn't use that register: it leaves the flip-flops behind the
memory in the fabric, where they cost wire too.

nextpnr puts a cell of two LUT sites at the end of every carry chain whose last carry has a net,
whoever takes it, and one at the beginning of those that a constant comes into: 4,096 sites of the
6,144 lanes' 46,652.
"""

import json
from collections import defaultdict
from pathlib import Path

__all__ = ["NetlistError", "open_chains", "prepare", "read_top", "use_output_registers"]

PINS = tuple(f"DO{port}{bit}" for port in "AB" for bit in range(18))
# A flip-flop that block RAM can have: it loads at every rising edge and is never set.
PLAIN = {"CEMUX": "1", "CLKMUX": "CLK", "REGSET": "RESET"}


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

    Raises
    ------
    NetlistError
        There's no such module.
    """
    try:
        netlist = json.loads(path.read_text())
        module = netlist["modules"][top]
    except (ValueError, KeyError, TypeError):
        raise NetlistError(f"{path} isn't a netlist with a module {top}") from None
    use_output_registers(module)
    open_chains(module)
    module["settings"] = settings
    path.write_text(json.dumps(netlist))


def use_output_registers(module):
    """Turn flip-flops behind block RAMs into the block RAMs' output registers.

    Done where every bit that a block RAM gives goes to one plain flip-flop at the reading port's
    clock and nowhere else, and the port reads in every cycle: whether the port's enable holds the
    output register too isn't relied on.

    Parameters
    ----------
    module : dict
        A module of Yosys' JSON netlist; changed in place.

    Returns the number of block RAMs changed.
    """
    cells, users = module["cells"], _users(module)

    def register(bit, clock):
        """The flip-flop that alone takes ``bit``, or ``None``."""
        (name, pin), *others = users[bit]
        cell = cells.get(name, {"type": None})
        if others or pin != "DI" or cell["type"] != "TRELLIS_FF":
            return None
        settings, pins = cell["parameters"], cell["connections"]
        plain = all(settings.get(key, value).strip() == value for key, value in PLAIN.items())
        return name if plain and pins["LSR"] == ["0"] and pins["CLK"] == clock else None

    changed = 0
    for cell in cells.values():
        if cell["type"] != "DP16KD" or "OUTREG" in cell["parameters"].values():
            continue
        pins, taken = cell["connections"], {}
        for pin in PINS:
            bit, = pins.get(pin, [None])
            if bit in users:
                # A word of 36 bits, which only port B reads, comes out of both.
                port = "B" if int(cell["parameters"]["DATA_WIDTH_B"], 2) == 36 else pin[2]
                enabled = pins[f"CE{port}"] == pins[f"OCE{port}"] == ["1"]
                taken[pin] = register(bit, pins[f"CLK{port}"]) if enabled else None
        if not taken or None in taken.values():
            continue
        # The timing of either port is that of both.
        cell["parameters"].update(REGMODE_A="OUTREG", REGMODE_B="OUTREG")
        for pin, name in taken.items():
            pins[pin] = cells[name]["connections"]["Q"]
            cells[name]["type"] = None
        changed += 1
    for name in [name for name, cell in cells.items() if cell["type"] is None]:
        del cells[name]
    return changed


def open_chains(module):
    """Leave the ends of carry chains open: the carry that nobody takes, and the constant that comes
    into a cell that begins with a half of INIT 0, whose carry is 0 whatever comes in.

    Parameters
    ----------
    module : dict
        A module of Yosys' JSON netlist; changed in place.

    Returns the number of ends opened.
    """
    users, opened = _users(module), 0
    for cell in module["cells"].values():
        if cell["type"] != "CCU2C":
            continue
        pins = cell["connections"]
        ends = [*(["CIN"] if pins["CIN"] == ["0"] and not int(cell["parameters"]["INIT0"], 2)
                  else []), *(["COUT"] if not users.get(pins["COUT"][0]) else [])]
        for pin in ends:
            pins[pin] = ["x"]       # nextpnr wants the pin; this is one without a net
        opened += len(ends)
    return opened


def _users(module):
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
