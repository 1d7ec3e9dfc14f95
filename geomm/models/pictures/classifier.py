"""The model of object classification: a class for a whole picture."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.model import BaseModel
from mmengine.registry import DefaultScope
from torch import Tensor, nn

from geomm.errors import ConfigError
from geomm.models.external import check_scores, has_own_loss, named_losses
from geomm.models.losses import WeightedLosses, build_losses
from geomm.models.padding import pad_to, sizes_of
from geomm.models.preprocessor import RasterPreprocessor
from geomm.models.wiring import FeatureInfo, build_head, build_parts, initialise
from geomm.plugins import PART_KEYS
from geomm.registry import MODELS, get
from geomm.structures import ClassificationSpec


@MODELS.register_module()
class Classifier(BaseModel):
    """Any classification head over any backbone, from raw pixels to a score a class.

    Args:
      backbone: config of the backbone; None under an external head.
      head: config of the head, geomm's or one of mmpretrain's, or of an external network (``geomm.extend``).
      loss: config of the loss, or a list of them that are added; None where no loss is needed.
      spec: what the data is: bands, statistics, classes.
      mixup: alpha of mixup's Beta distribution (Zhang et al., 2018), 0 is off.
    """

    backbone: Any
    head: Any
    losses: WeightedLosses

    def __init__(
        self,
        *,
        backbone: Mapping[str, Any] | None,
        head: Mapping[str, Any],
        loss: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None,
        spec: ClassificationSpec,
        mixup: float = 0.0,
    ) -> None:
        super().__init__(data_preprocessor=RasterPreprocessor(spec))
        self.backbone, self.head = build_parts(backbone, head, spec=spec, build=build_label_head)
        self.own_loss = has_own_loss(self.head, mixup)
        self.losses = build_losses(None if self.own_loss else loss, spec)
        self.multi_label = spec.multi_label
        self.least_px, self.multiple_px = sizes_of(self.backbone)
        self.num_classes, self.mixup = spec.num_classes, mixup

    def forward(
        self,
        inputs: Tensor,
        valid: Tensor | None = None,
        labels: Tensor | None = None,
        name: Sequence[str] | None = None,
        mode: str = "tensor",
    ) -> Any:
        """Run the model on normalised pixels.

        Args:
          inputs: (B, C, H, W) float32, as ``RasterPreprocessor`` returns it.
          valid: (B, H, W) bool; already 0 in ``inputs`` where False.
          labels: (B, K) float32, 1 where a picture shows a class.
          name: where the pictures come from.
          mode: ``tensor`` for logits (B, K), ``loss`` for named losses, ``predict`` for a dict a picture
            with ``prediction`` and ``labels``, (K,) each, and ``name``.
        """
        if mode == "loss":
            assert labels is not None
            return self.loss(inputs, labels)
        scores = self.scores(inputs)
        if mode == "tensor":
            return scores
        found = self.probabilities(scores)
        truth = found if labels is None else labels
        names = [""] * len(found) if name is None else name
        return [
            {"prediction": one, "labels": two, "name": three}
            for one, two, three in zip(found, truth, names, strict=True)
        ]

    def scores(self, inputs: Tensor) -> Tensor:
        """Return logits (B, K) of normalised pixels, for any H and W from 1."""
        scores = self.head(self.backbone(pad_to(inputs, self.least_px, self.multiple_px)))
        return check_scores(scores, (None, self.num_classes), self.head)

    def probabilities(self, scores: Tensor) -> Tensor:
        """Return probabilities (B, K) of logits: that sum to 1, or each class's own of several labels."""
        scores = scores.float()
        return scores.sigmoid() if self.multi_label else scores.softmax(1)

    def loss(self, inputs: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Return a batch's named losses."""
        if len(inputs) == 1 and self.training:
            # A single picture has no batch statistics where a map is one pixel; two of the same do.
            inputs, labels = inputs.repeat(2, 1, 1, 1), labels.repeat(2, 1)
        if self.own_loss:
            padded = pad_to(inputs, self.least_px, self.multiple_px)
            return named_losses(self.head.loss(padded, labels), self.head)
        if self.mixup > 0 and self.training:
            share = float(torch.distributions.Beta(self.mixup, self.mixup).sample())
            order = torch.randperm(len(inputs), device=inputs.device)
            inputs = inputs * share + inputs[order] * (1 - share)
            labels = labels * share + labels[order] * (1 - share)
        return self.losses(self.scores(inputs), labels)  # type: ignore[no-any-return]

    @torch.inference_mode()
    def predict_classes(self, inputs: Tensor, valid: Tensor) -> Tensor:
        """Return class probabilities (B, K) float32 of raw pixels, on the model's device.

        Args:
          inputs: (B, C, H, W) of any dtype, in the raster's own units, on any device.
          valid: (B, H, W) bool.
        """
        return self.probabilities(self.scores(self.data_preprocessor.normalise(inputs, valid)))


#: Arguments of mmpretrain's heads that nobody gives here.
_GIVEN = ("in_channels", "num_classes", "init_cfg", "args", "kwargs")


def build_label_head(
    cfg: Mapping[str, Any], *, features: Sequence[FeatureInfo], num_classes: int
) -> nn.Module:
    """Build a head whose forward takes a backbone's maps and returns logits (B, num_classes).

    Args:
      cfg: the head's config; of mmpretrain's heads only the layers are used, the loss is geomm's.
      features: what the backbone declares.
      num_classes: K.

    Raises:
      ConfigError: the head lacks arguments, or cannot be fed by one map.
    """
    name = str(cfg["type"])
    cls = get(MODELS, name)
    if cls.__module__.partition(".")[0] != "mmpretrain":
        return build_head(cfg, features=features, num_classes=num_classes)
    options = {key: value for key, value in cfg.items() if key not in PART_KEYS}
    taken = inspect.signature(cls).parameters
    if "in_channels" not in taken or "num_classes" not in taken:
        raise ConfigError(
            f"head.type: {name} takes no in_channels and num_classes, so it cannot be put on a pooled map; "
            "take one that does, such as mmpretrain.LinearClsHead, or head=linear"
        )
    channels = features[-1].channels
    try:
        # Its own loss, unused here, is named without a prefix: after training that would mean geomm's.
        with DefaultScope.overwrite_default_scope("mmpretrain"):
            head = _PooledHead(cls(in_channels=channels, num_classes=num_classes, **options))
        _try_head(head, channels, num_classes)
    except (TypeError, ValueError, AssertionError, KeyError, IndexError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        own = [key for key in taken if key not in _GIVEN]
        arguments = f"its own arguments, as +head.KEY=VALUE, are {', '.join(own)}; " if own else ""
        raise ConfigError(
            f"head.type: {name} cannot learn from one map of {channels} channels ({reason}); {arguments}"
            "heads of several inputs or with distillation do not serve; mmpretrain.LinearClsHead does"
        ) from error
    return head


def _try_head(head: nn.Module, channels: int, num_classes: int, count: int = 4) -> None:
    """Run a copy of a head once as in training.

    Raises:
      ValueError: it returns something else than a score a class.
    """
    with torch.no_grad():
        scores = copy.deepcopy(head).train()([torch.zeros(count, channels, 2, 2)])
    shape = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
    if shape != (count, num_classes):
        raise ValueError(f"it returns {shape}, expected scores {(count, num_classes)}")


class _PooledHead(nn.Module):
    """One of mmpretrain's heads on the coarsest map or its mean, as its own necks would give it."""

    def __init__(self, head: Any) -> None:
        super().__init__()
        initialise(head)
        self.head = head
        # Vision transformers' heads take a pair: the maps, and the token that stands for all of them.
        self.token = type(head).__name__.startswith("VisionTransformer")
        # That of class-specific residual attention (Zhu and Wu, 2021) pools itself.
        self.pools = type(head).__name__.startswith("CSRA")

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        if self.pools:
            return self.head((features[-1],))  # type: ignore[no-any-return]
        pooled = features[-1].mean((-2, -1))
        return self.head(([features[-1], pooled],) if self.token else (pooled,))  # type: ignore[no-any-return]
