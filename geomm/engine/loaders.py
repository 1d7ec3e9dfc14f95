"""Data loaders whose order and workers are the same however often a run is resumed."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Sequence
from typing import Any

import torch
from mmengine.dist import get_dist_info
from torch.utils.data import DataLoader


def build_loader(
    dataset: Any,
    *,
    batch_size: int,
    workers: int | str,
    collate: Callable[[Sequence[Any]], dict[str, Any]],
    shuffle: bool,
    seed: int,
    device: torch.device,
) -> DataLoader[Any]:
    """Return a loader over a dataset whose samples depend on their index alone.

    Args:
      dataset: as ``source.split(name)`` returns it.
      batch_size: samples a batch; a last, smaller batch is kept.
      workers: loader processes, ``auto`` for one less than the cores, at most 8.
      collate: from samples to a batch.
      shuffle: a new order each epoch, from ``seed``.
      seed: of the order.
      device: where batches go; pinned memory for a GPU.
    """
    from geomm.datasets.sampling import EpochSampler

    rank, world_size = get_dist_info()
    count = auto_workers() if workers == "auto" else int(workers)
    count = min(count, max(len(dataset) // max(batch_size, 1), 1)) if count else 0  # type: ignore[arg-type]
    return DataLoader(
        dataset,
        batch_size=batch_size,
        sampler=EpochSampler(dataset, shuffle=shuffle, seed=seed, rank=rank, world_size=world_size),
        num_workers=count,
        collate_fn=collate,
        pin_memory=device.type == "cuda",
        persistent_workers=count > 0,
        worker_init_fn=_begin_worker if count else None,
        # Of its own: the loader draws a number when it starts its workers, and a resumed run starts
        # them in another epoch.
        generator=torch.Generator().manual_seed(seed),
    )


def auto_workers() -> int:
    """Return one less than the usable cores, from 0 to 8."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(0, min(cores - 1, 8))


def _begin_worker(worker: int) -> None:
    # What the parent left to be collected is the parent's: an earlier loader would stop workers that are no
    # children of this process.
    gc.freeze()
    torch.set_num_threads(1)
