"""``python -m export COMMAND``: train a network, measure it, package it, compare it."""

import sys

import torch

from gen.cli import command_line
from gen.network import Network
from gen.package import Package

from .beginning import NETWORK_OPTIONS, network_of
from .card import card
from .checkpoint import keep, restore
from .copies import alike
from .copies import table as copies_table
from .data import load
from .options import parser
from .pack import PackError, evaluate, pack
from .paths import check_out
from .processes import Processes, check_alone, check_batch
from .recipe import Recipe, TrainError
from .speed import speed
from .speed import table as speed_table
from .study import check_plot, plot, study
from .study import table as study_table
from .train import train
from .versus import table as versus_table
from .versus import versus


def _recipe(options):
    """The recipe that the options of a command name; the rest has its defaults."""
    return Recipe(**{name: getattr(options, name) for name in Recipe.__dataclass_fields__
                     if hasattr(options, name)})


def _tell(line):
    print(line, file=sys.stderr, flush=True)


def _card(options):
    package = Package.load(options.package)
    if package.accuracy is None:
        raise PackError(f"{options.package} has no accuracy; pack it with --data")
    checkpoint = restore(options.checkpoint)
    if pack(checkpoint).digest != package.digest:
        raise PackError(f"{options.package} wasn't made from {options.checkpoint}")
    try:
        about = options.about.read_text().strip()
    except OSError as error:
        raise PackError(f"{options.about}: {error.strerror}") from None
    print(card(checkpoint, package, about), end="")


def _study(options):
    if options.epochs and not options.out:
        raise TrainError("Training in each format needs a folder for the runs: give --out")
    if options.plot:
        check_plot(options.plot)
    recipe = options.epochs and _recipe(options)
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
    images, test = load(options.data, options.side)
    rows = study(options.checkpoint, recipe, images, test.head(options.images), options.out,
                 device=options.device, log=_tell)
    print(study_table(rows))
    if options.plot:
        plot(rows, options.plot)


def _versus(options):
    options.out.mkdir(parents=True, exist_ok=True)
    images, test = load(options.data, options.side)
    rows = versus(Network(options.depth, options.width, act_frac=1), _recipe(options), images,
                  test, options.out, options.seeds, device=options.device, log=_tell)
    print(versus_table(rows))


def _speed(options):
    recipe = _recipe(options)
    networks = [Network(options.depth, width, side=side, act_frac=1, res_bits=8, res_frac=2)
                for width in options.width for side in options.side]
    processes = Processes(options.device)
    check_batch(recipe, processes)
    quiet = processes.rank > 0
    rows = speed(networks, recipe, processes, options.steps,
                 (lambda line: None) if quiet else _tell)
    processes.close()
    if not quiet:
        print(speed_table(rows))


def _train(options):
    recipe = _recipe(options)
    network = network_of({name: getattr(options, name) for name in NETWORK_OPTIONS},
                         options.out if options.resume else options.start_from)
    images, test = load(options.data, options.side)
    if options.classes:
        images, test = (part.of_classes(options.classes) for part in (images, test))
    state = train(network, recipe, images, test, options.out, options.device, options.resume,
                  options.stop_after, options.start_from, options.teacher,
                  lambda line: print(line, flush=True))
    if state and not state["finished"]:
        print("not finished; go on with the same command and --resume")


def _pack(options):
    check_out(options.out, options.checkpoint)
    notes = {}
    for note in options.note:
        key, equals, text = note.partition("=")
        if not key or not equals:
            raise PackError(f"A note must be KEY=TEXT, not {note!r}")
        notes[key] = text
    checkpoint = restore(options.checkpoint)
    test = load(options.data, options.side)[1] if options.data else None
    package = pack(checkpoint, test, notes, _progress)
    package.save(options.out)
    figure = "" if test is None else (f"  accuracy {100 * package.accuracy:.2f} % of "
                                      f"{package.test_images}")
    print(f"{options.out}  {package.network.name}  {package.network.weight_bits} weights"
          f"{figure}  {package.digest[:16]}")


def _keep(options):
    check_out(options.out, options.checkpoint)  # it has the run's only optimiser
    state = restore(options.checkpoint)
    if not state["finished"]:
        raise TrainError(f"{options.checkpoint}: the run isn't finished; go on with --resume")
    keep(state, options.out)
    print(f"{options.out}  {options.out.stat().st_size:,} bytes")


def _package(path):
    """The package at ``path``, or of the checkpoint there."""
    return Package.load(path) if path.suffix == ".safetensors" else pack(restore(path))


def _copies(options):
    print(copies_table(alike(_package(options.network).weights)))


def _eval(options):
    package = _package(options.network)
    test = load(options.data, options.side)[1].head(options.images)
    pytorch, golden = evaluate(package, test, _progress)
    print(f"PyTorch {100 * pytorch:.2f} %  golden {100 * golden:.2f} %  of {len(test)} images, "
          f"every score equal")


def _progress(line):
    if sys.stderr.isatty():
        print(f"\r{line}", end="" if "/" in line else "\n", file=sys.stderr, flush=True)


def main(arguments=None):
    """Run the command line; returns the exit code."""
    return command_line(parser(), _run, arguments)


def _run(options):
    if options.command not in ("train", "speed"):
        check_alone(options.command)
    if getattr(options, "threads", None):
        torch.set_num_threads(options.threads)
    if getattr(options, "device", "cpu") == "cuda" and not torch.cuda.is_available():
        raise TrainError("Device must be cpu: this PyTorch sees no CUDA device")
    {"train": _train, "pack": _pack, "keep": _keep, "eval": _eval, "card": _card,
     "study": _study, "versus": _versus, "speed": _speed,
     "copies": _copies}[options.command](options)


if __name__ == "__main__":
    sys.exit(main())
