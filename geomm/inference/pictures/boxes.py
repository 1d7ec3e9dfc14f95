"""Boxes in pixels of scenes, as tables without geometries have them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geomm.errors import DataError
from geomm.io.object_files import EDGES, pixel_columns
from geomm.io.object_layer import box_polygons, written_crs
from geomm.io.raster_info import RasterInfo
from geomm.io.table_stream import RowReader, RowsLayout
from geomm.io.tables import to_crs
from geomm.io.vector import to_map


@dataclass(frozen=True)
class PixelBoxes:
    """Where the boxes of a table lie, on the scenes and on the map.

    Attributes:
      path: of the table.
      scenes: that are given.
      columns: the table's own, by ``xmin`` … and ``image``, which is None where it has none.
    """

    path: str
    scenes: Sequence[RasterInfo]
    columns: Mapping[str, str | None]

    @classmethod
    def open(cls, path: str, scenes: Sequence[RasterInfo], *, layer: str | None = None) -> PixelBoxes:
        """Find the columns of a table.

        Raises:
          DataError: it has no rows, lacks an edge, or does not say which of several scenes is meant.
        """
        first = next(iter(RowReader(path, layer=layer, batch_rows=1)), None)
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
        return cls(path, scenes, columns)

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
        named = [str(item or "") for item in batch.column(image).to_pylist()]
        numbers = {name: self._scene(name) for name in set(named)}
        return shapes, np.array([numbers[name] for name in named], np.intp)

    def _scene(self, name: str) -> int:
        """Return the number of the scene of that file name or stem; without a name, of the only one."""
        if not name.strip():
            return 0 if len(self.scenes) == 1 else -1
        wanted = PureWindowsPath(name.strip())
        paths = [Path(info.path) for info in self.scenes]
        alike = [
            *(number for number, path in enumerate(paths) if path.name == wanted.name),
            *(number for number, path in enumerate(paths) if path.stem == wanted.stem),
        ]
        return alike[0] if alike else -1

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
