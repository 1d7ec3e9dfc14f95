"""Making one object of several that overlap: hard and soft non-maximum suppression, box fusion.

All work on pairs of overlapping boxes, found by a spatial index, so time grows with the number of boxes
and of pairs, not with its square.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from geomm.inference.objects.candidates import Candidates

Index = NDArray[np.intp]


@dataclass(frozen=True)
class Pairs:
    """Pairs of boxes of one class that touch, each pair once, ``first < second``.

    Attributes:
      first: (P,) indices.
      second: (P,) indices.
      iou: (P,) intersection over union.
    """

    first: Index
    second: Index
    iou: NDArray[np.float64]

    def __getitem__(self, chosen: NDArray[np.bool_]) -> Pairs:
        return Pairs(self.first[chosen], self.second[chosen], self.iou[chosen])


def touching(boxes: NDArray[np.float64], labels: NDArray[np.int32], reach: NDArray[np.float64]) -> Pairs:
    """Return the pairs of one class whose ``reach`` intersect, with the overlap of their boxes.

    Args:
      boxes: (N, 4).
      labels: (N,).
      reach: (N, 4) boxes that hold ``boxes``; where they meet, the pair counts.
    """
    import shapely

    if len(boxes) < 2:
        return Pairs(np.empty(0, np.intp), np.empty(0, np.intp), np.empty(0))
    rectangles = shapely.box(*reach.T)
    first, second = shapely.STRtree(rectangles).query(rectangles)
    kept = first < second
    first, second = first[kept], second[kept]
    kept = labels[first] == labels[second]
    first, second = first[kept], second[kept]
    return Pairs(first, second, overlap(boxes[first], boxes[second]))


def overlap(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the intersection over union (N,) of boxes (N, 4) with the others of the same number."""
    shared = shared_area(one, other)
    union = area(one) + area(other) - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def shared_area(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the area (N,) that boxes (N, 4) share with the others of the same number."""
    return area(clip(one, other))


def clip(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what boxes (N, 4) share with the others; of no area where they share nothing."""
    return np.concatenate(
        [np.maximum(one[:, :2], other[:, :2]), np.minimum(one[:, 2:], other[:, 2:])], axis=1
    )


def area(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the area (N,) of boxes (N, 4), 0 of those whose sides have changed places."""
    return np.asarray(np.clip(boxes[:, 2:] - boxes[:, :2], 0, None).prod(1))


def components(count: int, first: Index, second: Index) -> NDArray[np.int32]:
    """Return a number a node: nodes that edges connect have the same one."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    graph = coo_matrix((np.ones(len(first), np.int8), (first, second)), shape=(count, count))
    return np.asarray(connected_components(graph, directed=False)[1])


def _ranked(found: Candidates, pairs: Pairs) -> tuple[Index, Index]:
    """Return of each pair the better one and the other."""
    rank = np.empty(len(found), np.intp)
    rank[found.order()] = np.arange(len(found))
    swap = rank[pairs.first] > rank[pairs.second]
    return np.where(swap, pairs.second, pairs.first), np.where(swap, pairs.first, pairs.second)


def survivors(found: Candidates, pairs: Pairs) -> NDArray[np.bool_]:
    """Return (N,) bool: what greedy non-maximum suppression keeps, ``pairs`` being those too much alike.

    Decided in rounds instead of one by one: whatever has no undecided better neighbour stays, and its
    neighbours go. The rounds are as many as the longest chain, a handful in practice.
    """
    better, worse = _ranked(found, pairs)
    kept, gone = np.zeros(len(found), bool), np.zeros(len(found), bool)
    while True:
        blocked = np.zeros(len(found), bool)
        blocked[worse] = True
        kept = ~gone & ~blocked
        gone[worse[kept[better]]] = True
        left = ~gone[better] & ~gone[worse]
        if not left.any():
            return ~gone
        better, worse = better[left], worse[left]


def suppress(found: Candidates, pairs: Pairs, least_score: float) -> Candidates:
    """Keep the best of what overlaps (greedy non-maximum suppression)."""
    return found[survivors(found, pairs)]


def suppress_softly(found: Candidates, pairs: Pairs, least_score: float) -> Candidates:
    """Lower the scores of what overlaps better ones, by ``1 - IoU`` each (Soft-NMS, Bodla et al., 2017)."""
    neighbours: dict[int, list[tuple[int, float]]] = {}
    for one, other, iou in zip(pairs.first.tolist(), pairs.second.tolist(), pairs.iou.tolist(), strict=True):
        neighbours.setdefault(one, []).append((other, iou))
        neighbours.setdefault(other, []).append((one, iou))
    place = {int(index): rank for rank, index in enumerate(found.order())}
    scores = found.scores.astype(np.float64)
    waiting = [(-scores[index], place[index], index) for index in neighbours]
    heapq.heapify(waiting)
    done: set[int] = set()
    while waiting:
        score, _, index = heapq.heappop(waiting)
        if index in done or -score != scores[index]:
            continue  # an entry from before its score fell
        done.add(index)
        for other, iou in neighbours[index]:
            if other not in done:
                scores[other] *= 1 - iou
                heapq.heappush(waiting, (-scores[other], place[other], other))
    lowered = replace(found, scores=scores.astype(np.float32))
    return lowered[lowered.scores >= least_score]


def fuse(found: Candidates, pairs: Pairs, least_score: float) -> Candidates:
    """Make of each cluster the mean of its boxes, weighted by score (after Solovyev et al., 2021).

    A cluster is what survives suppression with what it suppressed; its score is the mean. Shapes are the
    survivor's.
    """
    kept = survivors(found, pairs)
    better, worse = _ranked(found, pairs)
    taken = kept[better] & ~kept[worse]
    better, worse = better[taken], worse[taken]
    # Of several survivors that suppress the same one, the best counts.
    rank = np.empty(len(found), np.intp)
    rank[found.order()] = np.arange(len(found))
    owner = np.arange(len(found))
    by_rank = np.argsort(-rank[better], kind="stable")
    owner[worse[by_rank]] = better[by_rank]
    weights = found.scores.astype(np.float64)
    totals = np.bincount(owner, weights, len(found))
    counts = np.bincount(owner, minlength=len(found))
    means = np.stack(
        [np.bincount(owner, weights * found.boxes[:, side], len(found)) for side in range(4)], axis=1
    )
    totals, counts = totals[kept], counts[kept]
    safe = np.where(totals > 0, totals, 1)[:, None]
    boxes = np.where((counts > 1)[:, None] & (totals > 0)[:, None], means[kept] / safe, found.boxes[kept])
    fused = replace(found[kept], boxes=boxes, scores=(totals / counts).astype(np.float32))
    return fused[fused.scores >= least_score]


Merge = Callable[[Candidates, Pairs, float], Candidates]
MERGE_FUNCTIONS: dict[str, Merge] = {"nms": suppress, "soft": suppress_softly, "wbf": fuse}
