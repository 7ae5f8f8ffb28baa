"""One optimiser step."""

import copy

import pytest

torch = pytest.importorskip("torch")

from export.learner import Learner  # noqa: E402
from export.model import WRN, calibrate  # noqa: E402
from export.recipe import Recipe  # noqa: E402
from gen.network import Network  # noqa: E402


def test_steps_are_adams():
    """PyTorch's Adam in one pass takes numbers as they lie in memory: where those of a latent and
    of its gradient lie differently each moves by another's. The plain one doesn't."""
    torch.manual_seed(4)
    images = torch.randint(0, 256, (6, 3, 8, 8), dtype=torch.uint8)
    recipe = Recipe(epochs=1, batch=6, rate=0.01)
    learner = Learner(WRN(calibrate(Network(8, side=8, act_frac=1), images)), recipe)
    plain = copy.deepcopy(learner.model)
    adam = torch.optim.Adam(plain.parameters(), foreach=False, fused=False)
    for t in (0.3, 0.6):
        learner.step(images, torch.arange(6), t)
        for ours, theirs in zip(learner.model.parameters(), plain.parameters()):
            theirs.grad = ours.grad.clone()
        for group in adam.param_groups:
            group["lr"] = recipe.rate * recipe.rate_factor(t)
        adam.step()
        for name, sign in learner.model.signs.items():
            torch.testing.assert_close(sign.latent, plain.signs[name].latent)
