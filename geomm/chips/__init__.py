"""Scenes and labels cut into training data: ArcGIS's exports, COCO, YOLO, ``.pctd``."""

from geomm.chips.folder import Exported
from geomm.chips.job import export_chips

__all__ = ["Exported", "export_chips"]
