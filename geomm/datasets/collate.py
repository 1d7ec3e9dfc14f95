"""From samples to batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from geomm.structures import RasterSample


def collate_raster(samples: Sequence[RasterSample]) -> dict[str, Any]:
    """Stack windows of one size.

    Returns:
      ``inputs`` (B, C, H, W) float32, ``valid`` (B, H, W) bool, ``name`` list of str, and where the
      samples have them ``mask`` (B, H, W) uint8, ``target`` (B, C, H * s, W * s) float32 and
      ``target_valid`` (B, H * s, W * s) bool.
    """
    batch: dict[str, Any] = {
        "inputs": torch.from_numpy(np.stack([s.image.astype(np.float32, copy=False) for s in samples])),
        "valid": torch.from_numpy(np.stack([s.valid for s in samples])),
        "name": [s.name for s in samples],
    }
    for key in ("target", "target_valid"):
        if all(key in s.extras for s in samples):
            batch[key] = torch.from_numpy(np.stack([_as_float(s.extras[key]) for s in samples]))
    masks = [s.mask for s in samples if s.mask is not None]
    if len(masks) == len(samples):
        batch["mask"] = torch.from_numpy(np.stack(masks))
    return batch


def _as_float(pixels: NDArray[Any]) -> NDArray[Any]:
    """Return float32 of pixels, bool as it is."""
    return pixels if pixels.dtype == bool else pixels.astype(np.float32, copy=False)
