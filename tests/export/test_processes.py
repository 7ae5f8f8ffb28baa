"""Training in two processes, and what isn't done in several."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from export.__main__ import main  # noqa: E402
from export.checkpoint import restore  # noqa: E402
from tests.export.runs import ROOT, train  # noqa: E402


def torchrun(*command):
    """``command`` in two processes, which must succeed."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone",
               "--nproc-per-node=2", *map(str, command)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120,
                          env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stderr
    return done


def test_two_processes_follow_one(data, tmp_path):
    """torchrun with gloo: the same order and augmentation, so nearly the same steps."""
    options = ["--epochs", "2", "--threads", "1"]
    assert train(data, tmp_path / "one.pt", *options, "--rate", "0.0001") == 0
    done = torchrun("-m", "export", "train", "--data", data, "--out", tmp_path / "two.pt",
                    "--depth", "8", "--batch", "10", "--act-frac", "1", "--sides", "8:0.4",
                    "--rate", "0.0001", *options)
    assert done.stdout.count("epoch ") == 2  # the first process alone speaks
    one, two = restore(tmp_path / "one.pt"), restore(tmp_path / "two.pt")
    assert one["seen"] == two["seen"] == 120
    assert abs(one["history"][0]["loss"] - two["history"][0]["loss"]) < 0.02
    for name, latent in one["model"].items():
        # Adam divides by the gradient's size, so only a gradient near zero moves one otherwise.
        moved = (latent - two["model"][name]).abs()
        assert (moved < 1e-5).float().mean() > 0.7, name


def test_work_of_one_process_is_refused_under_torchrun(
        data, trained, tmp_path, monkeypatch, capsys):
    """Each process would train every run, and write each file."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    for command in (["study", trained, "--data", data, "--epochs", 1, "--out", tmp_path / "runs"],
                    ["versus", "--data", data, "--epochs", 1, "--out", tmp_path / "runs"],
                    ["pack", trained, "--out", tmp_path / "net.safetensors"]):
        assert main([*map(str, command)]) == 2
        assert (f"{command[0]} is the work of one process; start it with python"
                in capsys.readouterr().err)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="threads are read from /proc")
def test_processes_end_without_threads_of_their_communication(data, tmp_path):
    """One of those, at work while the interpreter ends, aborts its process now and then."""
    script = tmp_path / "train.py"
    script.write_text(f"""
import os, sys
from pathlib import Path
from export.__main__ import main

def threads():
    return [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]

code = main(sys.argv[1:])
# A file each: what two processes print to one pipe may come out of it mixed.
Path({str(tmp_path)!r}, "after" + os.environ["RANK"]).write_text("\\n".join(threads()))
sys.exit(code)
""")
    torchrun(script, "train", "--data", data, "--out", tmp_path / "run.pt", "--depth", "8",
             "--batch", "10", "--act-frac", "1", "--epochs", "1", "--threads", "1")
    for rank in range(2):
        left = (tmp_path / f"after{rank}").read_text().splitlines()
        assert left and not [name for name in left if "gloo" in name], left
