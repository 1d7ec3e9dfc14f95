"""Reading a scene tile by tile, ready for the model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geomm.inference.grid import TileGrid
from geomm.io.raster import RasterReader
from geomm.registry import READERS


@dataclass(frozen=True)
class Tile:
    """One tile's place and what is valid in it."""

    row: int
    col: int
    valid: Tensor  # (tile, tile) bool
    empty: bool


@dataclass(frozen=True)
class TileBatch:
    """Tiles of one row of tiles, in order; pixels of those alone that have a valid one.

    Attributes:
      tiles: all of them, empty ones too.
      inputs: (B, C, tile, tile) in the raster's dtype, None if B is 0.
      valid: (B, tile, tile) bool, for the model; ``Tile.valid`` is what is valid of the scene.
    """

    tiles: tuple[Tile, ...]
    inputs: Tensor | None
    valid: Tensor | None


@READERS.register_module()
class RasterTiles:
    """The tiles of some rows, in batches that never cross a row's end.

    So a tile is always in the same batch, and its scores are the same to the bit wherever a run
    began.

    Args:
      reader: of the scene.
      grid: its tiles.
      bands: 1-based numbers.
      batch_size: tiles a batch.
      rows: rows of tiles to read.
      mirror: a scene smaller than a tile is mirrored into the rest of it; else that is 0 and invalid.
      pin: pinned memory, for copies beside the GPU's work.
    """

    def __init__(
        self,
        reader: RasterReader,
        grid: TileGrid,
        *,
        bands: Sequence[int],
        batch_size: int,
        rows: Sequence[int],
        mirror: bool = True,
        pin: bool = False,
    ) -> None:
        self.reader, self.grid, self.bands = reader, grid, tuple(bands)
        self.batch_size, self.rows, self.mirror, self.pin = batch_size, rows, mirror, pin

    def __iter__(self) -> Iterator[TileBatch]:
        try:
            for row in self.rows:
                yield from self._row(row)
        finally:
            self.reader.close()

    def _row(self, row: int) -> Iterator[TileBatch]:
        tiles: list[Tile] = []
        pixels: list[NDArray[Any]] = []
        seen: list[NDArray[np.bool_]] = []
        for col in range(len(self.grid.lefts)):
            image, valid = self.reader.read(self.grid.window(row, col), self.bands)
            empty = not valid.any()
            tiles.append(Tile(row, col, torch.from_numpy(valid), empty))
            if not empty and self.mirror:
                pixels.append(mirror_edges(image, self.grid))
                seen.append(mirror_edges(valid[None], self.grid)[0])
            elif not empty:
                pixels.append(image)
                seen.append(valid)
            if len(pixels) == self.batch_size:
                yield self._batch(tiles, pixels, seen)
                tiles, pixels, seen = [], [], []
        if tiles:
            yield self._batch(tiles, pixels, seen)

    def _batch(
        self, tiles: list[Tile], pixels: list[NDArray[Any]], seen: list[NDArray[np.bool_]]
    ) -> TileBatch:
        if not pixels:
            return TileBatch(tuple(tiles), None, None)
        inputs = torch.from_numpy(_as_torch(np.stack(pixels)))
        valid = torch.from_numpy(np.stack(seen))
        if self.pin:
            inputs, valid = inputs.pin_memory(), valid.pin_memory()
        return TileBatch(tuple(tiles), inputs, valid)


def _as_torch(pixels: NDArray[Any]) -> NDArray[Any]:
    """Return pixels in a dtype that torch has."""
    if pixels.dtype == np.uint64:
        return pixels.astype(np.float64)
    return pixels.astype(pixels.dtype.newbyteorder("="), copy=False)


def mirror_edges(pixels: NDArray[Any], grid: TileGrid) -> NDArray[Any]:
    """Mirror a scene smaller than a tile into the rest of its tile, else a hard edge to the model.

    Args:
      pixels: (C, tile, tile), of which the scene fills the upper left corner.
      grid: of the scene.
    """
    height, width = min(grid.height, grid.tile_px), min(grid.width, grid.tile_px)
    if (height, width) == pixels.shape[1:]:
        return pixels
    rest = ((0, 0), (0, grid.tile_px - height), (0, grid.tile_px - width))
    return np.pad(pixels[:, :height, :width], rest, mode="symmetric")
