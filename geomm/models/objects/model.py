"""What every model of detection and instance segmentation has in common."""

from __future__ import annotations

import abc
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.model import BaseModel
from torch import Tensor

from geomm.models.preprocessor import RasterPreprocessor
from geomm.structures import Objects, RasterSpec


@dataclass(frozen=True)
class Found:
    """What a network found in a window.

    Attributes:
      boxes: (N, 4) xmin, ymin, xmax, ymax in pixels.
      labels: (N,) class indices.
      scores: (N,) from 0 to 1.
      masks: (N, H, W) bool, at least as large as the window; None where only boxes are found.
    """

    boxes: Tensor
    labels: Tensor
    scores: Tensor
    masks: Tensor | None = None


class ObjectModel(BaseModel):
    """From raw pixels to objects; derived classes say what network finds them.

    Args:
      spec: what the data is: bands, statistics, classes, sizes of objects.
      head: config of the head; ``score_threshold`` and ``max_objects`` a window hold for any.

    Attributes:
      masked: whether its objects have masks.
      least_px: least edge of the network's inputs.
      multiple_px: what their edges must be a multiple of.
    """

    kept_threshold: Tensor
    masked: bool
    least_px: int
    multiple_px: int

    def __init__(self, *, spec: RasterSpec, head: Mapping[str, Any]) -> None:
        super().__init__(data_preprocessor=RasterPreprocessor(spec))
        self.max_objects = int(head.get("max_objects") or 0) or None
        self.score_threshold = float(head.get("score_threshold") or 0.0)
        # Among the weights, so that it travels with them; nan where nothing was judged. In float64: scores
        # may lie closer together than a rounded threshold could tell.
        self.register_buffer("kept_threshold", torch.tensor(float("nan"), dtype=torch.float64))
        self.register_load_state_dict_pre_hook(_widen_threshold)

    @abc.abstractmethod
    def loss(self, inputs: Tensor, objects: Sequence[Objects]) -> dict[str, Any]:
        """Return a batch's named losses; ignored objects do not teach themselves."""

    @abc.abstractmethod
    def raw(self, padded: Tensor, shape: tuple[int, int]) -> Any:
        """Return what the network itself gives for padded pixels of windows of that shape."""

    @abc.abstractmethod
    def search(self, padded: Tensor, shape: tuple[int, int]) -> list[Found]:
        """Return what the network finds in padded pixels of windows of that shape."""

    @property
    def best_threshold(self) -> float | None:
        """The score that gave the best F1 on the validation data, None where nothing was judged."""
        kept = float(self.kept_threshold)
        return None if math.isnan(kept) else kept

    def keep_threshold(self, score: float | None) -> None:
        """Remember the score from which an object is worth showing, from 0 to 1."""
        self.kept_threshold.fill_(float("nan") if score is None else float(score))

    def forward(
        self,
        inputs: Tensor,
        valid: Tensor | None = None,
        objects: Sequence[Objects] | None = None,
        name: Sequence[str] | None = None,
        mode: str = "tensor",
        **_: Any,
    ) -> Any:
        """Run the model on normalised pixels.

        Args:
          inputs: (B, C, H, W) float32, as ``RasterPreprocessor`` returns it.
          valid: (B, H, W) bool; what is invalid is 0 in ``inputs``.
          objects: the truth of each window.
          name: where the samples come from.
          mode: ``tensor`` for the heads' raw maps, ``loss`` for named losses, ``predict`` for a dict a
            sample with ``prediction`` and ``objects``.
        """
        if mode == "loss":
            assert objects is not None
            return self.loss(inputs, objects)
        if mode == "tensor":
            return self.raw(self.padded(inputs), (inputs.shape[-2], inputs.shape[-1]))
        found = self.find(inputs)
        truth = list(objects) if objects is not None else [_no_objects()] * len(found)
        return [{"prediction": p, "objects": t} for p, t in zip(found, truth, strict=True)]

    def padded(self, inputs: Tensor) -> Tensor:
        """Pad (B, C, H, W) at the right and bottom to what the network takes."""
        height, width = inputs.shape[-2:]
        goal_h, goal_w = (
            -(-max(size, self.least_px) // self.multiple_px) * self.multiple_px for size in (height, width)
        )
        # Zeros, the mean of the data: mirrored pixels would hold mirrored objects.
        return F.pad(inputs, (0, goal_w - width, 0, goal_h - height))

    def find(self, inputs: Tensor) -> list[Objects]:
        """Return the objects in each window of normalised pixels (B, C, H, W), best first."""
        shape = (inputs.shape[-2], inputs.shape[-1])
        with torch.no_grad():
            return [self._objects(found, shape) for found in self.search(self.padded(inputs), shape)]

    def _objects(self, found: Found, shape: tuple[int, int]) -> Objects:
        height, width = shape
        scores = found.scores.float()
        order = scores.argsort(descending=True, stable=True)[: self.max_objects]
        # Detectors that ask with queries keep all of them, whatever ``test_cfg`` says.
        order = order[scores[order] >= self.score_threshold]
        boxes = found.boxes[order].float()
        boxes[:, 0::2] = boxes[:, 0::2].clamp(0, width)
        boxes[:, 1::2] = boxes[:, 1::2].clamp(0, height)
        # A box without an area is no object.
        order = order[whole := (boxes[:, 2:] > boxes[:, :2]).all(1)]
        masks = None
        if self.masked and found.masks is not None:
            masks = found.masks[order].bool().cpu().numpy()[:, :height, :width]
        return Objects(
            boxes=boxes[whole].cpu().numpy(),
            labels=found.labels[order].long().cpu().numpy(),
            scores=scores[order].cpu().numpy(),
            masks=masks,
        )

    @torch.inference_mode()
    def detect(self, inputs: Tensor, valid: Tensor) -> list[Objects]:
        """Return the objects in windows of raw pixels, best first.

        Args:
          inputs: (B, C, H, W) of any dtype, in the raster's own units, on any device.
          valid: (B, H, W) bool.

        Returns:
          Objects on the CPU, boxes in pixels of the window; at most ``head.max_objects`` a window, with
          scores of ``head.score_threshold`` or more.
        """
        return self.find(self.data_preprocessor.normalise(inputs, valid))


def _widen_threshold(_: Any, state: dict[str, Any], prefix: str, *__: Any) -> None:
    """Let a threshold of older weights, which is float32, be the decimal number that it was."""
    kept = state.get(f"{prefix}kept_threshold")
    if kept is not None and kept.dtype == torch.float32:
        state[f"{prefix}kept_threshold"] = torch.tensor(float(str(kept.cpu().numpy())), dtype=torch.float64)


def _no_objects() -> Objects:
    return Objects(np.zeros((0, 4), np.float32), np.zeros(0, np.int64))
