"""Sums over a batch of which each training process has a part; alone, a batch's own."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor


def summed(values: Tensor) -> Tensor:
    """Return the sum over all processes, with gradients that reach every process's own values."""
    if not _several():
        return values
    from torch.distributed.nn.functional import all_reduce

    return all_reduce(values)  # type: ignore[no-any-return, no-untyped-call]


def mean_over_processes(values: Tensor) -> Tensor:
    """Return the mean over all processes, without gradients: what a loss may divide its sum by.

    Gradients are averaged over processes, so a sum divided by this is the whole batch's mean.
    """
    if not _several():
        return values
    total = values.detach().clone()
    dist.all_reduce(total)
    return total / dist.get_world_size()


def own_share(weight: Tensor) -> Tensor:
    """Return this process's part of a weight, over the mean part: 1 alone.

    What was divided by its own part is thereby divided by the mean part.
    """
    return weight / mean_over_processes(weight).clamp(min=torch.finfo(weight.dtype).tiny)


def _several() -> bool:
    return dist.is_available() and dist.is_initialized() and torch.is_grad_enabled()
