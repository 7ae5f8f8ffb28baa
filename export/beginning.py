"""What a training run begins with: nothing, another run's weights, or what it had before."""

from dataclasses import dataclass

from gen.network import Network

from .adapt import adapted
from .checkpoint import digest, lineage, restore, restore_ours
from .data import check_images, same_classes
from .model import calibrate
from .paper import OURS
from .recipe import Recipe, TrainError

__all__ = ["HEAD", "NETWORK_OPTIONS", "Beginning", "begin", "check_run", "check_start", "data_of",
           "network_of"]

HEAD = "signs.head.latent"  # the tensor that scores classes

# What the command line decides of a run's network; data and calibration decide the rest.
NETWORK_OPTIONS = "depth", "width", "act_bits", "act_frac", "res_bits", "res_frac"
# Fractions whose default follows the bits.
FRACTION = {"act_bits": "act_frac", "res_bits": "res_frac"}


@dataclass(frozen=True)
class Beginning:
    """What there is before a run's next step.

    Parameters
    ----------
    network : gen.network.Network
        With its shifts.
    weights : dict, optional
        Tensors of its model; the head's begins new where it's missing.
    before : sequence of dict
        The runs that its weights went through before this one.
    start : str, optional
        Identity of the checkpoint that the run began with.
    state : dict, optional
        The checkpoint that it goes on from.
    """

    network: Network
    weights: dict = None
    before: tuple = ()
    start: str = None
    state: dict = None


def network_of(options, path=None):
    """The network that ``options`` name, a dict of NETWORK_OPTIONS with None where there's none:
    those are the ones of the checkpoint at ``path``, or else :class:`gen.network.Network`'s. Other
    bits than the checkpoint's have a fraction of their own."""
    given = {name: value for name, value in options.items() if value is not None}
    theirs = restore(path)["network"] if path else {}
    own = {FRACTION.get(name) for name, value in given.items() if theirs.get(name) != value}
    kept = {name: theirs[name] for name in NETWORK_OPTIONS if name in theirs and name not in own}
    return Network(**kept | given)


def begin(out, network, recipe, images, test, resume, start, teachers):
    """The :class:`Beginning` of a call of :func:`export.train.train`, whose parameters these are,
    but for ``teachers``: what :attr:`export.distil.Teacher.about` tells of each."""
    if resume:
        return _resumed(out, network, recipe, images, test, teachers)
    if recipe.noise and start is None:
        raise TrainError("Noise is added to the weights of --start-from: give that as well, or "
                         "leave --noise out")
    if recipe.temperature != Recipe.temperature and not recipe.distil:
        raise TrainError("Temperature is that of teachers' predictions: give --teacher and "
                         "--distil as well, or leave --temperature out")
    if start is not None:
        return _from_another(start, network, recipe, images)
    return _from_nothing(network, recipe, images)


def _from_nothing(network, recipe, images):
    """New weights: ``network`` with shifts that fit ``images``."""
    return Beginning(calibrate(network, images.pixels[:256], recipe.act_rms, recipe.branch,
                               seed=recipe.seed))


def _from_another(path, network, recipe, images):
    """The weights of the checkpoint at ``path``, of another run, adapted to ``network``; but for
    the head's where ``images`` are of other classes."""
    if not recipe.variant.ours:
        raise TrainError(f"A run that starts from another must be of a net with {OURS}, not "
                         f"{recipe.variant}; leave --start-from out")
    parent = restore_ours(path, "a run can start only from one")
    narrow = Network.from_dict(parent["network"])
    if network.width > narrow.width and not recipe.noise:
        raise TrainError("Channels of a wider network begin as copies, get the same gradients "
                         "and stay copies: tell them apart with --noise, such as 1")
    network, weights = adapted(narrow, parent["model"], network)
    if not same_classes(images.class_names, parent["class_names"]):
        del weights[HEAD]
    return Beginning(network, weights, lineage(parent), digest(parent))


def _resumed(path, network, recipe, images, test, teachers):
    """The checkpoint at ``path``, of a run of just these options, data and teachers."""
    state = restore(path)
    if "optimiser" not in state:
        raise TrainError(f"{path}: kept without its optimiser, so this run can't go on; begin "
                         f"another with --start-from {path}")
    check_run(path, state, network, recipe, images, test)
    if teachers != state.get("teachers", []):
        raise TrainError(f"{path}: was trained with other teachers; resume with the same ones")
    return Beginning(Network.from_dict(state["network"]), state["model"], state.get("before", []),
                     state.get("start"), state)


def check_run(path, state, network, recipe, images, test):
    """Refuse the run of the checkpoint ``state`` for one of other options or other data."""
    # Checkpoints from before a setting existed were trained with its default.
    theirs = Recipe(epochs=1).settings | state["recipe"] | state["network"]
    ours = recipe.settings | {name: getattr(network, name) for name in NETWORK_OPTIONS}
    odd = sorted(name for name, value in ours.items() if theirs[name] != value)
    if odd:
        raise TrainError(f"{path}: was trained with another {', '.join(odd)}; resume with the "
                         f"same options")
    check_images(images, state["network"]["side"], state["class_names"], path)
    if state.get("data", data_of(images, test)) != data_of(images, test):
        raise TrainError(f"{path}: was trained and measured with other images; give the same ones, "
                         f"or another --out")


def check_start(path, state, start):
    """Refuse the run of the checkpoint ``state`` for one that began with that at ``start``."""
    parent = None if start is None else restore(start)
    if state.get("start"):
        same = parent is not None and state["start"] == digest(parent)
    else:  # it's from before identities were kept, or began with nothing: its history tells
        before, ours = state.get("before", []), lineage(parent) if parent else []
        same = len(before) == len(ours) and all(    # what runs tell of themselves has become more
            old.items() <= run.items() for old, run in zip(before, ours))
    if not same:
        raise TrainError(f"{path}: didn't begin with {start or 'new weights'}; name another --out")


def data_of(images, test):
    """Identity of what a run sees."""
    return [images.digest, test.digest]
