"""Plans: saved and loaded, and refused when damaged or too large."""

import dataclasses
import json
import shlex

import pytest

from gen import build
from gen.__main__ import main
from gen.build import write_build
from gen.device import DEVICES, block_rams
from gen.estimate import PlanTooLarge, check_fit
from gen.network import Network
from gen.package import Package
from gen.plan import Plan, PlanError
from gen.schedule import make_schedule
from hw.schedule import Lanes

TINY = Network(8, 1, side=8, classes=3)
LANES = Lanes(2, 4, 4, 4)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A build folder; copy it before changing anything."""
    folder = tmp_path_factory.mktemp("plan") / "build"
    write_build(Plan(Package.random(TINY, 1), LANES, "45f", 80.0), folder)
    return folder


@pytest.fixture
def folder(built, tmp_path):
    """Plan and package of a build, to spoil."""
    for name in ("plan.json", "package.safetensors"):
        (tmp_path / name).write_bytes((built / name).read_bytes())
    return tmp_path


def edit(folder, **fields):
    path = folder / "plan.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def refusal(folder):
    with pytest.raises(PlanError) as error:
        Plan.load(folder)
    return str(error.value)


def test_a_plan_survives_its_build_folder(built):
    plan, saved = Plan.load(built), Plan(Package.random(TINY, 1), LANES, "45f", 80.0)
    assert (plan.lanes, plan.device, plan.clock_mhz) == (LANES, "45f", 80.0)
    assert plan.network == TINY
    assert plan.digest == saved.digest and len(plan.digest) == 32
    assert plan.schedule == saved.schedule
    fields = json.loads((built / "plan.json").read_text())
    assert fields["cycles_per_frame"] == plan.schedule.cycles
    assert fields["lanes"] == 2 * 3 * 4 * 4
    assert [layer["name"] for layer in fields["layers"]] == [conv.name for conv in TINY.convs]
    assert sum(layer["gap"] + layer["cycles"] for layer in fields["layers"]) == plan.schedule.cycles


def test_a_build_folder_holds_every_file(built):
    names = {str(path.relative_to(built)) for path in built.rglob("*") if path.is_file()}
    assert names == {"plan.json", "network.json", "package.safetensors", "report.json", "top.v",
                     "weights/manifest.json", "weights/weights0.hex", "weights/constants.hex",
                     "weights/head.hex"}
    assert Network.from_dict(json.loads((built / "network.json").read_text())) == TINY
    text = (built / "top.v").read_text()
    assert Plan.load(built).digest in text.splitlines()[0]
    for module in ("signstream", "signstream_rom", "signstream_dot", "signstream_group"):
        assert text.count(f"\nmodule {module}(") + text.count(f"\nmodule {module} #(") == 1, module


@pytest.mark.parametrize("change", [
    {"lanes": Lanes(2, 4, 8, 4)}, {"device": "85f"}, {"clock_mhz": 81.0},
    {"batch": 2}, {"package": Package.random(TINY, 2)},
    {"package": Package.random(Network(8, 1, side=8, classes=3, entries=(4, 4, 4, 3)), 1)}])
def test_every_choice_is_in_the_digest(change):
    choices = {"package": Package.random(TINY, 1), "lanes": LANES, "device": "45f",
               "clock_mhz": 80.0}
    assert Plan(**choices).digest == Plan(**choices).digest
    assert Plan(**choices | change).digest != Plan(**choices).digest


def test_a_folder_without_a_plan_is_refused_with_the_command_that_makes_one(tmp_path):
    assert "holds no plan.json; make one with `python -m gen" in refusal(tmp_path)
    assert "holds no plan.json" in refusal(tmp_path / "absent")


@pytest.mark.parametrize("name", ["absent", "with space/and more", "empty", "used", "file"])
def test_the_command_that_makes_a_plan_works(name, tmp_path, monkeypatch):
    monkeypatch.setattr(build, "_files", lambda plan: {})     # seconds of Verilog
    (tmp_path / "empty").mkdir()
    (tmp_path / "used").mkdir()
    for path in ("used/notes.txt", "file"):
        (tmp_path / path).write_text("mine")
    _, command, _ = refusal(tmp_path / name).split("`")
    _, _, module, *arguments = shlex.split(command)
    assert module == "gen" and main([*arguments, "--lanes", "4,4,4,4"]) == 0
    assert Plan.load(arguments[arguments.index("--out") + 1])
    assert {(tmp_path / path).read_text() for path in ("used/notes.txt", "file")} == {"mine"}


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe{}"])
def test_a_damaged_plan_is_refused(folder, content):
    (folder / "plan.json").write_bytes(content)
    said = refusal(folder)
    assert f"{folder / 'plan.json'} is damaged" in said and "generate it again" in said


@pytest.mark.parametrize("fields", [
    {"version": 1}, {"format": "other"}])
def test_a_plan_of_another_release_is_refused(folder, fields):
    edit(folder, **fields)
    assert "isn't a plan of this release; generate it again" in refusal(folder)


@pytest.mark.parametrize("text", ["[]", "3", "null", '{"format": "signstream-plan"}'])
def test_json_that_is_no_plan_is_refused(folder, text):
    (folder / "plan.json").write_text(text)
    assert "isn't a plan of this release" in refusal(folder)


@pytest.mark.parametrize("fields", [
    {"digest": "0" * 32}, {"clock_mhz": 99.0}, {"pixels": 4}, {"slice_channels": 8},
    {"device": "12f"}])
def test_a_plan_with_an_edited_choice_is_refused(folder, fields):
    edit(folder, **fields)
    assert "plan for another package or release; generate it again" in refusal(folder)


def test_another_package_beside_the_plan_is_refused(folder):
    Package.random(TINY, 2).save(folder / "package.safetensors")
    assert "plan for another package or release" in refusal(folder)


def test_a_missing_or_damaged_package_is_refused(folder):
    raw = (folder / "package.safetensors").read_bytes()
    (folder / "package.safetensors").write_bytes(raw[:-3])
    assert "package.safetensors" in refusal(folder)
    (folder / "package.safetensors").unlink()
    assert "no such package; generate it again" in refusal(folder)


def test_an_array_too_large_says_which_sites_are_needed():
    """Much logic and little memory: 8 bits on a small image."""
    schedule = make_schedule(Network(8, 1, act_bits=8), Lanes(8, 16, 16, 8))
    small = dataclasses.replace(DEVICES["25f"], ebr=1000)
    with pytest.raises(PlanTooLarge, match=r"needs about [\d,]+ LUT sites .* has 24,288; "
                                           r"use fewer --lanes"):
        check_fit(schedule, small, "wrn-8-1")


def test_an_array_of_too_many_multipliers_or_flip_flops_is_refused():
    """Two bits take little logic, and a multiplier for every second unit all the same."""
    schedule = make_schedule(Network(8, 1, act_bits=2), Lanes(8, 8, 8, 8))
    with pytest.raises(PlanTooLarge, match="needs about 32 multipliers .* the 25F has 28; use"):
        check_fit(schedule, dataclasses.replace(DEVICES["25f"], ebr=1000, comb=50_000), "wrn-8-1")
    with pytest.raises(PlanTooLarge, match=r"needs about [\d,]+ flip-flops .* the 25F has 24,288"):
        check_fit(make_schedule(Network(8, 1), Lanes(8, 4, 16, 4)),
                  dataclasses.replace(DEVICES["25f"], ebr=1000), "wrn-8-1")


@pytest.mark.parametrize("width,depth,blocks", [
    (36, 512, 1), (36, 513, 2), (32, 1024, 2), (9, 2048, 1), (1, 16384, 1), (1, 16385, 2),
    (768, 400, 22), (18, 1024, 1), (48, 512, 2)])
def test_block_rams_are_counted_in_their_shapes(width, depth, blocks):
    assert block_rams(width, depth) == blocks
