"""Metrics over whole evaluations, never averages of batches."""

from geomm.metrics.detection import DetectionMetric
from geomm.metrics.labels import LabelMetric
from geomm.metrics.ner import NerMetric
from geomm.metrics.segmentation import SegmentationMetric
from geomm.metrics.super_resolution import SuperResolutionMetric
from geomm.metrics.tables import ClassificationMetric, RegressionMetric

__all__ = [
    "ClassificationMetric",
    "DetectionMetric",
    "LabelMetric",
    "NerMetric",
    "RegressionMetric",
    "SegmentationMetric",
    "SuperResolutionMetric",
]
