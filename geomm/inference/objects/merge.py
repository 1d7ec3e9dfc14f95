"""Merging the objects of overlapping tiles, band by band.

What one tile saw whole and another in part is one object; so are the parts of a thing larger than what
tiles share, and so are two boxes that overlap more than allowed. A box is a part if it ends at a border of
its tile, or near one that another tile's box of what is there goes on beyond: a network draws neither
exactly. Whatever a later tile could still change waits; all else leaves at once, so memory holds a band of
the scene.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geomm.inference.objects.candidates import LEFT, RIGHT, TOP, Candidates, join
from geomm.inference.objects.suppression import (
    MERGE_FUNCTIONS,
    Pairs,
    area,
    clip,
    components,
    overlap,
    shared_area,
    touching,
)
from geomm.io.clipping import clip_outlines

#: Parts agree where both tiles look if they share this much of what either saw there.
_AGREE = 0.5
#: A part is taken for what a tile saw whole if so much of it lies in that.
_INSIDE = 0.75
#: So near to a border, in edges of the other box, a box may be a part of what goes on behind.
_NEAR = 0.25
#: So much of it then lies in that; were it an object of its own, the other tile would have seen it whole.
_MOSTLY = 0.5
#: A part shares this much with what its tile shows of the whole; two things of their own seldom overlap so.
_SHOWN = 0.3
#: What a border cut may come to overlap with another, once it is whole, if so much of either lies in both.
_MAY_OVERLAP = 0.25
_REACH_PX = 1.0
_OUT = np.array([-_REACH_PX, -_REACH_PX, _REACH_PX, _REACH_PX])


class ObjectMerger:
    """Merges candidates that come from the top of a scene to its bottom.

    Args:
      merge: ``nms``, ``soft`` or ``wbf``.
      iou_threshold: boxes of one class that overlap more are the same object.
      least_score: what falls below is dropped.
      sources_are_merged: what comes of one source is no more compared with what else does.
    """

    def __init__(
        self, merge: str, iou_threshold: float, least_score: float, *, sources_are_merged: bool = False
    ) -> None:
        self.merge, self.iou_threshold, self.least_score = MERGE_FUNCTIONS[merge], iou_threshold, least_score
        self.sources_are_merged = sources_are_merged
        self._waiting = Candidates.none()

    def add(self, found: Candidates, frontier: float) -> Candidates:
        """Take some candidates and return the objects that are finished.

        Args:
          found: in any order.
          frontier: no later candidate's tile begins above this row; infinity ends the scene.
        """
        pool = join([self._waiting, found])
        reach = _reach(pool)
        pairs = self._touching(pool, reach)
        parts = find_parts(pool, pairs)
        linked = self._linked(pool, pairs, parts)
        pairs, parts = pairs[linked], parts[linked]
        groups = components(len(pool), pairs.first, pairs.second)
        open_groups = np.zeros(len(pool) + 1, bool)
        open_groups[groups[reach[:, 3] + _REACH_PX >= frontier]] = True
        waits = open_groups[groups]
        self._waiting = pool[waits]
        done = np.flatnonzero(~waits)
        number = np.full(len(pool), -1, np.intp)
        number[done] = np.arange(len(done))
        inside = ~waits[pairs.first]
        pairs = Pairs(number[pairs.first[inside]], number[pairs.second[inside]], pairs.iou[inside])
        return self._resolve(pool[done], pairs, parts[inside])

    def finish(self) -> Candidates:
        """Return all that still waited."""
        return self.add(Candidates.none(), np.inf)

    def _touching(self, found: Candidates, reach: NDArray[np.float64]) -> Pairs:
        pairs = touching(found.boxes, found.labels, reach)
        if not self.sources_are_merged:
            return pairs
        return pairs[np.asarray(found.sources[pairs.first] != found.sources[pairs.second])]

    def _linked(self, found: Candidates, pairs: Pairs, parts: Parts) -> NDArray[np.bool_]:
        """Return which pairs must be judged together: those alike, parts, and what may be alike when whole.

        What only touches is not: things that stand side by side would wait for each other down a scene.
        """
        one, other, is_cut = pairs.first, pairs.second, found.is_cut
        near = np.flatnonzero(is_cut[one] | is_cut[other])
        boxes = found.boxes[one[near]], found.boxes[other[near]]
        smaller = np.minimum(area(boxes[0]), area(boxes[1]))
        may = np.zeros(len(one), bool)
        may[near] = shared_area(*boxes) >= _MAY_OVERLAP * smaller
        return np.asarray((pairs.iou > self.iou_threshold) | parts.any() | may)

    def _resolve(self, found: Candidates, pairs: Pairs, parts: Parts) -> Candidates:
        whole, changed = join_parts(found, pairs, parts)
        if changed:
            pairs = self._touching(whole, whole.boxes)
        merged = self.merge(whole, pairs[pairs.iou > self.iou_threshold], self.least_score)
        xmin, ymin, xmax, ymax = merged.boxes.T
        return merged[np.lexsort((-merged.scores, merged.labels, ymax, xmax, xmin, ymin))]


def _reach(found: Candidates) -> NDArray[np.float64]:
    """Return boxes that go on a pixel beyond each border that cut them."""
    reach = np.where(found.cut, found.windows + _OUT, found.boxes)
    # A box may end a little outside of its tile.
    sides = (np.minimum(reach[:, :2], found.boxes[:, :2]), np.maximum(reach[:, 2:], found.boxes[:, 2:]))
    return np.concatenate(sides, axis=1)


@dataclass(frozen=True)
class Parts:
    """What pairs of candidates of different tiles are to each other, (P,) bool each.

    Attributes:
      first: the first ends near its tile's border and lies in a whole box that goes on beyond that.
      second: the second does.
      alike: one of them is cut, and both look alike where both tiles look.
    """

    first: NDArray[np.bool_]
    second: NDArray[np.bool_]
    alike: NDArray[np.bool_]

    def __getitem__(self, index: Any) -> Parts:
        return Parts(self.first[index], self.second[index], self.alike[index])

    def any(self) -> NDArray[np.bool_]:
        """Return (P,) bool: which pairs are anything to each other."""
        return np.asarray(self.first | self.second | self.alike)


def find_parts(found: Candidates, pairs: Pairs) -> Parts:
    """Return what pairs are to each other."""
    one, other = pairs.first, pairs.second
    differ = np.asarray((found.windows[one] != found.windows[other]).any(1))
    alike = differ & (found.is_cut[one] | found.is_cut[other])
    alike[alike] = _agree(found, pairs[alike])
    return Parts(
        differ & _is_fragment(found, one, other), differ & _is_fragment(found, other, one), np.asarray(alike)
    )


def join_parts(found: Candidates, pairs: Pairs, parts: Parts) -> tuple[Candidates, bool]:
    """Drop parts of what another tile saw whole, and join the parts of what none did.

    Returns:
      The objects, and whether any differ from ``found``.
    """
    gone = np.zeros(len(found), bool)
    gone[pairs.first[parts.first]] = gone[pairs.second[parts.second]] = True
    pairs = pairs[parts.alike & ~gone[pairs.first] & ~gone[pairs.second]]
    if not len(pairs.first) and not gone.any():
        return found, False
    gone |= _seen_whole(found, pairs, found.is_cut)
    pairs = pairs[~gone[pairs.first] & ~gone[pairs.second]]
    groups = components(len(found), pairs.first, pairs.second)
    return _unite(found[~gone], groups[~gone]), True


def _is_fragment(found: Candidates, part: NDArray[np.intp], other: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Return (P,) bool: parts that end near their tile's border and lie in a whole box that goes on there.

    A part looks like what its tile shows of the whole; else it is a thing of its own beside that. How near
    is judged by the whole box: a network misses the edges of large objects by more.
    """
    is_part = np.zeros(len(part), bool)
    beyond = _beyond(found.boxes[other], found.windows[part])
    few = np.flatnonzero(beyond.any(1) & ~found.is_cut[other])
    part, other, beyond = part[few], other[few], beyond[few]
    boxes, whole, windows = found.boxes[part], found.boxes[other], found.windows[part]
    near = np.abs(boxes - windows) <= _NEAR * np.tile(whole[:, 2:] - whole[:, :2], 2)
    inside = shared_area(boxes, whole) >= _MOSTLY * area(boxes)
    shown = overlap(clip(whole, windows), boxes) >= _SHOWN
    is_part[few] = (near & beyond).any(1) & inside & (area(boxes) < area(whole)) & shown
    return is_part


def _beyond(boxes: NDArray[np.float64], windows: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return (N, 4) bool: the sides of windows of other tiles that boxes (N, 4) reach beyond."""
    low, high = boxes[:, :2] < windows[:, :2] - _REACH_PX, boxes[:, 2:] > windows[:, 2:] + _REACH_PX
    return np.concatenate([low, high], axis=1)


def _agree(found: Candidates, pairs: Pairs) -> NDArray[np.bool_]:
    """Return which pairs look alike in the area that both tiles saw."""
    windows = found.windows[pairs.first], found.windows[pairs.second]
    zones, reach = clip(*windows), _reach(found)
    wider = clip(windows[0] + _OUT, windows[1] + _OUT)
    # Boxes as they are; and, where tiles share hardly a pixel, as they would go on behind the border.
    alike = _alike(found.boxes, pairs, zones) | _alike(reach, pairs, wider)
    if found.shapes is None or not len(pairs.first):
        return alike
    # Outlines say more than boxes do, where tiles share more than a line.
    wide = np.asarray((zones[:, 2:] - zones[:, :2] > 0).all(1))
    alike[wide] = _shapes_agree(found.shapes, pairs[wide], zones[wide])
    return alike


def _alike(boxes: NDArray[np.float64], pairs: Pairs, zones: NDArray[np.float64]) -> NDArray[np.bool_]:
    one, other = (clip(boxes[side], zones) for side in (pairs.first, pairs.second))
    return np.asarray(overlap(one, other) >= _AGREE)


def _shapes_agree(shapes: NDArray[np.object_], pairs: Pairs, zones: NDArray[np.float64]) -> NDArray[np.bool_]:
    import shapely

    rectangles = shapely.box(*zones.T)
    one, other = (clip_outlines(shapes[side], rectangles) for side in (pairs.first, pairs.second))
    shared = shapely.area(shapely.intersection(one, other))
    union = shapely.area(one) + shapely.area(other) - shared
    return np.asarray((shared > 0) & (shared >= _AGREE * union))


def _seen_whole(found: Candidates, pairs: Pairs, is_cut: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return (N,) bool: the parts that lie in what another tile saw whole."""
    gone = np.zeros(len(found), bool)
    for part, other in ((pairs.first, pairs.second), (pairs.second, pairs.first)):
        boxes = found.boxes[part]
        inside = shared_area(boxes, found.boxes[other]) >= _INSIDE * area(boxes)
        gone[part[is_cut[part] & ~is_cut[other] & inside]] = True
    return gone


def _unite(found: Candidates, groups: NDArray[np.int32]) -> Candidates:
    """Return one object a group: the box around all, the mean score weighted by area."""
    numbers, inverse, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    if len(numbers) == len(found):
        return found
    order = found.order()
    best = np.full(len(numbers), -1, np.intp)
    best[inverse[order[::-1]]] = order[::-1]
    boxes = np.concatenate([np.full((len(numbers), 2), np.inf), np.full((len(numbers), 2), -np.inf)], axis=1)
    np.minimum.at(boxes[:, :2], inverse, found.boxes[:, :2])
    np.maximum.at(boxes[:, 2:], inverse, found.boxes[:, 2:])
    weights = area(found.boxes) + 1e-9
    means = np.bincount(inverse, weights * found.scores) / np.bincount(inverse, weights)
    scores = np.where(sizes == 1, found.scores[best], means).astype(np.float32)
    united = replace(found[best], boxes=boxes, scores=scores)
    if found.shapes is None:
        return united
    import shapely

    shapes = united.shapes.copy()  # type: ignore[union-attr]
    members = np.argsort(inverse, kind="stable")
    ends = np.cumsum(sizes)
    for number in np.flatnonzero(sizes > 1):
        parts = found.shapes[members[ends[number] - sizes[number] : ends[number]]]
        shapes[number] = shapely.make_valid(shapely.union_all(parts))
    return replace(united, shapes=shapes)


def cut_sides(
    boxes: NDArray[np.float64],
    window: tuple[float, float, float, float],
    inner: tuple[bool, bool, bool, bool],
    edge_px: float,
) -> NDArray[np.bool_]:
    """Return (N, 4) bool: sides of boxes within ``edge_px`` of a window's borders that are ``inner``."""
    cut = np.abs(boxes - np.array(window)) <= edge_px
    cut[:, :RIGHT] |= boxes[:, :RIGHT] < np.array(window)[:RIGHT]
    cut[:, RIGHT:] |= boxes[:, RIGHT:] > np.array(window)[RIGHT:]
    return np.asarray(cut & np.array(inner))


def better_seen(
    boxes: NDArray[np.float64],
    cut: NDArray[np.bool_],
    zone: tuple[float, float, float, float],
    edge_px: float,
) -> NDArray[np.bool_]:
    """Return (N,) bool: what a tile cut and its neighbour saw as much of, and more.

    A box cut at a border lies whole in the neighbour beyond, as far as along that axis, if it ends clear
    of where the neighbour begins.

    Args:
      boxes: (N, 4).
      cut: (N, 4) bool.
      zone: end of the left neighbour, end of the upper one, start of the right one, start of the lower one.
      edge_px: how near to a border counts as cut there.
    """
    near = np.array(zone)
    seen = np.zeros_like(cut)
    for side in (LEFT, TOP):
        seen[:, side] = boxes[:, side + 2] < near[side] - edge_px
        seen[:, side + 2] = boxes[:, side] > near[side + 2] + edge_px
    return np.asarray((seen & cut).any(1))
