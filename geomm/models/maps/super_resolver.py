"""The model of super-resolution."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.model import BaseModel
from torch import Tensor, nn

from geomm.errors import ConfigError
from geomm.models.losses import build_losses
from geomm.models.preprocessor import PairPreprocessor
from geomm.models.weights import load_weights, read_weights, report_loaded
from geomm.models.whole_batch import own_share
from geomm.models.wiring import initialise
from geomm.plugins import ENLARGER_KEYS
from geomm.registry import MODELS, get
from geomm.structures import RasterSpec


@MODELS.register_module()
class SuperResolver(BaseModel):
    """Any network that enlarges, from raw pixels to raw pixels of a finer grid.

    Args:
      head: config of the network. ``scale`` is the enlargement; ``residual`` lets the network learn what
        bicubic interpolation misses (Kim et al., 2016, VDSR) rather than the picture itself;
        ``multiple_px`` is what its input's edges must be a multiple of; ``checkpoint`` a weights file.
      loss: config of the losses, each called with prediction, truth and ``weight``.
      spec: what the data is: bands, statistics, scale.
    """

    def __init__(
        self,
        *,
        head: Mapping[str, Any],
        loss: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None,
        spec: RasterSpec,
    ) -> None:
        super().__init__(data_preprocessor=PairPreprocessor(spec))
        self.scale = spec.scale
        self.residual = bool(head.get("residual", True))
        self.multiple_px = int(head.get("multiple_px", 1))
        self.generator = build_network(head, bands=spec.in_channels, scale=spec.scale)
        if self.residual:
            _begin_at_zero(self.generator)
        if head.get("checkpoint"):
            _start_from(self.generator, str(head["checkpoint"]), spec)
        self.losses = build_losses(loss, spec)

    def forward(
        self,
        inputs: Tensor,
        valid: Tensor | None = None,
        target: Tensor | None = None,
        target_valid: Tensor | None = None,
        name: Sequence[str] | None = None,
        mode: str = "tensor",
    ) -> Any:
        """Run the model on normalised pixels.

        Args:
          inputs: (B, C, h, w) float32, as ``PairPreprocessor`` returns it.
          valid: (B, h, w) bool; it is 0 elsewhere.
          target: (B, C, h * scale, w * scale) float32, normalised alike.
          target_valid: (B, h * scale, w * scale) bool; nothing is learnt or judged elsewhere.
          name: where the samples come from.
          mode: ``tensor`` for the enlarged pixels, ``loss`` for named losses, ``predict`` for a dict a
            sample with ``prediction``, ``bicubic``, ``target`` (C, H, W) in raw units, and ``valid``.
        """
        if mode == "tensor":
            return self.enlarge(inputs)
        assert target is not None and target_valid is not None
        if mode == "loss":
            return self.loss(inputs, target, target_valid)
        raw = self.data_preprocessor.restore
        pictures = (raw(self.enlarge(inputs)), raw(self.bicubic(inputs)), raw(target), target_valid)
        keys = ("prediction", "bicubic", "target", "valid")
        return [dict(zip(keys, sample, strict=True)) for sample in zip(*pictures, strict=True)]

    def enlarge(self, inputs: Tensor) -> Tensor:
        """Return (B, C, h * scale, w * scale) of normalised pixels (B, C, h, w), for any h and w."""
        height, width = inputs.shape[-2:]
        padded = _pad_to_multiple(inputs, self.multiple_px)
        fine: Tensor = self.generator(padded)[..., : height * self.scale, : width * self.scale]
        return fine + self.bicubic(inputs) if self.residual else fine

    def bicubic(self, inputs: Tensor) -> Tensor:
        """Return pixels (B, C, h, w) interpolated to the finer grid, by the kernel with a = -0.5."""
        size = [edge * self.scale for edge in inputs.shape[-2:]]
        # ``antialias`` changes nothing when enlarging but the kernel's a, which is -0.75 without it.
        return F.interpolate(inputs.float(), size, mode="bicubic", antialias=True, align_corners=False)

    def loss(self, inputs: Tensor, target: Tensor, target_valid: Tensor) -> dict[str, Tensor]:
        """Return a batch's named losses over valid pixels."""
        weight = target_valid[:, None].to(target.dtype)
        share = own_share(weight.sum())
        losses: dict[str, Tensor] = self.losses(self.enlarge(inputs), target, weight=weight)
        return {name: loss * share for name, loss in losses.items()}

    @torch.inference_mode()
    def predict_pixels(self, inputs: Tensor, valid: Tensor) -> Tensor:
        """Return the finer pixels of raw pixels.

        Args:
          inputs: (B, C, h, w) of any dtype, in the raster's own units, on any device.
          valid: (B, h, w) bool.

        Returns:
          (B, C, h * scale, w * scale) float32 in the raster's own units, on the model's device.
        """
        normal = self.data_preprocessor.normalise(inputs, valid)
        return self.data_preprocessor.restore(self.enlarge(normal).float())  # type: ignore[no-any-return]


def build_network(head: Mapping[str, Any], *, bands: int, scale: int) -> nn.Module:
    """Build a network, with what its constructor calls bands and scale filled in.

    Args:
      head: its config.
      bands: of input and output.
      scale: enlargement.

    Raises:
      ConfigError: the network does not have this scale.
    """
    cls: Any = get(MODELS, str(head["type"]))
    options = {key: value for key, value in head.items() if key not in ENLARGER_KEYS}
    native = 4 if scale == 3 and cls.__name__ == "RRDBNet" else scale
    options |= _wiring(cls, options, bands, native)
    try:
        network = cls(**options)
    except (ValueError, NotImplementedError, AssertionError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ConfigError(f"head.scale: {head['type']} cannot enlarge {scale} times ({reason})") from error
    initialise(network)
    if isinstance(getattr(network, "mean", None), Tensor):
        network.mean = torch.zeros_like(network.mean)  # pixels come normalised already
    return network if native == scale else _Resampled(network, scale / native)


def _wiring(cls: Any, options: Mapping[str, Any], bands: int, scale: int) -> dict[str, Any]:
    """Return what a network's constructor calls its bands and scale."""
    names = inspect.signature(cls).parameters
    filled: dict[str, Any] = {
        key: bands for key in ("in_channels", "out_channels", "in_chans") if key in names
    }
    filled |= {key: scale for key in ("upscale_factor", "upscale", "scale") if key in names}
    # Pixels come normalised already.
    filled |= {"rgb_mean": [0.0] * bands, "rgb_std": [1.0] * bands} if "rgb_mean" in names else {}
    if "channels" in names:  # SRCNN lists the widths of its maps, first and last included
        widths = list(options.get("channels", names["channels"].default))
        filled["channels"] = (bands, *widths[1:-1], bands)
    return filled


class _Resampled(nn.Module):
    """A network whose output is brought to a scale that it does not have."""

    def __init__(self, network: nn.Module, factor: float) -> None:
        super().__init__()
        self.network, self.factor = network, factor

    def forward(self, inputs: Tensor) -> Tensor:
        fine = self.network(inputs)
        size = [round(edge * self.factor) for edge in fine.shape[-2:]]
        return F.interpolate(fine.float(), size, mode="bicubic", antialias=True, align_corners=False)


def _begin_at_zero(network: nn.Module) -> None:
    """Let a network that learns a difference begin with none: its last convolution gives 0."""
    last = [module for module in network.modules() if isinstance(module, nn.Conv2d)][-1:]
    for module in last:
        nn.init.zeros_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def _start_from(network: nn.Module, path: str, spec: RasterSpec) -> None:
    state = read_weights(path, key="head.checkpoint")
    own = network.state_dict()
    other = next((n for n, v in own.items() if n not in state or state[n].shape != v.shape), None)
    if other is not None and any(name in own for name in state):
        found = tuple(state[other].shape) if other in state else "not in it"
        raise ConfigError(
            f"head.checkpoint: {path} is of another network: {other} is {found}, expected "
            f"{tuple(own[other].shape)} for head.scale={spec.scale} and {spec.in_channels} bands; give "
            "weights of the same scale, bands and widths"
        )
    loaded = load_weights(network, state, spec.in_channels)
    report_loaded(path, loaded, len(own), key="head.checkpoint")


def _pad_to_multiple(inputs: Tensor, multiple_px: int) -> Tensor:
    """Repeat the right and bottom edges up to a multiple."""
    bottom, right = (-edge % multiple_px for edge in inputs.shape[-2:])
    return F.pad(inputs, (0, right, 0, bottom), mode="replicate") if right or bottom else inputs
