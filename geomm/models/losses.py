"""Losses over pixels, all blind to what is unlabelled.

Each takes logits (B, K, H, W) and a target (B, H, W) of int64 class indices with ``IGNORE_INDEX``
and returns a scalar; a batch without a labelled pixel gives 0, with a gradient of 0.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from geomm.errors import ConfigError
from geomm.models.whole_batch import mean_over_processes, summed
from geomm.registry import LOSSES
from geomm.structures import IGNORE_INDEX, RasterSpec

_LOG = logging.getLogger("geomm")

ClassWeight = str | Sequence[float] | None


def class_weights(weight: ClassWeight, spec: RasterSpec) -> Tensor | None:
    """Return a weight a class.

    ``auto`` weighs by the inverse square root of the class's share of the labelled training pixels,
    normalised to a mean of 1: rare classes count more, without the extremes of the plain inverse.

    Raises:
      ConfigError: another word, or a list of another length than the classes.
    """
    if weight is None:
        return None
    if weight == "auto":
        if spec.class_pixels is None:
            _LOG.warning("loss.class_weight=auto: this data's classes were not counted; all weigh the same")
            return None
        pixels = torch.tensor(spec.class_pixels, dtype=torch.float64).clamp(min=1)
        inverse = (pixels.sum() / pixels).sqrt()
        return (inverse / inverse.mean()).float()
    if isinstance(weight, str) or len(weight) != spec.num_classes:
        raise ConfigError(
            f"loss.class_weight: found {weight!r}, expected auto, null or {spec.num_classes} numbers "
            f"({', '.join(item.name for item in spec.classes)})"
        )
    return torch.tensor([float(item) for item in weight])


class _PixelLoss(nn.Module):
    """What the losses share: the weights of classes and pixels."""

    weight: Tensor | None

    def __init__(self, spec: RasterSpec, class_weight: ClassWeight) -> None:
        super().__init__()
        self.register_buffer("weight", class_weights(class_weight, spec), persistent=False)

    def _pixel_weights(self, target: Tensor) -> Tensor:
        """Return what each pixel counts, (B, H, W) float32: its class's weight, 0 where unlabelled."""
        labelled = target != IGNORE_INDEX
        if self.weight is None:
            return labelled.float()
        return self.weight[torch.where(labelled, target, 0)] * labelled


def _mean(values: Tensor, weights: Tensor) -> Tensor:
    """Return the weighted mean, 0 with a gradient of 0 where nothing counts.

    A test for that case would make a GPU wait for its result in every step.
    """
    total = mean_over_processes(weights.sum())
    return values.sum() / total.clamp(min=torch.finfo(weights.dtype).tiny)


def _nothing(scores: Tensor) -> Tensor:
    return scores.float().sum() * 0.0


@LOSSES.register_module()
class CrossEntropyLoss(_PixelLoss):
    """Cross-entropy, the mean over labelled pixels.

    Args:
      spec: the data's; filled in.
      class_weight: null, ``auto`` or a number a class.
      label_smoothing: share of the target spread over all classes.
    """

    def __init__(
        self, *, spec: RasterSpec, class_weight: ClassWeight = None, label_smoothing: float = 0.0
    ) -> None:
        super().__init__(spec, class_weight)
        self.label_smoothing = label_smoothing

    def forward(self, scores: Tensor, target: Tensor) -> Tensor:
        losses = F.cross_entropy(
            scores.float(),
            target,
            self.weight,
            ignore_index=IGNORE_INDEX,
            label_smoothing=self.label_smoothing,
            reduction="none",
        )
        return _mean(losses, self._pixel_weights(target))


@LOSSES.register_module()
class FocalLoss(_PixelLoss):
    """Focal loss for hard pixels (Lin et al., 2017, https://arxiv.org/abs/1708.02002), softmax form.

    Args:
      spec: the data's; filled in.
      class_weight: null, ``auto`` or a number a class.
      gamma: how much easy pixels are faded out, 0 is cross-entropy.
    """

    def __init__(self, *, spec: RasterSpec, class_weight: ClassWeight = None, gamma: float = 2.0) -> None:
        super().__init__(spec, class_weight)
        self.gamma = gamma

    def forward(self, scores: Tensor, target: Tensor) -> Tensor:
        log_p = F.log_softmax(scores.float(), dim=1)
        known = torch.where(target != IGNORE_INDEX, target, 0)
        log_pt = log_p.gather(1, known[:, None])[:, 0]
        weight = self._pixel_weights(target)
        # Away from 0, where the slope of a power below 1 is infinite.
        missing = (1 - log_pt.exp()).clamp(min=torch.finfo(log_pt.dtype).eps)
        return _mean(-(missing**self.gamma) * log_pt * weight, weight)


@LOSSES.register_module()
class DiceLoss(_PixelLoss):
    """1 - Dice over the batch, the mean of the classes in it (Milletari et al., 2016, V-Net).

    Args:
      spec: the data's; filled in.
      class_weight: null, ``auto`` or a number a class.
      smooth: added to both sides of the fraction.
    """

    def __init__(self, *, spec: RasterSpec, class_weight: ClassWeight = None, smooth: float = 1.0) -> None:
        super().__init__(spec, class_weight)
        self.smooth = smooth

    def forward(self, scores: Tensor, target: Tensor) -> Tensor:
        labelled = (target != IGNORE_INDEX)[:, None]
        p = scores.float().softmax(1) * labelled
        known = torch.where(labelled[:, 0], target, 0)
        truth = torch.zeros_like(p).scatter_(1, known[:, None], 1.0) * labelled
        # A fraction of sums over the whole batch, whose parts other processes may have.
        overlap, both, count = summed(torch.stack([x.sum((0, 2, 3)) for x in (p * truth, p + truth, truth)]))
        dice = (2 * overlap + self.smooth) / (both + self.smooth)
        present = (count > 0).to(p.dtype)
        weight = present if self.weight is None else present * self.weight
        return _mean((1 - dice) * weight, weight)


@LOSSES.register_module()
class LovaszLoss(_PixelLoss):
    """Lovász-Softmax, a surrogate of IoU (Berman et al., 2018, https://arxiv.org/abs/1705.08790).

    It sorts a batch's pixels; of several training processes each sorts its own part.

    Args:
      spec: the data's; filled in.
      class_weight: null, ``auto`` or a number a class.
    """

    def __init__(self, *, spec: RasterSpec, class_weight: ClassWeight = None) -> None:
        super().__init__(spec, class_weight)

    def forward(self, scores: Tensor, target: Tensor) -> Tensor:
        keep = target != IGNORE_INDEX
        p, classes = scores.float().permute(0, 2, 3, 1)[keep].softmax(1), target[keep]
        present = torch.unique(classes)
        if not len(present):
            return _nothing(scores)
        parts = torch.stack([_lovasz_class(p[:, c], classes == c) for c in present])
        weight = torch.ones_like(parts) if self.weight is None else self.weight[present]
        return _mean(parts * weight, weight)


def _lovasz_class(p: Tensor, truth: Tensor) -> Tensor:
    """Extend one class's Jaccard loss: errors sorted, weighed by the growth of the Jaccard index."""
    foreground = truth.to(p.dtype)
    errors, order = (foreground - p).abs().sort(descending=True)
    ordered = foreground[order]
    total = ordered.sum()
    intersection = total - ordered.cumsum(0)
    union = total + (1 - ordered).cumsum(0)
    jaccard = 1 - intersection / union
    growth = torch.cat([jaccard[:1], jaccard[1:] - jaccard[:-1]])
    return (errors * growth).sum()


class WeightedLosses(nn.Module):
    """Several losses, each by name and with its share."""

    def __init__(self, losses: Mapping[str, nn.Module], shares: Mapping[str, float]) -> None:
        super().__init__()
        self.parts = nn.ModuleDict(losses)
        self.shares = dict(shares)

    def forward(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        """Call every loss with the arguments; return each, weighed, as ``loss_NAME``."""
        return {
            f"loss_{name}": self.shares[name] * part(*args, **kwargs) for name, part in self.parts.items()
        }


def build_losses(
    cfg: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None, spec: RasterSpec
) -> WeightedLosses:
    """Build one loss, or several that are added.

    Args:
      cfg: a loss's config (with ``share``, 1 by default), a list of them, or a mapping of names to
        them under ``parts``.
      spec: the data's.
    """
    if cfg is None:
        return WeightedLosses({}, {})
    parts = cfg.get("parts", [cfg]) if isinstance(cfg, Mapping) else cfg
    items = list(parts.values()) if isinstance(parts, Mapping) else list(parts)
    losses: dict[str, nn.Module] = {}
    shares: dict[str, float] = {}
    for item in items:
        if not item:
            continue
        options = {key: value for key, value in item.items() if key != "tasks"}
        kind = str(options["type"]).rpartition(".")[2].removesuffix("Loss").lower()
        same = sum(known.partition("_")[0] == kind for known in losses)
        name = f"{kind}_{same + 1}" if same else kind
        shares[name] = float(options.pop("share", 1.0))
        # A framework's own loss knows no spec.
        takes_spec = "spec" in inspect.signature(LOSSES.get(str(options["type"]))).parameters
        losses[name] = LOSSES.build(options, **({"spec": spec} if takes_spec else {}))
    return WeightedLosses(losses, shares)
