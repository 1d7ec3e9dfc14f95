"""The tasks: for each, what a sample, a prediction and a map output are."""

from geomm.tasks.base import Finished, Task
from geomm.tasks.segmentation import Segmentation
from geomm.tasks.super_resolution import SuperResolution
from geomm.tasks.tabular import Tabular

__all__ = ["Finished", "Segmentation", "SuperResolution", "Tabular", "Task"]
