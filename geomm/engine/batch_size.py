"""Finding the batch size that fits a GPU."""

from __future__ import annotations

import copy
import gc
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from geomm.engine.distributed import gathered, over_processes

#: What an extrapolated step may take of a GPU's memory.
_SHARE = 0.9


def largest_batch(model: nn.Module, make_batch: Any, *, most: int = 256) -> int:
    """Return the largest power-of-two batch that a training step on the GPU has memory for.

    Args:
      model: an mmengine BaseModel on a CUDA device; left as it was.
      make_batch: called with a batch size, returns a collated batch.
      most: where to stop trying.
    """
    fits, size = 1, 1
    while size <= most:
        trial: Any = copy.deepcopy(model).train()
        try:
            data = trial.data_preprocessor(make_batch(size), True)
            losses = trial(**data, mode="loss")
            trial.parse_losses(losses)[0].backward()
        except torch.cuda.OutOfMemoryError:
            break
        finally:
            del trial
            torch.cuda.empty_cache()
        fits, size = size, size * 2
    # The optimizer's own state and fragmentation need room too.
    return max(1, fits // 2)


def largest_share(model: nn.Module, make_batch: Any, *, device: torch.device, most: int = 256) -> int:
    """Return the largest power-of-two part of a batch that each process of a divided model has memory for.

    A process that ran out of memory in the middle of a step would leave the others waiting, so steps are
    tried only as far as those before say that they fit. All processes must call this, and all get the same.

    Args:
      model: an mmengine BaseModel on the CPU; left as it was.
      make_batch: called with a batch size, returns a collated batch.
      device: a GPU.
      most: where to stop trying.
    """
    try:
        return max(1, foreseen(_peak_of(model, make_batch, device), most=most) // 2)
    finally:
        gc.collect()  # the parts of a divided model know each other
        torch.cuda.empty_cache()


def _peak_of(model: nn.Module, make_batch: Any, device: torch.device) -> Callable[[int], float]:
    """Return what tells the largest share of a GPU's memory that a step of so many samples takes anywhere."""
    trial: Any = over_processes(model.train(), device, shard=True)

    def peak(size: int) -> float:
        torch.cuda.reset_peak_memory_stats(device)
        trial.loss(make_batch(size))[0].backward()
        trial.zero_grad(set_to_none=True)
        own = torch.cuda.max_memory_allocated(device) / torch.cuda.get_device_properties(device).total_memory
        return max(gathered(own))

    return peak


def foreseen(peak: Callable[[int], float], *, most: int) -> int:
    """Return the largest power of two that was tried, each only where the two before say that it fits.

    Args:
      peak: from a size to the share of memory that it takes, in [0, 1]; grows about linearly.
      most: where to stop trying.
    """
    size, before, now = 1, 0.0, peak(1)
    while size * 2 <= most:
        # From one size, all of it might grow; from two, the part that does is known.
        step = now if size == 1 else 2 * (now - before)
        if now + step > _SHARE:
            break
        size, before, now = size * 2, now, peak(size * 2)
    return size
