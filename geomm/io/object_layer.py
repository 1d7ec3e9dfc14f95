"""Objects as a layer on the map: boxes or outlines with class, confidence and size."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geomm.io.ground_sizes import ground_of
from geomm.io.qml import object_style, write_style
from geomm.io.table_stream import RowsLayout
from geomm.io.table_writer import RowWriter
from geomm.io.tables import to_crs
from geomm.structures import ClassSpec, Georeference

_LOG = logging.getLogger("geomm")
#: The fields by which a layer is known as one of objects.
_FIELDS = {"id", "class", "value", "confidence", "scene"}


class ObjectLayerWriter:
    """Writes objects in chunks; the layer appears under its name, with its style, when complete.

    The fields: ``id`` counts from 1; ``class`` and ``value`` (what the training data call it);
    ``confidence`` from 0 to 1; ``scene``, the input's name; ``width_m``, ``height_m`` (along the image's
    rows and columns) and ``area_m2`` in metres, as ``ground_of`` measures them, and in pixels where there is
    no CRS: then the fields end in ``_px`` and ``_px2``. Geometries are in the coordinates of the
    georeference's transform, those of a world file too; without one these are pixels, y the negative row,
    as QGIS shows such an image.

    Args:
      path: .gpkg, .geojson, .fgb or .parquet.
      georeference: of the pixels that objects come in.
      classes: of the labels.
      scenes: names of the inputs.
      outlines: polygons with any number of parts instead of boxes.
      min_area_m2: smaller objects are left out; square pixels where there is no CRS.
    """

    def __init__(
        self,
        path: Path,
        *,
        georeference: Georeference,
        classes: Sequence[ClassSpec],
        scenes: Sequence[str],
        outlines: bool = False,
        min_area_m2: float = 0.0,
    ) -> None:
        self.path, self.georeference, self.classes = path, georeference, tuple(classes)
        self.scenes = np.array(scenes, dtype=object)
        self.outlines, self.min_area_m2 = outlines, min_area_m2
        self.written = 0
        kind = "MultiPolygon" if outlines else "Polygon"
        self.crs = written_crs(path, georeference.crs)
        self._rows = RowWriter(path, RowsLayout("geometry", kind, self.crs))

    def __enter__(self) -> ObjectLayerWriter:
        self._rows.__enter__()
        return self

    def add(
        self,
        boxes: NDArray[np.float64],
        labels: NDArray[np.int32],
        scores: NDArray[np.float32],
        sources: NDArray[np.int32],
        shapes: NDArray[np.object_] | None = None,
    ) -> NDArray[np.bool_]:
        """Write those of some objects that are large enough.

        Args:
          boxes: (N, 4) pixels.
          labels: (N,) index into the classes.
          scores: (N,) 0 to 1.
          sources: (N,) index into the scenes.
          shapes: (N,) polygons in pixels instead of the boxes.

        Returns:
          (N,) bool: those that were written.
        """
        if not len(boxes):
            return np.zeros(0, bool)
        import pyarrow
        import shapely

        pixels = self._pixels(box_polygons(boxes) if shapes is None else shapes)
        geometries = self._placed(pixels)
        widths, heights = (boxes[:, 2:] - boxes[:, :2]).T
        areas = shapely.area(pixels)
        if self.georeference.crs is not None:
            ground = ground_of(self.georeference.crs)
            across, down = self._metres_per_pixel(ground.metres_per_unit(geometries))
            widths, heights, areas = widths * across, heights * down, ground.areas_m2(geometries)
        kept = areas >= self.min_area_m2
        names = np.array([item.name for item in self.classes], dtype=object)
        values = np.array([item.value for item in self.classes], np.int32)
        count = int(kept.sum())
        unit, square = ("m", "m2") if self.georeference.crs is not None else ("px", "px2")
        columns = {
            "id": np.arange(self.written + 1, self.written + count + 1, dtype=np.int64),
            "class": names[labels[kept]],
            "value": values[labels[kept]],
            "confidence": scores[kept].astype(np.float64).round(4),
            f"width_{unit}": widths[kept].round(3),
            f"height_{unit}": heights[kept].round(3),
            f"area_{square}": areas[kept].round(3),
            "scene": self.scenes[sources[kept]],
        }
        self.written += count
        wkb = shapely.to_wkb(to_crs(geometries[kept], self.georeference.crs, self.crs, str(self.path)))
        arrays = {name: pyarrow.array(column, from_pandas=True) for name, column in columns.items()}
        for name in ("class", "scene"):
            arrays[name] = arrays[name].cast(pyarrow.string())
        arrays["geometry"] = pyarrow.array(wkb, pyarrow.binary())
        self._rows(pyarrow.RecordBatch.from_pydict(arrays, schema=self._schema(arrays)))
        return np.asarray(kept)

    def _schema(self, arrays: dict[str, Any]) -> Any:
        import pyarrow

        types = [pyarrow.field(name, array.type) for name, array in arrays.items()]
        # GDAL knows a column of geometries by this (https://geoarrow.org/extension-types).
        types[-1] = types[-1].with_metadata({b"ARROW:extension:name": b"geoarrow.wkb"})
        return pyarrow.schema(types)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None and not self.written:
            self._add_nothing()
        self._rows.__exit__(kind, error, trace)
        if kind is None:
            self.style = write_style(self.path, object_style(self.classes))

    def _add_nothing(self) -> None:
        """Write a batch without rows, so that a layer without objects has its fields too."""
        import pyarrow

        text, real = pyarrow.string(), pyarrow.float64()
        unit, square = ("m", "m2") if self.georeference.crs is not None else ("px", "px2")
        types = {
            "id": pyarrow.int64(),
            "class": text,
            "value": pyarrow.int32(),
            "confidence": real,
            f"width_{unit}": real,
            f"height_{unit}": real,
            f"area_{square}": real,
            "scene": text,
            "geometry": pyarrow.binary(),
        }
        arrays = {name: pyarrow.array([], kind) for name, kind in types.items()}
        self._rows(pyarrow.RecordBatch.from_pydict(arrays, schema=self._schema(arrays)))

    def _pixels(self, shapes: NDArray[np.object_]) -> NDArray[np.object_]:
        """Return shapes as the layer's type has them, in pixels."""
        return np.array([as_multipolygon(shape) for shape in shapes], object) if self.outlines else shapes

    def _placed(self, shapes: NDArray[np.object_]) -> NDArray[np.object_]:
        """Return shapes in map coordinates."""
        import shapely

        a, b, c, d, e, f = self.georeference.transform
        placed = shapely.transform(
            shapes, lambda p: np.stack([a * p[:, 0] + b * p[:, 1] + c, d * p[:, 0] + e * p[:, 1] + f], axis=1)
        )
        return np.asarray(placed, dtype=object)

    def _metres_per_pixel(
        self, metres: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return (N,) metres of a pixel along rows and along columns, from those (N, 2) of a unit."""
        a, b, _, d, e, _ = self.georeference.transform
        east, north = metres[:, 0], metres[:, 1]
        return np.hypot(a * east, d * north), np.hypot(b * east, e * north)


def written_crs(path: Path, crs: str | None) -> str | None:
    """Return the CRS that a layer is written in: a GeoJSON can name another than WGS 84 by a code alone."""
    from pyproj import CRS

    if (
        crs is None
        or path.suffix.lower() != ".geojson"
        or CRS.from_user_input(crs).to_authority() is not None
    ):
        return crs
    _LOG.warning("%s: GeoJSON cannot say the scene's CRS, which has no EPSG code: written in WGS 84", path)
    return "EPSG:4326"


def box_polygons(boxes: NDArray[np.float64]) -> NDArray[np.object_]:
    """Return boxes (N, 4) as rectangles, in one call for all."""
    import shapely

    xmin, ymin, xmax, ymax = boxes.T
    rings = np.stack(
        [
            np.stack([xmin, ymin], 1),
            np.stack([xmin, ymax], 1),
            np.stack([xmax, ymax], 1),
            np.stack([xmax, ymin], 1),
            np.stack([xmin, ymin], 1),
        ],
        axis=1,
    )
    return np.asarray(shapely.polygons(rings), dtype=object)


def as_multipolygon(shape: Any) -> Any:
    """Return the polygons of any geometry as one multipolygon."""
    import shapely

    parts = [part for part in shapely.get_parts(shape) if part.geom_type in ("Polygon", "MultiPolygon")]
    return shapely.MultiPolygon([single for part in parts for single in shapely.get_parts(part)])


def is_object_layer(path: Path) -> bool:
    """Return whether a file is a layer of objects that geomm wrote."""
    if not path.is_file():
        return False
    try:
        if path.suffix.lower() == ".parquet":
            import pyarrow.parquet

            return set(pyarrow.parquet.read_schema(path).names) >= _FIELDS
        import pyogrio

        info = pyogrio.read_info(path, layer=0)  # the first: a GeoPackage has its styles too
        if path.suffix.lower() == ".geojson" and not info["features"]:
            return True  # it has no fields, and nothing is lost with it
        fields = set(info["fields"])
        return fields >= _FIELDS
    except (RuntimeError, ValueError, OSError):
        return False
