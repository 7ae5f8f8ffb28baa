"""Training: resuming, several processes, packing and refusals, through the command line."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import export.train as training  # noqa: E402
from export.__main__ import main  # noqa: E402
from export.checkpoint import restore, variant_of  # noqa: E402
from export.data import load  # noqa: E402
from export.distil import distillation_loss  # noqa: E402
from export.model import centred  # noqa: E402
from export.pack import PackError, model_of, pack  # noqa: E402
from export.paper import model_as  # noqa: E402
from export.recipe import Recipe, TrainError  # noqa: E402
from export.study import FORMATS  # noqa: E402
from gen.network import Network  # noqa: E402
from gen.package import Package  # noqa: E402

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def one_thread():
    """Tiny layers gain nothing from threads, and float sums keep their order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Image folders of three classes that differ in colour and pattern, 16x16."""
    image = pytest.importorskip("PIL.Image")
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    ramp = np.arange(16)
    patterns = (ramp[:, None] % 4 < 2, ramp[None] % 4 < 2, (ramp[:, None] + ramp) % 8 < 4)
    for part, count in (("train", 20), ("test", 8)):
        for name, pattern in zip(("rows", "columns", "slopes"), patterns):
            (folder / part / name).mkdir(parents=True)
            for k in range(count):
                a = np.broadcast_to(pattern, (16, 16))[..., None] * 120.0 + 60
                a = a + rng.normal(0, 25, (16, 16, 3))
                image.fromarray(a.clip(0, 255).astype(np.uint8)).save(
                    folder / part / name / f"{k}.png")
    return folder


def train(data, out, *more):
    return main(["train", "--data", str(data), "--out", str(out), "--depth", "8", "--batch", "10",
                 "--act-frac", "1", "--sides", "8:0.4", "--rate", "0.02", *map(str, more)])


def described(path):
    """Network and variant of a checkpoint."""
    state = restore(path)
    return Network.from_dict(state["network"]), variant_of(state)


def assert_same(a, b):
    """All that a run leaves, except how long it took."""
    clock = ("elapsed", "history")
    for key in a.keys() - set(clock):
        if key == "model":
            assert all(torch.equal(a[key][n], b[key][n]) for n in a[key])
        elif key == "optimiser":
            assert a[key]["param_groups"] == b[key]["param_groups"]
            for one, two in zip(a[key]["state"].values(), b[key]["state"].values()):
                assert all(torch.equal(one[n], two[n]) for n in one)
        else:
            assert a[key] == b[key], key
    drop = [[{k: v for k, v in row.items() if k != "seconds"} for row in run["history"]]
            for run in (a, b)]
    assert drop[0] == drop[1]


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "run.pt"
    torch.set_num_threads(1)
    assert train(data, out, "--epochs", 6, "--cutout", 4) == 0
    return out


def test_a_resumed_run_equals_an_uninterrupted_one(data, trained, tmp_path, capsys):
    out = tmp_path / "run.pt"
    options = "--epochs", 6, "--cutout", 4
    assert train(data, out, *options, "--stop-after", 2) == 0
    assert "not finished; go on with the same command and --resume" in capsys.readouterr().out
    assert restore(out)["epoch"] == 2
    assert train(data, out, *options, "--resume", "--stop-after", 1) == 0
    assert train(data, out, *options, "--resume") == 0
    assert_same(restore(trained), restore(out))


def test_a_run_may_start_from_another_ones_weights(data, trained, tmp_path, capsys):
    out = tmp_path / "next.pt"
    assert train(data, out, "--epochs", 2, "--stop-after", 1, "--rate", "0.0", "--start-from",
                 trained) == 0
    parent, state = restore(trained), restore(out)
    assert state["network"] == parent["network"]
    for name, weights in model_of(parent).weights().items():
        assert np.array_equal(weights, model_of(state).weights()[name]), name
    assert [run["history"] for run in state["before"]] == [parent["history"]]
    assert len(state["history"]) == 1

    # The parent isn't needed again, and the package tells of both runs.
    assert train(data, out, "--epochs", 2, "--rate", "0.0", "--resume") == 0
    assert restore(out)["before"] == state["before"]
    training = pack(restore(out)).training
    assert training["epochs"] == 2
    assert training["before"] == [{"recipe": parent["recipe"], "epochs": 6}]

    capsys.readouterr()
    wide, deep = tmp_path / "wide.pt", tmp_path / "deep.pt"
    assert train(data, wide, "--epochs", 1, "--width", 2, "--noise", 1, "--start-from",
                 out) == 0
    assert train(data, deep, "--epochs", 1, "--depth", 14, "--start-from", trained) == 2
    assert "only from one of the same depth, 14, not 8" in capsys.readouterr().err


@pytest.fixture(scope="module")
def teacher(data, tmp_path_factory):
    """A float net with 32-bit weights."""
    out = tmp_path_factory.mktemp("teacher") / "teacher.pt"
    torch.set_num_threads(1)
    assert train(data, out, "--epochs", 8, "--act", "elu", "--weight-bits", 32) == 0
    return out


def test_a_distilled_net_learns_its_teachers_predictions(data, teacher, tmp_path):
    """From the teacher alone, at two sizes: it's then nearer to it than with the labels alone."""
    images, test = load(data)
    theirs = model_as(*described(teacher)).eval()
    theirs.load_state_dict(restore(teacher)["model"])
    far = {}
    for distil in (0, 1):
        out = tmp_path / f"{distil}.pt"
        more = ["--teacher", teacher, "--distil", distil] if distil else []
        assert train(data, out, "--epochs", 8, *more) == 0
        model = model_as(*described(out)).eval()
        model.load_state_dict(restore(out)["model"])
        with torch.no_grad():
            far[distil] = distillation_loss(model(test.pixels), [theirs(test.pixels)], 2.0).item()
    assert restore(out)["history"][-1]["test"] > 0.8
    assert far[1] < far[0]


def test_the_distillation_loss_is_the_papers():
    logits = torch.tensor([[1.0, 2, 4], [0, 0, 0]])
    taught = torch.tensor([[[3.0, 2, 1], [1, 0, 0]], [[0.0, 2, 2], [5, 1, 0]]])
    p, q = (taught / 2).softmax(2).mean(0), (logits / 2).softmax(1)
    wanted = 4 * (p * (p / q).log()).sum(1).mean()
    assert distillation_loss(logits, list(taught), 2.0).item() == pytest.approx(wanted.item())
    assert distillation_loss(logits, [logits, logits], 3.0).item() == pytest.approx(0, abs=1e-6)


def test_a_distilled_run_resumes_exactly_and_needs_its_teacher(data, trained, teacher, tmp_path,
                                                               capsys):
    whole, out = tmp_path / "whole.pt", tmp_path / "run.pt"
    options = ["--epochs", 3, "--cutout", 4, "--distil", 0.7, "--temperature", 3]
    both = ["--teacher", teacher, trained]
    assert train(data, whole, *options, *both) == 0
    assert train(data, out, *options, *both, "--stop-after", 2) == 0
    capsys.readouterr()
    assert train(data, out, *options, "--resume") == 2
    assert "give both --teacher and --distil" in capsys.readouterr().err
    assert train(data, out, *options, "--resume", "--teacher", trained) == 2
    assert "was trained with other teachers; resume with the same ones" in capsys.readouterr().err
    assert train(data, out, *options, "--resume", *both) == 0
    assert_same(restore(whole), restore(out))
    assert [one["recipe"]["act"] for one in restore(out)["teachers"]] == ["elu", "srelu"]

    # A card tells of them.
    package, about = tmp_path / "net.safetensors", tmp_path / "about"
    about.write_text("Stripes.\n")
    assert main(["pack", str(out), "--data", str(data), "--out", str(package)]) == 0
    assert [one["epochs"] for one in Package.load(package).training["teachers"]] == [8, 6]
    capsys.readouterr()
    assert main(["card", str(out), str(package), "--about", str(about)]) == 0
    text = capsys.readouterr().out
    assert text.index("### Teacher 1a (wrn-8-1)") < text.index("### Teacher 1b (wrn-8-1)")
    elu, ours, run = text.split("### ")[1:]
    assert "--out teacher1a.pt" in elu and "--act elu" in elu and "--act" not in ours.replace(
        "--act-", "")
    assert "--teacher teacher1a.pt teacher1b.pt" in run and "--distil 0.7" in run


def test_noise_tells_copies_of_a_channel_apart(data, trained, tmp_path, capsys):
    def wider(noise):
        return train(data, tmp_path / "wide.pt", "--epochs", 1, "--width", 2, "--start-from",
                     trained, "--noise", noise)

    assert wider(0) == 2 and "stay copies: tell them apart with --noise" in capsys.readouterr().err
    assert wider(0.2) == 0
    latent = restore(tmp_path / "wide.pt")["model"]["signs.g0b0c0.latent"]
    a, b = latent[::2], latent[1::2]
    assert not torch.equal(a, b) and np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.5


def test_normalised_latents_keep_their_size_and_their_signs(data, trained, tmp_path):
    """What a run starts from may have latents of any size: they are normal ones after a step."""
    def latents(rate, *more):
        out = tmp_path / f"{rate}.pt"
        assert train(data, out, "--epochs", 1, "--start-from", trained, "--rate", rate, *more) == 0
        return {name: value for name, value in restore(out)["model"].items()
                if name.endswith(".latent")}

    for name, value in latents(0.02, "--normalise").items():
        assert value.std().item() == pytest.approx(1, abs=1e-5)
        assert value.flatten(1).mean(1).abs().max() < 1e-5, name
    still, before = latents(0, "--normalise"), restore(trained)["model"]
    assert all(torch.equal(value > 0, centred(before[name]) > 0) for name, value in still.items())


@pytest.mark.parametrize("path", sorted((ROOT / "export" / "latents").glob("*.pt")),
                         ids=lambda path: path.stem)
def test_kept_latents_are_those_of_the_shipped_package(path):
    package = Package.load(ROOT / "gen" / "packages" / f"{path.stem}.safetensors")
    model = model_of(restore(path))
    assert model.network == package.network
    for name, weights in model.weights().items():
        assert np.array_equal(package.weights[name], weights), name


def test_a_kept_checkpoint_is_small_and_starts_another_run(data, trained, tmp_path, capsys):
    small = tmp_path / "small.pt"
    assert main(["keep", str(trained), "--out", str(small)]) == 0
    assert small.stat().st_size < 0.3 * trained.stat().st_size
    a, b = (model_of(restore(path)).weights() for path in (trained, small))
    assert all(np.array_equal(a[name], b[name]) for name in a)
    assert train(data, tmp_path / "run.pt", "--epochs", 1, "--start-from", small) == 0
    assert len(restore(tmp_path / "run.pt")["before"]) == 1
    capsys.readouterr()
    assert train(data, small, "--epochs", 7, "--resume") == 2
    assert "--start-from" in capsys.readouterr().err


def test_folders_for_what_is_written_are_made(data, trained, tmp_path, capsys):
    run, package, small = (tmp_path / name / "new" / name for name in ("run", "package", "small"))
    assert train(data, run, "--epochs", 1) == 0
    assert main(["pack", str(trained), "--out", str(package)]) == 0
    assert main(["keep", str(trained), "--out", str(small)]) == 0
    assert run.exists() and package.exists() and small.exists()
    capsys.readouterr()
    for command in ("pack", "keep"):
        assert main([command, str(trained), "--out", str(run / "below a file")]) == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_a_run_that_is_not_finished_is_not_kept(data, tmp_path, capsys):
    assert train(data, tmp_path / "run.pt", "--epochs", 2, "--stop-after", 1) == 0
    assert main(["keep", str(tmp_path / "run.pt"), "--out", str(tmp_path / "small.pt")]) == 2
    assert "isn't finished" in capsys.readouterr().err
    assert not (tmp_path / "small.pt").exists()


def test_another_seed_gives_other_weights(data, trained, tmp_path):
    assert train(data, tmp_path / "run.pt", "--epochs", 6, "--cutout", 4, "--seed", 1) == 0
    a, b = (model_of(restore(p)).weights() for p in (trained, tmp_path / "run.pt"))
    assert not np.array_equal(a["g0b0c0"], b["g0b0c0"])


def test_training_learns(trained):
    history = restore(trained)["history"]
    assert [row["side"] for row in history] == [8, 8, 16, 16, 16, 16]
    assert history[-1]["test"] > 0.8  # of 24 images in 3 classes


def test_the_clock_ends_a_run(data, tmp_path):
    """Long enough that its last step is near the end on a busy machine, too."""
    assert train(data, tmp_path / "run.pt", "--minutes", 0.1) == 0
    state = restore(tmp_path / "run.pt")
    assert state["finished"] and 6 <= state["elapsed"] < 30
    assert state["optimiser"]["param_groups"][0]["lr"] < 0.02 * 0.1


def test_bfloat16_trains_and_evaluates_in_float32(data, tmp_path):
    assert train(data, tmp_path / "run.pt", "--epochs", 2, "--amp", "bf16") == 0
    state = restore(tmp_path / "run.pt")
    assert all(t.dtype == torch.float32 for t in state["model"].values())
    assert pack(state, load(data)[1]).accuracy == state["history"][-1]["test"]


def test_the_last_test_figure_of_a_run_in_bfloat16_is_exact(data, tmp_path, monkeypatch):
    """The others needn't be, and are ready sooner."""
    inexact, measure = [], training.accuracy

    def accuracy(*given, **more):
        inexact.append(torch.is_autocast_enabled("cpu"))
        return measure(*given, **more)
    monkeypatch.setattr(training, "accuracy", accuracy)
    assert train(data, tmp_path / "run.pt", "--epochs", 2, "--amp", "bf16") == 0
    assert inexact == [True, False]


@pytest.mark.parametrize("amp,capability,told", [
    ("bf16", "AVX2", True), ("bf16", "AVX512", False), ("off", "AVX2", False)])
def test_bfloat16_without_instructions_for_it_is_told(
        data, tmp_path, monkeypatch, capsys, amp, capability, told):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    assert train(data, tmp_path / "run.pt", "--epochs", 1, "--amp", amp) == 0
    assert ("--amp off" in capsys.readouterr().out) == told


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


def test_a_packed_net_evaluates_the_same(data, trained, tmp_path, capsys):
    out = tmp_path / "net.safetensors"
    assert main(["pack", str(trained), "--data", str(data), "--out", str(out),
                 "--note", "data=three patterns"]) == 0
    package = Package.load(out)
    assert package.class_names == ("columns", "rows", "slopes") and package.test_images == 24
    assert package.training["data"] == "three patterns" and package.training["finished"]
    assert package.accuracy == restore(trained)["history"][-1]["test"]
    capsys.readouterr()
    for network in (out, trained):
        assert main(["eval", str(network), "--data", str(data)]) == 0
        figure = f"{100 * package.accuracy:.2f} %"
        assert capsys.readouterr().out == (f"PyTorch {figure}  golden {figure}  of 24 images, "
                                           f"every score equal\n")


def test_a_diverged_net_is_not_packed(trained):
    state = restore(trained)
    state["model"]["signs.g1b0c1.latent"][0, 0, 0, 0] = float("nan")
    with pytest.raises(PackError, match="g1b0c1: latent weights must be finite"):
        pack(state)


def test_a_foreign_state_is_not_packed(trained):
    state = restore(trained)
    state["network"]["depth"] = 14
    state["network"]["shifts"], state["network"]["entries"] = [2] * 13, [3] * 7
    with pytest.raises(PackError, match="tensors are not those of wrn-14-1"):
        pack(state)


REFUSED = (
    (("--batch", "100", "--epochs", "1"), "Batch must be at most the 60 training images"),
    (("--epochs", "0"), "length of a run must be positive and finite, not 0"),
    (("--minutes", "nan"), "length of a run must be positive and finite, not nan"),
    (("--minutes", "inf"), "length of a run must be positive and finite, not inf"),
    (("--epochs", "1", "--rate", "-0.1"), "Rate must be a number of at least 0, not -0.1"),
    (("--epochs", "1", "--rate", "nan"), "Rate must be a number of at least 0, not nan"),
    (("--epochs", "1", "--smoothing", "1"), "Smoothing must be at least 0 and below 1, not 1"),
    (("--epochs", "1", "--warmup", "-1"), "Warmup must be a fraction of the run, 0 to 1, not -1"),
    (("--epochs", "1", "--cutout", "-2"), "Cutout must be a side in pixels of at least 0, not -2"),
    (("--epochs", "1", "--act-rms", "0"), "Act-rms must be a number above 0, not 0"),
    (("--epochs", "1", "--branch", "nan"), "Branch must be a number above 0, not nan"),
    (("--epochs", "1", "--seed", "-1"), "Seed must be 0 to 4294967295, not -1"),
    (("--epochs", "1", "--seed", str(10 ** 20)), "Seed must be 0 to 4294967295, not 10"),
    (("--epochs", "1", "--noise", "0.1"), "Noise is added to the weights of --start-from"),
    (("--epochs", "1", "--temperature", "3"), "Temperature is that of teachers' predictions"),
    (("--epochs", "1", "--distil", "0.5", "--temperature", "0"), "Temperature must be a number "),
    (("--epochs", "1", "--sides", "12:0.5"), "multiples of 8 with a fraction"),
    (("--epochs", "1", "--depth", "9"), "Depth must be 6n.2, not 9; try 8"),
    (("--epochs", "1", "--act-bits", "5"), "Activation bits must be one of"),
    (("--epochs", "1", "--resume"), "no such checkpoint"),
    (("--epochs", "1", "--side", "12"), "Image side must be a multiple of 8, not 12"),
    (("--epochs", "1", "--distil", "1.5"), "share must be 0 to 1, not 1.5"),
    (("--epochs", "1", "--distil", "0.5"), "give both --teacher and --distil, or neither"),
)


@pytest.mark.parametrize("options, message", REFUSED)
def test_refusals_are_one_sentence(data, tmp_path, capsys, options, message):
    assert train(data, tmp_path / "run.pt", *options) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert re.search(message, error)


def test_damaged_checkpoints_are_refused(data, trained, tmp_path, capsys):
    short = tmp_path / "short.pt"
    short.write_bytes(trained.read_bytes()[:1000])
    assert main(["pack", str(short), "--out", str(tmp_path / "x")]) == 2
    assert f"export: {short}: not a signstream checkpoint, or damaged\n" == capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_resuming_with_other_options_is_refused(data, trained, capsys):
    assert train(data, trained, "--epochs", 7, "--cutout", 4, "--rate", 0.1, "--resume") == 2
    assert "was trained with another epochs, rate; resume" in capsys.readouterr().err


def test_a_checkpoint_older_than_a_setting_was_trained_with_its_default(data, tmp_path, capsys):
    out = tmp_path / "old.pt"
    assert train(data, out, "--epochs", 2, "--stop-after", 1) == 0
    state = restore(out)
    del state["recipe"]["floats"]
    torch.save(state, out)
    assert train(data, out, "--epochs", 2, "--floats", "--resume") == 2
    assert "was trained with another floats; resume" in capsys.readouterr().err
    assert train(data, out, "--epochs", 2, "--resume") == 0 and restore(out)["finished"]


def test_a_recipe_needs_one_length():
    for lengths in ({}, {"epochs": 3, "minutes": 1.0}):
        with pytest.raises(TrainError, match="give either epochs or minutes"):
            Recipe(**lengths)


def test_no_arguments_print_the_help(capsys):
    assert main([]) == 0
    assert "example:\n  python -m export train" in capsys.readouterr().out


def test_a_study_tells_what_formats_cost_and_goes_on_where_it_was(data, trained, tmp_path, capsys):
    command = ["study", str(trained), "--data", str(data), "--out", str(tmp_path / "runs")]
    formats = len(FORMATS)
    assert main([*command, "--epochs", "1", "--batch", "10"]) == 0
    first = capsys.readouterr()
    rows = [line.split(" | ") for line in first.out.splitlines()]
    assert len(rows) == formats + 2 and len(list((tmp_path / "runs").glob("*.pt"))) == formats
    assert rows[2][0] == "| float"
    # As the network was trained, but for the residual's fraction.
    assert float(rows[3][3].rstrip("%")) == pytest.approx(
        100 * restore(trained)["history"][-1]["test"], abs=15)
    assert first.err.count("epoch 1/1") == formats
    drawn = tmp_path / "formats.svg"
    assert main([*command, "--epochs", "1", "--batch", "10", "--plot", str(drawn)]) == 0
    again = capsys.readouterr()
    assert again.out == first.out and "epoch" not in again.err
    assert {"activation bits", "residual bits", "as it is", "trained on", "float, trained on"} <= {
        text for text in re.findall(r"<!-- (.*?)(?: \(.*)? -->", drawn.read_text())}
    assert main([*command[:-2], "--epochs", "1"]) == 2
    assert "needs a folder for the runs: give --out" in capsys.readouterr().err


def test_a_card_tells_of_every_run(data, trained, tmp_path, capsys):
    out, package, about = (tmp_path / name for name in ("next.pt", "next.safetensors", "about"))
    assert train(data, out, "--epochs", 2, "--width", 2, "--noise", 0.1, "--start-from",
                 trained) == 0
    about.write_text("Stripes.\n")
    command = ["card", str(out), str(package), "--about", str(about)]
    assert main(["pack", str(out), "--out", str(package)]) == 0
    assert main(command) == 2
    assert "has no accuracy; pack it with --data" in capsys.readouterr().err
    assert main(["pack", str(out), "--data", str(data), "--out", str(package)]) == 0
    capsys.readouterr()
    assert main(command) == 0
    text = capsys.readouterr().out
    accuracy = Package.load(package).accuracy
    assert text.startswith(f"# wrn-8-2\n\n**{accuracy:.2%}** of 24 test images")
    assert "\nStripes.\n" in text and "### Run 1 (wrn-8-1)" in text
    second = text.split("### Run 2 (wrn-8-2)")[1]
    assert "2 epochs, 120 images" in second and "--start-from 1.pt" in second
    assert "--width 2" in second and "--noise 0.1" in second and "--sides 8:0.4" in second
    last = restore(out)["history"][-1]
    assert f"| 2 | 16 | 120 | 0 | {last['loss']:.3f} |" in second
    assert main(["card", str(trained), *command[2:]]) == 2
    assert "next.safetensors wasn't made from" in capsys.readouterr().err
