"""From raw pixels to what a network likes."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from mmengine.model import BaseDataPreprocessor
from torch import Tensor

from geomm.registry import MODELS
from geomm.structures import RasterSpec

#: How far from a hole valid pixels count for what fills it.
_REACH_PX = 3


@MODELS.register_module()
class RasterPreprocessor(BaseDataPreprocessor):
    """Moves a batch to the device and normalises it by the training data's own statistics.

    Any number of bands and any dtype; mmengine's ImgDataPreprocessor takes one or three.

    Args:
      spec: the data's; its statistics and band count count.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, spec: RasterSpec) -> None:
        super().__init__()
        mean = torch.tensor(spec.statistics.mean, dtype=torch.float32)
        std = torch.tensor(spec.statistics.std, dtype=torch.float32)
        self.register_buffer("mean", mean.view(1, -1, 1, 1), persistent=False)
        # A constant band, but for rounding, carries nothing: it becomes 0, not infinite.
        varies = std > torch.finfo(torch.float32).eps * mean.abs()
        std = torch.where(varies, std, torch.ones_like(std))
        self.register_buffer("std", std.view(1, -1, 1, 1), persistent=False)

    def forward(self, data: dict[str, Any], training: bool = False) -> dict[str, Any]:
        """Normalise a collated batch; every other tensor is only moved."""
        moved = self.cast_data(data)
        moved["inputs"] = self.normalise(moved["inputs"], moved.get("valid"))
        return moved  # type: ignore[no-any-return]

    def normalise(self, inputs: Tensor, valid: Tensor | None = None) -> Tensor:
        """Return (x - mean) / std as float32 on the model's device, 0 where pixels are invalid.

        Args:
          inputs: (B, C, H, W), any dtype, in the raster's own units, on any device.
          valid: (B, H, W) bool, None where all pixels are.
        """
        device = self.mean.device
        normal = (inputs.to(device, non_blocking=True).float() - self.mean) / self.std
        if valid is not None:
            normal = torch.where(valid.to(device, non_blocking=True)[:, None], normal, 0.0)
        return normal

    def restore(self, normal: Tensor) -> Tensor:
        """Return normalised pixels (B, C, H, W) in the raster's own units."""
        return normal * self.std + self.mean


@MODELS.register_module()
class PairPreprocessor(RasterPreprocessor):
    """Normalises the coarser and the finer picture of a pair alike.

    Pixels without data are filled with the mean of the valid ones around them: a hole of any other value
    would be an edge, which a network that sharpens makes a frame around.
    """

    def forward(self, data: dict[str, Any], training: bool = False) -> dict[str, Any]:
        """Normalise a collated batch of pairs; every other tensor is only moved."""
        moved = super().forward(data, training)
        moved["target"] = super().normalise(moved["target"], moved["target_valid"])
        return moved

    def normalise(self, inputs: Tensor, valid: Tensor | None = None) -> Tensor:
        """Return (x - mean) / std as float32, and near-by means where pixels are invalid."""
        normal = super().normalise(inputs, valid)
        if valid is None:
            return normal
        valid = valid.to(normal.device, non_blocking=True)
        known = valid[:, None].to(normal.dtype)
        edge = 2 * _REACH_PX + 1
        near, count = (F.avg_pool2d(x, edge, 1, _REACH_PX, count_include_pad=False) for x in (normal, known))
        return torch.where(valid[:, None], normal, near / count.clamp(min=1e-6))
