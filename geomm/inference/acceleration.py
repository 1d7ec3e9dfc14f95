"""Making the model's part of inference as fast as the device allows."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from geomm.inference.options import RasterOptions
from geomm.models.precision import computes_in_bf16
from geomm.structures import RasterSpec

_LOG = logging.getLogger("geomm")
Score = Callable[[Tensor, Tensor], Tensor]
Seen = TypeVar("Seen")
Model = Callable[[Tensor, Tensor], Seen]
CPU_BATCH = 4
_MOST = 128


class OnDevice(Generic[Seen]):
    """A model's function made fast for a device, which may travel to another machine and be made so there.

    Args:
      run: from raw pixels (B, C, h, w) and validity (B, h, w) bool; where it is a module's method, the
        module is moved to the device.
      wrap: from ``run`` and ``device=…`` to the fast function.
      device: where it runs.
    """

    def __init__(
        self, run: Callable[[Tensor, Tensor], Seen], wrap: Callable[..., Model[Seen]], device: torch.device
    ) -> None:
        self.run, self.wrap, self.device = run, wrap, device
        if isinstance(owner := getattr(run, "__self__", None), torch.nn.Module):
            owner.to(device)
        self._fast = wrap(run, device=device)

    def __call__(self, inputs: Tensor, valid: Tensor) -> Seen:
        return self._fast(inputs, valid)

    def on(self, device: torch.device) -> OnDevice[Seen]:
        """Return the same function for another device."""
        return OnDevice(self.run, self.wrap, device)

    def __reduce__(self) -> Any:
        # Without what was made for this device; weights travel as they lie in memory, so on the CPU.
        owner = getattr(self.run, "__self__", None)
        if isinstance(owner, torch.nn.Module):
            owner.to("cpu")
        return OnDevice, (self.run, self.wrap, torch.device("cpu"))


def accelerate(score: Score, spec: RasterSpec, options: RasterOptions, device: torch.device) -> Score:
    """Wrap a score function with precision, asynchronous copies and test-time augmentation."""

    def run(inputs: Tensor, valid: Tensor) -> Tensor:
        if not options.tta:
            return score(inputs, valid).float().contiguous()
        return _averaged(score, inputs, valid, turns=spec.map_space)

    return on_device(run, options.precision, device)


def on_device(run: Callable[[Tensor, Tensor], Seen], precision: str, device: torch.device) -> Model[Seen]:
    """Wrap what takes pixels and validity on the device, without gradients, in the precision asked for.

    Inputs go in with their bands last in memory (``torch.channels_last``), which convolutions take
    over and which is faster for them on CPUs and GPUs alike.
    """
    autocast = _autocast(precision, device)

    def prepared(inputs: Tensor, valid: Tensor) -> Seen:
        inputs = inputs.to(device, non_blocking=True)
        inputs = inputs.contiguous(memory_format=torch.channels_last)
        valid = valid.to(device, non_blocking=True)
        with torch.inference_mode(), autocast():
            return run(inputs, valid)

    return prepared


def accelerate_classes(
    score: Score, spec: RasterSpec, *, precision: str, tta: bool, device: torch.device
) -> Score:
    """Wrap what scores whole pictures, (B, C, h, w) to (B, K), as ``accelerate`` does for maps."""

    def run(inputs: Tensor, valid: Tensor) -> Tensor:
        if not tta:
            return score(inputs, valid).float()
        pixels = _turnable(inputs)
        seen = [(forth(pixels, *view), forth(valid, *view)) for view in views(spec.map_space)]
        return torch.stack([score(*pair).float() for pair in seen]).mean(0)

    return on_device(run, precision, device)


def _autocast(precision: str, device: torch.device) -> Callable[[], AbstractContextManager[object]]:
    if device.type != "cuda" or precision == "fp32":
        return nullcontext
    if precision == "fp16" or not computes_in_bf16(device):
        return lambda: torch.autocast("cuda", torch.float16)
    return lambda: torch.autocast("cuda", torch.bfloat16)


def _averaged(score: Score, inputs: Tensor, valid: Tensor, *, turns: bool) -> Tensor:
    """Average scores over flips, and over quarter turns of imagery seen from above."""
    total: Tensor | None = None
    count = 0
    inputs = _turnable(inputs)
    for quarter, flip in views(turns and inputs.shape[-1] == inputs.shape[-2]):
        scores = _back(
            score(forth(inputs, quarter, flip), forth(valid, quarter, flip)).float(), quarter, flip
        )
        total = scores if total is None else total + scores
        count += 1
    assert total is not None
    return total / count


def views(turns: bool) -> list[tuple[int, bool]]:
    """Return the views of test-time augmentation: quarter turns, where they make sense, and flips."""
    return [(quarter, flip) for quarter in range(4 if turns else 1) for flip in (False, True)]


def _turnable(inputs: Tensor) -> Tensor:
    """Return pixels in a type that torch can turn."""
    return inputs.to(torch.int64) if inputs.dtype in (torch.uint16, torch.uint32) else inputs


def forth(x: Tensor, quarter: int, flip: bool) -> Tensor:
    """Turn (…, h, w) counterclockwise by ``quarter`` quarters, then swap left and right if asked."""
    turned = torch.rot90(x, quarter, (-2, -1))
    return (turned.flip(-1) if flip else turned).contiguous()


def _back(x: Tensor, quarter: int, flip: bool) -> Tensor:
    return torch.rot90(x.flip(-1) if flip else x, -quarter, (-2, -1))


def automatic_batch(score: Model[Any], spec: RasterSpec, tile_px: int, device: torch.device) -> int:
    """Return the batch size for a device: 4 on a CPU; on a GPU half of what memory holds."""
    if device.type != "cuda":
        return CPU_BATCH
    fits = 1
    while fits * 2 <= _MOST:
        try:
            size = fits * 2
            inputs = torch.zeros((size, spec.in_channels, tile_px, tile_px), device=device)
            score(inputs, torch.ones((size, tile_px, tile_px), dtype=torch.bool, device=device))
            torch.cuda.synchronize()
        except torch.cuda.OutOfMemoryError:
            break
        finally:
            torch.cuda.empty_cache()
        fits *= 2
    _LOG.info("batch size auto: %d tiles of %d px", max(1, fits // 2), tile_px)
    return max(1, fits // 2)
