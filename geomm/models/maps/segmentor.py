"""The model of pixel classification."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.model import BaseModel
from torch import Tensor

from geomm.models.external import check_scores, has_own_loss, named_losses
from geomm.models.losses import WeightedLosses, build_losses
from geomm.models.padding import maps_on_grid, pad_to, sizes_of
from geomm.models.preprocessor import RasterPreprocessor
from geomm.models.wiring import PixelsAlone, build_parts
from geomm.registry import MODELS
from geomm.structures import IGNORE_INDEX, RasterSpec


@MODELS.register_module()
class Segmentor(BaseModel):
    """Any head over any backbone, from raw pixels to a score a class and pixel.

    Args:
      backbone: config of the backbone; None under an external head.
      head: config of the head, or of an external network (``geomm.extend``).
      loss: config of the loss, or a list of them that are added; None where no loss is needed.
      spec: what the data is: bands, statistics, classes.
      mixup: alpha of mixup's Beta distribution (Zhang et al., 2018), 0 is off.
    """

    backbone: Any
    losses: WeightedLosses

    def __init__(
        self,
        *,
        backbone: Mapping[str, Any] | None,
        head: Mapping[str, Any],
        loss: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None,
        spec: RasterSpec,
        mixup: float = 0.0,
    ) -> None:
        super().__init__(data_preprocessor=RasterPreprocessor(spec))
        self.backbone, self.head = build_parts(backbone, head, spec=spec)
        self.own_loss = has_own_loss(self.head, mixup)
        self.losses = build_losses(None if self.own_loss else loss, spec)
        self.least_px, self.multiple_px = sizes_of(self.backbone)
        self.fixed_tiles = bool(getattr(self.head, "fixed_tiles", False))
        self.num_classes, self.mixup = spec.num_classes, mixup

    def forward(
        self,
        inputs: Tensor,
        valid: Tensor | None = None,
        mask: Tensor | None = None,
        name: Sequence[str] | None = None,
        mode: str = "tensor",
    ) -> Any:
        """Run the model on normalised pixels.

        Args:
          inputs: (B, C, H, W) float32, as ``RasterPreprocessor`` returns it.
          valid: (B, H, W) bool; elsewhere nothing is learnt.
          mask: (B, H, W) uint8 class indices, ``IGNORE_INDEX`` where unlabelled.
          name: where the samples come from.
          mode: ``tensor`` for scores (B, K, H, W), ``loss`` for named losses, ``predict`` for a
            dict a sample with ``prediction`` and ``mask``.
        """
        if mode == "loss":
            assert mask is not None
            return self.loss(inputs, valid, mask)
        scores = self.scores(inputs)
        if mode == "tensor":
            return scores
        classes = scores.argmax(1).to(torch.uint8)
        target = classes if mask is None else _target(mask, valid)
        return [
            {"prediction": predicted, "mask": truth} for predicted, truth in zip(classes, target, strict=True)
        ]

    def scores(self, inputs: Tensor) -> Tensor:
        """Return logits (B, K, H, W) of normalised pixels, for any H and W from 1."""
        height, width = inputs.shape[-2:]
        padded = pad_to(inputs, self.least_px, self.multiple_px)
        below = self.backbone
        maps = padded if isinstance(below, PixelsAlone) else maps_on_grid(below, padded)
        scores = check_scores(self.head(maps), (None, self.num_classes, None, None), self.head)
        if scores.shape[-2:] != padded.shape[-2:]:
            scores = F.interpolate(scores, padded.shape[-2:], mode="bilinear", align_corners=False)
        return scores[..., :height, :width]

    def loss(self, inputs: Tensor, valid: Tensor | None, mask: Tensor) -> dict[str, Tensor]:
        """Return a batch's named losses; pixels that are unlabelled or invalid do not count."""
        target = _target(mask, valid).long()
        if len(inputs) == 1 and self.training:
            # Heads that pool to one pixel have no batch statistics of a single sample; two of the
            # same have those of the one.
            inputs, target = inputs.repeat(2, 1, 1, 1), target.repeat(2, 1, 1)
        if self.own_loss:
            padded = pad_to(inputs, self.least_px, self.multiple_px)
            rest = (0, padded.shape[-1] - target.shape[-1], 0, padded.shape[-2] - target.shape[-2])
            return named_losses(self.head.loss(padded, F.pad(target, rest, value=IGNORE_INDEX)), self.head)
        if self.mixup > 0 and self.training:
            return self._mixed_loss(inputs, target)
        return self.losses(self.scores(inputs), target)  # type: ignore[no-any-return]

    def _mixed_loss(self, inputs: Tensor, target: Tensor) -> dict[str, Tensor]:
        share = float(torch.distributions.Beta(self.mixup, self.mixup).sample())
        order = torch.randperm(len(inputs), device=inputs.device)
        scores = self.scores(inputs * share + inputs[order] * (1 - share))
        first, second = self.losses(scores, target), self.losses(scores, target[order])
        return {key: first[key] * share + second[key] * (1 - share) for key in first}

    @torch.inference_mode()
    def predict_scores(self, inputs: Tensor, valid: Tensor) -> Tensor:
        """Return class probabilities of raw pixels.

        Args:
          inputs: (B, C, H, W) of any dtype, in the raster's own units, on any device.
          valid: (B, H, W) bool.

        Returns:
          (B, K, H, W) float32 that sum to 1 over K, on the model's device.
        """
        normal = self.data_preprocessor.normalise(inputs, valid)
        return self.scores(normal).float().softmax(1)


def _target(mask: Tensor, valid: Tensor | None) -> Tensor:
    return mask if valid is None else torch.where(valid, mask, IGNORE_INDEX)
