"""Transforms of windows: image, validity and mask move together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geomm.registry import TRANSFORMS
from geomm.structures import RasterSample

Planes = Callable[[NDArray[Any]], NDArray[Any]]


def move_planes(sample: RasterSample, move: Planes) -> RasterSample:
    """Apply a rearrangement of the last two axes to everything that lies on the pixel grid.

    The one place that knows what a sample carries: arrays in ``extras`` whose last two axes are the
    window's are moved too. The georeference no longer holds and is dropped.
    """
    shape = sample.valid.shape
    extras = {
        key: np.ascontiguousarray(move(value))
        if isinstance(value, np.ndarray) and value.ndim >= 2 and value.shape[-2:] == shape
        else value
        for key, value in sample.extras.items()
    }
    return replace(
        sample,
        image=np.ascontiguousarray(move(sample.image)),
        valid=np.ascontiguousarray(move(sample.valid)),
        mask=None if sample.mask is None else np.ascontiguousarray(move(sample.mask)),
        georeference=None,
        extras=extras,
    )


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
            sample = move_planes(sample, lambda plane: plane[..., ::-1])
        if upside_down and self.vertical:
            sample = move_planes(sample, lambda plane: plane[..., ::-1, :])
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
        return move_planes(sample, lambda plane: np.rot90(plane, turns, axes=(-2, -1)))


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
        rows, cols = (
            (start * (size - size / zoom) + (np.arange(size) + 0.5) / zoom).astype(int).clip(0, size - 1)
            for start, size in zip(corner, sample.valid.shape, strict=True)
        )
        return move_planes(sample, lambda plane: plane[..., rows[:, None], cols[None, :]])


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
