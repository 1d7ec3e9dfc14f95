"""The metric of pixel classification."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from numpy.typing import NDArray

from geomm.metrics.confusion import count_confusion, summarise
from geomm.registry import METRICS
from geomm.structures import IGNORE_INDEX


@METRICS.register_module()
class SegmentationMetric(BaseMetric):
    """IoU, precision, recall, F1 a class and accuracy, from one confusion matrix of all pixels.

    Args:
      classes: class names, in the order of the model's scores.

    Attributes:
      confusion: (K, K) counts of the last evaluation, rows truth, columns prediction.
    """

    #: mmengine puts it before every result's name and warns without one.
    default_prefix = ""

    def __init__(self, classes: Sequence[str]) -> None:
        super().__init__(collect_device="cpu")
        self.classes = list(classes)
        self.confusion: NDArray[np.int64] = np.zeros((len(self.classes),) * 2, np.int64)

    results: list[NDArray[np.int64]]

    def process(self, data_batch: Any, data_samples: Sequence[dict[str, Any]]) -> None:
        """Count a batch: dicts with ``prediction`` and ``mask``, (H, W) class indices."""
        for sample in data_samples:
            truth, prediction = (torch.as_tensor(sample[k]).cpu() for k in ("mask", "prediction"))
            self.results.append(count_confusion(truth, prediction, len(self.classes), IGNORE_INDEX))
        # One matrix a process, however many samples.
        self.results = [self._total(self.results)]

    def compute_metrics(self, results: list[NDArray[np.int64]]) -> dict[str, float]:
        self.confusion = self._total(results)
        return summarise(self.confusion, self.classes)

    def _total(self, results: list[NDArray[np.int64]]) -> NDArray[np.int64]:
        return sum(results, np.zeros((len(self.classes),) * 2, np.int64))
