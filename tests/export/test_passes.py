"""What lies between convolutions, by one PyTorch operation after the other and compiled."""

import math
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from torch._dynamo.utils import counters  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from export.checkpoint import restore  # noqa: E402
from export.distil import Teacher  # noqa: E402
from export.learner import Learner  # noqa: E402
from export.model import WRN  # noqa: E402
from export.paper import Variant, model_as  # noqa: E402
from export.passes import EAGER, Clip, Join  # noqa: E402
from export.recipe import Recipe  # noqa: E402
from gen.network import Network  # noqa: E402
from tests.export.runs import ROOT, assert_same, train  # noqa: E402

HEADERS = Path(sysconfig.get_path("include"), "Python.h").exists()   # of Debian's python3.11-dev
compiler = pytest.mark.skipif(not (HEADERS and shutil.which(os.environ.get("CXX", "g++"))),
                              reason="no C++ compiler, or no headers of Python's")


def halves(*shape):
    """Multiples of a half that reach beyond every limit used here, so ties and limits are hit."""
    torch.manual_seed(2)
    return torch.randint(-60, 60, shape) / 2


def nearest(x):
    """Halves up, one number at a time."""
    return torch.tensor([math.floor(each + 0.5) for each in x.flatten().tolist()],
                        dtype=x.dtype).view_as(x)


def test_clipping_rounds_halves_up_between_its_limits():
    x = halves(3, 4, 5, 5).requires_grad_()
    got = Clip.apply(x, -2, 13, 0.5, EAGER)
    exact = x.detach() * 0.5
    assert torch.equal(got, nearest(exact).clamp(-2, 13))
    got.backward(torch.full_like(x, 3.0))
    assert torch.equal(x.grad, torch.where((exact > -2) & (exact < 13), 1.5, 0.0))


def test_a_blocks_end_rounds_the_branch_alone_saturates_and_activates():
    r, branch = nearest(halves(3, 4, 5, 5)).requires_grad_(), halves(3, 4, 5, 5).requires_grad_()
    limits, window = (-20, 19), (-2, 13, 0.5)
    got, codes = Join.apply(r, branch, limits, window, EAGER)
    whole = (r + nearest(branch.detach())).detach().requires_grad_()
    assert torch.equal(got, whole.clamp(-20, 19)) and (whole > 19).any() and (whole < -20).any()
    assert torch.equal(codes, nearest(got.detach() * 0.5).clamp(-2, 13))
    down = torch.arange(2.0 * r.numel()).view(2, *r.shape)   # a gradient for each of the two
    torch.autograd.backward((got, codes), tuple(down))
    apart = F.hardtanh(whole, *limits)   # the same by PyTorch's own functions
    torch.autograd.backward((apart, F.hardtanh(apart * 0.5, -2, 13)), tuple(down))
    assert torch.equal(r.grad, whole.grad) and torch.equal(branch.grad, whole.grad)


def test_the_stem_joins_nothing():
    """Its residual is the convolution itself: one zero for all of its numbers."""
    sums = halves(2, 3, 4, 4).requires_grad_()
    r, u = Join.apply(torch.zeros(()), sums, (-20, 19), (-2, 13, 0.5), EAGER)
    whole = nearest(sums.detach())
    assert torch.equal(r, whole.clamp(-20, 19))
    assert torch.equal(u, nearest(r.detach() * 0.5).clamp(-2, 13))
    r.sum().backward()
    assert torch.equal(sums.grad, ((whole > -20) & (whole < 19)).float())


def test_the_last_residual_needs_no_gradient_of_its_own():
    """Nothing but the activations goes on from there."""
    r, branch = (nearest(halves(1, 2, 3, 3)).requires_grad_() for _ in range(2))
    _, codes = Join.apply(r, branch, (-200, 199), (-2, 13, 1.0), EAGER)
    codes.sum().backward()
    assert torch.equal(branch.grad, ((r + branch > -2) & (r + branch < 13)).float())


def test_branches_in_bfloat16_join_a_residual_in_float32():
    """As under autocast with more than 8 bits of residual."""
    r = torch.tensor([1000.0, -3.0]).requires_grad_()
    branch = torch.tensor([2.5, -2.5], dtype=torch.bfloat16).requires_grad_()
    got, _ = Join.apply(r, branch, (-2048, 2047), (-2, 13, 1.0), EAGER)
    assert got.dtype == torch.float32 and got.tolist() == [1003, -5]
    got.sum().backward()
    assert branch.grad.dtype == torch.bfloat16 and branch.grad.tolist() == [1, 1]


@compiler
def test_a_compiled_run_is_the_other_one(data, tmp_path):
    """In float32 to the bit: latents, optimiser and accuracy."""
    torch._dynamo.reset()
    runs, compiled = [tmp_path / "one.pt", tmp_path / "other.pt"], []
    for run, more in zip(runs, ([], ["--compile"])):
        counters.clear()
        assert train(data, run, "--epochs", 2, *more) == 0
        compiled.append(counters["stats"]["unique_graphs"])
    assert compiled[0] == 0 and compiled[1] >= len(EAGER)
    one, other = map(restore, runs)
    assert other["recipe"].pop("compile") and not one["recipe"].pop("compile")
    assert_same(one, other)
    assert [e["test"] for e in one["history"]] == [e["test"] for e in other["history"]]


@compiler
def test_teachers_of_the_kind_are_compiled_as_well():
    net = Network(8, side=8, act_frac=1)
    ours, other = WRN(net), model_as(net, Variant(norm="bn"))
    about = dict.fromkeys(("network", "recipe", "history"))
    learner = Learner(WRN(net), Recipe(epochs=1, batch=4, compile=True, distil=0.5),
                      teachers=[Teacher(about, ours), Teacher(about, other)])
    assert ours.passes is learner.model.passes is not EAGER
    images = torch.zeros(4, 3, 8, 8, dtype=torch.uint8)
    learner.step(images, torch.zeros(4, dtype=torch.int64), 0.5, images)


def test_a_net_that_is_not_compiled_is_refused(data, tmp_path, capsys):
    for odd in (["--norm", "bn"], ["--floats"]):
        assert train(data, tmp_path / "no.pt", "--epochs", 1, "--compile", *odd) == 2
        assert "Only a net with norm none, act srelu, 1-bit weights is compiled, not norm" \
            in capsys.readouterr().err
    assert not (tmp_path / "no.pt").exists()


@pytest.mark.parametrize("cxx, told", [
    ("nonesuch", "Compiling needs a C++ compiler, and there's no nonesuch here; install it, or"),
    ("false", "PyTorch can't compile here (")])
def test_where_nothing_can_be_compiled_a_sentence_says_so(data, tmp_path, cxx, told):
    out = tmp_path / "run.pt"
    done = subprocess.run(
        [sys.executable, "-m", "export", "train", "--data", str(data), "--out", str(out),
         "--depth", "8", "--batch", "10", "--epochs", "1", "--threads", "1", "--compile"],
        cwd=ROOT, capture_output=True, text=True, check=False,
        env={**os.environ, "CXX": cxx, "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache")})
    assert done.returncode == 2 and told in done.stderr, done.stderr
    assert done.stderr.count("\n") == 1 and not out.exists()
