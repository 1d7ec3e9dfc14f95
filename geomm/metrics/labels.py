"""The metric of pictures that are named whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric
from numpy.typing import NDArray

from geomm.metrics.confusion import class_scores, count_confusion
from geomm.registry import METRICS

#: A class is said to be shown from this probability on, where a picture may show several.
THRESHOLD = 0.5


@METRICS.register_module()
class LabelMetric(BaseMetric):
    """Accuracy, F1, precision and recall a class; of several labels a picture also average precision.

    Args:
      classes: class names, in the order of the model's scores.
      multi_label: whether a picture may show several classes.

    Attributes:
      confusion: (K, K) counts of the last evaluation, rows truth, columns prediction; of several labels
        the (K, 2, 2) of each class.
      hardest: name, truth, prediction (K,) and loss of every picture of the last evaluation, the highest
        loss first.
    """

    #: mmengine puts it before every result's name and warns without one.
    default_prefix = ""
    results: list[tuple[NDArray[np.float32], NDArray[np.float32], str]]

    def __init__(self, classes: Sequence[str], *, multi_label: bool = False) -> None:
        super().__init__(collect_device="cpu")
        self.classes, self.multi_label = list(classes), multi_label
        self.confusion: NDArray[np.int64] = np.zeros((len(self.classes),) * 2, np.int64)
        self.hardest: list[tuple[str, NDArray[np.float32], NDArray[np.float32], float]] = []

    def process(self, data_batch: Any, data_samples: Sequence[dict[str, Any]]) -> None:
        """Note a batch: dicts with ``prediction`` and ``labels``, (K,) each, and ``name``."""
        for item in data_samples:
            found, truth = (
                item[key].detach().float().cpu().numpy() if hasattr(item[key], "detach") else item[key]
                for key in ("prediction", "labels")
            )
            self.results.append((found, truth, str(item.get("name", ""))))

    def compute_metrics(
        self, results: list[tuple[NDArray[np.float32], NDArray[np.float32], str]]
    ) -> dict[str, float]:
        found = np.stack([item[0] for item in results])
        truth = np.stack([item[1] for item in results])
        losses = _losses(found, truth, self.multi_label)
        order = np.argsort(-losses, kind="stable")
        self.hardest = [(results[i][2], truth[i], found[i], float(losses[i])) for i in order]
        return self._several(found, truth) if self.multi_label else self._one(found, truth)

    def _one(self, found: NDArray[np.float32], truth: NDArray[np.float32]) -> dict[str, float]:
        self.confusion = count_confusion(truth.argmax(1), found.argmax(1), len(self.classes), -1)
        return {
            "accuracy": float(np.trace(self.confusion) / max(self.confusion.sum(), 1)),
            **self._of_classes(class_scores(self.confusion)),
        }

    def _several(self, found: NDArray[np.float32], truth: NDArray[np.float32]) -> dict[str, float]:
        from sklearn.metrics import average_precision_score

        shown, there = found >= THRESHOLD, truth > THRESHOLD
        self.confusion = np.stack(
            [count_confusion(there[:, k], shown[:, k], 2, -1) for k in range(len(self.classes))]
        )
        hit, true, predicted = (np.asarray(x.sum(0), float) for x in (shown & there, there, shown))
        with np.errstate(divide="ignore", invalid="ignore"):
            scores = {
                "F1": 2 * hit / (true + predicted),
                "precision": np.where((true > 0) & (predicted == 0), 0.0, hit / predicted),
                "recall": np.where((predicted > 0) & (true == 0), 0.0, hit / true),
            }
        precision = np.array(
            [
                average_precision_score(there[:, k], found[:, k]) if there[:, k].any() else np.nan
                for k in range(len(self.classes))
            ]
        )
        total = hit.sum() / max((true + predicted).sum() / 2, 1)
        return {
            "mAP": _mean(precision),
            "accuracy": float((shown == there).all(1).mean()),
            "microF1": float(total),
            **self._of_classes(scores),
            **{f"AP/{name}": float(value) for name, value in zip(self.classes, precision, strict=True)},
        }

    def _of_classes(self, scores: dict[str, NDArray[np.float64]]) -> dict[str, float]:
        """Return means, and a line a class; classes in neither truth nor prediction count in no mean."""
        kinds = ("F1", "precision", "recall")
        means = {f"m{kind}": _mean(scores[kind]) for kind in kinds}
        each = {
            f"{kind}/{name}": float(value)
            for kind in kinds
            for name, value in zip(self.classes, scores[kind], strict=True)
        }
        return {**means, **each}


def _mean(values: NDArray[np.float64]) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def _losses(found: NDArray[np.float32], truth: NDArray[np.float32], several: bool) -> NDArray[np.float64]:
    """Return the cross-entropy (N,) of each picture."""
    p = np.clip(found.astype(np.float64), 1e-12, 1 - 1e-12)
    if several:
        return np.asarray(-(truth * np.log(p) + (1 - truth) * np.log(1 - p)).mean(1))
    return np.asarray(-(truth * np.log(p)).sum(1))
