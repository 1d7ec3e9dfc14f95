"""Which of the objects that were found are in the truth: COCO's rules, one class at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geomm.structures import Objects

#: COCO's thresholds of intersection over union.
COCO_IOUS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
#: COCO interpolates precision at these recalls.
_RECALLS = np.linspace(0, 1, 101)
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Matches:
    """How the objects found in one image fared, of one class.

    Attributes:
      scores: (D,) float32, best first.
      right: (T, D) bool, matched to an object of the truth at each IoU.
      left_out: (T, D) bool, neither right nor wrong at each IoU.
      truths: objects of the truth that count.
    """

    scores: NDArray[np.float32]
    right: NDArray[np.bool_]
    left_out: NDArray[np.bool_]
    truths: int


@dataclass(frozen=True)
class PrecisionRecall:
    """Precision and recall of one class at one IoU, as the score needed falls.

    Attributes:
      scores: (D,) falling; each the lowest score that still counts.
      precision: (D,).
      recall: (D,), NaN where the truth has no object.
      truths: objects of the truth.
    """

    scores: Floats
    precision: Floats
    recall: Floats
    truths: int

    @property
    def average_precision(self) -> float:
        """COCO's: the mean over 101 recalls of the best precision at that recall or more."""
        if not self.truths:
            return float("nan")
        if not len(self.scores):
            return 0.0
        best = np.maximum.accumulate(self.precision[::-1])[::-1]
        at = np.searchsorted(self.recall, _RECALLS, side="left")
        return float(np.where(at < len(best), best[np.minimum(at, len(best) - 1)], 0.0).mean())

    def at(self, threshold: float) -> tuple[float, float]:
        """Return precision and recall of what scores at least ``threshold``; NaN where undefined."""
        count = int((self.scores >= threshold).sum())
        if not count:
            return float("nan"), 0.0 if self.truths else float("nan")
        return float(self.precision[count - 1]), float(self.recall[count - 1])


def overlaps(found: Objects, truth: Objects, crowd: NDArray[np.bool_], *, masks: bool) -> Floats:
    """Return the IoU (D, G); of the truth that is ignored, the share of what was found inside it."""
    if not len(found) or not len(truth):
        return np.zeros((len(found), len(truth)))
    if masks:
        return _mask_overlaps(found, truth, crowd)
    return box_overlaps(found.boxes, truth.boxes, crowd)


def box_overlaps(one: Any, two: Any, crowd: NDArray[np.bool_]) -> Floats:
    """Return IoU (N, M) of boxes; in the columns of ``crowd`` the intersection's share of the first box."""
    a, b = np.asarray(one, np.float64)[:, None], np.asarray(two, np.float64)[None]
    edges = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    shared = np.clip(edges, 0, None).prod(-1)
    own, other = ((x[..., 2:] - x[..., :2]).prod(-1) for x in (a, b))
    whole = np.where(crowd[None], own, own + other - shared)
    return shared / np.maximum(whole, 1e-12)  # type: ignore[no-any-return]


def _mask_overlaps(found: Objects, truth: Objects, crowd: NDArray[np.bool_]) -> Floats:
    from pycocotools import mask as rle

    codes = []
    for objects in (found, truth):
        assert objects.masks is not None
        codes.append(rle.encode(np.asfortranarray(objects.masks.transpose(1, 2, 0).astype(np.uint8))))
    return np.asarray(rle.iou(*codes, crowd.astype(np.uint8).tolist()), np.float64)


def match(
    found: Objects, truth: Objects, ious: NDArray[np.float64], overlap: Floats, most: int | None = None
) -> Matches:
    """Match what was found to the truth, best score first, each to the free object that it covers best.

    What is matched to an ignored object only, or has its middle outside of ``truth.counted``, is left out.

    Args:
      found: of one class and image, with scores.
      truth: of the same.
      ious: (T,) that a match needs.
      overlap: (D, G) of both.
      most: objects found that are looked at, the best.
    """
    assert found.scores is not None
    order = np.argsort(-found.scores, kind="stable")[:most]
    ignored = np.zeros(len(truth), bool) if truth.ignored is None else truth.ignored
    shape = (len(ious), len(order))
    right, left_out = np.zeros(shape, bool), np.zeros(shape, bool)
    free = np.ones((len(ious), len(truth)), bool)
    needed = np.minimum(ious, 1 - 1e-10)[:, None]
    steps = np.arange(len(ious))
    for rank, number in enumerate(order):
        near = np.flatnonzero(overlap[number] > 0)
        if not len(near):
            continue
        values = overlap[number, near][None]
        fits = (values >= needed) & (free[:, near] | ignored[near])
        # One that counts is taken before any that is ignored; the last of equals, as COCO has it.
        worth = np.where(fits, values + np.where(ignored[near], 0.0, 2.0), -1.0)
        best = len(near) - 1 - np.argmax(worth[:, ::-1], axis=1)
        matched = worth[steps, best] >= 0
        chosen = near[best]
        free[steps[matched], chosen[matched]] = False
        right[:, rank] = matched & ~ignored[chosen]
        left_out[:, rank] = matched & ignored[chosen]
    if truth.counted is not None and len(order):
        left_out |= ~right & ~_within(found.boxes[order], truth.counted)[None]
    return Matches(found.scores[order], right, left_out, int((~ignored).sum()))


def _within(boxes: NDArray[np.float32], part: NDArray[np.float32]) -> NDArray[np.bool_]:
    middles = (boxes[:, :2] + boxes[:, 2:]) / 2
    return np.asarray(((middles >= part[:2]) & (middles < part[2:])).all(axis=1), np.bool_)


def accumulate(matches: list[Matches], step: int) -> PrecisionRecall:
    """Return precision and recall over all images at the IoU of index ``step``."""
    truths = sum(item.truths for item in matches)
    scores = np.concatenate([item.scores[~item.left_out[step]] for item in matches] or [np.zeros(0)])
    right = np.concatenate([item.right[step][~item.left_out[step]] for item in matches] or [np.zeros(0)])
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(right[order])
    with np.errstate(divide="ignore", invalid="ignore"):
        recall = hits / truths if truths else np.full(len(hits), np.nan)
    precision = hits / np.arange(1, len(hits) + 1)
    return PrecisionRecall(scores[order].astype(np.float64), precision, recall, truths)
