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
