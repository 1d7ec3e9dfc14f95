"""Counting and reading confusion matrices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


def count_confusion(truth: ArrayLike, prediction: ArrayLike, classes: int, ignore: int) -> NDArray[np.int64]:
    """Count pairs of truth and prediction.

    Args:
      truth: class indices of any shape.
      prediction: class indices of the same shape.
      classes: K.
      ignore: truth value that is left out.

    Returns:
      (K, K) counts, rows truth, columns prediction.
    """
    true = np.asarray(truth).ravel()
    keep = true != ignore
    pairs = true[keep].astype(np.int64) * classes + np.asarray(prediction).ravel()[keep]
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def class_scores(matrix: ArrayLike) -> dict[str, NDArray[np.float64]]:
    """Return IoU, precision, recall and F1 a class; NaN for a class in neither truth nor prediction."""
    counts: Any = np.asarray(matrix, dtype=np.float64)
    hit, true, predicted = np.diag(counts), counts.sum(1), counts.sum(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        scores = {
            "IoU": hit / (true + predicted - hit),
            "precision": np.where((true > 0) & (predicted == 0), 0.0, hit / predicted),
            "recall": np.where((predicted > 0) & (true == 0), 0.0, hit / true),
            "F1": 2 * hit / (true + predicted),
        }
    return scores


def summarise(matrix: ArrayLike, names: Sequence[str]) -> dict[str, float]:
    """Return ``mIoU``, ``mF1``, ``accuracy`` and ``IoU/name`` … of a confusion matrix.

    Classes in neither truth nor prediction count in no mean; with no labelled pixel all is NaN.
    """
    counts = np.asarray(matrix, dtype=np.float64)
    scores = class_scores(counts)
    total = counts.sum()
    known = ~np.isnan(scores["IoU"])

    def mean(values: NDArray[np.float64]) -> float:
        return float(values[known].mean()) if known.any() else float("nan")

    result = {
        "mIoU": mean(scores["IoU"]),
        "mF1": mean(scores["F1"]),
        "accuracy": float(np.trace(counts) / total) if total else float("nan"),
    }
    for kind, values in scores.items():
        result |= {f"{kind}/{name}": float(value) for name, value in zip(names, values, strict=True)}
    return result
