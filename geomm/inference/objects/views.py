"""Test-time augmentation of a detector: flips and quarter turns seen too, and what they show fused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geomm.inference.acceleration import forth, on_device, views
from geomm.inference.options import RasterOptions
from geomm.structures import Objects, RasterSpec

#: From raw pixels (B, C, h, w) and validity (B, h, w) bool to the objects of each, boxes in pixels.
Detect = Callable[[Tensor, Tensor], list[Objects]]
_SAME_IOU = 0.5


def accelerate_detect(
    detect: Detect, spec: RasterSpec, options: RasterOptions, device: torch.device
) -> Detect:
    """Wrap a detect function with precision, asynchronous copies and test-time augmentation."""
    run = on_device(detect, options.precision, device)
    if not options.tta:
        return run

    def run_views(inputs: Tensor, valid: Tensor) -> list[Objects]:
        if inputs.dtype in (torch.uint16, torch.uint32):  # torch cannot turn these
            inputs = inputs.to(torch.int64)
        height, width = inputs.shape[-2:]
        seen: list[list[Objects]] = [[] for _ in range(len(inputs))]
        chosen = views(spec.map_space and height == width)
        for quarter, flip in chosen:
            found = run(forth(inputs, quarter, flip), forth(valid, quarter, flip))
            for index, objects in enumerate(found):
                seen[index].append(turned_back(objects, quarter, flip, (height, width)))
        return [fuse_views(each) for each in seen]

    return run_views


def turned_back(objects: Objects, quarter: int, flip: bool, shape: tuple[int, int]) -> Objects:
    """Return objects of a turned view as they lie in the original.

    Args:
      objects: of the view that was turned ``quarter`` times counterclockwise, then flipped.
      quarter: 0 to 3.
      flip: whether left and right were swapped.
      shape: height and width of the original, equal where it was turned.
    """
    _, width = shape
    x1, y1, x2, y2 = objects.boxes.astype(np.float32).T
    if flip:
        x1, x2 = width - x2, width - x1
    for _ in range(quarter):
        x1, y1, x2, y2 = width - y2, x1, width - y1, x2
    masks = objects.masks
    if masks is not None:
        masks = masks[:, :, ::-1] if flip else masks
        masks = np.ascontiguousarray(np.rot90(masks, -quarter, (1, 2)))
    return replace(objects, boxes=np.stack([x1, y1, x2, y2], axis=1), masks=masks)


def fuse_views(seen: list[Objects]) -> Objects:
    """Fuse what several views of one tile show (weighted boxes fusion, Solovyev et al., 2021).

    Boxes of one class that overlap by half are one object: the mean of them, weighted by score. What some
    views do not show gets a lower score: the mean over all views, those counting as 0. Masks are where the
    members' scores say yes by more than half.
    """
    boxes = np.concatenate([item.boxes for item in seen]).astype(np.float64)
    labels = np.concatenate([item.labels for item in seen])
    scores = np.concatenate([scores_of(item) for item in seen]).astype(np.float64)
    view = np.repeat(np.arange(len(seen)), [len(item) for item in seen])
    with_masks = [item.masks for item in seen if item.masks is not None and len(item)]
    masks = np.concatenate(with_masks) if with_masks else None
    clusters: list[list[int]] = []
    means: list[NDArray[Any]] = []
    for index in np.lexsort((view, *boxes.T, -scores)).tolist():
        number = _cluster_of(boxes[index], view[index], labels[index], clusters, means, labels, view)
        if number is None:
            clusters.append([index])
            means.append(boxes[index])
        else:
            clusters[number].append(index)
            means[number] = np.average(boxes[clusters[number]], axis=0, weights=scores[clusters[number]])
    first = [members[0] for members in clusters]
    fused = np.array([scores[members].sum() / len(seen) for members in clusters], np.float32)
    order = np.argsort(-fused, kind="stable")
    whole = Objects(
        np.array(means, np.float32).reshape(-1, 4),
        labels[first].astype(np.int64),
        np.clip(fused, 0, 1),
        None if masks is None else _mean_masks(masks, scores, clusters),
    )
    return whole[order]


def _cluster_of(
    box: NDArray[np.float64],
    view: int,
    label: int,
    clusters: list[list[int]],
    means: list[NDArray[Any]],
    labels: NDArray[Any],
    views_of: NDArray[Any],
) -> int | None:
    """Return the cluster that a box belongs to: the nearest alike in which its view has no box yet."""
    if not clusters:
        return None
    from geomm.inference.objects.suppression import overlap

    boxes = np.array(means)
    alike = overlap(np.broadcast_to(box, boxes.shape), boxes)
    for number in np.argsort(-alike, kind="stable").tolist():
        if alike[number] < _SAME_IOU:
            return None
        members = clusters[number]
        if labels[members[0]] == label and view not in views_of[members]:
            return int(number)
    return None


def _mean_masks(
    masks: NDArray[np.bool_], scores: NDArray[np.float64], clusters: list[list[int]]
) -> NDArray[np.bool_]:
    mean = np.zeros((len(clusters), *masks.shape[1:]), bool)
    for number, members in enumerate(clusters):
        weights = scores[members] / max(scores[members].sum(), 1e-9)
        mean[number] = np.tensordot(weights, masks[members].astype(np.float32), 1) > 0.5
    return mean


def scores_of(objects: Objects) -> NDArray[np.float32]:
    """Return scores, 1 where there are none: the truth is sure."""
    return np.ones(len(objects), np.float32) if objects.scores is None else objects.scores
