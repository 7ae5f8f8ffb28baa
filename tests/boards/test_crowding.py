"""Wire that placements written by hand ask for."""

import json

import numpy as np
import pytest

from boards.crowding import MOST_SINKS, SIDE, CrowdingError, crowding, main


def cell(x, y, output=None, inputs=()):
    pins = {"Q": [output] if output else [], **{f"I{k}": [bit] for k, bit in enumerate(inputs)}}
    return {"connections": pins, "attributes": {"NEXTPNR_BEL": f"X{x}/Y{y}/SLICEA.FF0"},
            "port_directions": {pin: "output" if pin == "Q" else "input" for pin in pins}}


def design(**cells):
    return {"ports": {}, "cells": cells}


def test_a_wire_is_spread_over_the_squares_that_it_crosses():
    """14 tiles in a bounding box of 8 by 8, half of it in either square; none above it."""
    squares = crowding(design(one=cell(4, SIDE, 1), two=cell(11, 2 * SIDE - 1, inputs=[1])))
    assert np.array_equal(squares, [[0, 0], [7, 7]])


def test_a_net_counts_half_its_circumference_however_many_its_ends():
    """Where all ends lie in one square all of it is there; far away is nothing."""
    cells = design(one=cell(1, 2, 1), two=cell(5, 2, inputs=[1]), three=cell(3, 7, inputs=[1]),
                   far=cell(3 * SIDE, 2 * SIDE))
    squares = crowding(cells)
    assert squares.shape == (3, 4) and squares[0, 0] == 4 + 5 == squares.sum()


def test_wires_add_up_but_for_those_of_clocks():
    two = design(one=cell(1, 1, 1), two=cell(1, 4, 2, inputs=[1]), three=cell(7, 4, inputs=[2]))
    assert crowding(two).sum() == 3 + 6
    many = {f"sink{k}": cell(7, 7, inputs=[1]) for k in range(MOST_SINKS)}
    assert crowding(two | design(**two["cells"], **many)).sum() == 6


def test_a_netlist_without_places_is_refused(tmp_path, capsys):
    module = design(one=cell(1, 1, 1))
    del module["cells"]["one"]["attributes"]
    with pytest.raises(CrowdingError, match="No cell of the netlist is placed"):
        crowding(module)
    (tmp_path / "top.json").write_text(json.dumps({"modules": {"top": module}}))
    assert main([str(tmp_path / "top.json")]) == 2
    assert "No cell of the netlist is placed" in capsys.readouterr().err


def test_the_command_tells_the_fullest_square(tmp_path, capsys):
    module = design(one=cell(1, 2, 1), two=cell(5, 2, inputs=[1]), far=cell(3 * SIDE, 2))
    (tmp_path / "placed.json").write_text(json.dumps({"modules": {"top": module}}))
    assert main([str(tmp_path / "placed.json")]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].split() == ["4", "0", "0", "0"]
    assert said[-1] == "4 tiles of wire, 4 in the fullest square, 0 in the median one"
