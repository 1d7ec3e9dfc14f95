"""Transforms of windows: image, validity and mask move together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geomm.errors import ConfigError
from geomm.registry import TRANSFORMS
from geomm.structures import Affine6, Objects, RasterSample

#: Less of an object's area than this is too little to tell what it is.
_MIN_VISIBLE = 0.5
#: Arrays of a sample on a coarser grid than its image.
_COARSE = ("coarse", "coarse_valid")
Planes = Callable[[NDArray[Any]], NDArray[Any]]


def move_pixels(
    sample: RasterSample, move: Planes, origin: Affine6, *, any_grid: bool = True
) -> RasterSample:
    """Apply a rearrangement of pixels to everything that a sample carries.

    The one place that knows what that is: arrays in ``extras`` whose last two axes are the window's
    are moved as the image is, and so is ``extras["coarse"]``, the same ground on a coarser grid, by moves
    that are the same on any grid; ``extras["objects"]`` go along: those that a zoom pushes out of the window
    are dropped, and ignored where less than ``extras["min_visible"]`` of them stays inside.

    Args:
      sample: not changed.
      move: rearranges the last two axes of an array.
      origin: (a, b, c, d, e, f): what is at (col, row) afterwards was at (a * col + b * row + c,
        d * col + e * row + f) before.
      any_grid: whether ``move`` is a flip or a turn, which are the same on a coarser grid.

    Returns:
      A sample whose georeference still says where each pixel lies.

    Raises:
      ConfigError: the sample has a coarser grid, which this move does not fit.
    """
    if "coarse" in sample.extras and not any_grid:
        raise ConfigError(
            "task.augment: a pair of two resolutions can be flipped and turned, but not zoomed; "
            "switch the other transforms of places off (task.augment.NAME=null)"
        )
    shape = sample.valid.shape
    place = sample.georeference
    extras = {
        key: _move_objects(value, move, origin, shape, float(sample.extras.get("min_visible", _MIN_VISIBLE)))
        if isinstance(value, Objects)
        else np.ascontiguousarray(move(value))
        if key in _COARSE or (isinstance(value, np.ndarray) and value.ndim >= 2 and value.shape[-2:] == shape)
        else value
        for key, value in sample.extras.items()
    }
    return replace(
        sample,
        image=np.ascontiguousarray(move(sample.image)),
        valid=np.ascontiguousarray(move(sample.valid)),
        mask=None if sample.mask is None else np.ascontiguousarray(move(sample.mask)),
        georeference=None if place is None else replace(place, transform=_compose(place.transform, origin)),
        extras=extras,
    )


def _compose(outer: Affine6, inner: Affine6) -> Affine6:
    """Return the transform that applies ``inner`` first."""
    a, b, c, d, e, f = outer
    p, q, r, s, t, u = inner
    return (
        a * p + b * s,
        a * q + b * t,
        a * r + b * u + c,
        d * p + e * s,
        d * q + e * t,
        d * r + e * u + f,
    )


def _move_objects(
    objects: Objects, move: Planes, origin: Affine6, shape: tuple[int, ...], min_visible: float
) -> Objects:
    """Move boxes and masks, cut at the edge of a window of this shape (rows, columns)."""
    moved = _move_boxes(objects.boxes, origin)
    inside = np.clip(moved, 0, [shape[1], shape[0], shape[1], shape[0]])
    edges, left = moved[:, 2:] - moved[:, :2], inside[:, 2:] - inside[:, :2]
    share = left.prod(1) / np.maximum(edges.prod(1), 1e-12)
    masks = None if objects.masks is None else np.ascontiguousarray(move(objects.masks))
    cut = np.flatnonzero(share < 1 - 1e-6)
    if masks is not None and objects.masks is not None and len(cut):
        a, b, _, d, e, _ = origin
        whole = objects.masks[cut].sum((1, 2)) / max(abs(a * e - b * d), 1e-12)
        share[cut] = np.minimum(masks[cut].sum((1, 2)) / np.maximum(whole, 1e-12), 1.0)
        inside[cut] = [box_of_pixels(masks[number], (0, 0), inside[number]) for number in cut]
    ignored = objects.ignored
    # Turns and flips keep all of an object; what earlier steps ignored stays ignored.
    if len(cut):
        ignored = (share < min_visible) | (False if ignored is None else ignored)
    counted = objects.counted
    if counted is not None:
        counted = _move_boxes(counted[None], origin)[0].astype(np.float32)
    changed = replace(objects, boxes=inside.astype(np.float32), masks=masks, ignored=ignored, counted=counted)
    there = share > 0
    if masks is not None:
        there &= masks.any((1, 2))
    return changed if there.all() else changed[there]


def box_of_pixels(
    pixels: NDArray[np.bool_], corner: tuple[int, int], box: NDArray[Any]
) -> NDArray[np.float64]:
    """Return what of a box (4,) lies around pixels (h, w), whose first is at ``corner`` (column, row).

    Without a pixel it is the box.
    """
    down, across = np.flatnonzero(pixels.any(1)), np.flatnonzero(pixels.any(0))
    if not len(down):
        return np.asarray(box, np.float64)
    low = np.maximum(box[:2], [corner[0] + across[0], corner[1] + down[0]])
    high = np.minimum(box[2:], [corner[0] + across[-1] + 1, corner[1] + down[-1] + 1])
    return np.concatenate([low, high])


def _move_boxes(boxes: Any, origin: Affine6) -> NDArray[np.float64]:
    """Return boxes (N, 4) where their corners go; they stay upright."""
    a, b, c, d, e, f = origin
    old = np.asarray(boxes, np.float64).reshape(-1, 2, 2) - [c, f]
    new = old @ np.linalg.inv(np.array([[a, b], [d, e]])).T
    return np.concatenate([new.min(1), new.max(1)], 1)


@TRANSFORMS.register_module()
class RandomFlip:
    """Mirrors left and right, and top and bottom where ``vertical``.

    Args:
      probability: of each.
      vertical: also upside down; false for photos and oblique imagery.
    """

    def __init__(self, *, probability: float = 0.5, vertical: bool = True) -> None:
        self.probability = probability
        self.vertical = vertical

    def __call__(self, sample: RasterSample, rng: np.random.Generator) -> RasterSample:
        sideways, upside_down = rng.random(2) < self.probability
        if sideways:
            origin = (-1, 0, sample.valid.shape[1], 0, 1, 0)
            sample = move_pixels(sample, lambda plane: plane[..., ::-1], origin)
        if upside_down and self.vertical:
            origin = (1, 0, 0, 0, -1, sample.valid.shape[0])
            sample = move_pixels(sample, lambda plane: plane[..., ::-1, :], origin)
        return sample


@TRANSFORMS.register_module()
class RandomQuarterTurn:
    """Turns by 0, 90, 180 or 270 degrees, each as likely; square windows of map imagery only."""

    map_space_only = True

    def __call__(self, sample: RasterSample, rng: np.random.Generator) -> RasterSample:
        turns = int(rng.integers(4))
        height, width = sample.valid.shape
        if turns == 0 or (turns % 2 and height != width):
            return sample
        origin = {
            1: (0, -1, width, 1, 0, 0),
            2: (-1, 0, width, 0, -1, height),
            3: (0, 1, 0, -1, 0, height),
        }[turns]
        return move_pixels(sample, lambda plane: np.rot90(plane, turns, axes=(-2, -1)), origin)


@TRANSFORMS.register_module()
class RandomZoom:
    """Enlarges a random part of the window back to its size, by nearest pixel.

    Args:
      most: largest enlargement.
      probability: of zooming at all.
    """

    def __init__(self, *, most: float = 1.5, probability: float = 0.5) -> None:
        self.most = most
        self.probability = probability

    def __call__(self, sample: RasterSample, rng: np.random.Generator) -> RasterSample:
        zoom = float(rng.uniform(1, self.most))
        corner = rng.random(2)
        if rng.random() >= self.probability:
            return sample
        height, width = sample.valid.shape
        top, left = corner * (np.array([height, width]) * (1 - 1 / zoom))
        rows, cols = (
            (start + (np.arange(size) + 0.5) / zoom).astype(int).clip(0, size - 1)
            for start, size in ((top, height), (left, width))
        )
        origin = (1 / zoom, 0, float(left), 0, 1 / zoom, float(top))

        def enlarge(plane: NDArray[Any]) -> NDArray[Any]:
            return plane[..., rows[:, None], cols[None, :]]

        return move_pixels(sample, enlarge, origin, any_grid=False)


@TRANSFORMS.register_module()
class RandomRadiometry:
    """Changes brightness and contrast, relative to the window's own spread, a little a band.

    Args:
      gain: each band's contrast changes by up to this share.
      offset: each band's level shifts by up to this many standard deviations of the window.
    """

    def __init__(self, *, gain: float = 0.15, offset: float = 0.15) -> None:
        self.gain = gain
        self.offset = offset

    def __call__(self, sample: RasterSample, rng: np.random.Generator) -> RasterSample:
        bands = len(sample.image)
        # Most of a change of light is common to all bands.
        common, own = rng.uniform(-1, 1, (2, 1)), rng.uniform(-1, 1, (2, bands))
        gain, offset = (0.7 * common + 0.3 * own) * np.array([[self.gain], [self.offset]])
        image = sample.image.astype(np.float32)
        if not sample.valid.any():
            return sample
        inside = image[:, sample.valid]
        mean, std = inside.mean(1)[:, None, None], inside.std(1)[:, None, None]
        changed = mean + (image - mean) * (1 + gain[:, None, None]) + offset[:, None, None] * std
        return replace(sample, image=np.where(sample.valid, changed, image).astype(np.float32))


@TRANSFORMS.register_module()
class GaussianNoise:
    """Adds noise relative to each band's spread in the window.

    Args:
      most: largest noise, standard deviations of the window.
      probability: of any.
    """

    def __init__(self, *, most: float = 0.1, probability: float = 0.5) -> None:
        self.most = most
        self.probability = probability

    def __call__(self, sample: RasterSample, rng: np.random.Generator) -> RasterSample:
        strength = float(rng.uniform(0, self.most))
        if rng.random() >= self.probability or not sample.valid.any():
            return sample
        image = sample.image.astype(np.float32)
        std = image[:, sample.valid].std(1)[:, None, None]
        noise = rng.standard_normal(image.shape, dtype=np.float32) * strength * std
        return replace(sample, image=np.where(sample.valid, image + noise, image).astype(np.float32))
