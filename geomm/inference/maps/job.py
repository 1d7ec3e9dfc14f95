"""One scene to map: all that decides what its map is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from geomm.inference.executor import Done
from geomm.inference.grid import TileGrid
from geomm.inference.maps.products import MapProducts
from geomm.inference.options import MapOptions
from geomm.inference.scene_job import SceneJob
from geomm.io.cog import MapLayout, assemble


@dataclass(frozen=True)
class MapJob(SceneJob):
    """A scene to map.

    Attributes:
      options: how it is mapped.
      products: what the model's values become.
    """

    options: MapOptions
    products: MapProducts

    @cached_property
    def grid(self) -> TileGrid:
        """The tiles on the scene."""
        return TileGrid(
            self.info.width, self.info.height, self.tile_px, self.overlap_px, self.options.margin_px
        )

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

    def files(self, row: int) -> list[Path]:
        return [self.chunk(product, row) for product in self.layouts]

    def compute(self, rows: Sequence[int], model: Any, device: torch.device, done: Done | None) -> None:
        from geomm.inference.maps.rows import map_rows

        map_rows(self, rows, model, device=device, done=done)

    def decisive(self) -> list[Any]:
        own = self.options
        return [own.margin_px, own.merger, own.writer, type(self.products).__name__, self.products.describe()]

    def bands(self, product: str) -> list[tuple[int, int, Path]]:
        """Return first row, height and file of every band of a product."""
        return [(*self.map_grid.band(row), self.chunk(product, row)) for row in range(len(self.grid.tops))]

    def join(self, product: str, target: Path) -> Path:
        """Join a product's bands into its final file."""
        return assemble(self.bands(product), self.layouts[product], target, work=self.work)
