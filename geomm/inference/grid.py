"""Where tiles lie on a raster, and how much each counts where they overlap."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from geomm.structures import PixelWindow


@dataclass(frozen=True)
class TileGrid:
    """Tiles of one size that cover a raster, evenly spread so that none reaches past its edge.

    Args:
      width: of the raster, pixels.
      height: of the raster.
      tile_px: edge of a tile; a raster smaller than it gets one tile, which reaches past its edge.
      overlap_px: least overlap of neighbours, below ``tile_px``.
      margin_px: outer pixels of a tile that do not count where another tile covers them, at most half
        the overlap: what a network sees there is cut off.
      unit_px: all places and sizes are multiples of this many pixels.
    """

    width: int
    height: int
    tile_px: int
    overlap_px: int
    margin_px: int = 0
    unit_px: int = 1

    def __post_init__(self) -> None:
        if not 0 <= 2 * self.margin_px <= self.overlap_px:
            raise ValueError(
                f"a margin of {self.margin_px} px does not fit an overlap of {self.overlap_px} px"
            )
        if not 0 <= self.overlap_px < self.tile_px:
            raise ValueError(f"an overlap of {self.overlap_px} px does not fit tiles of {self.tile_px} px")

    @cached_property
    def tops(self) -> tuple[int, ...]:
        """First row of each row of tiles."""
        return self._starts(self.height)

    @cached_property
    def lefts(self) -> tuple[int, ...]:
        """First column of each column of tiles."""
        return self._starts(self.width)

    @cached_property
    def row_weights(self) -> NDArray[np.float32]:
        """(rows of tiles, tile_px): the part of a tile's weight that its rows have."""
        return axis_weights(self.height, self.tops, self.tile_px, self.margin_px)

    @cached_property
    def col_weights(self) -> NDArray[np.float32]:
        """(columns of tiles, tile_px): the part of a tile's weight that its columns have."""
        return axis_weights(self.width, self.lefts, self.tile_px, self.margin_px)

    def _starts(self, length: int) -> tuple[int, ...]:
        unit = self.unit_px
        places = starts(length // unit, self.tile_px // unit, self.overlap_px // unit)
        return tuple(place * unit for place in places)

    def scaled(self, scale: int) -> TileGrid:
        """Return the same tiles on a grid of ``scale`` times as many pixels along each edge."""
        sizes = (self.width, self.height, self.tile_px, self.overlap_px, self.margin_px, self.unit_px)
        return TileGrid(*(size * scale for size in sizes))

    def finished(self, starts_px: tuple[int, ...], index: int, length: int) -> int:
        """Return how many pixels from a tile's start no later tile touches."""
        if index + 1 < len(starts_px):
            return starts_px[index + 1] - starts_px[index]
        return min(length - starts_px[index], self.tile_px)

    def band(self, row: int) -> tuple[int, int]:
        """Return first row and height of the pixels that are finished with a row of tiles."""
        return self.tops[row], self.finished(self.tops, row, self.height)

    def window(self, row: int, col: int) -> PixelWindow:
        return PixelWindow(self.lefts[col], self.tops[row], self.tile_px, self.tile_px)

    def first_row_reaching(self, row: int) -> int:
        """Return the first row of tiles that adds to the pixels from ``row``'s start on."""
        return next(r for r in range(row + 1) if self.tops[r] + self.tile_px > self.tops[row])

    def __len__(self) -> int:
        return len(self.tops) * len(self.lefts)

    def __iter__(self) -> Iterator[PixelWindow]:
        return (self.window(r, c) for r in range(len(self.tops)) for c in range(len(self.lefts)))


def starts(length: int, tile_px: int, overlap_px: int) -> tuple[int, ...]:
    """Return the fewest starts that cover a length with at least the overlap, evenly spread."""
    room = length - tile_px
    if room <= 0:
        return (0,)
    count = -(-room // (tile_px - overlap_px)) + 1
    return tuple((i * room) // (count - 1) for i in range(count))


def axis_weights(
    length: int, starts_px: tuple[int, ...], tile_px: int, margin_px: int = 0
) -> NDArray[np.float32]:
    """Return each tile's weights along one axis; they sum to 1 at every pixel.

    A raised cosine over the tile, never zero, divided by the sum over the tiles at each pixel:
    where only one tile lies its weight is exactly 1. The weight of a pixel in a tile is the product
    of its row's and its column's, so the sums over tiles need no second buffer. Within the margin of
    an edge that another tile covers it is 0.
    """
    phase = (np.arange(tile_px) + 0.5 - margin_px) / (tile_px - 2 * margin_px)
    raised = 1e-3 + 0.5 - 0.5 * np.cos(2 * np.pi * np.clip(phase, 0, 1))
    windows = np.tile(raised, (len(starts_px), 1))
    windows[1:, :margin_px] = 0
    windows[:-1, tile_px - margin_px :] = 0
    total = np.zeros(max(length, starts_px[-1] + tile_px))
    for start, window in zip(starts_px, windows, strict=True):
        total[start : start + tile_px] += window
    parts = [w / total[s : s + tile_px] for s, w in zip(starts_px, windows, strict=True)]
    return np.stack(parts).astype(np.float32)
