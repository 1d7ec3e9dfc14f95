"""PointCNN: convolution on X-transformed points (Li et al., 2018, https://arxiv.org/abs/1801.07791)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from geomm.errors import ConfigError
from geomm.models.clouds.neighbours import Pyramid, PyramidPlan, Search
from geomm.models.clouds.ops import elu, mix_neighbours
from geomm.registry import HEADS


class PointNorm(nn.BatchNorm1d):
    """Batch normalisation over rows; a single row, which has no spread, uses the running statistics."""

    def forward(self, input: Tensor) -> Tensor:
        if self.training and input.numel() == self.num_features:
            return F.batch_norm(
                input, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps
            )
        return super().forward(input)


class Dense(nn.Module):
    """A linear layer, ELU and batch normalisation, in the order of the authors' own code."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(in_channels, out_channels, bias=False)
        self.norm = PointNorm(out_channels)

    def forward(self, rows: Tensor) -> Tensor:
        return self.norm(elu(self.linear(rows)))  # type: ignore[no-any-return]


class XTransform(nn.Module):
    """Learns a (K, K) matrix a neighbourhood from where its K points lie.

    A convolution over all K points, then two depthwise ones, as in the paper's supplement. Channels
    lie first in memory, so that each is one long row.
    """

    def __init__(self, k: int) -> None:
        super().__init__()
        self.k = k
        self.first = nn.Linear(3 * k, k * k, bias=False)
        self.second = nn.Parameter(torch.empty(k, k, k))
        self.third = nn.Parameter(torch.empty(k, k, k))
        self.norms = nn.ModuleList(PointNorm(k * k) for _ in range(3))
        for weight in (self.second, self.third):
            nn.init.normal_(weight, std=1 / math.sqrt(k))

    def forward(self, local: Tensor) -> Tensor:
        """Return (M, K, K) matrices of local coordinates (M, K, 3)."""
        k = self.k
        x = self.norms[0](elu(self.first.weight @ local.reshape(-1, 3 * k).t())[None])
        x = self.norms[1](elu(self._depthwise(x, self.second)))
        x = self.norms[2](self._depthwise(x, self.third))
        return x.view(k * k, -1).t().contiguous().view(-1, k, k)  # type: ignore[no-any-return]

    def _depthwise(self, x: Tensor, weight: Tensor) -> Tensor:
        """Apply a (channel, output, point) kernel a channel to (1, channel * point, M)."""
        return torch.bmm(weight, x.view(self.k, self.k, -1)).view(1, self.k**2, -1)


class XConv(nn.Module):
    """One X-Conv: features of representative points from those of their K neighbours.

    Args:
      in_channels: of the neighbours' features.
      out_channels: C.
      k: neighbours a point.
      lifted: channels that the local coordinates are lifted to; a quarter of C by default.
    """

    def __init__(self, in_channels: int, out_channels: int, k: int, *, lifted: int | None = None) -> None:
        super().__init__()
        self.k = k
        lifted = lifted or max(out_channels // 4, 8)
        joined = lifted + in_channels
        self.multiplier = math.ceil(out_channels / joined)
        self.lift = nn.Sequential(Dense(3, lifted), Dense(lifted, lifted))
        self.transform = XTransform(k)
        self.depthwise = nn.Parameter(torch.empty(k, joined, self.multiplier))
        nn.init.normal_(self.depthwise, std=1 / math.sqrt(k))
        self.pointwise = Dense(joined * self.multiplier, out_channels)

    def forward(self, query: Tensor, source: Tensor, features: Tensor, neighbours: Tensor) -> Tensor:
        """Return the queries' features.

        Args:
          query: (M, 3) representative points.
          source: (N, 3) points that neighbours come from.
          features: (N, in_channels) of those.
          neighbours: (M, K) into them.

        Returns:
          (M, out_channels).
        """
        count, k = neighbours.shape
        local = source.index_select(0, neighbours.reshape(-1)).view(count, k, 3) - query[:, None]
        lifted = self.lift(local.reshape(-1, 3)).view(count, k, -1)
        transform = self.transform(local)
        return self.pointwise(  # type: ignore[no-any-return]
            mix_neighbours(transform, lifted, features, neighbours, self.depthwise)
        )


@HEADS.register_module()
class PointCNN(nn.Module):
    """X-Conv layers to fewer and fewer points, and back with skip links.

    Args:
      in_channels: of a point's features; filled in.
      num_classes: of the scores; filled in.
      out_channels: C of each encoder layer.
      P: points of each encoder layer, -1 for all of the layer before.
      K: neighbours of each encoder layer.
      D: dilation of each encoder layer.
      decoder_K: neighbours of the decoder layers, coarse to fine; the encoder's, backwards, by default.
      dropout: before the scores.
      sampling: ``random`` or ``farthest`` representative points.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        num_classes: int,
        out_channels: Sequence[int] = (32, 64, 128, 256),
        P: Sequence[int] = (-1, 2048, 512, 128),
        K: Sequence[int] = (12, 16, 16, 16),
        D: Sequence[int] = (1, 1, 2, 2),
        decoder_K: Sequence[int] | None = None,
        dropout: float = 0.3,
        sampling: str = "random",
    ) -> None:
        super().__init__()
        sizes = {"out_channels": len(out_channels), "P": len(P), "K": len(K), "D": len(D)}
        if len(set(sizes.values())) > 1:
            found = ", ".join(f"{name} has {count}" for name, count in sizes.items())
            raise ConfigError(f"head: {found}; give each of them one number a layer")
        depth = len(P)
        back = list(decoder_K) if decoder_K is not None else list(reversed(K))
        if len(back) != depth:
            raise ConfigError(f"head.decoder_K: found {len(back)} numbers, expected {depth}, one a layer")
        down = [Search(i, i + 1, K[i], D[i]) for i in range(depth)]
        # From each layer's points to those of the layer before; the last reaches the input.
        up = [Search(depth - i, depth - i - 1, back[i], 1) for i in range(depth)]
        if P[0] == -1:  # the first layer's points are the input's: there is no way left to go
            up = up[:-1]
        self.plan = PyramidPlan(tuple(P), (*down, *up), sampling)
        widths = [in_channels, *out_channels]
        self.encoder = nn.ModuleList(XConv(widths[i], widths[i + 1], K[i]) for i in range(depth))
        self.decoder, self.skips = nn.ModuleList(), nn.ModuleList()
        width = widths[-1]
        for search in up:
            out = widths[max(search.query, 1)]
            self.decoder.append(XConv(width, out, search.k))
            self.skips.append(Dense(out + widths[search.query], out))
            width = out
        # The last skip link: a point's own features, which neighbours would blur.
        self.classify = nn.Sequential(
            Dense(width + in_channels, width), nn.Dropout(dropout), nn.Linear(width, num_classes)
        )

    def forward(self, pyramid: Pyramid, features: Tensor) -> Tensor:
        """Return logits (N, num_classes) of the input's points from their features (N, in_channels)."""
        levels, searches = pyramid.xyz, self.plan.searches
        reached = [features]
        found = iter(pyramid.neighbours)
        for layer, search in zip(self.encoder, searches, strict=False):
            query, source = levels[search.query], levels[search.source]
            reached.append(layer(query, source, reached[-1], next(found)))
        features = reached[-1]
        decoding = searches[len(self.encoder) :]
        for layer, skip, search in zip(self.decoder, self.skips, decoding, strict=True):
            query, source = levels[search.query], levels[search.source]
            features = layer(query, source, features, next(found))
            features = skip(torch.cat([features, reached[search.query]], dim=1))
        return self.classify(torch.cat([features, reached[0]], dim=1))  # type: ignore[no-any-return]
