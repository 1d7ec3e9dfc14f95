"""The ground surface of a cloud, and heights above it.

A grid of lowest points, opened by growing windows: what stands out of its surroundings more than a
slope explains is an object, and the ground is carried on beneath it. After Pingel et al., 2013, "An
improved simple morphological filter for the terrain classification of airborne LIDAR data".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Grid = NDArray[np.float32]

#: Most cells of a grid; a wider cloud has larger cells, so that memory stays bounded.
MOST_CELLS = 16_000_000
CELL_M = 1.0
#: Half the edge of the widest building that is seen as one, metres.
_REACH_M = 18.0
#: Rise a metre that the ground itself may have.
_SLOPE = 0.15
#: A cell this much below its neighbours is a stray point, metres.
_STRAY_M = 3.0


class LowestPoints:
    """Collects the lowest point of each cell of a grid, chunk by chunk.

    Args:
      low: x and y of the corner, metres.
      high: x and y of the opposite corner.
      cell_m: edge of a cell; larger where the grid would get too large.
    """

    def __init__(self, low: Any, high: Any, cell_m: float = CELL_M) -> None:
        self.low = np.asarray(low[:2], np.float64)
        extent = np.maximum(np.asarray(high[:2], np.float64) - self.low, 0.0)
        self.cell_m = max(cell_m, float(np.sqrt(extent.prod() / MOST_CELLS)), float(extent.max() / 65_000))
        cols, rows = (extent // self.cell_m).astype(int) + 1
        self.grid: Grid = np.full((rows, cols), np.inf, np.float32)

    def add(self, xyz: NDArray[np.floating[Any]]) -> None:
        """Add points, (n, 3) metres; those outside the grid are left out."""
        col, row = np.floor((xyz[:, :2] - self.low) / self.cell_m).astype(np.int64).T
        rows, cols = self.grid.shape
        inside = (col >= 0) & (row >= 0) & (col < cols) & (row < rows)
        np.minimum.at(
            self.grid.reshape(-1), row[inside] * cols + col[inside], xyz[inside, 2].astype(np.float32)
        )

    def surface(self) -> GroundSurface:
        """Return the ground beneath the points added; the collection is used up by it."""
        grid, self.grid = self.grid, np.zeros((0, 0), np.float32)
        return GroundSurface(self.low, self.cell_m, bare_earth(grid, self.cell_m))


@dataclass(frozen=True)
class GroundSurface:
    """Heights of the ground on a grid.

    Attributes:
      low: x and y of the grid's corner.
      cell_m: edge of a cell, metres.
      grid: (rows, cols) float32, rows along y; heights at the cells' middles.
    """

    low: NDArray[np.float64]
    cell_m: float
    grid: Grid

    def height_above(self, xyz: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """Return each point's height above the ground, metres."""
        rows, cols = self.grid.shape
        place = (xyz[:, :2] - self.low) / self.cell_m - 0.5
        x = np.clip(place[:, 0], 0, cols - 1)
        y = np.clip(place[:, 1], 0, rows - 1)
        left, top = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
        right, bottom = np.minimum(left + 1, cols - 1), np.minimum(top + 1, rows - 1)
        u, v = x - left, y - top
        ground = (1 - v) * ((1 - u) * self.grid[top, left] + u * self.grid[top, right]) + v * (
            (1 - u) * self.grid[bottom, left] + u * self.grid[bottom, right]
        )
        above: NDArray[np.float32] = (xyz[:, 2] - ground).astype(np.float32)
        return above


def bare_earth(lowest: Grid, cell_m: float) -> Grid:
    """Return the ground's height in every cell.

    Args:
      lowest: (rows, cols) height of each cell's lowest point, infinite where there is none; changed.
      cell_m: edge of a cell, metres.
    """
    from scipy.ndimage import grey_closing, grey_opening

    known = np.isfinite(lowest)
    if not known.any():
        return np.zeros_like(lowest)
    surface = fill_gaps(lowest, known)
    known &= grey_closing(surface, size=(3, 3)) - surface < _STRAY_M
    surface = fill_gaps(surface, known) if known.any() else surface
    objects = np.zeros(surface.shape, bool)
    previous = surface
    for reach in _reaches(_REACH_M / cell_m):
        size = 2 * reach + 1
        opened = grey_opening(previous, size=(size, size))
        objects |= previous - opened > _SLOPE * reach * cell_m
        previous = opened
    ground = known & ~objects
    return fill_gaps(surface, ground) if ground.any() else surface


def _reaches(longest: float) -> list[int]:
    steps = (1, 2, 3, 4, 6, 8, 11, 14, 18, 24, 32, 44, 60)
    return [step for step in steps if step <= max(longest, 1)]


def fill_gaps(values: Grid, known: NDArray[np.bool_]) -> Grid:
    """Fill unknown cells smoothly from the known ones around them, near ones first.

    Means over ever larger cells, then down again (the push-pull method of Gortler et al., 1996).
    """
    if known.all():
        return values
    weight = known.astype(np.float32)
    return _pull(np.where(known, values, 0).astype(np.float32), weight)


def _pull(total: Grid, weight: Grid) -> Grid:
    """Return values of all cells from sums (already times their weight) and weights."""
    from scipy.ndimage import uniform_filter

    known = weight > 0
    mean = np.divide(total, weight, out=np.zeros_like(total), where=known)
    if known.all() or max(total.shape) == 1:
        return mean
    rows, cols = total.shape
    coarse = _pull(_halved(total), _halved(weight))
    # A known cell outweighs what comes from further away.
    spread = np.repeat(np.repeat(coarse, 2, 0), 2, 1)[:rows, :cols]
    spread = uniform_filter(spread, 3, mode="nearest")
    return np.where(known, mean, spread)


def _halved(grid: Grid) -> Grid:
    rows, cols = grid.shape
    padded = np.pad(grid, ((0, rows % 2), (0, cols % 2)))
    return padded[::2, ::2] + padded[1::2, ::2] + padded[::2, 1::2] + padded[1::2, 1::2]
