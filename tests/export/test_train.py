"""Training through the command line: resuming, starting from other runs, and refusals."""

import re

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import export.train as training  # noqa: E402
from export.__main__ import main  # noqa: E402
from export.checkpoint import restore  # noqa: E402
from export.data import load  # noqa: E402
from export.model import centred  # noqa: E402
from export.pack import model_of, pack  # noqa: E402
from export.recipe import Recipe, TrainError  # noqa: E402
from tests.export.runs import assert_same, train  # noqa: E402


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


def test_a_clock_that_runs_out_while_an_epoch_is_measured_adds_none(data, tmp_path, monkeypatch):
    """But its test accuracy, which was measured in bfloat16, becomes the exact one."""
    now, measure, seen = [0.0], training.accuracy, []

    def slow(*arguments, **more):
        now[0] += 40
        seen.append(torch.is_autocast_enabled("cpu"))
        return measure(*arguments, **more)
    monkeypatch.setattr(training.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(training, "accuracy", slow)
    assert train(data, tmp_path / "run.pt", "--minutes", 1, "--amp", "bf16") == 0
    state = restore(tmp_path / "run.pt")
    assert state["finished"] and seen == [True, True, False]
    assert [row["epoch"] for row in state["history"]] == [1, 2] and state["epoch"] == 2
    assert [row["seen"] for row in state["history"]] == [60, 120]
    assert state["history"][-1]["seconds"] == 120 and state["history"][-1]["loss"] > 0
    assert pack(state, load(data)[1]).accuracy == state["history"][-1]["test"]


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
