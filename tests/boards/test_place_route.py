"""Which placements are routed, how often, and what's kept: with stand-ins for the tools."""

import dataclasses
import json
import re

import pytest

from boards import place_route
from boards.nextpnr_log import LONGEST, OFTEN
from boards.tools import FlowError
from gen import report
from tests.boards.fake_tools import ESTIMATES, PLACE, REPORT, command, script


def test_every_clock_must_be_fast_enough_and_the_pipeline_s_is_reported():
    def measured(**clocks):
        return place_route.measure({**REPORT, "fmax": {
            name: {"achieved": got, "constraint": wanted * place_route.MARGIN}
            for name, (got, wanted) in clocks.items()}}, 100)

    both = measured(memory=(133.34, 400 / 3), pipeline=(101.5, 100), lock=(300, 100))
    assert both.met and (both.fmax_mhz, both.target_mhz) == (101.5, 100)
    slow = measured(memory=(120.25, 400 / 3), pipeline=(101.5, 100))
    assert not slow.met and slow.missed == ((120.25, 133.33),) and slow.fmax_mhz == 101.5
    with pytest.raises(FlowError, match="no clock of 100 MHz, only 133.3"):
        measured(memory=(140, 133.3))


FASTER = 'case "$*" in *--write*) {1};; *) {0};; esac; touch top.tim'


def routers(folder, tools, first, second, asked=100.5):
    """Stand-ins for both, whose pipeline does ``first`` and ``second`` MHz."""
    there = folder / "tools"
    for name, fmax in (("first", first), ("second", second)):
        (there / f"{name}.json").write_text(json.dumps({**REPORT, "fmax": {
            "clocks.clk": {"achieved": fmax, "constraint": asked},
            "beside": {"achieved": 50.0, "constraint": 12.01}}}))
        (there / name).write_text(
            f"echo {name} >> runs; cp {there}/{name}.json top.report.json\n"
            f"printf {name} > top.config; cp routing.json {name}.wires\n")
    tools("NEXTPNR_ECP5", FASTER.format(f". {there}/second", f". {there}/first"))
    return folder / "ulx3s-25f"


@pytest.mark.parametrize("first, second, kept, code", [
    (70, 101.5, 101.5, 0), (101.5, 112, 112, 0), (101.5, 99, 101.5, 0), (98.5, 99.5, 99.5, 1),
    (98.5, 97, 98.5, 1)])
def test_a_second_router_goes_on_from_the_first_ones_wires(
        first, second, kept, code, folder, tools):
    """The faster one of both results is kept."""
    out = routers(folder, tools, first, second)
    assert command(folder) == code
    assert (out / "runs").read_text().split() == ["first", "second"]
    made = report.read(folder)["provenance"]["bitstream"]
    assert (made["seeds"], made["target_mhz"]) == ({"1": kept}, 100)
    assert (out / "top.config").read_text() == ("second" if kept == second else "first")
    wires = json.loads((out / "second.wires").read_text())["modules"]["top"]
    assert wires["settings"] == {"router": "router1", "router/tmg_ripup": "1".zfill(32)}
    assert {name for name, net in wires["netnames"].items() if net["attributes"]} == {
        "quick", "other"}
    assert not (out / "routing.json").exists()


def test_a_second_router_that_fails_leaves_what_the_first_one_made(folder, tools, capsys):
    out = routers(folder, tools, 101.5, 0)
    (folder / "tools/second").write_text("echo second >> runs; rm top.config; exit 3")
    assert command(folder) == 0
    assert report.read(folder)["provenance"]["bitstream"]["seeds"] == {"1": 101.5}
    assert (out / "top.bit").exists() and not (out / "routing.json").exists()
    assert "faster wires for seed 1" in capsys.readouterr().out


def test_a_second_router_that_takes_too_long_is_ended(folder, tools):
    out = routers(folder, tools, 101.5, 0)
    (folder / "tools/second").write_text(
        f"echo 'Info: 1000 | 9 9 | 9 9 | 9| 2.5 {LONGEST + 9}.00|' > top.tim; sleep 30; "
        "touch went-on")
    assert command(folder) == 0
    assert not (out / "went-on").exists()


def test_a_router_that_gets_nowhere_is_stopped(folder, tools, capsys):
    """It would go on for an hour: here for half a minute."""
    line = "Info: iter=$i wires=9 overused=1 overuse=1 tmgfail=0"
    tools("NEXTPNR_ECP5", f"for i in $(seq {OFTEN}); do echo {line}; done > top.tim; sleep 30; "
          "touch went-on; exit 255")
    assert command(folder) == 1
    assert "routing of seed 1 failed" in capsys.readouterr().err
    assert not (folder / "ulx3s-25f" / "went-on").exists()


def test_a_placement_that_is_far_too_slow_is_not_routed(folder, tools, capsys):
    tools("NEXTPNR_ECP5", "touch went-on; " + script(folder / "tools", "router"),
          place=ESTIMATES.format(69.99) + "cp top.json $placed")
    assert command(folder, "--seed", "3") == 1
    assert ("the placement with seed 3 is estimated at 69.99 MHz where 100 are needed, too far to "
            "be routed; try another --seed, or a slower clock") in capsys.readouterr().err
    assert not (folder / "ulx3s-25f" / "went-on").exists()


def test_a_router_that_finds_no_room_is_not_run_again(folder, tools, capsys):
    tools("NEXTPNR_ECP5", "echo once >> runs; echo 'ERROR: giving up' > top.tim; exit 255")
    assert command(folder) == 1
    assert "routing of seed 1 failed with exit code 255" in capsys.readouterr().err
    assert (folder / "ulx3s-25f" / "runs").read_text() == "once\n"


BY_SEED = "echo place $seed >> runs; " + ESTIMATES.replace("END\n", "E\n").replace(
    "'END'", "E").format("$(cat {0}/$seed.estimate)") + (
    """echo '{{"modules": {{"top": {{"ports": {{}}, "cells": {{}}}}}}, "seed": '$seed'}}' """
    "> $placed")
ROUTE_BY_SEED = """\
case "$*" in *--write*) while [ "$1" != --json ]; do shift; done
seed=$(tr -dc 0-9 < $2); echo $seed > seed; echo route $seed >> runs;; esac
seed=$(cat seed); echo $seed > top.config; touch top.tim
case $seed in {0}) exit 3;; esac
cp {1}/$seed.json top.report.json"""


def by_seed(folder, tools, fails="none", **clocks):
    """Stand-ins that place and route ``clocks``, ``{seed: (estimate, fmax)}``."""
    there = folder / "tools"
    for seed, (estimate, fmax) in clocks.items():
        seed = seed.strip("s")
        (there / f"{seed}.estimate").write_text(f"{estimate}")
        fields = json.loads(json.dumps(REPORT))
        fields["fmax"]["clocks.clk"]["achieved"] = fmax
        (there / f"{seed}.json").write_text(json.dumps(fields))
    tools("NEXTPNR_ECP5", ROUTE_BY_SEED.format(fails, there), place=BY_SEED.format(there))

    def runs():
        return (folder / "ulx3s-25f" / "runs").read_text().splitlines()
    return runs


def test_the_best_placements_are_routed_until_one_meets_its_clocks(folder, tools, capsys):
    runs = by_seed(folder, tools, "7", s2=(101, 99), s3=(110.5, 95), s7=(120, 0), s9=(104, 101.5),
                   s11=(85, 130))
    assert command(folder, "--seed", "2,3,11,7,9,3") == 0
    assert runs() == [f"place {seed}" for seed in (2, 3, 11, 7, 9)] + [
        f"route {seed}" for seed in (7, 3, 9)]
    out = folder / "ulx3s-25f"
    assert (out / "top.config").read_text() == "9\n"
    assert json.loads((out / "top.report.json").read_text())["fmax"]["clocks.clk"][
        "achieved"] == 101.5
    made = report.read(folder)["provenance"]["bitstream"]
    assert made["seed"] == 9
    assert made["seeds"] == {"7": None, "3": 95, "9": 101.5}
    assert made["placed"] == {"2": 101, "3": 110.5, "7": 120, "9": 104, "11": 85}
    said = capsys.readouterr().out
    assert "[6/10] placement with seed 7" in said and "[9/10] routing of seed 3" in said
    assert not list(out.glob(".best*"))


def test_every_seed_is_routed_where_that_is_asked_for(folder, tools):
    runs = by_seed(folder, tools, "7", s2=(101, 101.5), s3=(110, 95), s7=(105, 0), s9=(104, 103))
    assert command(folder, "--seed", "2,3,7,9", "--every-seed") == 0
    assert runs()[4:] == [f"route {seed}" for seed in (3, 7, 9, 2)]
    made = report.read(folder)["provenance"]["bitstream"]
    assert made["seed"] == 9 and made["seeds"] == {"2": 101.5, "3": 95, "7": None, "9": 103}
    assert (folder / "ulx3s-25f" / "top.config").read_text() == "9\n"


def test_a_clock_beside_the_pipeline_s_counts_as_much(folder, tools):
    """What a placement is worth is what its worst clock has of what's asked for."""
    runs = by_seed(folder, tools, s1=(104, 101), s2=(103, 102))
    there = folder / "tools"
    (there / "1.estimate").write_text(
        "104 MHz (PASS at 100.50 MHz)\nInfo: Max frequency for clock 'memory': 99")
    assert command(folder, "--seed", "1,2") == 0
    assert runs()[2:] == ["route 2"]


def test_the_fastest_of_several_that_miss_their_clock_is_kept(folder, tools):
    by_seed(folder, tools, s1=(101, 97), s2=(103, 96))
    assert command(folder, "--seed", "1,2") == 1
    assert report.read(folder)["provenance"]["bitstream"]["seed"] == 1
    assert (folder / "ulx3s-25f" / "top.config").read_text() == "1\n"


def test_placements_are_kept_for_the_next_build(folder, tools, capsys):
    """Even if the router fails, and others are asked for."""
    runs = by_seed(folder, tools, "1|2", s1=(101, 0), s2=(103, 0), s3=(102, 102))
    assert command(folder, "--seed", "1,2") == 1
    assert command(folder, "--seed", "2,3") == 1 - 1
    assert runs()[4:] == ["place 3", "route 2", "route 3"]
    assert "[3/7] placement with seed 2: kept  0 s" in capsys.readouterr().out
    (folder / "ulx3s-25f" / "placed-3.json").unlink()
    assert command(folder, "--seed", "3") == 0
    assert runs()[7:] == ["place 3", "route 3"]
    # A new netlist has none yet.
    (folder / "ulx3s-25f" / "top.json").unlink()
    assert command(folder, "--seed", "3") == 0
    assert runs()[9:] == ["place 3", "route 3"]
    assert not list((folder / "ulx3s-25f").glob("placed-[12]*"))


def test_a_placement_that_was_broken_off_is_none(folder, tools):
    works = script(folder / "tools", "router")
    tools("NEXTPNR_ECP5", works, place=PLACE + "exit 3")
    assert command(folder) == 1
    tools("NEXTPNR_ECP5", works)
    assert command(folder) == 0


def test_the_router_is_told_every_clock(folder, tools):
    """nextpnr derives those behind the PLL only while it packs. The second router, which ends no
    sooner than it's there, is asked for hardly more than what's needed."""
    tools("NEXTPNR_ECP5", "cp -n routed.lpf was.lpf; cp routed.lpf is.lpf; echo $* >> options; "
          + script(folder / "tools", "router"))
    assert command(folder) == 0
    out = folder / "ulx3s-25f"
    before = (out / "top.lpf").read_text()
    for constraints, asked in (("was.lpf", ["100.505", "12.005"]),
                               ("is.lpf", ["100.055", "11.951"])):
        told = (out / constraints).read_text()
        assert told.startswith(before)
        # What's there ends with a comment, and without the end of that line.
        assert re.findall('^FREQUENCY NET "(.*)" ([0-9.]+) MHZ;$', told, re.M) == list(
            zip(["clocks.clk", "beside"], asked))
    options = (out / "options").read_text()
    first, second = options.splitlines()
    assert "--json placed-1.json --lpf routed.lpf" in first
    assert first.endswith("--write routing.json --no-pack --no-place")
    assert "--json routing.json --lpf routed.lpf" in second
    assert second.endswith("--no-pack --no-place") and "--write" not in second


def test_a_seed_that_meets_its_clocks_goes_before_a_faster_one():
    met = place_route.Measured(100.5, 100, 0, 0, 0, 0)
    missed = dataclasses.replace(met, fmax_mhz=120, missed=((120, 133),))
    assert place_route._fastest({1: missed, 2: met, 3: None}) is met
    assert place_route._fastest({1: None}) is None


def test_seeds_that_all_fail_are_a_failure(folder, tools, capsys):
    by_seed(folder, tools, "*", s1=(101, 0), s2=(102, 0))
    assert command(folder, "--seed", "1,2") == 1
    assert "routing of seed 1 failed with exit code 3" in capsys.readouterr().err
    assert (folder / "ulx3s-25f" / "top.tim").exists()
