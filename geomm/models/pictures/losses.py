"""Losses over whole pictures.

Each takes logits (B, K) and a target (B, K) float32, the share of each class: one-hot, mixed, or of any
number of classes where the spec says ``multi_label``.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from geomm.models.losses import ClassWeight, class_weights
from geomm.models.whole_batch import mean_over_processes
from geomm.registry import LOSSES
from geomm.structures import ClassificationSpec


class _LabelLoss(nn.Module):
    """What the losses share: class weights, label smoothing, and both kinds of truth.

    Args:
      spec: the data's; filled in.
      class_weight: null, ``auto`` or a number a class.
      label_smoothing: share of the truth spread over all classes (of several labels: taken off 1 and
        put on 0, by halves).
    """

    weight: Tensor | None

    def __init__(
        self, *, spec: ClassificationSpec, class_weight: ClassWeight = None, label_smoothing: float = 0.0
    ) -> None:
        super().__init__()
        self.register_buffer("weight", class_weights(class_weight, spec), persistent=False)
        self.multi_label = spec.multi_label
        self.label_smoothing = label_smoothing

    def forward(self, scores: Tensor, target: Tensor) -> Tensor:
        weight = torch.ones_like(target) if self.weight is None else self.weight.expand_as(target)
        if self.multi_label:
            smooth = target * (1 - self.label_smoothing) + self.label_smoothing / 2
            return (self.binary(scores.float(), smooth) * weight).mean()
        smooth = target * (1 - self.label_smoothing) + self.label_smoothing / target.shape[1]
        losses = self.softmax(scores.float(), smooth)
        counts = (target * weight).sum(1)
        total = mean_over_processes(counts.sum())
        return (losses * counts).sum() / total.clamp(min=torch.finfo(counts.dtype).tiny)

    def binary(self, scores: Tensor, target: Tensor) -> Tensor:
        """Return the loss (B, K) of each class by itself."""
        raise NotImplementedError

    def softmax(self, scores: Tensor, target: Tensor) -> Tensor:
        """Return the loss (B,) of each picture."""
        raise NotImplementedError


@LOSSES.register_module()
class LabelCrossEntropyLoss(_LabelLoss):
    """Cross-entropy of pictures; of several labels the binary one of each class."""

    def binary(self, scores: Tensor, target: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(scores, target, reduction="none")

    def softmax(self, scores: Tensor, target: Tensor) -> Tensor:
        return -(F.log_softmax(scores, 1) * target).sum(1)


@LOSSES.register_module()
class LabelFocalLoss(_LabelLoss):
    """Focal loss of pictures (Lin et al., 2017, https://arxiv.org/abs/1708.02002).

    Args:
      spec: the data's; filled in.
      class_weight: null, ``auto`` or a number a class.
      label_smoothing: share of the truth spread over all classes.
      gamma: how much easy pictures are faded out, 0 is cross-entropy.
    """

    def __init__(
        self,
        *,
        spec: ClassificationSpec,
        class_weight: ClassWeight = None,
        label_smoothing: float = 0.0,
        gamma: float = 2.0,
    ) -> None:
        super().__init__(spec=spec, class_weight=class_weight, label_smoothing=label_smoothing)
        self.gamma = gamma

    def binary(self, scores: Tensor, target: Tensor) -> Tensor:
        entropy = F.binary_cross_entropy_with_logits(scores, target, reduction="none")
        missing = (scores.sigmoid() - target).abs()
        return self._faded(missing) * entropy

    def softmax(self, scores: Tensor, target: Tensor) -> Tensor:
        log_p = F.log_softmax(scores, 1)
        return -(self._faded(1 - log_p.exp()) * log_p * target).sum(1)

    def _faded(self, missing: Tensor) -> Tensor:
        # Away from 0, where the slope of a power below 1 is infinite.
        return missing.clamp(min=torch.finfo(missing.dtype).eps) ** self.gamma
