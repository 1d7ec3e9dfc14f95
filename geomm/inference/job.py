"""One scene to map: all that decides what its map is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from geomm.inference.grid import TileGrid
from geomm.inference.products import MapProducts
from geomm.inference.work import file_stamps, fingerprint
from geomm.io.cog import MapLayout, assemble
from geomm.io.raster import RasterInfo, read_info
from geomm.structures import RasterSpec


@dataclass(frozen=True)
class SceneJob:
    """All that decides what a scene's map is.

    Attributes:
      scene: path of the input.
      spec: of the model.
      tile_px: edge of a tile.
      overlap_px: least overlap.
      margin_px: outer pixels of a tile that do not count where another tile covers them.
      batch_size: tiles a batch.
      products: what the model's values become.
      work: hidden folder for finished bands of rows.
    """

    scene: str
    spec: RasterSpec
    tile_px: int
    overlap_px: int
    margin_px: int
    batch_size: int
    products: MapProducts
    work: Path

    @cached_property
    def info(self) -> RasterInfo:
        return read_info(self.scene)

    @cached_property
    def grid(self) -> TileGrid:
        """The tiles on the scene."""
        return TileGrid(self.info.width, self.info.height, self.tile_px, self.overlap_px, self.margin_px)

    @cached_property
    def map_grid(self) -> TileGrid:
        """The tiles on the map, whose pixels may be finer."""
        return self.grid.scaled(self.products.scale)

    @cached_property
    def layouts(self) -> dict[str, MapLayout]:
        """The layout of each product's file."""
        return self.products.layouts(self.info)

    def chunk(self, product: str, row: int) -> Path:
        """Return the file of a finished band of rows."""
        return self.work / f"{product}_{row:06d}.tif"

    def missing_rows(self) -> list[int]:
        """Return the rows of tiles whose pixels are not all written."""
        rows = range(len(self.grid.tops))
        return [row for row in rows if not all(file.is_file() for file in self.files(row))]

    def files(self, row: int) -> list[Path]:
        """Return the files of a finished row of tiles."""
        return [self.chunk(product, row) for product in self.layouts]

    def compute(
        self, rows: Sequence[int], model: Any, device: torch.device, done: Callable[[int], None] | None
    ) -> None:
        """Compute and write consecutive rows of tiles."""
        from geomm.inference.rows import map_rows

        map_rows(self, rows, model, device=device, done=done)

    def bands(self, product: str) -> list[tuple[int, int, Path]]:
        """Return first row, height and file of every band of a product."""
        return [(*self.map_grid.band(row), self.chunk(product, row)) for row in range(len(self.grid.tops))]

    def join(self, product: str, target: Path) -> Path:
        """Join a product's bands into its final file."""
        return assemble(self.bands(product), self.layouts[product], target, work=self.work)

    def fingerprint(self, *extra: Any) -> str:
        """Return a text that differs whenever a finished band could differ.

        Args:
          extra: what else decides it: the model, its precision, its device.
        """
        return fingerprint(
            file_stamps([self.scene]),
            self.spec.to_dict(),
            [self.tile_px, self.overlap_px, self.margin_px, self.batch_size],
            [type(self.products).__name__, self.products.describe()],
            torch.__version__,
            list(extra),
        )
