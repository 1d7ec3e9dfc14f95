"""The model of point-cloud classification."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.model import BaseDataPreprocessor, BaseModel
from torch import Tensor

from geomm.models.clouds.neighbours import Pyramid, build_pyramid_on_device
from geomm.models.losses import WeightedLosses, build_losses
from geomm.points import HEIGHT, PointSpec
from geomm.registry import HEADS, MODELS
from geomm.structures import IGNORE_INDEX

#: Normalised features beyond this many standard deviations are cut: a stray value harms no neighbour.
_MOST_STDS = 5.0
#: Heights above ground are seen on a logarithmic scale too, from about here on, metres.
_LOW_M = 0.1
_LOW_MIDDLE = 3.0


@MODELS.register_module()
class PointSegmentor(BaseModel):
    """Any point network, from raw points to a score a class and point.

    Args:
      head: config of the network: a class with ``plan`` (a ``PyramidPlan``) and
        ``forward(pyramid, features)``.
      loss: config of the loss; None where no loss is needed.
      spec: what the data is: features, statistics, classes.
    """

    losses: WeightedLosses
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        *,
        head: Mapping[str, Any],
        loss: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None,
        spec: PointSpec,
    ) -> None:
        super().__init__(data_preprocessor=BaseDataPreprocessor(non_blocking=True))
        options = {key: value for key, value in head.items() if key != "tasks"}
        self.network: Any = HEADS.build(options, in_channels=spec.in_channels, num_classes=spec.num_classes)
        known: Any = spec  # losses read the classes and their counts only
        self.losses = build_losses(loss, known)
        std = torch.tensor(spec.statistics.std, dtype=torch.float32)
        self.register_buffer(
            "mean", torch.tensor(spec.statistics.mean, dtype=torch.float32), persistent=False
        )
        # A feature that never changes says nothing.
        self.register_buffer("std", torch.where(std > 0, std, torch.inf), persistent=False)
        self.reach_m = spec.block_m / 2
        self.height = spec.features.index(HEIGHT) if HEIGHT in spec.features else None

    @property
    def plan(self) -> Any:
        """What the network needs found before it runs."""
        return self.network.plan

    def forward(
        self,
        xyz: Tensor,
        features: Tensor,
        counts: Sequence[int],
        labels: Tensor | None = None,
        pyramid: Mapping[str, Any] | None = None,
        name: Sequence[str] = (),
        mode: str = "tensor",
    ) -> Any:
        """Score points; the samples of a batch lie one after the other.

        Args:
          xyz: (N, 3) float32, metres.
          features: (N, F) float32, raw.
          counts: points of each sample.
          labels: (N,) int64 class indices with ``IGNORE_INDEX``.
          pyramid: what ``build_pyramid`` found; found here where it is None.
          name: of each sample.
          mode: ``loss``, ``predict`` (a dict a sample) or ``tensor`` (logits).
        """
        scores = self.scores(xyz, features, counts, pyramid)
        if mode == "tensor":
            return scores
        if mode == "loss":
            assert labels is not None
            # Losses see an image of one row.
            return self.losses(scores.t()[None, :, None], labels[None, None])
        classes = scores.argmax(1)
        truth = torch.full_like(classes, IGNORE_INDEX) if labels is None else labels
        parts = zip(classes.split(list(counts)), truth.split(list(counts)), strict=True)
        return [{"prediction": predicted, "mask": true} for predicted, true in parts]

    def scores(
        self, xyz: Tensor, features: Tensor, counts: Sequence[int], pyramid: Mapping[str, Any] | None
    ) -> Tensor:
        """Return logits (N, K)."""
        if pyramid is None:
            found = build_pyramid_on_device(xyz, counts, self.plan)
        else:
            found = Pyramid(**pyramid)
        return self.network(found, self._normalise(xyz, features))  # type: ignore[no-any-return]

    def _normalise(self, xyz: Tensor, features: Tensor) -> Tensor:
        """Return the network's channels (N, C); where a point lies in its block is none of them."""
        channels = [xyz[:, 2:] / self.reach_m]
        channels.append(((features - self.mean) / self.std).clamp(-_MOST_STDS, _MOST_STDS))
        if self.height is not None:
            # Grass and kerbs differ by less than a hundredth of what trees and roofs spread over.
            channels.append(torch.asinh(features[:, self.height, None] / _LOW_M) - _LOW_MIDDLE)
        return torch.cat(channels, dim=1)

    @torch.inference_mode()
    def predict_scores(self, batch: Mapping[str, Any]) -> Tensor:
        """Return class probabilities (N, K) float32 of a batch as the task collates it."""
        moved = self.data_preprocessor({k: v for k, v in batch.items() if k != "labels"})
        scores = self.scores(moved["xyz"], moved["features"], moved["counts"], moved.get("pyramid"))
        return scores.float().softmax(1)
