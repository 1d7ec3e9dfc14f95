"""Values of a raster at points and over polygons."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.vrt import WarpedVRT

from geomm.errors import DataError, DependencyError, did_you_mean
from geomm.io.raster import RasterReader
from geomm.io.raster_info import RasterInfo, open_raster
from geomm.io.tables import to_crs
from geomm.io.vector import to_map, to_pixels
from geomm.structures import IN_PIXELS, PixelWindow

Floats = NDArray[np.float64]
#: Edge of the blocks that points are grouped by, pixels.
_BLOCK_PX = 512
STATISTICS = ("mean", "min", "max", "stdev", "variance", "median", "majority", "minority", "sum", "count",
              "variety")  # fmt: skip


def sample_raster(
    path: str,
    geometry: NDArray[np.object_],
    crs: str | None,
    *,
    band: int = 1,
    statistic: str = "mean",
    resampling: str = "nearest",
) -> Floats:
    """Return a value of one band for each geometry.

    Points and lines (their middle) are sampled, polygons summarised with the exact share of each pixel
    that they cover.

    Args:
      path: of the raster.
      geometry: (n,) shapely geometries; reprojected as needed.
      crs: of these.
      band: 1-based.
      statistic: of polygons, one of ``STATISTICS``.
      resampling: of points, ``nearest`` or ``bilinear``.

    Returns:
      (n,) float64, NaN outside, on nodata and for a missing geometry.

    Raises:
      DataError: no such raster, band or statistic.
      MissingCRSError: one of the two has no CRS.
    """
    import shapely

    reader = RasterReader(path)
    (band,) = reader.info.select_bands([band])
    placed = to_crs(geometry, crs, reader.info.georeference.crs, "the table", path)
    kinds = shapely.get_type_id(placed)
    areal = np.isin(kinds, (3, 6))
    values = np.full(len(placed), np.nan)
    if areal.any():
        values[areal] = _zonal(reader.info, placed[areal], band, statistic)
    points = ~areal & (kinds >= 0)
    if points.any():
        values[points] = _at_points(reader, shapely.centroid(placed[points]), band, resampling)
    return values


def _at_points(reader: RasterReader, places: NDArray[np.object_], band: int, resampling: str) -> Floats:
    import shapely

    pixels = to_pixels(places, reader.info)
    col, row = shapely.get_x(pixels), shapely.get_y(pixels)
    if resampling == "bilinear":
        return _bilinear(reader, col - 0.5, row - 0.5, band)
    return _pick(reader, np.floor(col), np.floor(row), band)


def _bilinear(reader: RasterReader, col: Floats, row: Floats, band: int) -> Floats:
    """Interpolate between pixel centres; pixels without data leave their weight to the others."""
    left, top = np.floor(col), np.floor(row)
    total, weight = np.zeros(len(col)), np.zeros(len(col))
    for dx in (0, 1):
        for dy in (0, 1):
            value = _pick(reader, left + dx, top + dy, band)
            share = np.abs(1 - dx - (col - left)) * np.abs(1 - dy - (row - top))
            there = np.isfinite(value)
            total[there] += (share * np.nan_to_num(value))[there]
            weight[there] += share[there]
    inside = _pick(reader, np.floor(col + 0.5), np.floor(row + 0.5), band)
    found = np.divide(total, weight, out=np.full(len(col), np.nan), where=weight > 1e-9)
    return np.where(np.isfinite(inside), found, np.nan)


def _pick(reader: RasterReader, col: Floats, row: Floats, band: int) -> Floats:
    """Return pixels by whole column and row, read block by block."""
    info = reader.info
    values = np.full(len(col), np.nan)
    inside = np.flatnonzero(
        np.isfinite(col) & (col >= 0) & (row >= 0) & (col < info.width) & (row < info.height)
    )
    cols, rows = col[inside].astype(np.int64), row[inside].astype(np.int64)
    across = -(-info.width // _BLOCK_PX)
    block = rows // _BLOCK_PX * across + cols // _BLOCK_PX
    order = np.argsort(block, kind="stable")
    cuts = np.flatnonzero(np.diff(block[order])) + 1
    for group in np.split(order, cuts) if len(order) else []:
        first_col, first_row = cols[group].min(), rows[group].min()
        window = PixelWindow(
            int(first_col),
            int(first_row),
            int(cols[group].max() - first_col + 1),
            int(rows[group].max() - first_row + 1),
        )
        pixels, valid = reader.read(window, [band])
        at = (rows[group] - first_row, cols[group] - first_col)
        values[inside[group]] = np.where(valid[at], pixels[0][at].astype(np.float64), np.nan)
    return values


def _zonal(info: RasterInfo, polygons: NDArray[np.object_], band: int, statistic: str) -> Floats:
    if statistic not in STATISTICS:
        raise DataError(
            f"statistic of {info.path}: unknown {statistic!r}; {did_you_mean(statistic, STATISTICS)}"
        )
    try:
        from exactextract import exact_extract
        from exactextract.raster import RasterioRasterSource
    except ImportError as error:
        raise DependencyError("rasters over polygons need exactextract: pip install exactextract") from error
    import geopandas

    with open_raster(info.path) as file, _with_crs(file, info) as source:
        if info.georeference == IN_PIXELS:
            polygons = to_map(to_pixels(polygons, info), info)
        frame = geopandas.GeoDataFrame(geometry=list(polygons), crs=source.crs)
        found: Any = exact_extract(
            RasterioRasterSource(source, band, name="band"), frame, [statistic], output="pandas"
        )
        nodata = source.nodata
    values = found[statistic].to_numpy(dtype=np.float64, na_value=np.nan)
    if nodata is not None and statistic in ("majority", "minority", "min", "max", "mean"):
        values = np.where(values == nodata, np.nan, values)
    return np.asarray(values)


def _with_crs(source: Any, info: RasterInfo) -> Any:
    """Return a raster that has a CRS, any one where it has none: exactextract needs to know some."""
    if info.georeference.crs is not None:
        return nullcontext(source)
    place = rasterio.Affine(*info.georeference.transform)
    grid = {"crs": "EPSG:3857", "transform": place, "width": info.width, "height": info.height}
    return WarpedVRT(source, src_crs="EPSG:3857", src_transform=place, **grid)


def nearest_distance(
    geometry: NDArray[np.object_], crs: str | None, layer: Any, layer_crs: str | None, metric_crs: str | None
) -> Floats:
    """Return the distance of each geometry to the nearest of a layer.

    Args:
      geometry: (n,) shapely geometries.
      crs: of these.
      layer: (m,) shapely geometries.
      layer_crs: of these.
      metric_crs: in whose units distances are measured; None where no CRS is known.

    Returns:
      (n,) float64, NaN for a missing geometry.
    """
    import shapely

    places = to_crs(geometry, crs, metric_crs, "the layer")
    others = to_crs(np.asarray(layer, dtype=object), layer_crs, metric_crs, "the other layer")
    others = others[~shapely.is_missing(others) & ~shapely.is_empty(others)]
    values = np.full(len(places), np.nan)
    there = np.flatnonzero(~shapely.is_missing(places) & ~shapely.is_empty(places))
    if len(there) and len(others):
        near = shapely.STRtree(others).nearest(places[there])
        values[there] = shapely.distance(places[there], others[near])
    return values


def metric_crs(geometry: NDArray[np.object_], crs: str | None) -> str | None:
    """Return a CRS in metres for these geometries: their own, or the UTM zone of their middle."""
    if crs is None:
        return None
    import geopandas
    import pyproj

    found = pyproj.CRS.from_user_input(crs)
    if found.is_projected:
        return crs
    series = geopandas.GeoSeries(list(geometry), crs=found)
    return str(series.estimate_utm_crs().to_string())


def band_names(path: str, bands: Sequence[int | str] | None) -> list[tuple[int, str]]:
    """Return number and column name of a raster's bands: its stem, with the band where there are several.

    Raises:
      DataError: no such raster or band.
    """
    from pathlib import Path

    info = RasterReader(path).info
    chosen = info.select_bands(bands)
    stem = Path(path).stem
    if len(chosen) == 1:
        return [(chosen[0], stem)]
    return [(band, f"{stem}_{info.band_names[band - 1].replace(' ', '_')}") for band in chosen]
