"""Stand-ins for Yosys, nextpnr and ecppack."""

import json
import stat

import pytest

from boards import build
from boards.build import main
from tests.boards import tiny

REPORT = {"utilization": {"TRELLIS_COMB": {"used": 500, "available": 24288},
                          "TRELLIS_FF": {"used": 400, "available": 24288},
                          "DP16KD": {"used": 20, "available": 56},
                          "MULT18X18D": {"used": 4, "available": 28}},
          "fmax": {"$glbnet$clocks.pll_clk": {"achieved": 300.0, "constraint": 100.5},
                   "clocks.clk": {"achieved": 104.567, "constraint": 100.5}},
          "critical_paths": [
              {"from": "posedge clocks.clk", "to": "posedge clocks.clk",
               "path": [{"type": "clk-to-q"}, {"type": "routing", "net": "slow"}]},
              {"from": "posedge clocks.clk", "to": "<async>",
               "path": [{"type": "routing", "net": "other"}]}]}
# What nextpnr says of a netlist that's routed.
WIRES = {"modules": {"top": {"ports": {}, "cells": {}, "settings": {"router": "router2"},
                             "netnames": {name: {"bits": [], "attributes": {"ROUTING": "wires"}}
                                          for name in ("slow", "quick", "other")}}}}
# It runs once to place, and once for each router.
NEXTPNR = """\
here=$(dirname $0)
case "$*" in
*--no-route*)
{place}
;;
*)
case "$*" in *--write*) cp $here/wires.json routing.json;; esac
. $here/router
;;
esac"""
# What the placer is given, and what it does with it.
LOG_AND_WRITE = """\
for word in "$@"; do
case $before in --log) log=$word;; --write) placed=$word;; --seed) seed=$word;; esac
before=$word
done
"""
ESTIMATES = """\
cat > $log <<'END'
Info: Max frequency for clock 'clocks.clk': {} MHz (FAIL at 100.50 MHz)
Info: Max frequency for clock    'beside': 133.11 MHz (PASS at 12.00 MHz)
END
"""
PLACE = ESTIMATES.format(104.5) + "cp top.json $placed\n"


# Designs and what a board's platform makes of them, which takes seconds, for all tests together:
# what's tested with stand-ins comes after it.
DESIGNS, PRODUCTS = {}, {}


def design_once(plan, board, mhz, baud, make=build.design):
    key = plan.digest, board.name, mhz, baud
    return DESIGNS.get(key) or DESIGNS.setdefault(key, make(plan, board, mhz, baud))


def gateware_once(plan, top, platform, make=build.gateware):
    return PRODUCTS.get(top) or PRODUCTS.setdefault(top, make(plan, top, platform))


@pytest.fixture
def folder(tmp_path):
    tiny.save(tiny.plan(), tmp_path)
    return tmp_path


@pytest.fixture
def tools(tmp_path, monkeypatch):
    """Stand-ins for Yosys, nextpnr and ecppack; a test may replace their scripts, that of nextpnr's
    router and placer each."""
    scripts = {"YOSYS": "echo synthesised > top.rpt; cp $(dirname $0)/fake.netlist top.json",
               "NEXTPNR_ECP5": "",
               "ECPPACK": 'while [ "$1" != --bit ]; do shift; done; echo bits > "$2"; '
                          "touch top.svf"}
    monkeypatch.setattr(build, "design", design_once)
    monkeypatch.setattr(build, "gateware", gateware_once)
    there = tmp_path / "tools"
    there.mkdir()
    (there / "fake.netlist").write_text(
        '{\n  "modules": {\n    "top": {\n      "ports": {},\n      "cells": {}\n    }\n  }\n}\n')

    (there / "wires.json").write_text(json.dumps(WIRES))

    def write(variable, script, place=PLACE):
        path = there / variable
        if variable == "NEXTPNR_ECP5":
            (there / "router").write_text(script)
            script = NEXTPNR.format(place=LOG_AND_WRITE + place)
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv(variable, str(path))

    def says(fmax=104.567):
        fields = json.loads(json.dumps(REPORT))
        fields["fmax"]["clocks.clk"]["achieved"] = fmax
        (there / "fake.json").write_text(json.dumps(fields))
        write("NEXTPNR_ECP5", f"cp {there}/fake.json top.report.json; touch top.tim top.config")

    # Amaranth writes Verilog with a Yosys of its own.
    monkeypatch.setenv("AMARANTH_USE_YOSYS", "builtin")
    for variable, script in scripts.items():
        write(variable, script)
    says()
    write.says = says
    return write


def script(there, variable):
    """What a stand-in does, ``"router"`` that for nextpnr's."""
    text = (there / variable).read_text()
    return text if variable == "router" else text.split("\n", 1)[1]


def command(folder, *more):
    return main(["--build", str(folder), "--board", "ulx3s-25f", *more])
