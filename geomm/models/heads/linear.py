"""The plain classification head."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from geomm.errors import ConfigError
from geomm.models.wiring import FeatureInfo
from geomm.registry import HEADS

POOLS = ("average", "max", "both")


@HEADS.register_module()
class LinearHead(nn.Module):
    """Pools the coarsest map and weighs its channels, with hidden layers between on request.

    Args:
      features: what the backbone declares; filled in.
      num_classes: filled in.
      pool: ``average``, ``max``, or ``both`` side by side.
      hidden: widths of fully connected layers before the last, each with ReLU.
      dropout: share of values dropped before every fully connected layer.

    Raises:
      ConfigError: another pool.
    """

    def __init__(
        self,
        *,
        features: tuple[FeatureInfo, ...],
        num_classes: int,
        pool: str = "average",
        hidden: Sequence[int] = (),
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if pool not in POOLS:
            raise ConfigError(f"head.pool: found {pool!r}; allowed: {', '.join(POOLS)}")
        self.pool = pool
        width = features[-1].channels * (2 if pool == "both" else 1)
        layers: list[nn.Module] = []
        for size in hidden:
            layers += [nn.Dropout(dropout), nn.Linear(width, size), nn.ReLU(inplace=True)]
            width = size
        self.layers = nn.Sequential(*layers, nn.Dropout(dropout), nn.Linear(width, num_classes))

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Return logits (B, num_classes) of a backbone's maps."""
        coarse = features[-1]
        pooled = []
        if self.pool != "max":
            pooled.append(coarse.mean((-2, -1)))
        if self.pool != "average":
            pooled.append(coarse.amax((-2, -1)))
        return self.layers(torch.cat(pooled, 1))  # type: ignore[no-any-return]
