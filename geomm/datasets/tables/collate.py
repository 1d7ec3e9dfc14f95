"""Batches of rows for a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch


def collate_rows(samples: Sequence[dict[str, Any]] | dict[str, Any]) -> dict[str, Any]:
    """Return a batch as tensors: what ``__getitems__`` gave at once, or rows joined.

    Returns:
      ``numbers`` (B, F) float32, ``categories`` (B, C) int64, ``target`` (B, T) float32 or (B,) int64,
      ``row`` (B,) int64.
    """
    if isinstance(samples, dict):
        return {key: torch.from_numpy(value) for key, value in samples.items()}
    joined = {key: np.concatenate([item[key] for item in samples]) for key in samples[0]}
    return {key: torch.from_numpy(value) for key, value in joined.items()}
