"""From raw pixels to what a network likes."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.model import BaseDataPreprocessor
from torch import Tensor

from geomm.registry import MODELS
from geomm.structures import RasterSpec


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
        """Return (x - mean) / std as float32, 0 where pixels are invalid.

        Args:
          inputs: (B, C, H, W), any dtype, in the raster's own units.
          valid: (B, H, W) bool, None where all pixels are.
        """
        normal = (inputs.float() - self.mean) / self.std
        if valid is not None:
            normal = torch.where(valid[:, None], normal, 0.0)
        return normal
