"""The tasks: for each, what a sample, a prediction and a map output are."""

from geomm.tasks.base import Finished, Task
from geomm.tasks.classification import Classification
from geomm.tasks.detection import Detection
from geomm.tasks.instance_segmentation import InstanceSegmentation
from geomm.tasks.ner import Ner
from geomm.tasks.point_cloud import PointCloud
from geomm.tasks.segmentation import Segmentation
from geomm.tasks.super_resolution import SuperResolution
from geomm.tasks.tabular import Tabular

__all__ = [
    "Classification",
    "Detection",
    "Finished",
    "InstanceSegmentation",
    "Ner",
    "PointCloud",
    "Segmentation",
    "SuperResolution",
    "Tabular",
    "Task",
]
