"""Merging overlapping scores with a memory that does not grow with the scene."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from geomm.inference.grid import TileGrid
from geomm.registry import MERGERS

if TYPE_CHECKING:
    from geomm.inference.tiles import TileBatch


@dataclass(frozen=True)
class Scores:
    """Finished scores of a part of the scene.

    Attributes:
      row: row of tiles that finished it.
      col: first column, pixels.
      values: (K, h, w) float32 on the model's device, None where no tile had a valid pixel.
      valid: (h, w) bool on the CPU.
    """

    row: int
    col: int
    values: Tensor | None
    valid: Tensor


@MERGERS.register_module()
class ScoreBlend:
    """Blends scores of overlapping tiles; pixels leave as soon as no later tile touches them.

    Kept are the sums of the rows that the next row of tiles shares, over the scene's width, and
    those of the columns that the next tile shares: overlap x width x K numbers, whatever the
    height.

    Args:
      grid: the tiles on the map, which must come row by row.
      planes: K, values a pixel.
      device: where scores are.
    """

    def __init__(self, grid: TileGrid, *, planes: int, device: torch.device) -> None:
        self.grid = grid
        self.planes = planes
        self.device = device
        tops = grid.tops
        shared = max((a + grid.tile_px - b for a, b in pairwise(tops)), default=0)
        width = max(grid.width, grid.tile_px)
        self._below = torch.zeros((planes, max(shared, 0), width), device=device)
        self._right: Tensor | None = None
        self._row_weights = torch.from_numpy(grid.row_weights).to(device)
        self._col_weights = torch.from_numpy(grid.col_weights).to(device)

    def begin_row(self, row: int) -> None:
        """Start a row of tiles."""
        self._right = None

    def add(self, batch: TileBatch, scores: Tensor | None) -> Iterator[Scores]:
        """Add the tiles of a batch and yield what they finish.

        Args:
          batch: tiles of one row, in order.
          scores: (B, K, tile, tile) of those with a valid pixel.
        """
        position = 0
        for tile in batch.tiles:
            if tile.col == 0:
                self.begin_row(tile.row)
            if tile.empty:
                yield self._add_tile(tile.row, tile.col, None, tile.valid)
            else:
                assert scores is not None
                yield self._add_tile(tile.row, tile.col, scores[position], tile.valid)
                position += 1

    def _add_tile(self, row: int, col: int, scores: Tensor | None, valid: Tensor) -> Scores:
        grid, size = self.grid, self.grid.tile_px
        left, top = grid.lefts[col], grid.tops[row]
        across = grid.finished(grid.lefts, col, grid.width)
        down = grid.finished(grid.tops, row, grid.height)
        part = self._weighted(row, col, scores)
        above = top - grid.tops[row - 1] if row else size
        shared_rows = size - above  # rows that the row of tiles above has added to
        done = part[:, :, :across]
        if shared_rows > 0:
            done[:, :shared_rows] += self._below[:, :shared_rows, left : left + across]
        left_over = size - down if row + 1 < len(grid.tops) else 0
        if left_over > 0:
            self._below[:, :left_over, left : left + across] = done[:, down:]
        self._right = part[:, :, across:].clone() if col + 1 < len(grid.lefts) else None
        seen = self._finer(valid)[:down, :across]
        return Scores(row, left, done[:, :down] if seen.any() else None, seen)

    def _finer(self, valid: Tensor) -> Tensor:
        """Return what is valid of a tile on a grid whose pixels may be finer than the scene's."""
        scale = self.grid.unit_px
        if scale == 1:
            return valid
        return valid.repeat_interleave(scale, 0).repeat_interleave(scale, 1)

    def _weighted(self, row: int, col: int, scores: Tensor | None) -> Tensor:
        """Return a tile's weighted scores, with those that its left neighbours gave its columns."""
        size = self.grid.tile_px
        if scores is None:
            part = torch.zeros((self.planes, size, size), device=self.device)
        else:
            part = scores * self._row_weights[row][:, None]
            part *= self._col_weights[col]
        if self._right is not None:
            part[:, :, : self._right.shape[2]] += self._right
        return part
