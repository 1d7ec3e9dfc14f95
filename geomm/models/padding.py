"""Padding inputs to what a backbone takes, and its maps to what they cover."""

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


def maps_on_grid(backbone: Any, inputs: Tensor) -> list[Tensor]:
    """Return a backbone's maps, each of as many cells as its stride says.

    A map with fewer, as after convolutions without padding, covers the middle of the input: its outermost
    cells are repeated around it, so that each cell lies where it looks.

    Args:
      backbone: declares ``features``, each with a ``stride``.
      inputs: (B, C, H, W), H and W multiples of every stride.

    Returns:
      (B, C_i, H / s_i, W / s_i) of each of the backbone's features.
    """
    height, width = inputs.shape[-2:]
    return [
        _centred(maps, height // info.stride, width // info.stride)
        for info, maps in zip(backbone.features, backbone(inputs), strict=True)
    ]


def _centred(maps: Tensor, height: int, width: int) -> Tensor:
    """Repeat or cut the outermost cells evenly on all sides to a size; an odd one at the right and bottom."""
    down, right = height - maps.shape[-2], width - maps.shape[-1]
    if down > 0 or right > 0:
        sides = [size for lack in (max(right, 0), max(down, 0)) for size in (lack // 2, lack - lack // 2)]
        maps = F.pad(maps, sides, mode="replicate")
    top, left = max(-down, 0) // 2, max(-right, 0) // 2
    return maps[..., top : top + height, left : left + width]
