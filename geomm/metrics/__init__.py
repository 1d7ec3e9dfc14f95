"""Metrics over whole evaluations, never averages of batches."""

from geomm.metrics.ner import NerMetric
from geomm.metrics.segmentation import SegmentationMetric

__all__ = ["NerMetric", "SegmentationMetric"]
