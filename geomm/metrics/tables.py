"""Metrics of rows: of quantities and of classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric
from numpy.typing import NDArray

from geomm.registry import METRICS


class RowsMetric(BaseMetric):
    """Gathers an evaluation's rows; derived classes judge them.

    Attributes:
      rows: what the last evaluation gathered, arrays by name: ``prediction``, ``target``, ``row``.
    """

    #: mmengine puts it before every result's name and warns without one.
    default_prefix = ""
    results: list[dict[str, NDArray[Any]]]

    def __init__(self) -> None:
        super().__init__(collect_device="cpu")
        self.rows: dict[str, NDArray[Any]] = {}

    def process(self, data_batch: Any, data_samples: Sequence[dict[str, Any]]) -> None:
        self.results += data_samples

    def compute_metrics(self, results: list[dict[str, NDArray[Any]]]) -> dict[str, float]:
        self.rows = {name: np.concatenate([item[name] for item in results]) for name in results[0]}
        return self.judge(self.rows["prediction"], self.rows["target"])

    def judge(self, prediction: NDArray[Any], target: NDArray[Any]) -> dict[str, float]:
        """Return scores by name."""
        raise NotImplementedError


@METRICS.register_module()
class RegressionMetric(RowsMetric):
    """R2, RMSE, MAE and MAPE (a share, rows of 0 left out); of several targets the mean and each.

    Args:
      targets: their names.
    """

    def __init__(self, targets: Sequence[str]) -> None:
        super().__init__()
        self.targets = list(targets)

    def judge(self, prediction: NDArray[Any], target: NDArray[Any]) -> dict[str, float]:
        each = [regression_scores(prediction[:, i], target[:, i]) for i in range(target.shape[1])]
        scores = {name: float(np.mean([item[name] for item in each])) for name in each[0]}
        if len(each) > 1:
            for target_name, item in zip(self.targets, each, strict=True):
                scores |= {f"{name}/{target_name}": value for name, value in item.items()}
        return scores


def regression_scores(prediction: NDArray[Any], target: NDArray[Any]) -> dict[str, float]:
    """Return R2, RMSE, MAE and MAPE of (n,) values; R2 is NaN where the truth is constant."""
    error = prediction.astype(np.float64) - target
    around = float(((target - target.mean()) ** 2).sum())
    there = target != 0
    return {
        "R2": 1 - float((error**2).sum()) / around if around > 0 else float("nan"),
        "RMSE": float(np.sqrt((error**2).mean())),
        "MAE": float(np.abs(error).mean()),
        "MAPE": float(np.abs(error[there] / target[there]).mean()) if there.any() else float("nan"),
    }


@METRICS.register_module()
class ClassificationMetric(RowsMetric):
    """Accuracy, macro F1, ROC-AUC and log loss, and precision, recall and F1 a class.

    Args:
      classes: names, in the order of the model's scores.
      probabilities: whether scores are probabilities; else ROC-AUC and log loss are NaN.

    Attributes:
      confusion: (K, K) counts of the last evaluation, rows truth, columns prediction.
    """

    def __init__(self, classes: Sequence[str], probabilities: bool = True) -> None:
        super().__init__()
        self.classes = list(classes)
        self.probabilities = probabilities
        self.confusion: NDArray[np.int64] = np.zeros((len(self.classes),) * 2, np.int64)

    def judge(self, prediction: NDArray[Any], target: NDArray[Any]) -> dict[str, float]:
        chosen = prediction.argmax(1)
        size = len(self.classes)
        self.confusion = np.bincount(target * size + chosen, minlength=size * size).reshape(size, size)
        hits = np.diag(self.confusion).astype(np.float64)
        truth, found = self.confusion.sum(1), self.confusion.sum(0)
        f1 = np.divide(2 * hits, truth + found, out=np.full(size, np.nan), where=truth + found > 0)
        scores = {
            "accuracy": float(hits.sum() / len(target)),
            "F1": float(np.nanmean(f1)),
            "ROC_AUC": self._auc(prediction, target),
            "log_loss": self._log_loss(prediction, target),
        }
        for index, name in enumerate(self.classes):
            scores[f"F1/{name}"] = float(f1[index])
            scores[f"precision/{name}"] = float(hits[index] / found[index]) if found[index] else float("nan")
            scores[f"recall/{name}"] = float(hits[index] / truth[index]) if truth[index] else float("nan")
        return scores

    def _auc(self, prediction: NDArray[Any], target: NDArray[Any]) -> float:
        """Return the mean area of one class against the rest, over classes that have rows of both."""
        from sklearn.metrics import roc_auc_score

        if not self.probabilities:
            return float("nan")
        wanted = [1] if len(self.classes) == 2 else range(len(self.classes))
        areas = [
            roc_auc_score(target == index, prediction[:, index])
            for index in wanted
            if 0 < (target == index).sum() < len(target)
        ]
        return float(np.mean(areas)) if areas else float("nan")

    def _log_loss(self, prediction: NDArray[Any], target: NDArray[Any]) -> float:
        if not self.probabilities:
            return float("nan")
        given = prediction[np.arange(len(target)), target].astype(np.float64)
        return float(-np.log(np.clip(given, 1e-15, 1)).mean())
