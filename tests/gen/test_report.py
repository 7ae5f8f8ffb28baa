"""The report: estimates stay, measurements join them."""

import dataclasses
import json

import pytest

from gen import report
from gen.network import Network
from gen.package import Package
from gen.plan import Plan
from hw.schedule import Lanes

KEYS = {"cycles_per_frame", "fmax_mhz", "fps", "latency_us", "lane_busy"}


@pytest.fixture
def plan():
    return Plan(Package.random(Network(8, 1, side=8, classes=3), 1), Lanes(2, 4, 4, 4), "85f")


@pytest.fixture
def folder(plan, tmp_path):
    report.write(tmp_path, report.new_report(plan))
    return tmp_path


def test_a_new_report_has_estimates_and_nothing_measured(plan, folder):
    made = report.read(folder)
    pairs = [made[key] for key in KEYS] + list(made["resources"].values())
    assert all(set(pair) == {"estimate", "measured"} and pair["measured"] is None
               and pair["estimate"] is not None for pair in pairs)
    assert set(made["resources"]) == {"comb", "ff", "ebr", "dsp"}
    assert made["cycles_per_frame"]["estimate"] == plan.cycles_per_frame
    assert made["fps"]["estimate"] == round(1e8 / plan.cycles_per_frame, 1)
    assert made["latency_us"]["estimate"] == plan.latency_cycles / 100
    assert (made["lanes"], made["macs"], made["digest"]) == (96, plan.network.macs, plan.digest)


def test_waits_for_the_memory_hold_for_the_planned_clock(plan, tmp_path):
    """A faster pipeline waits more cycles, a slower one none more."""
    plan = dataclasses.replace(plan, weight_words=60, clock_mhz=80.0, memory_mhz=120.0)
    assert plan.residency.bits
    report.write(tmp_path, report.new_report(plan))
    for fmax, speed in ((95.0, 80.0), (70.0, 70.0)):
        report.measure(tmp_path, cycles_per_frame=5000, latency_cycles=6000, fmax_mhz=fmax)
        made = report.read(tmp_path)
        assert made["fmax_mhz"] == {"estimate": 80.0, "measured": fmax}
        assert made["fps"]["measured"] == speed * 1e6 / 5000
        assert made["latency_us"]["measured"] == round(6000 / speed, 2)


def test_measurements_come_one_by_one_and_estimates_stay(plan, folder):
    before = report.read(folder)
    report.measure(folder, cycles_per_frame=2 * plan.cycles_per_frame, latency_cycles=5000)
    made = report.read(folder)
    assert made["cycles_per_frame"]["measured"] == 2 * plan.cycles_per_frame
    assert made["lane_busy"]["measured"] == pytest.approx(before["lane_busy"]["estimate"] / 2,
                                                          abs=1e-4)
    assert made["fps"]["measured"] is None and made["latency_us"]["measured"] is None
    report.measure(folder, fmax_mhz=125.0, comb=10, ff=20, ebr=3, dsp=0,
                   provenance={"seed": 1})
    made = report.read(folder)
    assert made["fps"]["measured"] == round(125e6 / (2 * plan.cycles_per_frame), 1)
    assert made["latency_us"]["measured"] == 40.0
    assert {k: v["measured"] for k, v in made["resources"].items()} == {
        "comb": 10, "ff": 20, "ebr": 3, "dsp": 0}
    assert made["streamed_bits"] == 0
    report.measure(folder, provenance={"nextpnr": "0.11"})
    made = report.read(folder)
    assert made["provenance"] == {"seed": 1, "nextpnr": "0.11"}
    assert made["fps"]["measured"] and made["cycles_per_frame"]["measured"]
    for key in KEYS:
        assert made[key]["estimate"] == before[key]["estimate"]


def test_measurements_go_over_into_a_new_report_of_the_plan(plan, folder):
    report.measure(folder, cycles_per_frame=5000, latency_cycles=6000, fmax_mhz=125.0, comb=10,
                   provenance={"seed": 1})
    measured, new = report.read(folder), report.new_report(plan)
    assert report.with_measured(new, measured) == measured
    other = report.with_measured({**new, "fps": {"estimate": 1.0, "measured": None}}, measured)
    assert other["fps"] == {"estimate": 1.0, "measured": measured["fps"]["measured"]}


@pytest.mark.parametrize("content", [
    b"", b"{", b"\xff", b"[]", b"3", b"{}", b'{"provenance": {}, "resources": 3}'])
def test_a_damaged_report_is_refused(folder, content):
    (folder / "report.json").write_bytes(content)
    with pytest.raises(ValueError):
        report.read(folder)
    assert report.earlier(folder) is None


@pytest.mark.parametrize("name, value", [
    ("fps", None), ("lane_busy", {}), ("resources", {"comb": {}}), ("provenance", [])])
def test_a_report_that_lacks_something_is_refused(folder, name, value):
    report.write(folder, {**report.read(folder), name: value})
    with pytest.raises(ValueError, match="isn't a report of this release"):
        report.read(folder)


def test_a_resource_that_isnt_one_is_refused(folder):
    with pytest.raises(TypeError, match="must be of comb, ff, ebr, dsp, not luts"):
        report.measure(folder, luts=3)
    assert report.read(folder)["provenance"] == {}


def test_a_report_is_replaced_in_one_step(folder):
    report.measure(folder, ebr=3)
    assert [path.name for path in folder.iterdir()] == ["report.json"]
    assert json.loads((folder / "report.json").read_text())["resources"]["ebr"]["measured"] == 3
