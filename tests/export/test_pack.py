"""What checkpoints become: packages, and small checkpoints to go on from."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from export.__main__ import main  # noqa: E402
from export.checkpoint import restore  # noqa: E402
from export.pack import PackError, model_of, pack  # noqa: E402
from gen.package import Package  # noqa: E402
from tests.export.runs import ROOT, train  # noqa: E402


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


def test_a_run_that_is_not_finished_is_not_kept(data, tmp_path, capsys):
    assert train(data, tmp_path / "run.pt", "--epochs", 2, "--stop-after", 1) == 0
    assert main(["keep", str(tmp_path / "run.pt"), "--out", str(tmp_path / "small.pt")]) == 2
    assert "isn't finished" in capsys.readouterr().err
    assert not (tmp_path / "small.pt").exists()


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


def test_damaged_checkpoints_are_refused(data, trained, tmp_path, capsys):
    short = tmp_path / "short.pt"
    short.write_bytes(trained.read_bytes()[:1000])
    assert main(["pack", str(short), "--out", str(tmp_path / "x")]) == 2
    assert f"export: {short}: not a signstream checkpoint, or damaged\n" == capsys.readouterr().err
    assert not (tmp_path / "x").exists()
