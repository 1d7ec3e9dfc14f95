"""Instance segmentation: the outline of every object of a class."""

from __future__ import annotations

from typing import Any, ClassVar

from geomm.registry import TASKS
from geomm.structures import RasterSpec
from geomm.tasks.detection import Detection


@TASKS.register_module()
class InstanceSegmentation(Detection):
    """Detection whose objects have outlines: the map output is a polygon an object.

    Samples and predictions are those of detection with masks; metrics compare masks, not boxes.
    """

    name = "instance_segmentation"
    masked: ClassVar[bool] = True

    def emd_keys(self, spec: RasterSpec) -> dict[str, Any]:
        return {**super().emd_keys(spec), "ModelType": "InstanceDetection"}
