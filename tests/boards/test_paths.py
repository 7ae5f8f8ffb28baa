"""The longest paths of netlists written by hand."""

import json

import pytest

from boards.paths import PathsError, longest_paths, main


def cell(kind, outputs=("Z", "Q", "S0", "COUT", "DO"), **ports):
    return {"type": kind, "connections": {port: [bit] for port, bit in ports.items()},
            "port_directions": {port: "output" if port in outputs else "input" for port in ports}}


def design(**cells):
    return {"cells": cells, "netnames": {
        "a": {"bits": [1]}, "b": {"bits": [2, 12]}, "c": {"bits": [3]},
        "long.name.of.c": {"bits": [3]}}}


TWO_LUTS = {"start": cell("TRELLIS_FF", CLK=9, DI="0", Q=1),
            "one": cell("LUT4", A=1, B="1", Z=2), "two": cell("LUT4", A=2, Z=3),
            "end": cell("TRELLIS_FF", CLK=9, DI=3, CE=2, Q=4)}


def shown(path):
    return path.end, [(net.name, net.driver, net.sinks) for net in path.nets]


def test_a_path_goes_from_register_to_register():
    first, second = longest_paths(design(**TWO_LUTS), 5)
    assert shown(first) == ("end.DI", [("a[0]", "TRELLIS_FF", 1), ("b[0]", "LUT4", 2),
                                       ("c[0]", "LUT4", 1)])
    assert shown(second) == ("end.CE", [("a[0]", "TRELLIS_FF", 1), ("b[0]", "LUT4", 2)])
    assert first.ns > second.ns > 0 and first.kind == "TRELLIS_FF"
    assert [net.ns for net in first.nets] == sorted(net.ns for net in first.nets)
    assert longest_paths(design(**TWO_LUTS), 1) == [first]


def test_many_sinks_make_a_net_slow():
    many = {f"sink{k}": cell("LUT4", A=2, Z=100 + k) for k in range(50)}
    before, after = (longest_paths(design(**cells), 1)[0].ns for cells in
                     (TWO_LUTS, TWO_LUTS | many))
    assert after > before


def test_a_carry_is_faster_than_a_wire():
    def ns(port):
        return longest_paths(design(
            start=cell("TRELLIS_FF", CLK=9, DI="0", Q=1), one=cell("CCU2C", A0=1, COUT=2),
            two=cell("CCU2C", **{port: 2}, S0=3),
            end=cell("TRELLIS_FF", CLK=9, DI=3, Q=4)), 1)[0].ns
    assert ns("CIN") < ns("A0")


@pytest.mark.parametrize("one,two,through", [
    ({}, {}, True),
    ({"INIT1": "0000000000000000"}, {}, False),             # the carry from A0 ends behind it
    ({"INIT0": "0000000000000000"}, {}, False),
    ({"INIT0": "0000000000000001"}, {}, True),              # a carry may come of it
    ({}, {"INIT0": "0000000000000000"}, False),
    ({}, {"INIT1": "0000000000000000"}, True),              # S1 is the carry of the lower half
])
def test_no_path_goes_through_a_half_that_stops_the_carry(one, two, through):
    adds = {"INIT0": "0110100110010110", "INIT1": "0110100110010110"}
    cells = design(
        start=cell("TRELLIS_FF", CLK=9, DI="0", Q=1),
        one=cell("CCU2C", A0=1, COUT=2) | {"parameters": adds | one},
        two=cell("CCU2C", ("S1",), CIN=2, S1=3) | {"parameters": adds | two},
        end=cell("TRELLIS_FF", CLK=9, DI=3, Q=4))
    (path,) = longest_paths(cells, 1)
    assert (path.nets[0].driver == "TRELLIS_FF") == through


def test_what_is_written_to_lut_ram_does_not_come_out_in_that_cycle():
    def path(port):
        return longest_paths(design(
            start=cell("TRELLIS_FF", CLK=9, DI="0", Q=1),
            ram=cell("TRELLIS_DPR16X4", **{port: 1}, DO=3),
            end=cell("TRELLIS_FF", CLK=9, DI=3, Q=4)), 1)[0]
    assert [net.name for net in path("RAD").nets] == ["a[0]", "c[0]"]
    assert [net.name for net in path("DI").nets] == ["c[0]"]


def test_paths_that_end_alike_are_told_once():
    ends = {f"end{k}": cell("TRELLIS_FF", CLK=9, DI=3, Q=20 + k) for k in range(30)}
    assert len(longest_paths(design(**TWO_LUTS | ends), 9)) == 2


def placed(bel, kind, **ports):
    one = cell(kind, outputs=("F", "OFX", "FCO", "Q"), **ports)
    return {**one, "attributes": {"NEXTPNR_BEL": bel}}


def two_placed(start, lut, end, port="DI"):
    return design(start=placed(f"{start}/SLICEA.FF0", "TRELLIS_FF", CLK=9, DI="0", Q=1),
                  one=placed(f"{lut}/SLICEA.K0", "TRELLIS_COMB", A=1, F=2),
                  end=placed(f"{end}/SLICEA.FF0", "TRELLIS_FF", CLK=9, **{port: 2}, Q=4))


def test_a_wire_of_a_placed_netlist_is_as_long_as_its_way():
    """nextpnr's own: 120 ps for 6, for every column and row, and once more for the first five."""
    def ns(*where, **more):
        return longest_paths(two_placed(*where, **more), 1)[0].ns
    here = ns("X7/Y7", "X7/Y7", "X7/Y7")             # a LUT beside its flip-flop: no wire behind it
    assert ns("X7/Y7", "X7/Y7", "X7/Y7", port="CE") == pytest.approx(here + 6 * 0.12)
    assert ns("X7/Y7", "X7/Y7", "X8/Y7") == pytest.approx(here + (6 + 2) * 0.12)
    assert ns("X7/Y7", "X10/Y27", "X10/Y27") == pytest.approx(here + (2 * 3 + 2 * 5 + 15) * 0.12)


def test_a_path_of_a_placed_netlist_tells_where_it_goes(tmp_path, capsys):
    file = tmp_path / "top.placed.json"
    file.write_text(json.dumps({"modules": {"top": two_placed("X7/Y8", "X20/Y30", "X9/Y9")}}))
    assert main([str(file), "--count", "1"]) == 0
    said = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [line[2] for line in said[1:]] == ["X7/Y8", "X20/Y30"]


def test_slices_that_choose_between_each_other_are_no_loop():
    """PFUMX and L6MUX21 after packing: one half's multiplexer takes the other's LUT, and that
    half's multiplexer takes the first one's."""
    halves = {"start": placed("X7/Y7/SLICEA.FF0", "TRELLIS_FF", CLK=9, DI="0", Q=1),
              "low": placed("X7/Y7/SLICEA.K0", "TRELLIS_COMB", A=1, F1=2, M=1, OFX=3),
              "high": placed("X7/Y7/SLICEA.K1", "TRELLIS_COMB", A=1, F=2, FXA=3, M=1, OFX=12),
              "end": placed("X7/Y7/SLICEA.FF1", "TRELLIS_FF", CLK=9, M=12, Q=4)}
    path, = longest_paths(design(**halves), 1)
    assert [net.name for net in path.nets] == ["a[0]", "b[0]", "c[0]", "b[1]"]


def test_what_the_packer_makes_is_constant():
    cells = TWO_LUTS | {"$PACKER_VCC": placed("X0/Y0/SLICEA.K0", "TRELLIS_COMB", F=5),
                        "two": cell("LUT4", A=2, B=5, Z=3)}
    assert longest_paths(design(**cells), 9) == longest_paths(design(**TWO_LUTS), 9)


def test_a_loop_is_refused():
    loop = TWO_LUTS | {"one": cell("LUT4", A=3, Z=2)}
    with pytest.raises(PathsError, match="loop through (one, two|two, one)"):
        longest_paths(design(**loop), 1)


def test_the_command_prints_them(tmp_path, capsys):
    file = tmp_path / "top.json"
    file.write_text(json.dumps({"modules": {"top": design(**TWO_LUTS)}}))
    assert main([str(file), "--count", "1"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].endswith(" ns to TRELLIS_FF end.DI") and len(said) == 4
    assert said[2].split()[1:] == ["LUT4", "2", "sinks", "b[0]"]


@pytest.mark.parametrize("text,why", [
    (None, "can't be read"), ("{", "isn't Yosys' JSON"), ('{"modules": {"other": {}}}', "isn't"),
    ("[]", "isn't Yosys' JSON")])
def test_what_is_no_netlist_is_refused(text, why, tmp_path, capsys):
    file = tmp_path / "top.json"
    if text is not None:
        file.write_text(text)
    assert main([str(file)]) == 2
    said = capsys.readouterr().err
    assert said.startswith("boards.paths: ") and why in said and said.count("\n") == 1
