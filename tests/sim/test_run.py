"""Whole networks under Verilator, and what the bench says when something is wrong."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from gen.network import Network
from gen.plan import Plan
from gen.report import measure
from sim import run, simulation
from sim.folder import Folder
from sim.images import Images, fit, sample
from sim.run import main
from tests.sim.builds import NET, flip_weight, make

pytest.importorskip("cocotb")


def go(capfd, *arguments):
    """Exit code, stdout, stderr of the command line."""
    capfd.readouterr()
    code = main([str(a) for a in arguments])
    return code, *capfd.readouterr()


def test_generated_verilog_equals_golden_and_takes_the_planned_cycles(built, capfd):
    code, out, err = go(capfd, "--build", built)
    assert code == 0, out + err
    plan = Folder.load(built).plan
    assert f"bit-exact: {plan.cycles_per_frame} (as planned) cycles a frame" in out
    assert f"latency {plan.latency_cycles} (as planned) cycles" in out
    lines = [line.split() for line in out.splitlines() if line.startswith("cifar10-sample")]
    assert len(lines) == 5 and {line[-1] for line in lines} == {"bit-exact"}
    assert [line[1] for line in lines[:3]] == ["dog", "deer", "dog"]       # the true classes
    report = json.loads((built / "report.json").read_text())
    assert report["cycles_per_frame"]["measured"] == plan.cycles_per_frame
    assert report["latency_cycles"] == plan.latency_cycles


def test_a_second_run_does_not_compile(compiled, capfd):
    code, _, err = go(capfd, "--build", compiled, "--stalls", "0", "--images", "1")
    assert code == 0 and "compile: not needed" in err


def test_stalls_change_cycles_but_no_number(built):
    folder, verdicts = Folder.load(built), []
    for seed in (5, 6):
        verdicts += run.simulate(folder, fit(sample().first(2).pixels, 16), seed)
    steady, five, again, six = verdicts
    assert all(v.exact for v in verdicts)
    assert steady.distances == again.distances and len(set(steady.distances)) == 1
    ends = [[frame["last_score"] for frame in v.frames] for v in (steady, five, six)]
    assert ends[0][0] < min(ends[1][0], ends[2][0]) and ends[1] != ends[2]


@pytest.mark.parametrize("layer", ["stem", "g0b0c1", "g1b0c0", "g2b0c1"])
def test_a_turned_weight_is_found_in_its_layer(compiled, layer, tmp_path, capfd):
    folder = shutil.copytree(compiled, tmp_path / "turned")
    flip_weight(folder, layer)
    code, out, err = go(capfd, "--build", folder, "--stalls", "0", "--images", "1", "--json")
    assert code == 1 and "not needed" in err
    found = json.loads(out)["runs"][0]["frames"][0]["difference"]
    assert found["layer"] == layer and found["channel"] == 0
    side = next(conv.out_side for conv in NET.convs if conv.name == layer)
    assert 0 < found["differing"] <= side ** 2, "a weight reaches one output channel"


def test_a_turned_head_weight_is_found_in_the_scores(compiled, tmp_path, capfd):
    folder = shutil.copytree(compiled, tmp_path / "turned")
    measure(folder, cycles_per_frame=7)
    path = folder / "weights" / "head.hex"
    words = path.read_text().split()
    per_class = len(words) // 10
    words[3 * per_class] = f"{int(words[3 * per_class], 16) ^ 1:x}"
    path.write_text("\n".join(words) + "\n")
    code, out, _ = go(capfd, "--build", folder, "--stalls", "0", "--images", "1")
    assert code == 1 and out.rstrip().endswith("NOT bit-exact")
    assert "first difference at scores, class 3" in out and "(1 of 10 differ)" in out
    report = json.loads((folder / "report.json").read_text())
    assert report["cycles_per_frame"]["measured"] == 7, "a wrong design measures nothing"


def test_labels_beyond_the_networks_classes_are_told(built):
    folder, images = Folder.load(built), sample().first(3)
    unnamed = Images(images.pixels, (None, 3, 12), images.names)
    assert run.class_name(5, folder, images) == "dog"
    assert [run.true_class(k, folder, images) for k in (5, None)] == ["dog", "-"]
    assert [run.true_class(k, folder, unnamed) for k in unnamed.labels] == [
        "-", "class 3", "class 12"]


def test_a_network_of_other_classes_does_not_name_the_true_ones(built):
    """As many classes, of which three have pictures."""
    folder, images = Folder.load(built), sample().first(3)
    names = ("ant", "bee", "owl", *(f"spare {j}" for j in range(3, 10)))
    package = replace(folder.package, class_names=names)
    other = replace(folder, plan=Plan(package, folder.plan.lanes, folder.plan.device))
    assert run.class_name(1, other, images) == "bee"
    assert [run.true_class(k, other, images) for k in (1, 5)] == ["automobile", "dog"]


def test_real_pictures_from_files(built, tmp_path, capfd):
    pixels = fit(sample().first(2).pixels, 16)
    for k in range(2):      # the first has another size
        picture = pixels[k].transpose(1, 2, 0).repeat(2 - k, 1)
        Image.fromarray(picture).save(tmp_path / f"{k}.png")
    code, out, _ = go(capfd, "--build", built, "--stalls", "0", "--resize", "--files",
                      tmp_path / "1.png", tmp_path / "0.png")
    assert code == 0
    assert [line.split()[:2] for line in out.splitlines() if ".png" in line] == [
        ["1.png", "-"], ["0.png", "-"], ["1.png", "-"]]


@pytest.mark.slow
@pytest.mark.parametrize("fields, lanes", [
    ({"act_bits": 2}, (4, 4, 8, 4)),
    ({"act_bits": 3, "classes": 3}, (4, 8, 16, 8)),
    ({"act_bits": 6, "shifts": (3, 2, -1, 4, 2, 3, 0), "entries": (-1, 3, 2, 1)}, (2, 4, 16, 4)),
    ({"act_bits": 8, "side": 8}, (2, 4, 16, 4)),
    ({"width": 2, "side": 24, "res_bits": 8}, (2, 16, 32, 8)),
    ({"depth": 14, "classes": 2}, (4, 16, 16, 16)),
    ({"width": 4}, (4, 4, 64, 4)),        # a step of the stem is shorter than its words
], ids=str)
def test_other_networks_and_arrays_equal_golden(tmp_path, fields, lanes):
    network = Network(**{"depth": 8, "side": 16, **fields})
    folder = Folder.load(make(tmp_path / "build", network, lanes))
    verdicts = run.simulate(folder, fit(sample().first(2).pixels, network.side), seed=3)
    for verdict in verdicts:
        assert [frame.get("difference") for frame in verdict.frames] == [None] * len(
            verdict.frames)
    assert verdicts[0].cycles_per_frame == folder.plan.cycles_per_frame
    assert verdicts[0].latency == folder.plan.latency_cycles


def test_an_offer_after_the_last_frame_is_told(changed, capfd):
    """The bench doesn't stop at the last score that's expected."""
    top = changed / "top.v"
    wires, inner = "  wire scores__valid;\n", ".scores__valid(scores__valid)"
    more = """  wire scores__valid; wire offered; reg [5:0] taken;
  assign scores__valid = offered || taken == 30;   // three frames of ten
  always @(posedge clk) taken <= rst ? 0 : taken + (scores__valid && scores__ready);
"""
    design = top.read_text()
    assert wires in design and design.count(inner) == 1
    top.write_text(design.replace(wires, more, 1).replace(inner, ".scores__valid(offered)"))
    code, out, _ = go(capfd, "--build", changed, "--stalls", "0", "--images", "1")
    assert code == 1 and out.count("bit-exact") == 3   # two frames, and the verdict
    assert "first difference at scores: expected nothing after the last frame, got another" in out


# ---- trouble with streams, on a design that has nothing else -------------------------------------

STUB = """
module signstream(input clk, input rst, input [23:0] image__payload, input image__valid,
    output image__ready, output [32:0] scores__payload, output scores__valid, input scores__ready,
    output tap__valid, output [2:0] tap__layer, output [3:0] tap__row, output [1:0] tap__group,
    output [3:0] tap__slice, output [3:0] tap__mask, output [63:0] tap__codes,
    output [207:0] tap__residual);
  reg [8:0] pixels; reg [3:0] j; reg [7:0] since;
  assign image__ready = !pixels[8];
  assign {{tap__valid, tap__layer, tap__row, tap__group, tap__slice, tap__mask}} = 0;
  assign {{tap__codes, tap__residual}} = 0;
  assign scores__valid = {valid};
  assign scores__payload = {{{last}, {score}}};
  wire taken = scores__valid && scores__ready;
  always @(posedge clk) begin
    since <= scores__valid && !taken ? since + 1 : 0;
    if (rst) begin pixels <= 0; j <= 0; since <= 0; end else begin
      if (image__valid && image__ready) pixels <= pixels + 1;
      if (taken) begin j <= j == 9 ? 0 : j + 1; if (j == 9) pixels <= 0; end
    end
  end
endmodule
"""
GOOD = {"valid": "pixels[8]", "last": "j == 9", "score": "{28'd0, j}"}
SIM = "icarus" if shutil.which("iverilog") else "verilator"
icarus = pytest.mark.skipif(SIM != "icarus", reason="Icarus Verilog isn't installed")


@pytest.mark.parametrize("change, layer, words", [
    ({}, "stem", "expected a map, got no words"),
    ({"valid": "0"}, "stem", "got no words; no traffic for {quiet} cycles (256 pixels taken"),
    ({"last": "j == 8"}, "scores, last flag of class 8", "expected 0, got 1"),
    ({"last": "1'b0"}, "scores, last flag of class 9", "expected 1, got 0"),
    ({"valid": "pixels[8] && since < 2"}, "scores", "changed or withdrawn untaken"),
    ({"score": "{24'd0, since}"}, "scores", "changed or withdrawn untaken"),
    pytest.param({"score": "{1'bx, 31'd0}"}, "scores__payload", "undefined bits in 0X000",
                 marks=icarus),        # Verilator knows 0 and 1
], ids=["no maps", "stuck", "early last", "no last", "withdrawn", "changed", "undefined"])
def test_trouble_on_the_streams_is_told(changed, change, layer, words, capfd):
    (changed / "top.v").write_text(STUB.format(**{**GOOD, **change}))
    code, out, _ = go(capfd, "--build", changed, "--sim", SIM, "--images", "1")
    quiet = simulation.QUIET + 2 * Folder.load(changed).plan.residency.distance
    assert code == 1
    assert f"first difference at {layer}: " in out and words.format(quiet=quiet) in out


def test_waves_are_recorded_where_asked_for(changed, capfd):
    (changed / "top.v").write_text(STUB.format(**GOOD))
    _, _, err = go(capfd, "--build", changed, "--sim", SIM, "--images", "1", "--waves")
    dump = changed / f"sim-{SIM}-waves" / {"icarus": "dump.fst", "verilator": "dump.vcd"}[SIM]
    assert dump.stat().st_size > 1000 and f"waves: {dump}" in err


@icarus
def test_a_simulator_that_breaks_off_is_exit_code_two(changed, capfd):
    (changed / "top.v").write_text(STUB.format(**GOOD))
    arguments = "--build", changed, "--sim", "icarus", "--images", "1"
    assert go(capfd, *arguments)[0] == 1
    program = changed / "sim-icarus" / "sim.vvp"
    program.write_text("nonsense")
    code, out, err = go(capfd, *arguments)
    assert code == 2 and out == ""
    assert f"The simulation stopped early; its output is in {program.parent}" in err
    program.unlink()
    assert go(capfd, *arguments)[0] == 1, "a missing program is compiled again"


# ---- refusals ------------------------------------------------------------------------------------

def test_no_arguments_print_the_help(capfd):
    code, out, _ = go(capfd)
    assert code == 0 and out.rstrip().splitlines()[-1].startswith("example: python -m sim.run")


def remove(name):
    return lambda folder: (folder / name).unlink()


def text(name, content):
    return lambda folder: (folder / name).write_text(content)


@pytest.mark.parametrize("damage, words", [
    (shutil.rmtree, "holds no plan.json; make one with `python -m gen --width"),
    (remove("plan.json"), "plan.json"),
    (remove("top.v"), "has no top.v; generate it again"),
    (remove("package.safetensors"), "package.safetensors: no such package"),
    (text("plan.json", "{"), "plan.json is damaged"),
    (text("plan.json", "[]"), "plan.json"),
    (text("plan.json", "{}"), "plan.json"),
    (text("package.safetensors", "hello"), "truncated"),
    (lambda folder: (folder / "plan.json").write_bytes(b"\xff{"), "plan.json is damaged"),
    (remove("report.json"), "report.json can't be read (No such file or directory); generate"),
    (text("report.json", "{"), "report.json can't be read (Expecting"),
    (text("report.json", "{}"), "report.json can't be read (it isn't a report of this release)"),
], ids=["folder", "plan", "top", "package", "json", "list", "empty", "damaged", "no text",
        "no report", "damaged report", "empty report"])
def test_damaged_build_folders_are_refused(changed, damage, words, capfd):
    damage(changed)
    code, out, err = go(capfd, "--build", changed)
    assert code == 2 and out == ""
    assert err.startswith("sim.run: ") and words in err and err.count("\n") == 1


def test_the_package_of_another_network_is_refused(changed, tmp_path, capfd):
    from gen.package import Package
    Package.random(NET, 2).save(changed / "package.safetensors")
    code, _, err = go(capfd, "--build", changed)
    assert code == 2 and "generate it again" in err


@pytest.mark.parametrize("arguments, words", [
    (["--images", "0"], "Number of images must be 1 to 300, not 0"),
    (["--images", "301"], "must be 1 to 300, not 301"),
    (["--stalls", "-1"], "Seed of the stalls must be at least 0, not -1"),
    (["--files", "no.png"], "no.png: no such file"),
], ids=["none", "too many", "seed", "file"])
def test_bad_arguments_are_refused(built, arguments, words, capfd):
    code, _, err = go(capfd, "--build", built, *arguments)
    assert code == 2 and words in err and err.count("\n") == 1


def test_pictures_of_another_size_are_refused(built, tmp_path, capfd):
    Image.fromarray(np.zeros((32, 24, 3), np.uint8)).save(tmp_path / "big.png")
    code, _, err = go(capfd, "--build", built, "--files", tmp_path / "big.png")
    assert code == 2 and "Images must be 16x16 pixels for this network, not 24x32; --resize" in err


def test_missing_tools_are_exit_code_two(built, tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("PATH", str(tmp_path))
    code, _, err = go(capfd, "--build", built, "--sim", "icarus")
    assert code == 2 and "Icarus Verilog isn't installed: apt install iverilog" in err
