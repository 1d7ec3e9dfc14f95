"""timm's models as extractors of features: made, sized, and given their published weights."""

from __future__ import annotations

import logging
import os
import socket
import urllib.request
from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any
from urllib.parse import urlsplit

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from geomm.errors import ConfigError, DependencyError
from geomm.models.weights import read_weights

_LOG = logging.getLogger("geomm")
#: Input sizes tried to find the smallest that a model takes, pixels.
_SIZES = (64, 96, 128, 160, 224, 256, 384)


def create_features(
    name: str,
    options: dict[str, Any],
    output_stride: int | None,
    state: dict[str, Tensor] | None,
    *,
    init: str = "open",
) -> nn.Module:
    """Make a timm model that returns a map a stage, of any input size where it can.

    Args:
      name: timm's name of the model.
      options: arguments of ``timm.create_model``.
      output_stride: largest stride, dilated from there on; None for the model's own.
      state: weights in timm's own layout; None to start from chance, or from what ``options`` say.
      init: how weights start from chance. ``timm`` leaves them as timm has them. ``open`` lets residual
        branches count from the first step on and starts the first convolution by its inputs: some hundred
        steps of pixel classification end better so, those of SSD worse.

    Raises:
      ConfigError: there is no such model, or it gives no maps.
    """
    import timm

    check_name(name)
    if state is not None:
        options = {**options, "pretrained": True, "pretrained_cfg_overlay": {"state_dict": state}}
    problem: Exception | None = None
    for arguments in _variants(name, options, output_stride):
        try:
            model = timm.create_model(name, features_only=True, **arguments)
        except (TypeError, NotImplementedError, AssertionError, AttributeError) as error:
            problem = error
            continue
        if output_stride not in (None, 32, arguments.get("output_stride")):
            _LOG.info("%s keeps its own stride: it has no dilated form", name)
        _forget_state(model)
        if not options.get("pretrained") and init == "open":
            _open_residuals(model)
            _widen_stem(model)
        return model  # type: ignore[no-any-return]
    raise ConfigError(f"backbone.name={name}: this timm model gives no feature maps ({problem})") from problem


def _open_residuals(model: nn.Module) -> None:
    """Let residual branches count from the first step on.

    timm starts their last normalisation at 0, which helps long schedules of large batches (Goyal et al.,
    2017); a few hundred steps from chance, as geospatial training often is, end better without.
    """
    for module in model.modules():
        if isinstance(module, _BatchNorm) and module.affine and not module.weight.any():
            nn.init.ones_(module.weight)


def _widen_stem(model: nn.Module) -> None:
    """Start the first convolution before a batch normalisation at a scale that suits its few inputs.

    timm starts it by its outputs (``fan_out``), which makes weights of a few bands so small that each step
    of the optimizer turns them a long way round; torch's own start, by the inputs, learns steadier.
    """
    modules = list(model.modules())
    if any(isinstance(module, _BatchNorm) for module in modules):
        first = next((module for module in modules if isinstance(module, nn.Conv2d)), None)
        if first is not None:
            first.reset_parameters()


def check_name(name: str) -> None:
    """Check that timm has a model.

    Raises:
      ConfigError: it has none of that name; the nearest are named.
    """
    import timm

    if not timm.is_model(name):
        near = get_close_matches(name, timm.list_models(), n=6, cutoff=0.5)
        hint = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
        raise ConfigError(f"backbone.name: timm has no model {name!r}; {hint}timm.list_models() lists all")


def _variants(name: str, options: dict[str, Any], output_stride: int | None) -> Iterator[dict[str, Any]]:
    """Yield the arguments to try, the most wanted first.

    Models of one input size are asked to be flexible; the others do not know those words.
    """
    flexible = [options]
    if published(name).fixed_input_size:
        flexible = [
            {**options, "strict_img_size": False},
            {**options, "dynamic_img_size": True},
            options,
        ]
    if output_stride not in (None, 32):
        yield {**flexible[0], "output_stride": output_stride}
    yield from flexible


def _forget_state(model: nn.Module) -> None:
    """Drop the copy of the weights that timm keeps in a model's description of itself."""
    for module in model.modules():
        cfg = getattr(module, "pretrained_cfg", None)
        if isinstance(cfg, dict):
            cfg.pop("state_dict", None)


def published(name: str) -> Any:
    """Return timm's description of a model's published weights, empty where it has none."""
    from timm.models import PretrainedCfg, get_pretrained_cfg

    return get_pretrained_cfg(name, allow_unregistered=True) or PretrainedCfg()


def fetch_published(name: str) -> dict[str, Tensor] | None:
    """Return a model's published weights from the cache, None where timm shall fetch them.

    Raises:
      ConfigError: timm has no such model, or publishes no weights of it.
      DependencyError: they are not in the cache and there is no network.
    """
    check_name(name)
    cfg = published(name)
    if not (cfg.hf_hub_id or cfg.url):
        raise ConfigError(
            f"backbone.pretrained: timm publishes no weights of {name}; use "
            "backbone.pretrained=false, or a file of your own with backbone.checkpoint=FILE"
        )
    if cfg.hf_hub_id:
        from huggingface_hub import try_to_load_from_cache

        found = try_to_load_from_cache(cfg.hf_hub_id, "model.safetensors")
        if isinstance(found, str):
            return read_weights(found)
    if not _reachable(_address(cfg)):
        raise no_weights(name, "no network")
    return None


def _address(cfg: Any) -> str:
    if cfg.hf_hub_id:
        endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
        return f"{endpoint}/{cfg.hf_hub_id}/resolve/main/model.safetensors"
    return str(cfg.url)


def _reachable(address: str) -> bool:
    """Tell whether a host answers; a download without a network retries for most of a minute."""
    parts = urlsplit(address)
    if parts.scheme in urllib.request.getproxies():
        return True
    try:
        with socket.create_connection((parts.hostname, parts.port or 443), timeout=5):
            return True
    except OSError:
        return False


def no_weights(name: str, reason: str) -> DependencyError:
    """Return the error of weights that cannot be fetched: what to fetch, and where to put it."""
    return DependencyError(
        f"backbone.pretrained: the published weights of {name} cannot be fetched ({reason}); "
        f"download {_address(published(name))} where there is a network and give "
        "backbone.checkpoint=FILE, or train from scratch with backbone.pretrained=false"
    )


def find_sizes(body: nn.Module, name: str, in_channels: int, stride: int) -> tuple[int, int | None]:
    """Find by trying which inputs a model takes.

    Args:
      body: the model.
      name: timm's name of it.
      in_channels: bands.
      stride: its largest stride, pixels.

    Returns:
      The smallest edge of an input, pixels, and the only one where there is only one.

    Raises:
      ConfigError: none was found.
    """
    sizes = sorted({-(-size // stride) * stride for size in _SIZES})
    least = next((s for s in sizes if _runs(body, in_channels, s, s)), None)
    cfg = published(name)
    if not cfg.fixed_input_size and least is not None:
        return least, None
    own = int(cfg.input_size[-1])
    if least is not None and _runs(body, in_channels, own + stride, own + 2 * stride):
        return least, None
    if _runs(body, in_channels, own, own):
        return own, own
    raise ConfigError(f"backbone.name={name}: it runs on no input of {sizes[0]} to {sizes[-1]} px")


def _runs(body: nn.Module, in_channels: int, height: int, width: int) -> bool:
    training = body.training
    body.eval()
    try:
        with torch.no_grad():
            body(torch.zeros(1, in_channels, height, width))
    except (RuntimeError, AssertionError, IndexError, ValueError):
        return False
    finally:
        body.train(training)
    return True
