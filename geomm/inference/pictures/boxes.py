"""Boxes in pixels of scenes, as tables without geometries have them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geomm.errors import DataError
from geomm.io.namesakes import scenes_of_labels
from geomm.io.object_files import EDGES, image_key, pixel_columns
from geomm.io.object_layer import box_polygons, written_crs
from geomm.io.raster_info import RasterInfo
from geomm.io.table_stream import RowReader, RowsLayout
from geomm.io.tables import NULLS, to_crs
from geomm.io.vector import to_map

_LOG = logging.getLogger("geomm")


@dataclass(frozen=True)
class PixelBoxes:
    """Where the boxes of a table lie, on the scenes and on the map.

    Attributes:
      path: of the table.
      scenes: that are given.
      columns: the table's own, by ``xmin`` … and ``image``, which is None where it has none.
      homes: number of the scene that each name of an image means; the others mean none.
    """

    path: str
    scenes: Sequence[RasterInfo]
    columns: Mapping[str, str | None]
    homes: Mapping[str, int]

    @classmethod
    def open(cls, path: str, scenes: Sequence[RasterInfo], *, layer: str | None = None) -> PixelBoxes:
        """Find the columns of a table.

        Raises:
          DataError: it has no rows, lacks an edge, or does not say which of several scenes is meant.
        """
        reader = RowReader(path, layer=layer, keep_texts=True)
        first = next(iter(reader), None)
        if first is None:
            raise DataError(f"{path} has no features")
        columns = pixel_columns(first.schema.names)
        lacking = [edge for edge in EDGES if columns[edge] is None]
        if lacking:
            raise DataError(
                f"{path} has no geometries and no column {lacking[0]!r}; expected a layer of features, "
                f"or a csv of pixel boxes with columns {', '.join(EDGES)}"
            )
        if columns["image"] is None and len(scenes) > 1:
            raise DataError(
                f"{path} has boxes in pixels, {len(scenes)} scenes and no column image_path; "
                "name each box's scene there, or give one scene"
            )
        image = columns["image"]
        names = set() if image is None else {name for batch in reader for name in _names(batch, image)}
        return cls(path, scenes, columns, _homes(path, scenes, sorted(names)))

    @property
    def edges(self) -> list[str]:
        return [str(self.columns[edge]) for edge in EDGES]

    def read(self, batch: Any) -> tuple[NDArray[np.object_], NDArray[np.intp]]:
        """Return a batch's boxes in pixels, and the number of each one's scene.

        A box is None where an edge is missing, a number -1 where a row names none of the scenes.
        """
        import pandas

        columns = [batch.column(edge).to_pandas() for edge in self.edges]
        sides = np.stack([pandas.to_numeric(column, errors="coerce") for column in columns], axis=1)
        sides = sides.astype(np.float64)
        shapes = np.full(len(sides), None, object)
        whole = np.isfinite(sides).all(1)
        shapes[whole] = box_polygons(sides[whole])
        image = self.columns["image"]
        if image is None:
            return shapes, np.zeros(len(sides), np.intp)
        return shapes, np.array([self.homes.get(name, -1) for name in _names(batch, image)], np.intp)

    @property
    def _crs(self) -> str | None:
        return next((info.georeference.crs for info in self.scenes if info.georeference.crs), None)

    def layout(self, target: Path) -> RowsLayout:
        """Return the layout of a layer of the boxes, in the CRS of the first scene that has one."""
        return RowsLayout("wkb_geometry", "Polygon", written_crs(target, self._crs))

    def placed(self, batch: Any, layout: RowsLayout) -> Any:
        """Return a batch with its boxes on the map as a column of WKB.

        Raises:
          MissingCRSError: some scenes have a CRS and others none.
        """
        import pyarrow
        import shapely

        shapes, numbers = self.read(batch)
        mapped = np.full(len(shapes), None, object)
        for number in np.unique(numbers[numbers >= 0]):
            info, mine = self.scenes[number], numbers == number
            there = to_map(shapes[mine], info)
            mapped[mine] = to_crs(there, info.georeference.crs, layout.crs, info.path)
        return batch.append_column(
            str(layout.geometry), pyarrow.array(shapely.to_wkb(mapped), pyarrow.binary())
        )


def _names(batch: Any, column: str) -> list[str]:
    """Return what a batch's rows call their images, nothing where a cell says that it is empty."""
    texts = (str(item or "").strip() for item in batch.column(column).to_pylist())
    return ["" if text in NULLS else image_key(text) for text in texts]


def _homes(path: str, scenes: Sequence[RasterInfo], names: Sequence[str]) -> dict[str, int]:
    """Return the number of the scene that each name means; an empty one means the only scene."""
    files = [info.path for info in scenes]
    found = scenes_of_labels(tuple(filter(None, names)), tuple(files), path)
    unclear = [name for name, mine in found.items() if len(mine) > 1]
    if unclear:
        _LOG.warning(
            "%s: %d names of images may mean several scenes (%s may be %s); name images with the folders "
            "that the scenes lie in",
            *(path, len(unclear), unclear[0], " or ".join(found[unclear[0]][:3])),
        )
    homes = {name: files.index(mine[0]) for name, mine in found.items() if len(mine) == 1}
    return {**homes, "": 0} if len(files) == 1 else homes
