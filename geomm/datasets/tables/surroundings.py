"""Columns from the place of a row: rasters, distances to other layers, coordinates, H3 cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geomm.errors import ConfigError, DataError, DependencyError, MissingCRSError
from geomm.io.raster_samples import band_names, metric_crs, nearest_distance, sample_raster
from geomm.io.tables import Table, points_of, read_table, to_crs
from geomm.transforms.table import RasterVariable, Surroundings, X, Y


def list_rasters(
    given: Any, *, statistic: str = "mean", resampling: str = "nearest"
) -> tuple[RasterVariable, ...]:
    """Return the variables that ``dataset.rasters`` means, a column a band.

    Args:
      given: a file, glob, folder or list of these, or {name: file}.
      statistic: over polygons.
      resampling: at points.

    Raises:
      DataError: nothing matches, or two columns would have one name.
    """
    from geomm.io.paths import expand

    if not given:
        return ()
    named = given.items() if isinstance(given, Mapping) else [(None, path) for path in expand(given)]
    found: list[RasterVariable] = []
    for name, path in named:
        bands = band_names(str(path), None)
        for band, own in bands:
            column = own if name is None else name if len(bands) == 1 else f"{name}_{band}"
            found.append(RasterVariable(column, str(path), band, statistic, resampling))
    names = [item.name for item in found]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise DataError(f"dataset.rasters: two bands are named {twice[0]!r}; give {{name: file, …}}")
    return tuple(found)


def place_rows(table: Table, xy: Sequence[str] | None, crs: str | None) -> Table:
    """Return the table with points from its fields ``xy``, where it has no geometries of its own."""
    if table.geometry is not None or not xy:
        return table
    lacking = [name for name in xy if name not in table.frame.columns]
    if lacking:
        raise DataError(f"dataset.xy: the table has no column {lacking[0]!r}")
    from geomm.transforms.columns import to_numbers

    x, y = (to_numbers(table.frame[name], "number", name) for name in xy)
    return Table(table.frame, points_of(x, y), crs)


def chosen_crs(table: Table) -> str | None:
    """Return the CRS that coordinates and distances are measured in."""
    return None if table.geometry is None else metric_crs(table.geometry, table.crs)


def surrounding_columns(table: Table, around: Surroundings) -> dict[str, NDArray[Any]]:
    """Return the columns that ``around`` adds to a table.

    Raises:
      DataError: the table has no geometries, or a raster or layer cannot be read.
      MissingCRSError: a CRS is needed and missing.
    """
    if not around.needs_place:
        return {}
    geometry, crs = table.geometry, table.crs
    if geometry is None:
        raise DataError(
            "rasters, distances, coordinates and h3 need the place of a row, and the table has no "
            "geometries; give a feature layer, or dataset.xy=[x_field,y_field] dataset.crs=EPSG:…"
        )
    columns: dict[str, NDArray[Any]] = {}
    for item in around.rasters:
        columns[item.name] = sample_raster(
            item.path,
            geometry,
            crs,
            band=item.band,
            statistic=item.statistic,
            resampling=item.resampling,
        )
    for name, path in around.distances:
        layer = _layer(path, _changed(path))
        columns[name] = nearest_distance(geometry, crs, layer.geometry, layer.crs, around.crs)
    if around.coordinates:
        columns[X], columns[Y] = _centres(to_crs(geometry, crs, around.crs, "the table"))
    if around.h3 is not None:
        columns[f"h3_{around.h3}"] = _cells(geometry, crs, around.h3)
    return columns


def _changed(path: str) -> float:
    return Path(path).stat().st_mtime if Path(path).exists() else 0.0


@lru_cache(maxsize=16)
def _layer(path: str, changed: float) -> Table:
    layer = read_table(path)
    if layer.geometry is None:
        raise DataError(f"{path} is a table without geometries; expected a layer to measure distances to")
    return layer


def _centres(geometry: NDArray[np.object_]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    import shapely

    middle = shapely.centroid(geometry)
    return shapely.get_x(middle), shapely.get_y(middle)


def centres(table: Table) -> NDArray[np.float64] | None:
    """Return (n, 2) x and y of the middle of each row's geometry, None of a table without."""
    return None if table.geometry is None else np.stack(_centres(table.geometry), axis=1)


def _cells(geometry: NDArray[np.object_], crs: str | None, resolution: int) -> NDArray[np.object_]:
    try:
        import h3
    except ImportError as error:
        raise DependencyError("dataset.h3 needs h3: pip install h3") from error
    if not 0 <= resolution <= 15:
        raise ConfigError(f"dataset.h3: found {resolution}, expected a resolution from 0 to 15")
    if crs is None:
        raise MissingCRSError("dataset.h3 needs the layer's CRS, and it has none; assign one")
    lon, lat = _centres(to_crs(geometry, crs, "OGC:CRS84", "the table"))
    cells = [
        h3.latlng_to_cell(y, x, resolution) if np.isfinite(x) and np.isfinite(y) else None
        for x, y in zip(lon, lat, strict=True)
    ]
    return np.array(cells, dtype=object)
