"""The U-Net decoder over any backbone."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from geomm.errors import ConfigError, did_you_mean
from geomm.models.wiring import FeatureInfo
from geomm.registry import HEADS


class DecoderBlock(nn.Module):
    """Doubles the resolution, joins the skip, and convolves twice.

    Args:
      in_channels: of the coarser map.
      skip_channels: of the backbone's map at the finer resolution, 0 for none.
      out_channels: of the result.
      norm: see ``UNetHead``.
    """

    def __init__(self, in_channels: int, skip_channels: int, out_channels: int, norm: str) -> None:
        super().__init__()
        self.conv1 = _conv(in_channels + skip_channels, out_channels, norm)
        self.conv2 = _conv(out_channels, out_channels, norm)

    def forward(self, inputs: Tensor, skip: Tensor | None, size: tuple[int, int]) -> Tensor:
        """Return (B, out_channels, *size) from a coarser map and the skip of that size."""
        finer = F.interpolate(inputs, size=size, mode="nearest")
        joined = finer if skip is None else torch.cat([finer, skip], dim=1)
        return self.conv2(self.conv1(joined))  # type: ignore[no-any-return]


def _conv(in_channels: int, out_channels: int, norm: str) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False),
        _norm(out_channels, norm),
        nn.ReLU(inplace=True),
    )


def _norm(channels: int, norm: str) -> nn.Module:
    if norm == "batch":
        return nn.BatchNorm2d(channels)
    if norm == "group":
        return nn.GroupNorm(math.gcd(32, channels), channels)
    raise ConfigError(f"head.norm: found {norm!r}; {did_you_mean(norm, ('batch', 'group'))}")


@HEADS.register_module()
class UNetHead(nn.Module):
    """U-Net's expanding path (Ronneberger et al., 2015, https://arxiv.org/abs/1505.04597).

    Args:
      features: the backbone's stages, fine to coarse; every one but the last is a skip.
      num_classes: scores a pixel.
      channels: of the decoder's blocks, coarse to fine; the last is repeated where a backbone has
        more stages.
      dropout: share of channels dropped before the scores.
      norm: ``batch``, or ``group`` (Wu and He, 2018) for batches of one or two.

    Raises:
      ConfigError: another norm.
    """

    def __init__(
        self,
        *,
        features: Sequence[FeatureInfo],
        num_classes: int,
        channels: Sequence[int] = (256, 128, 64, 32, 16),
        dropout: float = 0.0,
        norm: str = "batch",
    ) -> None:
        super().__init__()
        skips = [info.channels for info in reversed(features[:-1])]
        # Below the finest map, blocks without a skip go on to the input's own resolution.
        finest = features[0].stride
        skips += [0] * max(finest.bit_length() - 1, 0)
        widths = [*channels, *[channels[-1]] * len(skips)][: len(skips)]
        entries = [features[-1].channels, *widths[:-1]]
        self.blocks = nn.ModuleList(map(DecoderBlock, entries, skips, widths, [norm] * len(widths)))
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(
            widths[-1] if widths else features[-1].channels, num_classes, 3, padding=1
        )
        self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_uniform_(module.weight, mode="fan_in", nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.xavier_uniform_(self.classifier.weight)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Return (B, num_classes, h, w) from the backbone's maps, at about the input's size."""
        *skips, current = features
        for index, block in enumerate(self.blocks):
            skip = skips[-1 - index] if index < len(skips) else None
            height, width = current.shape[-2:]
            size = (height * 2, width * 2) if skip is None else (skip.shape[-2], skip.shape[-1])
            current = block(current, skip, size)
        return self.classifier(self.dropout(current))  # type: ignore[no-any-return]
