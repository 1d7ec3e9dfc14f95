"""External networks that find objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from geomm.errors import GeommError
from geomm.models.external import build_external, named_losses
from geomm.models.objects.model import Found, ObjectModel
from geomm.registry import MODELS
from geomm.structures import Objects, RasterSpec


@MODELS.register_module()
class ExternalDetector(ObjectModel):
    """A network registered by ``geomm.extend``, from raw pixels to objects.

    Args:
      head: its config.
      spec: what the data is: bands, statistics, classes.

    Attributes:
      network: the external one.
    """

    network: Any

    def __init__(self, *, head: Mapping[str, Any], spec: RasterSpec) -> None:
        super().__init__(spec=spec, head=head)
        self.network = build_external(head, spec)
        self.masked = type(self.network).extends.task == "instance_segmentation"
        self.least_px = self.multiple_px = int(getattr(self.network, "multiple_px", 32))
        self.fixed_tiles = bool(getattr(self.network, "fixed_tiles", False))
        self.num_classes = spec.num_classes

    def loss(self, inputs: Tensor, objects: Sequence[Objects]) -> dict[str, Any]:
        padded = self.padded(inputs)
        targets = [self._target(truth, padded) for truth in objects]
        return named_losses(self.network.loss(padded, targets), self.network)

    def _target(self, truth: Objects, padded: Tensor) -> dict[str, Tensor]:
        """Return a window's objects as tensors, without those that are ignored."""
        kept = truth if truth.ignored is None else truth[~truth.ignored]
        target = {
            "boxes": torch.from_numpy(np.ascontiguousarray(kept.boxes, np.float32)).reshape(-1, 4),
            "labels": torch.from_numpy(np.ascontiguousarray(kept.labels, np.int64)),
        }
        if self.masked:
            masks = torch.zeros(len(kept), *padded.shape[-2:], dtype=torch.bool)
            if kept.masks is not None:
                height, width = kept.masks.shape[1:]
                masks[:, :height, :width] = torch.from_numpy(np.ascontiguousarray(kept.masks))
            target["masks"] = masks
        return {key: value.to(padded.device) for key, value in target.items()}

    def raw(self, padded: Tensor, shape: tuple[int, int]) -> Any:
        return self.network(padded)

    def search(self, padded: Tensor, shape: tuple[int, int]) -> list[Found]:
        found = self.network(padded)
        if not isinstance(found, list | tuple) or len(found) != len(padded):
            raise self._wrong(f"a {type(found).__name__}, expected a list with a dict for each picture")
        return [self._found(item) for item in found]

    def _found(self, item: Any) -> Found:
        names = ["boxes", "labels", "scores", *(["masks"] if self.masked else [])]
        missing = [key for key in names if not isinstance(item, Mapping) or key not in item]
        if missing:
            raise self._wrong(
                f"a picture without {', '.join(missing)}, expected a dict with {', '.join(names)}"
            )
        boxes, labels, scores = (item[key] for key in names[:3])
        sizes = [len(item[key]) for key in names]
        if boxes.shape[1:] != (4,) or len(set(sizes)) > 1:
            raise self._wrong(
                f"{dict(zip(names, sizes, strict=True))} things, expected as many of each, boxes (N, 4)"
            )
        if len(labels) and not (0 <= int(labels.min()) and int(labels.max()) < self.num_classes):
            span = f"{int(labels.min())} to {int(labels.max())}"
            raise self._wrong(f"labels {span}, expected 0 to {self.num_classes - 1}: there is no background")
        masks = item["masks"] if self.masked else None
        if masks is not None:
            masks = masks[:, 0] if masks.ndim == 4 else masks
            masks = masks if masks.dtype == torch.bool else masks >= 0.5
        return Found(boxes, labels, scores, masks)

    def _wrong(self, found: str) -> GeommError:
        return GeommError(f"head {type(self.network).__name__}: forward returned {found}")
