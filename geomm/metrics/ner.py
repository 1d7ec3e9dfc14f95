"""The metrics of entities in text, by seqeval."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric
from numpy.typing import NDArray

from geomm.registry import METRICS
from geomm.text import biluo_spans

#: What a true entity is taken for where nothing was found, and an invented one was.
NOTHING = "nothing"


@METRICS.register_module()
class NerMetric(BaseMetric):
    """Precision, recall and F1 of entities, each right only with just its borders and label.

    By seqeval (Nakayama, 2018) in its strict mode; averages are micro, over all entities.

    Args:
      labels: kinds of entity, in order.

    Attributes:
      confusion: (K + 1, K + 1) counts of entities with the same borders, rows truth, columns
        prediction; the last row and column are ``nothing``.
      examples: every judged window of the last evaluation, as the model's mode ``predict`` gives it.
    """

    default_prefix = ""

    def __init__(self, labels: Sequence[str]) -> None:
        super().__init__(collect_device="cpu")
        self.labels = list(labels)
        self.confusion: NDArray[np.int64] = np.zeros((len(self.labels) + 1,) * 2, np.int64)
        self.examples: list[dict[str, Any]] = []

    results: list[dict[str, Any]]

    def process(self, data_batch: Any, data_samples: Sequence[dict[str, Any]]) -> None:
        """Take a batch: dicts with ``prediction`` and ``truth``, BILUO tags a token."""
        self.results += [sample for sample in data_samples if sample["truth"] is not None]

    def compute_metrics(self, results: list[dict[str, Any]]) -> dict[str, float]:
        from seqeval.metrics import classification_report
        from seqeval.scheme import BILOU

        self.examples = results
        self.confusion = _confusion(results, self.labels)
        if not any(tag != "O" for item in results for tag in item["truth"]):
            return dict.fromkeys(("F1", "precision", "recall"), float("nan"))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of labels without a prediction, which count as 0
            report = classification_report(
                [item["truth"] for item in results],
                [item["prediction"] for item in results],
                output_dict=True,
                mode="strict",
                scheme=BILOU,
                zero_division=0,
            )
        total = report["micro avg"]
        found = {"F1": total["f1-score"], "precision": total["precision"], "recall": total["recall"]}
        for label in self.labels:
            if label in report:
                found[f"F1/{label}"] = report[label]["f1-score"]
                found[f"precision/{label}"] = report[label]["precision"]
                found[f"recall/{label}"] = report[label]["recall"]
        return {key: float(value) for key, value in found.items()}


def _confusion(results: Sequence[dict[str, Any]], labels: Sequence[str]) -> NDArray[np.int64]:
    index = {label: position for position, label in enumerate(labels)}
    counts = np.zeros((len(labels) + 1,) * 2, np.int64)
    for item in results:
        truth, found = (
            {(first, last): label for first, last, label in biluo_spans(item[key])}
            for key in ("truth", "prediction")
        )
        for span in truth.keys() | found.keys():
            row, column = (index.get(side.get(span, ""), len(labels)) for side in (truth, found))
            counts[row, column] += 1
    return counts
