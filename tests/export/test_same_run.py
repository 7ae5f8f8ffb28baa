"""What a checkpoint was trained with and for, against what a command gives it."""

import shutil

import pytest

torch = pytest.importorskip("torch")

from export.__main__ import main  # noqa: E402
from export.beginning import NETWORK_OPTIONS  # noqa: E402
from export.checkpoint import keep, restore  # noqa: E402
from export.data import load  # noqa: E402
from export.learner import add_noise  # noqa: E402
from export.recipe import Recipe, TrainError  # noqa: E402
from export.study import check_plot, study  # noqa: E402
from gen.network import Network  # noqa: E402
from tests.export.runs import train  # noqa: E402

FORMATS = (4, 1, 8, 2),


@pytest.fixture(scope="module")
def others(data, tmp_path_factory):
    """Data sets that differ from ``data`` in number of classes, a name, the side, a picture."""
    image = pytest.importorskip("PIL.Image")
    folder = tmp_path_factory.mktemp("others")
    copies = {name: shutil.copytree(data, folder / name)
              for name in ("fewer", "names", "side", "picture")}
    for part in ("train", "test"):
        shutil.rmtree(copies["fewer"] / part / "slopes")
        (copies["names"] / part / "slopes").rename(copies["names"] / part / "spots")
        for path in (copies["side"] / part).glob("*/*.png"):
            image.open(path).resize((24, 24)).save(path)
    a, b = (copies["picture"] / "train" / "rows" / f"{k}.png" for k in (0, 1))
    shutil.copy(a, b)
    return copies


WRONG = {"fewer": "tells 3 classes apart, and the data set has 2",
         "names": "its class 2 is slopes, and the data set's is spots",
         "side": "images must be 16 pixels a side, not 24; --side 16"}


@pytest.fixture
def begun(data, tmp_path):
    """A run that isn't finished."""
    out = tmp_path / "begun.pt"
    assert train(data, out, "--epochs", 2, "--stop-after", 1) == 0
    return out


@pytest.mark.parametrize("option, value", [
    ("--width", 2), ("--depth", 14), ("--act-bits", 6), ("--act-frac", 2), ("--res-bits", 8),
    ("--res-frac", 2)])
def test_resuming_another_network_is_refused(data, trained, capsys, option, value):
    capsys.readouterr()
    assert train(data, trained, "--epochs", 6, "--cutout", 4, "--resume", option, value) == 2
    name = option[2:].replace("-", "_")
    error = capsys.readouterr().err
    assert error.startswith(f"export: {trained}: was trained with another ") and name in error
    assert "resume with the same options" in error and error.count("\n") == 1


@pytest.mark.parametrize("kind, message", [
    *WRONG.items(), ("picture", "was trained and measured with other images")])
def test_resuming_with_other_data_is_refused(others, begun, capsys, kind, message):
    before = begun.read_bytes()
    capsys.readouterr()
    assert train(others[kind], begun, "--epochs", 2, "--resume") == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1 and begun.read_bytes() == before


@pytest.mark.parametrize("kind", WRONG)
def test_other_data_is_neither_packed_measured_nor_studied(others, trained, tmp_path, capsys, kind):
    capsys.readouterr()
    for command in ("pack", "eval", "study"):
        out = ["--out", str(tmp_path / "net")] if command == "pack" else []
        assert main([command, str(trained), "--data", str(others[kind]), *out]) == 2
        told = capsys.readouterr()
        assert WRONG[kind] in told.err and told.err.count("\n") == 1 and not told.out
    assert not list(tmp_path.iterdir())


def test_a_checkpoint_without_identities_goes_on(data, begun):
    state = restore(begun)
    del state["data"], state["start"]
    torch.save(state, begun)
    assert train(data, begun, "--epochs", 2, "--resume") == 0 and restore(begun)["finished"]


@pytest.mark.parametrize("identified", [True, False])
def test_a_study_of_another_checkpoint_is_not_an_earlier_ones(data, trained, tmp_path, identified):
    other, runs = tmp_path / "other.pt", tmp_path / "runs"
    assert train(data, other, "--epochs", 1, "--seed", 5) == 0
    images, test = load(data)
    recipe = Recipe(epochs=1, batch=10)

    def studied(start, test=test):
        return study(start, recipe, images, test, runs, FORMATS, log=lambda line: None)

    rows = studied(trained)
    run, = runs.iterdir()
    if not identified:
        state = restore(run)
        del state["data"], state["start"], state["before"][-1]["class_names"]
        torch.save(state, run)
    before = run.read_bytes()
    assert studied(trained) == rows
    with pytest.raises(TrainError, match=f"didn't begin with {other}; name another --out"):
        studied(other)
    if identified:
        with pytest.raises(TrainError, match="trained and measured with other images"):
            studied(trained, test.head(5))
        small = tmp_path / "small.pt"
        keep(restore(trained), small)  # same history, other latents
        with pytest.raises(TrainError, match="didn't begin with"):
            studied(small)
    assert run.read_bytes() == before


@pytest.mark.parametrize("command, option, value", [
    ("train", "--stop-after", "0"), ("train", "--stop-after", "-1"), ("train", "--threads", "0"),
    ("train", "--side", "0"), ("eval", "--images", "0"), ("study", "--images", "-1"),
    ("study", "--epochs", "0"), ("study", "--threads", "-1"), ("versus", "--seeds", "0"),
    ("versus", "--epochs", "0")])
def test_counts_are_at_least_one(data, trained, tmp_path, capsys, command, option, value):
    words = [command, *([str(trained)] if command in ("eval", "study") else []), "--data",
             str(data), *([] if command == "eval" else ["--out", str(tmp_path / "x")]), option,
             value]
    if command in ("train", "versus") and option != "--epochs":
        words += ["--epochs", "1"]
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert f"argument {option}: must be an integer of at least 1, not {value}" in error
    assert not (tmp_path / "x").exists()


def test_a_figure_of_another_kind_is_refused_before_the_study(data, trained, tmp_path, capsys):
    for name, message in (("x.foo", "drawn as .svg or .png, not .foo"), ("x", "without suffix")):
        assert main(["study", str(trained), "--data", str(data), "--plot",
                     str(tmp_path / name)]) == 2
        told = capsys.readouterr()
        assert message in told.err and not told.out and "float" not in told.err
    check_plot(tmp_path / "x.SVG")


def test_a_torch_file_that_is_no_whole_checkpoint_is_refused_by_name(trained, tmp_path):
    state, path = restore(trained), tmp_path / "part.pt"
    del state["recipe"]
    torch.save(state, path)
    with pytest.raises(TrainError, match=f"{path}: not a whole checkpoint, it lacks recipe"):
        restore(path)


def test_the_help_names_every_command(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "train|eval|pack|keep|card|study|versus|speed|copies" in capsys.readouterr().out


class _Latents:
    """A model as :func:`export.learner.add_noise` sees it, on the device "meta" like on a GPU:
    numbers of the CPU don't mix with its own."""

    def __init__(self, device):
        self.signs = {"stem": type("Sign", (), {"latent": torch.ones(4, 3, device=device)})()}


def test_noise_is_drawn_where_the_latents_are_and_only_if_there_is_any():
    add_noise(_Latents("meta"), 0.1)
    model, state = _Latents("cpu"), torch.get_rng_state()
    add_noise(model, 0.0)
    assert torch.equal(model.signs["stem"].latent, torch.ones(4, 3))
    assert torch.equal(torch.get_rng_state(), state)


def test_a_network_has_no_field_that_resuming_overlooks():
    chosen = {"classes", "side", "shifts", "entries"}  # by the data, and by the run itself
    assert set(Network.__dataclass_fields__) == {*NETWORK_OPTIONS, *chosen}
