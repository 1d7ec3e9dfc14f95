"""Backbones: any timm model with features, and the frameworks' own."""

from __future__ import annotations

import inspect
import logging
from typing import Any

import torch
from torch import Tensor, nn

from geomm.errors import ConfigError, DataError
from geomm.models.blockwise import run_blockwise
from geomm.models.timm_models import create_features, fetch_published, find_sizes, no_weights
from geomm.models.weights import (
    adapt_bands,
    count_shared,
    load_weights,
    read_weights,
    report_loaded,
)
from geomm.models.wiring import FeatureInfo, initialise
from geomm.registry import BACKBONES, MODELS, get

_LOG = logging.getLogger("geomm")


@BACKBONES.register_module()
class TimmBackbone(nn.Module):
    """Any timm model that gives features, for any number of bands.

    https://huggingface.co/docs/timm/feature_extraction

    Args:
      in_channels: bands; the weights of a pretrained first layer are repeated or summed to fit.
      name: timm's name of the model.
      pretrained: start from timm's published weights; needs a network or a filled cache.
      checkpoint: weights in a file of one's own (safetensors, or a pickle of tensors only).
      output_stride: largest stride, where the model can trade stride for dilation; else its own.
      drop_path_rate: stochastic depth, where the model has it.
      init: how weights start from chance, ``open`` or ``timm``; see ``create_features``.

    Attributes:
      features: channels and stride of each map, fine to coarse.
      least_px: smallest edge of an input, pixels.
      multiple_px: what the edges of an input must be multiples of, pixels.
      block_px: of a model that takes one input size only, that size: larger inputs are cut into
        blocks of it; else None.

    Raises:
      ConfigError: timm has no such model, or one that gives no maps.
      DependencyError: the published weights cannot be fetched.
      DataError: the checkpoint cannot be read or is another model's.
    """

    features: tuple[FeatureInfo, ...] = ()
    body: Any

    def __init__(
        self,
        *,
        in_channels: int,
        name: str,
        pretrained: bool = False,
        checkpoint: str | None = None,
        output_stride: int | None = None,
        drop_path_rate: float | None = None,
        init: str | None = None,
    ) -> None:
        super().__init__()
        options: dict[str, Any] = {"in_chans": in_channels}
        if drop_path_rate is not None:
            options["drop_path_rate"] = drop_path_rate
        if pretrained and checkpoint is None:
            self.body = _create_published(name, options, output_stride)
        else:
            self.body = _create(name, options, output_stride, init or "open")
        if checkpoint is not None:
            self.body = _load_timm(self.body, checkpoint, name, options, output_stride)
        self.channels_last = str(getattr(self.body, "output_fmt", "")).endswith("NHWC")
        info = self.body.feature_info
        self.features = tuple(map(FeatureInfo, info.channels(), info.reduction()))
        stride = max(info.stride for info in self.features)
        self.least_px, self.block_px = find_sizes(self.body, name, in_channels, stride)
        self.multiple_px = self.block_px or stride

    def forward(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """Return a (B, C_i, H / s_i, W / s_i) map a stage from (B, in_channels, H, W)."""
        if self.block_px is not None:
            return tuple(run_blockwise(self._maps, inputs, self.block_px))
        return self._maps(inputs)

    def _maps(self, inputs: Tensor) -> tuple[Tensor, ...]:
        maps = self.body(inputs)
        return tuple(m.permute(0, 3, 1, 2) for m in maps) if self.channels_last else tuple(maps)


def _create(name: str, options: dict[str, Any], output_stride: int | None, init: str) -> nn.Module:
    try:
        return create_features(name, options, output_stride, None, init=init)
    except RuntimeError as error:
        raise ConfigError(f"backbone.name={name}: {str(error).splitlines()[0]}") from error


def _create_published(name: str, options: dict[str, Any], output_stride: int | None) -> nn.Module:
    state = fetch_published(name)
    try:
        return create_features(name, {**options, "pretrained": True}, output_stride, state)
    except (OSError, RuntimeError) as error:
        raise no_weights(name, type(error).__name__) from error


def _load_timm(
    body: nn.Module,
    path: str,
    name: str,
    options: dict[str, Any],
    output_stride: int | None,
) -> nn.Module:
    """Load weights in the backbone's own layout, or else in timm's, where stages have other names."""
    state = read_weights(path)
    total = len(body.state_dict())
    loaded = load_weights(body, state, options["in_chans"])
    shared = count_shared(body, state)
    if loaded < shared:
        try:
            body = create_features(name, options, output_stride, state)
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:200]
            raise DataError(f"backbone.checkpoint: {path} does not fit {name}: {reason}") from error
        loaded = shared
    report_loaded(path, loaded, total)
    return body


@BACKBONES.register_module()
class FrameworkBackbone(nn.Module):
    """A backbone of mmseg, mmdet or mmpretrain, whose stages are found by a trial run.

    Args:
      in_channels: bands.
      type: the framework's name of it, ``mmseg.MixVisionTransformer`` say.
      name: what people call it; not used.
      checkpoint: weights in a file of one's own.
      options: further arguments of its constructor. ``norm_eval`` is false where it is not given:
        batch normalisation that never learns suits fine-tuning only.

    Attributes:
      features: channels and stride of each map, fine to coarse.

    Raises:
      ConfigError: it returns no maps.
      DataError: the checkpoint cannot be read or is another model's.
    """

    features: tuple[FeatureInfo, ...] = ()
    body: Any

    def __init__(
        self,
        *,
        in_channels: int,
        type: str,
        name: str | None = None,
        checkpoint: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        cls = get(MODELS, type)
        arguments = inspect.signature(cls).parameters
        if "in_channels" in arguments:
            options["in_channels"] = in_channels
        if "norm_eval" in arguments:
            options.setdefault("norm_eval", False)
        self.body = cls(**options)
        if "in_channels" not in arguments:
            _widen_first_layer(self.body, in_channels)
        initialise(self.body)
        self.features = self._probe(type, in_channels)
        if checkpoint is not None:
            loaded = load_weights(self.body, read_weights(checkpoint), in_channels)
            report_loaded(checkpoint, loaded, len(self.body.state_dict()))

    def forward(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """Return a map a stage, fine to coarse."""
        maps = self.body(inputs)
        return tuple(maps) if isinstance(maps, list | tuple) else (maps,)

    def _probe(self, name: str, in_channels: int, size: int = 128) -> tuple[FeatureInfo, ...]:
        training = self.body.training
        self.body.eval()
        with torch.no_grad():
            maps = self(torch.zeros(1, in_channels, size, size))
        self.body.train(training)
        if any(not isinstance(m, Tensor) or m.ndim != 4 for m in maps):
            raise ConfigError(
                f"backbone.type={name}: it returns no maps (B, C, H, W); an image classifier needs "
                "backbone.out_type=featmap or the like"
            )
        return tuple(FeatureInfo(m.shape[1], max(1, round(size / m.shape[-1]))) for m in maps)


def _widen_first_layer(body: nn.Module, in_channels: int) -> None:
    """Put a first convolution for another band count in place, its weights repeated to fit."""
    for name, module in body.named_modules():
        if not isinstance(module, nn.Conv2d):
            continue
        if module.in_channels == in_channels:
            return
        wider = nn.Conv2d(
            in_channels,
            module.out_channels,
            module.kernel_size,  # type: ignore[arg-type]
            module.stride,  # type: ignore[arg-type]
            module.padding,  # type: ignore[arg-type]
            module.dilation,  # type: ignore[arg-type]
            bias=module.bias is not None,
        )
        with torch.no_grad():
            wider.weight.copy_(adapt_bands(module.weight, in_channels))
            if module.bias is not None and wider.bias is not None:
                wider.bias.copy_(module.bias)
        parent, _, child = name.rpartition(".")
        setattr(body.get_submodule(parent), child, wider)
        return
