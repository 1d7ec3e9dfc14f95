"""The metrics of detection and instance segmentation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric
from numpy.typing import NDArray

from geomm.metrics.object_matching import (
    COCO_IOUS,
    Matches,
    PrecisionRecall,
    accumulate,
    match,
    overlaps,
)
from geomm.registry import METRICS
from geomm.structures import NO_CLASS, Objects

#: How far below the lowest score that is kept a threshold lies at most.
_BELOW = 0.005
#: Matches of one image: by class index.
_Image = dict[int, Matches]


@METRICS.register_module()
class DetectionMetric(BaseMetric):
    """Average precision (AP), precision, recall and F1 of objects, over all images together.

    ``AP`` is COCO's mean over IoU 0.50 to 0.95, ``AP50`` and ``AP75`` are at one IoU, each the mean over the
    classes that the truth has; ``AP50/name`` … are a class's. ``precision``, ``recall`` and ``F1`` count
    what scores at least ``threshold``. Objects that are ignored count neither way.

    Args:
      classes: class names, in the order of the labels.
      masks: compare masks, not boxes.
      iou: that precision, recall, F1 and the curves need; its AP is named ``AP`` with the per cent.
      score_threshold: that they count from; None takes the one of the best F1.
      max_objects: found in an image that are looked at, the best; None for all.

    Attributes:
      curves: precision and recall of each class of the last evaluation, by name.
      threshold: that precision, recall and F1 of the last evaluation count from.
    """

    #: mmengine puts it before every result's name and warns without one.
    default_prefix = ""

    def __init__(
        self,
        classes: Sequence[str],
        *,
        masks: bool = False,
        iou: float = 0.5,
        score_threshold: float | None = None,
        max_objects: int | None = None,
    ) -> None:
        super().__init__(collect_device="cpu")
        self.classes, self.masks = list(classes), masks
        self.iou, self.score_threshold, self.max_objects = iou, score_threshold, max_objects
        self.ious = np.array(sorted({*COCO_IOUS, round(float(iou), 4)}))
        self.curves: dict[str, PrecisionRecall] = {}
        self.threshold = 0.5 if score_threshold is None else score_threshold

    results: list[_Image]

    def process(self, data_batch: Any, data_samples: Sequence[dict[str, Any]]) -> None:
        """Match a batch: dicts with ``prediction`` and ``objects``, ``Objects`` of a window."""
        for sample in data_samples:
            self.results.append(
                match_image(
                    sample["prediction"],
                    sample["objects"],
                    self.ious,
                    masks=self.masks,
                    most=self.max_objects,
                )
            )

    def compute_metrics(self, results: list[_Image]) -> dict[str, float]:
        per_class = [[image[k] for image in results if k in image] for k in range(len(self.classes))]
        steps = {round(float(iou), 4): step for step, iou in enumerate(self.ious)}
        curves = {
            iou: [accumulate(mine, step) for mine in per_class]
            for iou, step in steps.items()
            if iou in COCO_IOUS or iou == round(float(self.iou), 4)
        }
        working = curves[round(float(self.iou), 4)]
        self.curves = dict(zip(self.classes, working, strict=True))
        precision = {iou: [curve.average_precision for curve in mine] for iou, mine in curves.items()}
        result = {"AP": _mean([_mean(precision[iou]) for iou in COCO_IOUS])}
        for iou in sorted({0.5, 0.75, round(float(self.iou), 4)}):
            name = f"AP{iou * 100:g}"
            result[name] = _mean(precision[iou])
            result |= {f"{name}/{k}": v for k, v in zip(self.classes, precision[iou], strict=True)}
        return result | self._at_work(working)

    def _at_work(self, curves: Sequence[PrecisionRecall]) -> dict[str, float]:
        """Return precision, recall and F1 at the working threshold, over all classes and of each."""
        # The scores of all classes in one list: a model has one threshold.
        whole = _together(curves)
        chosen = self.score_threshold
        self.threshold = best_threshold(whole) if chosen is None else chosen
        result = {"threshold": self.threshold}
        named = [("", whole), *((f"/{name}", c) for name, c in zip(self.classes, curves, strict=True))]
        for suffix, curve in named:
            precision, recall = curve.at(self.threshold)
            result |= {
                f"precision{suffix}": precision,
                f"recall{suffix}": recall,
                f"F1{suffix}": _f1(precision, recall, curve.truths),
            }
        return result


def match_image(
    found: Objects,
    truth: Objects,
    ious: NDArray[np.float64],
    *,
    masks: bool = False,
    most: int | None = None,
    overlap: NDArray[np.float64] | None = None,
) -> _Image:
    """Match the objects of an image, class by class.

    Args:
      found: with scores.
      truth: what is there.
      ious: that a match needs.
      masks: compare masks, not boxes.
      most: objects found that are looked at, the best of all classes.
      overlap: (D, G) of all, where it is known already.
    """
    if found.scores is None:
        found = replace(found, scores=np.ones(len(found), np.float32))
    assert found.scores is not None
    if most is not None and len(found) > most:
        kept = np.argsort(-found.scores, kind="stable")[:most]
        found, overlap = found[kept], None if overlap is None else overlap[kept]
    assert found.scores is not None
    result = {}
    nameless = truth.labels == NO_CLASS  # excuses what is found there of any class
    for kind in np.union1d(found.labels, truth.labels[~nameless]):
        mine = np.flatnonzero(found.labels == kind)
        real = np.flatnonzero((truth.labels == kind) | nameless)
        one, two = found[mine], truth[real]
        crowd = np.zeros(len(two), bool) if two.ignored is None else two.ignored
        shared = overlaps(one, two, crowd, masks=masks) if overlap is None else overlap[np.ix_(mine, real)]
        result[int(kind)] = match(one, two, ious, shared)
    return result


def best_threshold(curve: PrecisionRecall) -> float:
    """Return a score from which on F1 is best; 0.5 where nothing right was found.

    It lies a little below the lowest score that is kept, rounded to four digits where these can tell it from
    the next one, so that nothing is lost where it is written down. It tells them in float32 too, in which
    models score.
    """
    if not len(curve.scores) or not curve.truths:
        return 0.5
    # Only where the score changes: what scores alike is kept or dropped together.
    last = np.append(np.diff(curve.scores) < 0, True)
    sums = np.maximum(curve.precision + curve.recall, 1e-12)
    f1 = np.where(last, 2 * curve.precision * curve.recall / sums, -1.0)
    if f1.max() <= 0:
        return 0.5
    best = int(np.argmax(f1))
    score = float(curve.scores[best])
    below = float(curve.scores[best + 1]) if best + 1 < len(curve.scores) else 0.0
    threshold = score - min((score - below) / 2, _BELOW)
    for chosen in (round(threshold, 4), threshold):
        if below < min(chosen, float(np.float32(chosen))) and chosen <= score:
            return chosen
    return score


def evaluate_scene(
    truth: Objects,
    found: Objects,
    classes: Sequence[str],
    *,
    outlines: tuple[NDArray[np.object_], NDArray[np.object_]] | None = None,
    iou: float = 0.5,
    score_threshold: float | None = None,
) -> tuple[dict[str, float], dict[str, PrecisionRecall]]:
    """Judge what was found in a whole scene, after merging.

    Args:
      truth: in pixels of the scene; ``ignored`` and ``counted`` hold as in a window.
      found: in the same pixels, with scores.
      classes: names, in the order of the labels.
      outlines: shapely polygons of the truth and of what was found, to be compared in place of boxes.
      iou: that precision, recall, F1 and the curves need.
      score_threshold: that they count from; None takes the one of the best F1.

    Returns:
      The results of ``DetectionMetric``, and its curves.
    """
    metric = DetectionMetric(classes, iou=iou, score_threshold=score_threshold)
    shared = None if outlines is None else _outline_overlaps(*outlines, truth)
    result = metric.compute_metrics([match_image(found, truth, metric.ious, overlap=shared)])
    return result, metric.curves


def _outline_overlaps(
    truth: NDArray[np.object_], found: NDArray[np.object_], objects: Objects
) -> NDArray[np.float64]:
    """Return the IoU (D, G) of polygons; of the truth that is ignored, the share of what was found."""
    import shapely

    out = np.zeros((len(found), len(truth)))
    one, two = shapely.STRtree(truth).query(found, predicate="intersects")
    shared = shapely.area(shapely.intersection(found[one], truth[two]))
    own, other = shapely.area(found[one]), shapely.area(truth[two])
    crowd = np.zeros(len(truth), bool) if objects.ignored is None else objects.ignored
    whole = np.where(crowd[two], own, own + other - shared)
    out[one, two] = shared / np.maximum(whole, 1e-12)
    return out


def _together(curves: Sequence[PrecisionRecall]) -> PrecisionRecall:
    """Return the curve of the objects of all classes together."""
    scores = np.concatenate([curve.scores for curve in curves] or [np.zeros(0)])
    # What was right is where the number of hits, precision times rank, rises.
    hits = [curve.precision * np.arange(1, len(curve.scores) + 1) for curve in curves]
    right = np.concatenate([np.diff(mine, prepend=0.0) > 0.5 for mine in hits] or [np.zeros(0, bool)])
    order = np.argsort(-scores, kind="stable")
    total = np.cumsum(right[order])
    truths = sum(curve.truths for curve in curves)
    recall = total / truths if truths else np.full(len(total), np.nan)
    return PrecisionRecall(scores[order], total / np.arange(1, len(total) + 1), recall, truths)


def _f1(precision: float, recall: float, truths: int) -> float:
    if not truths:
        return float("nan")
    if not recall or np.isnan(precision):
        return 0.0
    return 2 * precision * recall / (precision + recall)


def _mean(values: Sequence[float]) -> float:
    """Return the mean of the values that are numbers."""
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")
