"""Learning from the predictions of trained nets."""

import pytest

torch = pytest.importorskip("torch")

from export.__main__ import main  # noqa: E402
from export.checkpoint import restore  # noqa: E402
from export.data import load  # noqa: E402
from export.distil import distillation_loss  # noqa: E402
from export.paper import model_as  # noqa: E402
from gen.package import Package  # noqa: E402
from tests.export.runs import assert_same, described, train  # noqa: E402


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
