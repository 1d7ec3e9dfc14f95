"""PointNet++: set abstraction and feature propagation (Qi et al., 2017, https://arxiv.org/abs/1706.02413).

Neighbourhoods are the K nearest points rather than balls of one radius, which airborne clouds of
uneven density would leave empty.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from geomm.errors import ConfigError
from geomm.models.clouds.neighbours import Pyramid, PyramidPlan, Search
from geomm.models.clouds.pointcnn import Dense
from geomm.registry import HEADS

#: Points that features are carried back from, weighed by the inverse of their distance.
_CARRIED = 3


@HEADS.register_module()
class PointNet2(nn.Module):
    """Maxima over ever wider neighbourhoods, carried back to every point.

    Args:
      in_channels: of a point's features; filled in.
      num_classes: of the scores; filled in.
      out_channels: of each abstraction.
      P: points of each abstraction.
      K: neighbours of each abstraction.
      dropout: before the scores.
      sampling: ``random`` or ``farthest`` representative points.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        num_classes: int,
        out_channels: Sequence[int] = (64, 128, 256),
        P: Sequence[int] = (2048, 512, 128),
        K: Sequence[int] = (16, 16, 16),
        dropout: float = 0.3,
        sampling: str = "farthest",
    ) -> None:
        super().__init__()
        if not len(out_channels) == len(P) == len(K):
            raise ConfigError(
                f"head: out_channels has {len(out_channels)}, P {len(P)} and K {len(K)} numbers; give each "
                "one a layer"
            )
        depth = len(P)
        down = [Search(i, i + 1, K[i]) for i in range(depth)]
        up = [Search(depth - i, depth - i - 1, _CARRIED) for i in range(depth)]
        self.plan = PyramidPlan(tuple(P), (*down, *up), sampling)
        widths = [in_channels, *out_channels]
        self.abstract = nn.ModuleList(
            nn.Sequential(Dense(widths[i] + 3, widths[i + 1]), Dense(widths[i + 1], widths[i + 1]))
            for i in range(depth)
        )
        self.propagate = nn.ModuleList()
        width = widths[-1]
        for search in up:
            out = widths[max(search.query, 1)]
            self.propagate.append(nn.Sequential(Dense(width + widths[search.query], out), Dense(out, out)))
            width = out
        self.classify = nn.Sequential(Dense(width, width), nn.Dropout(dropout), nn.Linear(width, num_classes))

    def forward(self, pyramid: Pyramid, features: Tensor) -> Tensor:
        """Return logits (N, num_classes) of the input's points from their features (N, in_channels)."""
        reached, found = [features], iter(pyramid.neighbours)
        searches = self.plan.searches
        for layer, search in zip(self.abstract, searches, strict=False):
            query, source = pyramid.xyz[search.query], pyramid.xyz[search.source]
            reached.append(_largest(layer, query, source, reached[-1], next(found)))
        features = reached[-1]
        for layer, search in zip(self.propagate, searches[len(self.abstract) :], strict=True):
            query, source = pyramid.xyz[search.query], pyramid.xyz[search.source]
            carried = _carried(query, source, features, next(found))
            features = layer(torch.cat([carried, reached[search.query]], dim=1))
        return self.classify(features)  # type: ignore[no-any-return]


def _largest(layer: nn.Module, query: Tensor, source: Tensor, features: Tensor, neighbours: Tensor) -> Tensor:
    """Return each query's maximum over its neighbours of what ``layer`` makes of them."""
    count, k = neighbours.shape
    flat = neighbours.reshape(-1)
    local = source.index_select(0, flat).view(count, k, 3) - query[:, None]
    rows = torch.cat([local.reshape(-1, 3), features.index_select(0, flat)], dim=1)
    return layer(rows).view(count, k, -1).amax(1)  # type: ignore[no-any-return]


def _carried(query: Tensor, source: Tensor, features: Tensor, neighbours: Tensor) -> Tensor:
    """Return features at the queries, weighed by inverse distance."""
    count, k = neighbours.shape
    flat = neighbours.reshape(-1)
    away = (source.index_select(0, flat).view(count, k, 3) - query[:, None]).norm(dim=2)
    weight = 1 / away.clamp(min=1e-3)
    weight = weight / weight.sum(1, keepdim=True)
    near: Tensor = features.index_select(0, flat).view(count, k, -1)
    carried: Tensor = (near * weight[..., None]).sum(1)
    return carried
