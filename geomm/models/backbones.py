"""Backbones: any timm model with features, and the frameworks' own."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from geomm.errors import ConfigError, DataError, DependencyError, did_you_mean
from geomm.models.wiring import FeatureInfo
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

    Attributes:
      features: channels and stride of each map, fine to coarse.
    """

    features: tuple[FeatureInfo, ...] = ()

    def __init__(
        self,
        *,
        in_channels: int,
        name: str,
        pretrained: bool = False,
        checkpoint: str | None = None,
        output_stride: int | None = None,
        drop_path_rate: float | None = None,
    ) -> None:
        super().__init__()
        options: dict[str, Any] = {"in_chans": in_channels}
        if drop_path_rate is not None:
            options["drop_path_rate"] = drop_path_rate
        self.body = _create(name, options, output_stride, pretrained=pretrained)
        self.channels_last = str(getattr(self.body, "output_fmt", "")).endswith("NHWC")
        #: Smallest input the model can take, pixels.
        self.least_px = _least_px(self.body, in_channels)
        info = self.body.feature_info
        self.features = tuple(map(FeatureInfo, info.channels(), info.reduction()))
        if checkpoint is not None:
            _load_checkpoint(self.body, checkpoint)

    def forward(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """Return a (B, C_i, H / s_i, W / s_i) map a stage from (B, in_channels, H, W)."""
        maps = self.body(inputs)
        return tuple(m.permute(0, 3, 1, 2) for m in maps) if self.channels_last else tuple(maps)


def _create(
    name: str, options: dict[str, Any], output_stride: int | None, *, pretrained: bool
) -> nn.Module:
    import timm

    if not timm.is_model(name):
        raise ConfigError(
            f"backbone.name: unknown {name!r}; {did_you_mean(name, timm.list_models())}"
        )
    variants = [
        options,
        {**options, "strict_img_size": False},
        {**options, "dynamic_img_size": True},
    ]
    # Models of one input size only are asked to be flexible; the others do not know those words.
    flexible = [v for v in variants[1:] if _is_fixed_size(name)] + variants[:1]
    if output_stride not in (None, 32):
        flexible = [{**flexible[0], "output_stride": output_stride}, *flexible]
    problem: Exception | None = None
    for attempt, arguments in enumerate(flexible):
        try:
            model = timm.create_model(name, features_only=True, pretrained=pretrained, **arguments)
        except (TypeError, NotImplementedError, AssertionError, AttributeError) as error:
            problem = error
            continue
        except (OSError, RuntimeError) as error:
            if not pretrained:
                raise ConfigError(f"backbone.name={name}: {str(error).splitlines()[0]}") from error
            raise _no_weights(name, error) from error
        if attempt and output_stride not in (None, 32):
            _LOG.info("%s keeps its own stride: it has no dilated form", name)
        return model  # type: ignore[no-any-return]
    raise ConfigError(
        f"backbone.name={name}: this timm model gives no feature maps ({problem})"
    ) from problem


def _is_fixed_size(name: str) -> bool:
    from timm.models import get_pretrained_cfg

    cfg = get_pretrained_cfg(name)
    return bool(cfg is not None and cfg.fixed_input_size)


def _least_px(body: nn.Module, in_channels: int) -> int:
    """Return the smallest of a few sizes that the model can run on; found by trying."""
    training = body.training
    body.eval()
    try:
        for size in (64, 96, 128, 160, 224, 256):
            try:
                with torch.no_grad():
                    body(torch.zeros(1, in_channels, size, size))
            except (RuntimeError, AssertionError):
                continue
            return size
    finally:
        body.train(training)
    raise ConfigError("backbone: this model runs on none of 64 to 256 px; it cannot be tiled")


def _no_weights(name: str, error: Exception) -> DependencyError:
    from timm.models import get_pretrained_cfg

    cfg = get_pretrained_cfg(name)
    place = (getattr(cfg, "hf_hub_id", None) or getattr(cfg, "url", None)) if cfg else None
    return DependencyError(
        f"the published weights of {name} could not be fetched ({type(error).__name__}); fetch "
        f"{place or name} on a machine with a network and give backbone.checkpoint=FILE, or train "
        "from scratch with backbone.pretrained=false"
    )


def _load_checkpoint(body: nn.Module, path: str) -> None:
    """Load a weights file into a backbone; a classifier's own layers in it are left out."""
    try:
        if path.endswith(".safetensors"):
            from safetensors.torch import load_file

            state: Mapping[str, Tensor] = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise DataError(
            f"backbone.checkpoint: {path} cannot be read as weights ({error})"
        ) from error
    state = state.get("state_dict", state)  # type: ignore[assignment]
    own = body.state_dict()
    fitting = {
        key: value
        for key, value in ((k.removeprefix("backbone."), v) for k, v in state.items())
        if key in own and own[key].shape == value.shape
    }
    if not fitting:
        raise DataError(f"backbone.checkpoint: nothing in {path} fits this backbone")
    body.load_state_dict(fitting, strict=False)
    _LOG.info("%s: %d of %d tensors loaded", path, len(fitting), len(own))


@BACKBONES.register_module()
class FrameworkBackbone(nn.Module):
    """A backbone of mmseg, mmdet or mmpretrain, whose stages are found by a trial run.

    Args:
      in_channels: bands.
      type: the framework's name of it, ``mmseg.MixVisionTransformer`` say.
      name: what people call it; not used.
      checkpoint: weights in a file of one's own.
      options: further arguments of its constructor.
    """

    features: tuple[FeatureInfo, ...] = ()

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
        import inspect

        cls = get(MODELS, type)
        arguments = inspect.signature(cls).parameters
        if "in_channels" in arguments:
            options["in_channels"] = in_channels
        self.body = cls(**options)
        if "in_channels" not in arguments:
            _widen_first_layer(self.body, in_channels)
        self.features = self._probe(in_channels)
        if checkpoint is not None:
            _load_checkpoint(self.body, checkpoint)

    def forward(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """Return a map a stage, fine to coarse."""
        maps = self.body(inputs)
        return tuple(maps) if isinstance(maps, list | tuple) else (maps,)

    def _probe(self, in_channels: int, size: int = 128) -> tuple[FeatureInfo, ...]:
        training = self.body.training
        self.body.eval()
        with torch.no_grad():
            maps = self(torch.zeros(1, in_channels, size, size))
        self.body.train(training)
        return tuple(FeatureInfo(m.shape[1], max(1, round(size / m.shape[-1]))) for m in maps)


def _widen_first_layer(body: nn.Module, in_channels: int) -> None:
    """Put a first convolution for another band count in place, its RGB weights averaged."""
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
            mean = module.weight.mean(1, keepdim=True) * module.in_channels / in_channels
            wider.weight.copy_(mean.expand_as(wider.weight))
            if module.bias is not None and wider.bias is not None:
                wider.bias.copy_(module.bias)
        parent, _, child = name.rpartition(".")
        setattr(body.get_submodule(parent), child, wider)
        return
