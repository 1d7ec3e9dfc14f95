"""From samples of point clouds to batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from geomm.points import PointSample

Finder = Callable[[Sequence[NDArray[np.float32]]], dict[str, Any]]


def collate_points(samples: Sequence[PointSample], find: Finder | None = None) -> dict[str, Any]:
    """Put samples one after the other.

    Args:
      samples: of any sizes.
      find: from the samples' coordinates to their pyramid; None leaves that to the model.

    Returns:
      ``xyz`` (N, 3) and ``features`` (N, F) float32, ``counts`` a sample, ``name`` list of str;
      ``labels`` (N,) int64 where all have them, ``pyramid`` where ``find`` is given.
    """
    batch: dict[str, Any] = {
        "xyz": torch.from_numpy(np.concatenate([sample.xyz for sample in samples])),
        "features": torch.from_numpy(np.concatenate([sample.features for sample in samples])),
        "counts": [len(sample) for sample in samples],
        "name": [sample.name for sample in samples],
    }
    labels = [sample.labels for sample in samples if sample.labels is not None]
    if len(labels) == len(samples):
        batch["labels"] = torch.from_numpy(np.concatenate(labels).astype(np.int64))
    if find is not None:
        batch["pyramid"] = find([sample.xyz for sample in samples])
    return batch
