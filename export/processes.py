"""One training run on several processes."""

import gc
import os

import torch
from torch import distributed

from .recipe import TrainError

__all__ = ["Processes", "check_alone", "check_batch"]


def _size():
    return int(os.environ.get("WORLD_SIZE", 1))


class Processes:
    """The processes that torchrun started, or this one alone."""

    def __init__(self, device):
        self.size = _size()
        self.rank = int(os.environ.get("RANK", 0))
        self.device = torch.device(device)
        if self.size > 1:
            if self.device.type == "cuda":
                self.device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
                torch.cuda.set_device(self.device)
            # Imported after that, these functions' defaults would keep the group, and its threads,
            # up to the interpreter's end, where one that lets go of a tensor aborts the process.
            from torch.distributed.nn import functional  # noqa: F401
            distributed.init_process_group("nccl" if self.device.type == "cuda" else "gloo")

    def agree(self, value):
        """The first process's ``value``, a float."""
        if self.size == 1:
            return value
        shared = torch.tensor(value, dtype=torch.float64, device=self.device)
        distributed.broadcast(shared, 0)
        return shared.item()

    def total(self, *values):
        """Sums over the processes."""
        if self.size == 1:
            return values
        shared = torch.tensor(values, dtype=torch.float64, device=self.device)
        distributed.all_reduce(shared)
        return shared.tolist()

    def close(self):
        """End the threads of the processes' communication; nothing may use it any more."""
        if self.size > 1:
            gc.collect()  # a module in parallel is in cycles, and holds the group
            distributed.destroy_process_group()


def check_alone(command):
    """Raise :class:`.recipe.TrainError` where torchrun started several processes for ``command``,
    the work of one."""
    if _size() > 1:
        raise TrainError(f"{command} is the work of one process; start it with python instead of "
                         f"torchrun")


def check_batch(recipe, processes):
    """Raise :class:`.recipe.TrainError` where ``processes`` can't share a step evenly."""
    if recipe.batch % processes.size:
        raise TrainError(f"Batch must be a multiple of the {processes.size} processes, "
                         f"not {recipe.batch}")
