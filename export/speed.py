"""How fast a network trains here: images a second by image side, compiled and not."""

import statistics
import time
from dataclasses import replace

import torch

from .data import augment
from .learner import Learner
from .model import calibrate
from .paper import model_as

__all__ = ["speed", "table"]

FIRST = 2  # steps that aren't timed: kernels are chosen, and compiled, in them


def _trainer(network, recipe, processes):
    """A function that makes one step on random images and returns its seconds."""
    generator = torch.Generator().manual_seed(recipe.seed)
    share = recipe.batch // processes.size
    pixels = torch.randint(0, 256, (recipe.batch, 3, network.side, network.side),
                           dtype=torch.uint8, generator=generator)
    labels = torch.randint(0, network.classes, (share,), generator=generator)
    network = calibrate(network, pixels[:8], seed=recipe.seed)
    learner = Learner(model_as(network, recipe.variant).to(processes.device).train(), recipe,
                      processes.size)

    def step():
        began = time.perf_counter()
        x = augment(pixels, generator, recipe.cutout)[:share].to(processes.device)
        learner.step(x, labels.to(processes.device), 0.5)
        return time.perf_counter() - began

    for _ in range(FIRST):
        step()
    return step


def speed(networks, recipe, processes, count=10, log=print):
    """Time training steps.

    Parameters
    ----------
    networks : list of gen.network.Network
        Each with the side of its images.
    recipe : export.recipe.Recipe
        One that compiles is timed with and without, in turns: a machine that others share is
        faster at one time than at another.
    processes : export.processes.Processes
        Those that share each step.
    count : int
        Steps of each that are timed.

    Returns a list of dicts: ``network``, and the images a second of the median step ``plain`` and,
    with a recipe that compiles, ``compiled``, all processes together.

    Raises
    ------
    export.passes.CompileError
        The recipe compiles and nothing can be compiled here.
    """
    rows = []
    ways = {"plain": False, "compiled": True} if recipe.compile else {"plain": False}
    for network in networks:
        torch.compiler.reset()  # what was compiled for another network counts against the limit
        steps = None  # the last network's go first
        steps = {way: _trainer(network, replace(recipe, compile=on), processes)
                 for way, on in ways.items()}
        seconds = {way: [] for way in ways}
        for _ in range(count):
            for way, step in steps.items():
                seconds[way].append(step())
        rows.append({"network": network} | {way: recipe.batch / statistics.median(times)
                                            for way, times in seconds.items()})
        log(table(rows[-1:]).splitlines()[-1])
    return rows


def table(rows):
    """The rows of :func:`speed` in Markdown."""
    ways = [name for name in rows[0] if name != "network"]
    lines = [f"| network | side | {' | '.join(f'images/s, {way}' for way in ways)} |",
             "|---" * (2 + len(ways)) + "|"]
    for row in rows:
        figures = " | ".join(f"{row[way]:,.0f}" for way in ways)
        lines.append(f"| {row['network'].name} | {row['network'].side} | {figures} |")
    return "\n".join(lines)
