"""From samples with objects to batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from geomm.structures import Objects, RasterSample


def collate_objects(samples: Sequence[RasterSample]) -> dict[str, Any]:
    """Stack windows, smaller ones filled up with invalid pixels below and to the right.

    Returns:
      ``inputs`` (B, C, H, W) float32, ``valid`` (B, H, W) bool, ``objects`` list of ``Objects`` in pixels
      of the window (none where a sample has no truth), ``name`` list of str.
    """
    height = max(sample.valid.shape[0] for sample in samples)
    width = max(sample.valid.shape[1] for sample in samples)
    images = [_fill(s.image.astype(np.float32, copy=False), height, width) for s in samples]
    return {
        "inputs": torch.from_numpy(np.stack(images)),
        "valid": torch.from_numpy(np.stack([_fill(s.valid, height, width) for s in samples])),
        "objects": [_fill_masks(s.extras.get("objects"), height, width) for s in samples],
        "name": [s.name for s in samples],
    }


def _fill(planes: NDArray[Any], height: int, width: int) -> NDArray[Any]:
    """Return planes (…, h, w) with zeros below and to the right up to (…, height, width)."""
    if planes.shape[-2:] == (height, width):
        return planes
    out = np.zeros((*planes.shape[:-2], height, width), planes.dtype)
    out[..., : planes.shape[-2], : planes.shape[-1]] = planes
    return out


def _fill_masks(objects: Objects | None, height: int, width: int) -> Objects:
    if objects is None:
        return Objects(np.zeros((0, 4), np.float32), np.zeros(0, np.int64))
    if objects.masks is None:
        return objects
    return replace(objects, masks=_fill(objects.masks, height, width))
