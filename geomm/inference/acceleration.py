"""Making the model's part of inference as fast as the device allows."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from geomm.inference.options import RasterOptions
from geomm.structures import RasterSpec

_LOG = logging.getLogger("geomm")
Score = Callable[[Tensor, Tensor], Tensor]
CPU_BATCH = 4
_MOST = 128


def accelerate(score: Score, spec: RasterSpec, options: RasterOptions, device: torch.device) -> Score:
    """Wrap a score function with precision, asynchronous copies and test-time augmentation.

    Inputs go in with their bands last in memory (``torch.channels_last``), which convolutions take
    over and which is faster for them on CPUs and GPUs alike.
    """
    autocast = _autocast(options.precision, device)

    def run(inputs: Tensor, valid: Tensor) -> Tensor:
        inputs = inputs.to(device, non_blocking=True)
        inputs = inputs.contiguous(memory_format=torch.channels_last)
        valid = valid.to(device, non_blocking=True)
        with torch.inference_mode(), autocast():
            if not options.tta:
                return score(inputs, valid).float().contiguous()
            return _averaged(score, inputs, valid, turns=spec.map_space)

    return run


def accelerate_classes(
    score: Score, spec: RasterSpec, *, precision: str, tta: bool, device: torch.device
) -> Score:
    """Wrap what scores whole pictures, (B, C, h, w) to (B, K), as ``accelerate`` does for maps."""
    autocast = _autocast(precision, device)

    def run(inputs: Tensor, valid: Tensor) -> Tensor:
        inputs, valid = inputs.to(device, non_blocking=True), valid.to(device, non_blocking=True)
        if tta and inputs.dtype in (torch.uint16, torch.uint32):  # torch cannot turn these
            inputs = inputs.to(torch.int64)
        with torch.inference_mode(), autocast():
            views = [forth for forth, _ in _views(spec.map_space)] if tta else [lambda x: x]
            scores = [score(view(inputs), view(valid)).float() for view in views]
            return torch.stack(scores).mean(0)

    return run


def _autocast(precision: str, device: torch.device) -> Callable[[], AbstractContextManager[object]]:
    if device.type != "cuda" or precision == "fp32":
        return nullcontext
    if precision == "fp16" or not torch.cuda.is_bf16_supported():
        return lambda: torch.autocast("cuda", torch.float16)
    return lambda: torch.autocast("cuda", torch.bfloat16)


def _averaged(score: Score, inputs: Tensor, valid: Tensor, *, turns: bool) -> Tensor:
    """Average scores over flips, and over quarter turns of imagery seen from above."""
    total: Tensor | None = None
    count = 0
    if inputs.dtype in (torch.uint16, torch.uint32):  # torch cannot turn these
        inputs = inputs.to(torch.int64)
    for forth, back in _views(turns and inputs.shape[-1] == inputs.shape[-2]):
        scores = back(score(forth(inputs), forth(valid)).float())
        total = scores if total is None else total + scores
        count += 1
    assert total is not None
    return total / count


def _views(turns: bool) -> Iterator[tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]]:
    for quarter in range(4 if turns else 1):
        for flip in (False, True):

            def forth(x: Tensor, quarter: int = quarter, flip: bool = flip) -> Tensor:
                turned = torch.rot90(x, quarter, (-2, -1))
                return (turned.flip(-1) if flip else turned).contiguous()

            def back(x: Tensor, quarter: int = quarter, flip: bool = flip) -> Tensor:
                return torch.rot90(x.flip(-1) if flip else x, -quarter, (-2, -1))

            yield forth, back


def automatic_batch(score: Score, spec: RasterSpec, tile_px: int, device: torch.device) -> int:
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
