"""Vector layers as labels: opened, placed on a scene, and burnt into windows."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geomm.errors import DataError, MissingCRSError, did_you_mean
from geomm.io.raster import RasterInfo, same_crs
from geomm.io.tables import first_layer
from geomm.structures import IGNORE_INDEX, IN_PIXELS, PixelWindow

_LOG = logging.getLogger("geomm")
#: Of a layer with more features than this, only those near the scene are read.
_MANY_FEATURES = 100_000


def read_layer(path: str | Path, *, around: RasterInfo | None = None, may_be_empty: bool = False) -> Any:
    """Return a GeoDataFrame of whatever pyogrio opens, or of GeoParquet.

    Args:
      path: of the layer.
      around: of a layer of very many features, read only those near this scene; there may be none.
      may_be_empty: whether a layer without features is as good as any.

    Raises:
      DataError: there is no such file, it is no vector layer, it is empty, or far from the scene.
    """
    import geopandas

    text = str(path)
    area = None
    try:
        if text.endswith((".parquet", ".geoparquet")):
            frame = geopandas.read_parquet(text)
        else:
            layer = first_layer(text)
            area = None if around is None else _area_of_many(text, layer, around)
            frame = geopandas.read_file(text, engine="pyogrio", layer=layer, bbox=area)
    except FileNotFoundError as error:
        raise DataError(f"{text}: there is no such file") from error
    except (ValueError, RuntimeError, OSError) as error:
        exists = Path(text).exists()
        reason = str(error).splitlines()[0] if exists else "there is no such file"
        raise DataError(f"{text} cannot be opened as a vector layer ({reason})") from error
    if not hasattr(frame, "geometry") or getattr(frame, "geometry", None) is None:
        raise DataError(f"{text} is a table without geometries; expected a vector layer")
    if not len(frame) and area is None and not may_be_empty:
        raise DataError(f"{text}: the layer has no features")
    return frame


def _area_of_many(
    path: str, layer_name: str | None, scene: RasterInfo
) -> tuple[float, float, float, float] | None:
    """Return the scene's bounds in a layer's CRS; None where the whole layer is better read.

    Raises:
      DataError: the layer has very many features, and none of them is near the scene.
    """
    import pyogrio
    import pyproj

    layer = pyogrio.read_info(path, layer=layer_name, force_total_bounds=False)
    if layer["features"] <= _MANY_FEATURES or not layer["crs"] or scene.georeference.crs is None:
        return None
    a, b, c, d, e, f = scene.georeference.transform
    xs = [a * col + b * row + c for col in (0, scene.width) for row in (0, scene.height)]
    ys = [d * col + e * row + f for col in (0, scene.width) for row in (0, scene.height)]
    there = pyproj.Transformer.from_crs(scene.georeference.crs, layer["crs"], always_xy=True)
    left, bottom, right, top = there.transform_bounds(min(xs), min(ys), max(xs), max(ys))
    if not np.isfinite([left, bottom, right, top]).all() or left > right:  # across the antimeridian
        return None
    bounds = layer["total_bounds"]
    if bounds is not None and (
        right < bounds[0] or top < bounds[1] or left > bounds[2] or bottom > bounds[3]
    ):
        raise DataError(
            f"{path} does not overlap {scene.path}: in the layer's CRS the labels span "
            f"{bounds[0]:.6g} to {bounds[2]:.6g} and {bounds[1]:.6g} to {bounds[3]:.6g}, the scene "
            f"{left:.6g} to {right:.6g} and {bottom:.6g} to {top:.6g}; check both CRS"
        )
    return left, bottom, right, top


@dataclass(frozen=True)
class VectorLabels:
    """Features with a class each, in pixels of one scene.

    Attributes:
      path: of the layer.
      geometries: shapely geometries in the scene's pixel coordinates (column, row).
      names: class name of each, None where the layer has no label field.
    """

    path: str
    geometries: NDArray[np.object_]
    names: NDArray[np.object_] | None

    @classmethod
    def open(cls, path: str | Path, scene: RasterInfo, *, label_field: str | None = None) -> VectorLabels:
        """Open a layer for a scene.

        Args:
          path: of the layer.
          scene: whose grid the features are put on; they are reprojected where the CRS differ.
          label_field: attribute with the class, None where all features are one class.

        A scene inside the layer's extent may have no feature of its own: nothing of the kind is there.

        Raises:
          MissingCRSError: the layer or the scene has no CRS while the other has one.
          DataError: no overlap with the scene, no such field, no usable geometry.
        """
        frame = read_layer(path, around=scene)
        frame = in_scene_crs(frame, str(path), scene)
        names = _field(frame, str(path), label_field)
        if not len(frame):
            _LOG.warning("%s: no feature of %s lies on it", scene.path, path)
            return cls(str(path), np.empty(0, object), names)
        geometries, kept = _usable(frame.geometry.to_numpy(), str(path))
        placed = to_pixels(geometries, scene)
        inside = _overlapping(placed, str(path), scene)
        return cls(str(path), placed[inside], None if names is None else names[kept][inside])

    @cached_property
    def _tree(self) -> Any:
        import shapely

        return shapely.STRtree(self.geometries)

    def inside(self, window: PixelWindow) -> NDArray[np.intp]:
        """Return the indices of the features that touch a window, in the layer's order."""
        import shapely

        right, bottom = window.col + window.width, window.row + window.height
        return np.sort(self._tree.query(shapely.box(window.col, window.row, right, bottom)))

    def burn(
        self,
        window: PixelWindow,
        index_of: Mapping[str, int] | int,
        *,
        fill: int,
        all_touched: bool = False,
    ) -> NDArray[np.uint8]:
        """Rasterise a window: later features cover earlier ones.

        Args:
          window: pixels of the scene.
          index_of: class index by name (other names stay ``fill``, features without a name become
            ``IGNORE_INDEX``), or one index for all features.
          fill: value where no feature lies.
          all_touched: burn every pixel that a feature touches, not just those whose centre it holds.

        Returns:
          (h, w) uint8.
        """
        from rasterio.features import rasterize
        from rasterio.transform import Affine

        shape = (window.height, window.width)
        shapes = []
        for index in self.inside(window):
            if isinstance(index_of, int):
                value: int | None = index_of
            else:
                assert self.names is not None
                name = self.names[index]
                # Something is there that nobody named: not even background.
                value = IGNORE_INDEX if name is None else index_of.get(str(name))
            if value is not None:
                shapes.append((self.geometries[index], value))
        if not shapes:
            return np.full(shape, fill, np.uint8)
        return rasterize(  # type: ignore[no-any-return]
            shapes,
            out_shape=shape,
            fill=fill,
            transform=Affine.translation(window.col, window.row),
            all_touched=all_touched,
            dtype="uint8",
        )


def _overlapping(geometries: NDArray[np.object_], path: str, scene: RasterInfo) -> NDArray[np.bool_]:
    """Return which geometries lie on the scene, at least partly."""
    import shapely

    left, top, right, bottom = shapely.bounds(geometries).T
    inside = (right > 0) & (bottom > 0) & (left < scene.width) & (top < scene.height)
    if inside.any():
        return inside  # type: ignore[no-any-return]
    extent = (left.min(), top.min(), right.max(), bottom.max())
    if extent[2] <= 0 or extent[3] <= 0 or extent[0] >= scene.width or extent[1] >= scene.height:
        raise DataError(
            f"{path} does not overlap {scene.path}: the labels span columns {extent[0]:.0f} to "
            f"{extent[2]:.0f} and rows {extent[1]:.0f} to {extent[3]:.0f} of a scene of "
            f"{scene.width} x {scene.height} pixels; check both CRS"
        )
    _LOG.warning("%s: no feature of %s lies on it", scene.path, path)
    return inside  # type: ignore[no-any-return]


def in_scene_crs(frame: Any, path: str, scene: RasterInfo) -> Any:
    """Return a GeoDataFrame in the scene's CRS.

    Raises:
      MissingCRSError: one of both has a CRS and the other has none.
    """
    crs = scene.georeference.crs
    if frame.crs is None and crs is None:
        return frame
    if frame.crs is None:
        raise MissingCRSError(f"{path} has no CRS; assign the right one (ogr2ogr -a_srs EPSG:… OUT IN)")
    if crs is None:
        raise MissingCRSError(
            f"{scene.path} has no CRS, so {path} cannot be placed on it; "
            "assign one (gdal_edit.py -a_srs EPSG:… FILE)"
        )
    if same_crs(frame.crs.to_wkt(), crs):
        return frame
    _LOG.info("%s is reprojected from %s to the scene's CRS", path, frame.crs.to_string()[:60])
    return frame.to_crs(crs)


def _field(frame: Any, path: str, field: str | None) -> NDArray[np.object_] | None:
    if field is None:
        return None
    if field not in frame.columns or field == frame.geometry.name:
        fields = [str(c) for c in frame.columns if c != frame.geometry.name]
        raise DataError(f"{path} has no field {field!r}; {did_you_mean(field, fields)}")
    values = frame[field]
    if values.isna().any():
        _LOG.warning("%s: %d features without a %s are left unlabelled", path, values.isna().sum(), field)
    if values.dtype.kind == "f" and (values.dropna() % 1 == 0).all():
        values = values.astype("Int64")
    return np.array(
        [None if missing else str(v) for v, missing in zip(values, values.isna(), strict=True)],
        object,
    )


def _usable(geometries: NDArray[np.object_], path: str) -> tuple[NDArray[np.object_], NDArray[np.bool_]]:
    """Repair invalid geometries, drop missing ones, and say how many."""
    import shapely

    kept = ~(shapely.is_missing(geometries) | shapely.is_empty(geometries))
    finite = np.isfinite(shapely.bounds(geometries)).all(1)
    if kept.any() and not (kept & finite).any():
        raise DataError(
            f"{path}: no coordinate of the layer can be expressed in the scene's CRS; "
            "the CRS that the layer names is not that of its coordinates"
        )
    kept &= finite
    good = shapely.force_2d(geometries[kept])
    broken = ~shapely.is_valid(good)
    if broken.any():
        good[broken] = shapely.make_valid(good[broken])
        _LOG.warning("%s: %d invalid geometries repaired", path, int(broken.sum()))
    if not kept.all():
        _LOG.warning("%s: %d features without a usable geometry left out", path, int((~kept).sum()))
    if not len(good):
        raise DataError(f"{path}: no feature has a geometry")
    return good, kept


def to_pixels(geometries: NDArray[np.object_], scene: RasterInfo) -> NDArray[np.object_]:
    """Turn map coordinates of the scene's CRS into its (column, row) coordinates.

    On an image without a place, y is the negative row, or the row where geometries say so by lying there.
    """
    import shapely
    from rasterio.transform import Affine

    inverse = ~Affine(*scene.georeference.transform)
    if scene.georeference == IN_PIXELS and _counts_down(geometries):
        inverse = Affine.identity()

    def place(points: NDArray[np.float64]) -> NDArray[np.float64]:
        cols = inverse.a * points[:, 0] + inverse.b * points[:, 1] + inverse.c
        rows = inverse.d * points[:, 0] + inverse.e * points[:, 1] + inverse.f
        return np.stack([cols, rows], axis=1)

    return shapely.transform(geometries, place)  # type: ignore[no-any-return]


def _counts_down(geometries: NDArray[np.object_]) -> bool:
    """Return whether geometries in pixels have rows that count down from 0, as files of pixel boxes do."""
    import shapely

    rows = shapely.bounds(geometries)[:, [1, 3]]
    rows = rows[np.isfinite(rows)]
    return bool(rows.size and rows.mean() > 0)


def to_map(geometries: NDArray[np.object_], scene: RasterInfo) -> NDArray[np.object_]:
    """Turn the scene's (column, row) coordinates into those of its CRS."""
    import shapely

    a, b, c, d, e, f = scene.georeference.transform

    def place(points: NDArray[np.float64]) -> NDArray[np.float64]:
        cols, rows = points.T
        return np.stack([a * cols + b * rows + c, d * cols + e * rows + f], axis=1)

    return shapely.transform(geometries, place)  # type: ignore[no-any-return]


def layer_classes(names: Sequence[NDArray[np.object_]]) -> list[str]:
    """Return the distinct class names of several layers, sorted, numbers by value."""
    found = {str(name) for column in names for name in column if name is not None}
    return sorted(
        found,
        key=lambda name: (
            not name.lstrip("-").isdigit(),
            int(name) if name.lstrip("-").isdigit() else 0,
            name,
        ),
    )
