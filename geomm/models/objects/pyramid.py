"""Maps of a backbone at the strides that a detector wants, whatever strides the backbone has."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from geomm.models.padding import maps_on_grid
from geomm.models.wiring import FeatureInfo


class Pyramid(nn.Module):
    """A backbone whose maps are chosen, and resampled where it has none, to given strides.

    Of several maps of one stride the deepest counts. A stride that the backbone lacks is made from the
    nearest map: enlarged by bilinear interpolation, or shrunk by the largest of its neighbours.

    Args:
      backbone: declares ``features``, fine to coarse.
      strides: wanted, input pixels a feature pixel, fine to coarse.

    Attributes:
      features: channels and stride of each map, fine to coarse.
      multiple_px: what the edges of an input must be multiples of, pixels.
      least_px: smallest edge of an input, pixels.
    """

    backbone: Any

    def __init__(self, backbone: Any, strides: Sequence[int]) -> None:
        super().__init__()
        self.backbone = backbone
        own: tuple[FeatureInfo, ...] = backbone.features
        self.chosen = tuple(_nearest(own, stride) for stride in strides)
        self.features = tuple(
            FeatureInfo(own[index].channels, stride)
            for index, stride in zip(self.chosen, strides, strict=True)
        )
        self.natural = tuple(own[index].stride == info.stride for index, info in self._pairs())
        stride = max(info.stride for info in own)
        self.multiple_px = math.lcm(int(getattr(backbone, "multiple_px", stride)), max(strides))
        self.least_px = int(getattr(backbone, "least_px", 64))

    def _pairs(self) -> list[tuple[int, FeatureInfo]]:
        return list(zip(self.chosen, self.features, strict=True))

    def padded_edge(self, edge_px: int) -> int:
        """Return the edge of an input that one of ``edge_px`` is padded to, pixels."""
        return -(-max(edge_px, self.least_px) // self.multiple_px) * self.multiple_px

    def forward(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """Return a (B, C_i, H / s_i, W / s_i) map a stride from (B, C, H, W)."""
        maps = maps_on_grid(self.backbone, inputs)
        height, width = inputs.shape[-2:]
        goals = [(height // info.stride, width // info.stride) for info in self.features]
        return tuple(
            maps[index] if natural else _resample(maps[index], *goal)
            for index, goal, natural in zip(self.chosen, goals, self.natural, strict=True)
        )


def _nearest(own: Sequence[FeatureInfo], stride: int) -> int:
    """Return the place of the deepest of the maps whose stride is nearest by ratio."""
    return min(
        range(len(own)), key=lambda index: (round(abs(math.log2(own[index].stride / stride)), 6), -index)
    )


def _resample(maps: Tensor, height: int, width: int) -> Tensor:
    if maps.shape[-2] > height:
        return F.adaptive_max_pool2d(maps, (height, width))
    return F.interpolate(maps, (height, width), mode="bilinear", align_corners=False)
