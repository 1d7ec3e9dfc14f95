"""The model of detection and instance segmentation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.model import BaseModel
from torch import Tensor

from geomm.models.detector_weights import start_from
from geomm.models.detector_wiring import build_detector
from geomm.models.preprocessor import RasterPreprocessor
from geomm.models.wiring import build_backbone
from geomm.registry import MODELS
from geomm.structures import Objects, RasterSpec


@MODELS.register_module()
class Detector(BaseModel):
    """One of mmdet's detectors over any backbone, from raw pixels to objects.

    Args:
      backbone: config of the backbone.
      head: config of the detector as mmdet writes it, without its backbone: neck, heads, ``train_cfg``,
        ``test_cfg``. geomm's own keys beside them: ``strides`` of the backbone's maps, ``object_px`` that
        anchors are made for, ``score_threshold``, ``max_objects`` a window, ``nms_iou``, ``checkpoint``.
      spec: what the data is: bands, statistics, classes, sizes of objects.

    Attributes:
      detector: mmdet's.
      masked: whether its objects have masks.
    """

    detector: Any
    kept_threshold: Tensor

    def __init__(self, *, backbone: Mapping[str, Any], head: Mapping[str, Any], spec: RasterSpec) -> None:
        super().__init__(data_preprocessor=RasterPreprocessor(spec))
        self.detector = build_detector(
            head,
            backbone=build_backbone(backbone, in_channels=spec.in_channels, output_stride=None),
            num_classes=spec.num_classes,
            object_px=spec.object_px,
        )
        self.masked = bool(self.detector.with_mask)
        self.max_objects = int(head.get("max_objects") or 0) or None
        self.multiple_px = self.detector.backbone.multiple_px
        self.least_px = self.detector.backbone.least_px
        # Among the weights, so that it travels with them; nan where nothing was judged.
        self.register_buffer("kept_threshold", torch.tensor(float("nan")))
        if head.get("checkpoint"):
            start_from(self.detector, str(head["checkpoint"]), spec)

    @property
    def best_threshold(self) -> float | None:
        """The score that gave the best F1 on the validation data, None where nothing was judged."""
        kept = round(float(self.kept_threshold), 4)
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
            padded, samples = self._prepare(inputs)
            return self.detector(padded, samples, mode="tensor")
        found = self.find(inputs)
        truth = list(objects) if objects is not None else [_no_objects()] * len(found)
        return [{"prediction": p, "objects": t} for p, t in zip(found, truth, strict=True)]

    def _prepare(self, inputs: Tensor) -> tuple[Tensor, list[Any]]:
        """Pad to what the backbone takes; return the pixels and mmdet's description of each window."""
        from mmdet.structures import DetDataSample

        height, width = inputs.shape[-2:]
        goal = [
            -(-max(size, self.least_px) // self.multiple_px) * self.multiple_px for size in (height, width)
        ]
        # Zeros, the mean of the data: mirrored pixels would hold mirrored objects.
        padded = F.pad(inputs, (0, goal[1] - width, 0, goal[0] - height))
        meta = {
            "img_shape": (height, width),
            "ori_shape": (height, width),
            "pad_shape": tuple(goal),
            "batch_input_shape": tuple(goal),
            "scale_factor": (1.0, 1.0),
        }
        return padded, [DetDataSample(metainfo=meta) for _ in range(len(inputs))]

    def loss(self, inputs: Tensor, objects: Sequence[Objects]) -> dict[str, Any]:
        """Return a batch's named losses; ignored objects teach neither themselves nor background."""
        padded, samples = self._prepare(inputs)
        for sample, truth in zip(samples, objects, strict=True):
            counted = np.ones(len(truth), bool) if truth.ignored is None else ~truth.ignored
            sample.gt_instances = self._instances(truth[counted], padded)
            sample.ignored_instances = self._instances(truth[~counted], padded)
        return self.detector(padded, samples, mode="loss")  # type: ignore[no-any-return]

    def _instances(self, truth: Objects, padded: Tensor) -> Any:
        from mmdet.structures.mask import BitmapMasks
        from mmengine.structures import InstanceData

        device = padded.device
        instances = InstanceData(
            bboxes=torch.from_numpy(np.ascontiguousarray(truth.boxes, np.float32)).reshape(-1, 4).to(device),
            labels=torch.from_numpy(np.ascontiguousarray(truth.labels, np.int64)).to(device),
        )
        if self.masked:
            height, width = padded.shape[-2:]
            masks = np.zeros((len(truth), height, width), np.uint8)
            if truth.masks is not None:
                masks[:, : truth.masks.shape[1], : truth.masks.shape[2]] = truth.masks
            instances.masks = BitmapMasks(masks, height, width)
        return instances

    def find(self, inputs: Tensor) -> list[Objects]:
        """Return the objects in each window of normalised pixels (B, C, H, W), best first."""
        padded, samples = self._prepare(inputs)
        with torch.no_grad():
            found = self.detector.predict(padded, samples, rescale=False)
        return [self._objects(sample.pred_instances, inputs.shape[-2:]) for sample in found]

    def _objects(self, instances: Any, shape: Sequence[int]) -> Objects:
        height, width = shape
        scores = instances.scores.float()
        order = scores.argsort(descending=True, stable=True)[: self.max_objects]
        boxes = instances.bboxes[order].float()
        boxes[:, 0::2] = boxes[:, 0::2].clamp(0, width)
        boxes[:, 1::2] = boxes[:, 1::2].clamp(0, height)
        # A box without an area is no object.
        order = order[whole := (boxes[:, 2:] > boxes[:, :2]).all(1)]
        masks = None
        if self.masked:
            masks = instances.masks[order].bool().cpu().numpy()[:, :height, :width]
        return Objects(
            boxes=boxes[whole].cpu().numpy(),
            labels=instances.labels[order].long().cpu().numpy(),
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
          Objects on the CPU, boxes in pixels of the window; at most ``head.max_objects`` a window, above
          ``head.score_threshold``.
        """
        device = next(self.parameters()).device
        inputs, valid = inputs.to(device, non_blocking=True), valid.to(device, non_blocking=True)
        return self.find(self.data_preprocessor.normalise(inputs, valid))


def _no_objects() -> Objects:
    return Objects(np.zeros((0, 4), np.float32), np.zeros(0, np.int64))
