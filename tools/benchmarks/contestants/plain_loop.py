"""A training loop of torch's own, over the windows that geomm prepared: the other side of a comparison."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from geomm.datasets.collate import collate_raster
from geomm.datasets.sampling import EpochSampler

Batch = dict[str, Any]


def train(
    network: nn.Module,
    windows: Any,
    schedule: Mapping[str, Any],
    *,
    seed: int,
    loss: Callable[[Batch], Tensor],
    after_epoch: Callable[[], None] | None = None,
) -> None:
    """Train by AdamW and one cycle, as geomm's default schedule does.

    Args:
      network: trained in place.
      windows: a training split.
      schedule: geomm's own, resolved.
      seed: of the order of windows.
      loss: of a collated batch.
      after_epoch: called after each.
    """
    sampler = EpochSampler(windows, shuffle=True, seed=seed)
    loader = torch.utils.data.DataLoader(
        windows,
        schedule["batch_size"],
        sampler=sampler,
        collate_fn=collate_raster,
        num_workers=1,
        persistent_workers=True,
    )
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=schedule["lr"], weight_decay=schedule["optimizer"]["weight_decay"]
    )
    steps = schedule["epochs"] * len(loader)
    cycle = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, schedule["lr"], total_steps=steps, pct_start=schedule["warmup"]
    )
    for epoch in range(schedule["epochs"]):
        network.train()
        sampler.set_epoch(epoch)
        for batch in loader:
            error = loss(batch)
            optimizer.zero_grad()
            error.backward()
            optimizer.step()
            cycle.step()
        if after_epoch is not None:
            after_epoch()
