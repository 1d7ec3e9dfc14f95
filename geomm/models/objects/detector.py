"""mmdet's detectors as models of detection and instance segmentation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from geomm.errors import ConfigError
from geomm.models.objects.model import Found, ObjectModel
from geomm.models.objects.weights import start_from
from geomm.models.objects.wiring import build_detector
from geomm.models.wiring import build_backbone
from geomm.registry import MODELS
from geomm.structures import Objects, RasterSpec


@MODELS.register_module()
class Detector(ObjectModel):
    """One of mmdet's detectors over any backbone, from raw pixels to objects.

    Args:
      backbone: config of the backbone.
      head: config of the detector as mmdet writes it, without its backbone: neck, heads, ``train_cfg``,
        ``test_cfg``. geomm's own keys beside them: ``strides`` of the backbone's maps, ``object_px`` that
        anchors are made for, ``score_threshold``, ``max_objects`` a window, ``nms_iou``, ``checkpoint``,
        ``backbone_init`` of a backbone from chance.
      spec: what the data is: bands, statistics, classes, sizes of objects.

    Attributes:
      detector: mmdet's.
    """

    detector: Any

    def __init__(
        self, *, backbone: Mapping[str, Any] | None, head: Mapping[str, Any], spec: RasterSpec
    ) -> None:
        super().__init__(spec=spec, head=head)
        self.detector = build_detector(
            head,
            backbone=build_backbone(
                backbone, in_channels=spec.in_channels, output_stride=None, init=head.get("backbone_init")
            ),
            num_classes=spec.num_classes,
            object_px=spec.object_px,
            window_px=spec.window_px,
        )
        self.masked = _finds_outlines(self.detector)
        self.kind = str(head["type"])
        self.multiple_px = self.detector.backbone.multiple_px
        self.least_px = self.detector.backbone.least_px
        if head.get("checkpoint"):
            start_from(self.detector, str(head["checkpoint"]), spec)

    def loss(self, inputs: Tensor, objects: Sequence[Objects]) -> dict[str, Any]:
        padded = self.padded(inputs)
        samples = _described(padded, (inputs.shape[-2], inputs.shape[-1]))
        for sample, truth in zip(samples, objects, strict=True):
            self._check(truth)
            counted = np.ones(len(truth), bool) if truth.ignored is None else ~truth.ignored
            sample.gt_instances = self._instances(truth[counted], padded)
            sample.ignored_instances = self._instances(truth[~counted], padded)
        return self.detector(padded, samples, mode="loss")  # type: ignore[no-any-return]

    def raw(self, padded: Tensor, shape: tuple[int, int]) -> Any:
        return self.detector(padded, _described(padded, shape), mode="tensor")

    def search(self, padded: Tensor, shape: tuple[int, int]) -> list[Found]:
        with _inside(self.detector if self.masked else None):
            samples = self.detector.predict(padded, _described(padded, shape), rescale=False)
        return [self._found(sample.pred_instances) for sample in samples]

    def _found(self, item: Any) -> Found:
        if not self.masked:
            return Found(item.bboxes, item.labels, item.scores)
        from mmdet.structures.mask import mask2bbox

        # SOLO finds outlines alone and leaves its boxes at 0.
        boxes = item.bboxes if item.bboxes.any() else mask2bbox(item.masks)
        return Found(boxes, item.labels, item.scores, item.masks)

    def _check(self, truth: Objects) -> None:
        if len(truth) and self.masked is not (truth.masks is not None):
            finds = "outlines" if self.masked else "boxes"
            task, other = ["detection", "instance_segmentation"][:: 1 if self.masked else -1]
            raise ConfigError(
                f"head.type: {self.kind} finds {finds}, which task={task} does not learn; use task={other} "
                "or another head"
            )

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


def _finds_outlines(detector: nn.Module) -> bool:
    """Tell whether any part of a detector learns masks; ``with_mask`` knows of some parts only."""
    return bool(getattr(detector, "with_mask", False)) or any(
        hasattr(part, "loss_mask") for part in detector.modules()
    )


@contextmanager
def _inside(detector: nn.Module | None) -> Iterator[None]:
    """Cut found boxes at the window's edges: mmdet cannot paste the outline of a box that is outside."""
    parts: list[Any] = [] if detector is None else list(detector.modules())
    coders = [part.bbox_coder for part in parts if getattr(part, "bbox_coder", None) is not None]
    open_ended = [coder for coder in coders if getattr(coder, "clip_border", True) is False]
    for coder in open_ended:
        coder.clip_border = True
    try:
        yield
    finally:
        for coder in open_ended:
            coder.clip_border = False


def _described(padded: Tensor, shape: tuple[int, int]) -> list[Any]:
    """Return mmdet's description of each window of padded pixels."""
    from mmdet.structures import DetDataSample

    goal = (padded.shape[-2], padded.shape[-1])
    meta = {
        "img_shape": shape,
        "ori_shape": shape,
        "pad_shape": goal,
        "batch_input_shape": goal,
        "scale_factor": (1.0, 1.0),
        "border": (0.0, 0.0, 0.0, 0.0),  # CenterNet's own padding
    }
    return [DetDataSample(metainfo=meta) for _ in range(len(padded))]
