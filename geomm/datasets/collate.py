"""From samples to batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from geomm.structures import RasterSample


def collate_raster(samples: Sequence[RasterSample]) -> dict[str, Any]:
    """Stack windows of one size.

    Returns:
      ``inputs`` (B, C, H, W) float32, ``valid`` (B, H, W) bool, ``name`` list of str, and ``mask``
      (B, H, W) uint8 where the samples have one.
    """
    batch: dict[str, Any] = {
        "inputs": torch.from_numpy(np.stack([s.image.astype(np.float32, copy=False) for s in samples])),
        "valid": torch.from_numpy(np.stack([s.valid for s in samples])),
        "name": [s.name for s in samples],
    }
    masks = [s.mask for s in samples if s.mask is not None]
    if len(masks) == len(samples):
        batch["mask"] = torch.from_numpy(np.stack(masks))
    return batch
