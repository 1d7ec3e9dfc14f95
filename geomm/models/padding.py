"""Padding inputs to what a backbone takes."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor


def sizes_of(backbone: Any) -> tuple[int, int]:
    """Return the least edge of a backbone's inputs and what edges must be multiples of, pixels."""
    stride = max(info.stride for info in backbone.features)
    # Several coarse pixels are needed for the statistics of batch normalisation to mean much.
    least = max(2 * stride, int(getattr(backbone, "least_px", 64)))
    return least, int(getattr(backbone, "multiple_px", stride))


def pad_to(inputs: Tensor, least_px: int, multiple_px: int) -> Tensor:
    """Pad (B, C, H, W) at the right and bottom, mirrored where there is room."""
    height, width = inputs.shape[-2:]
    goal_h, goal_w = (-(-max(size, least_px) // multiple_px) * multiple_px for size in (height, width))
    right, bottom = goal_w - width, goal_h - height
    if not (right or bottom):
        return inputs
    mirrors = right < width and bottom < height
    return F.pad(inputs, (0, right, 0, bottom), mode="reflect" if mirrors else "replicate")
