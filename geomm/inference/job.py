"""One scene to map: all that decides what its map is."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from geomm.errors import DataError
from geomm.inference.grid import TileGrid
from geomm.io.cog import MapLayout
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
      batch_size: tiles a batch.
      products: which rasters are wanted: ``classes``, ``probabilities``, ``confidence``.
      work: hidden folder for finished bands of rows.
      predict_background: whether the background is written as its value, or as nodata.
    """

    scene: str
    spec: RasterSpec
    tile_px: int
    overlap_px: int
    batch_size: int
    products: tuple[str, ...]
    work: Path
    predict_background: bool = True

    @cached_property
    def info(self) -> RasterInfo:
        return read_info(self.scene)

    @cached_property
    def grid(self) -> TileGrid:
        return TileGrid(self.info.width, self.info.height, self.tile_px, self.overlap_px)

    @cached_property
    def layouts(self) -> dict[str, MapLayout]:
        """The layout of each product's file."""
        info, classes = self.info, self.spec.classes
        nodata, dtype = class_nodata([item.value for item in classes])
        place = (info.width, info.height)
        names = tuple(item.name for item in classes)
        return {
            "classes": MapLayout(*place, dtype, info.georeference, nodata, ("class",), classes),
            "probabilities": MapLayout(*place, "float32", info.georeference, -1.0, names),
            "confidence": MapLayout(*place, "uint8", info.georeference, 255, ("confidence",)),
        }

    @property
    def background(self) -> int | None:
        """The background's class value, None where there is none."""
        index = self.spec.background
        return None if index is None else self.spec.classes[index].value

    @property
    def class_values(self) -> list[int]:
        """What the map holds for each class of the scores."""
        values = [item.value for item in self.spec.classes]
        if self.spec.background is not None and not self.predict_background:
            values[self.spec.background] = int(self.layouts["classes"].nodata)
        return values

    def chunk(self, product: str, row: int) -> Path:
        """Return the file of a finished band of rows."""
        return self.work / f"{product}_{row:06d}.tif"

    def missing_rows(self) -> list[int]:
        """Return the rows of tiles whose pixels are not all written."""
        rows = range(len(self.grid.tops))
        return [r for r in rows if not all(self.chunk(p, r).is_file() for p in self.products)]

    def bands(self, product: str) -> list[tuple[int, int, Path]]:
        """Return first row, height and file of every band of a product."""
        return [(*self.grid.band(row), self.chunk(product, row)) for row in range(len(self.grid.tops))]

    def fingerprint(self, *extra: Any) -> str:
        """Return a text that differs whenever a finished band could differ.

        Args:
          extra: what else decides it: the model, its precision, its device.
        """
        path = Path(self.scene)
        stat = path.stat() if path.exists() else None
        parts = [
            str(path.absolute()),
            stat and [stat.st_size, stat.st_mtime_ns],
            self.spec.to_dict(),
            [self.tile_px, self.overlap_px, self.batch_size, self.predict_background],
            sorted(self.products),
            torch.__version__,
            list(extra),
        ]
        return hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()


def class_nodata(values: Sequence[int]) -> tuple[int, str]:
    """Return the map's nodata value and dtype: 0, or 255 and down where 0 is a class's value.

    Raises:
      DataError: a class value that 16 bits do not hold.
    """
    if not all(0 <= value <= 65535 for value in values):
        raise DataError(
            f"class values {list(values)} do not fit a map of 16 bits; give values from 0 to 65535"
        )
    for highest, dtype in ((255, "uint8"), (65535, "uint16")):
        free = [value for value in (0, *range(highest, 0, -1)) if value not in values]
        if max(values) <= highest and free:
            return free[0], dtype
    raise DataError("every value of 16 bits is a class's; leave one for nodata")
