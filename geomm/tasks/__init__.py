"""The tasks: for each, what a sample, a prediction and a map output are."""

from geomm.tasks.base import Finished, Task
from geomm.tasks.point_cloud import PointCloud
from geomm.tasks.segmentation import Segmentation

__all__ = ["Finished", "PointCloud", "Segmentation", "Task"]
