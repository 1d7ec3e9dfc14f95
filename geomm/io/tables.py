"""Tables and feature layers as a whole: CSV, Parquet, GeoParquet and whatever pyogrio opens."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geomm.errors import DataError, DependencyError, MissingCRSError, did_you_mean
from geomm.io.paths import VECTOR_ENDINGS, database_driver, expand, is_connection

_LOG = logging.getLogger("geomm")
TEXT_ENDINGS = (".csv", ".tsv")
PARQUET_ENDINGS = (".parquet", ".geoparquet")
#: How text tables write that a cell is empty: what pandas takes by default, for every reader of them.
NULLS = (
    *("", "NA", "N/A", "n/a", "<NA>", "#NA", "#N/A", "#N/A N/A", "NULL", "null", "None"),
    *("NaN", "nan", "-NaN", "-nan", "1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN"),
)  # fmt: skip
TABLE_ENDINGS = (*TEXT_ENDINGS, *VECTOR_ENDINGS)


@dataclass(frozen=True)
class Table:
    """Rows in memory.

    Attributes:
      frame: pandas DataFrame of the fields.
      geometry: (n,) shapely geometries, None of a table without.
      crs: of the geometries, as WKT or a code; None where unknown.
    """

    frame: Any
    geometry: NDArray[np.object_] | None = None
    crs: str | None = None

    def __len__(self) -> int:
        return len(self.frame)


def find_tables(given: str | Path | Sequence[str | Path]) -> list[str]:
    """Return the tables that a path, glob, folder, URL or list of these means.

    Raises:
      DataError: nothing matches.
    """
    return expand(given, TABLE_ENDINGS)


def check_driver(path: str) -> None:
    """Check that a database can be opened at all: the wheels of pyogrio have no driver for any.

    Raises:
      DependencyError: its driver is not there.
    """
    import pyogrio

    driver = database_driver(path)
    if driver is not None and driver not in pyogrio.list_drivers():
        raise DependencyError(
            f"{path}: this pyogrio was built without GDAL's driver {driver}; install one that has it "
            "(conda install -c conda-forge pyogrio libgdal-pg), or export the table to a GeoPackage"
        )


def check_layer(path: str, layer: str | None) -> None:
    """Check that a file of features has a layer of that name.

    Raises:
      DataError: it has others.
    """
    import pyogrio

    if layer is None or kind_of(path) != "features":
        return
    try:
        names = [str(name) for name, _ in pyogrio.list_layers(path)]
    except pyogrio.errors.DataSourceError:
        return  # what is wrong with the file, its reader says
    if layer not in names:
        raise DataError(f"{path} has no layer {layer!r}; {did_you_mean(layer, names)}")


def first_layer(path: str) -> str | None:
    """Return the first layer with geometries, and say so of several; there may be styles and tables too."""
    import pyogrio

    layers = [str(name) for name, kind in pyogrio.list_layers(path) if kind is not None]
    if len(layers) > 1:
        _LOG.warning("%s holds several layers (%s); the first is read", path, ", ".join(layers[:6]))
    return layers[0] if layers else None


def warn_of_layers(path: str) -> None:
    """Say of a file that has several layers with geometries that the first is read."""
    import pyogrio

    if kind_of(path) == "features":
        with suppress(pyogrio.errors.DataSourceError):  # what is wrong with the file, its reader says
            first_layer(path)


def kind_of(path: str) -> str:
    """Return ``text``, ``parquet`` or ``features``, by what reads it."""
    ending = Path(path.partition("?")[0]).suffix.lower()
    if ending in TEXT_ENDINGS:
        return "text"
    return "parquet" if ending in PARQUET_ENDINGS else "features"


def separator(path: str) -> str:
    """Return what a text table's columns are told apart by."""
    return "\t" if path.lower().endswith(".tsv") else ","


def read_table(path: str, *, layer: str | None = None, text: Sequence[str] = ()) -> Table:
    """Read a table or layer.

    Args:
      path: a file, or a data source that GDAL opens.
      layer: of a file with several; None takes its first.
      text: columns of a CSV that are text even where they look like numbers (``00420``).

    Raises:
      DataError: there is no such file, it is none, or it has no rows.
      DependencyError: a database that this GDAL has no driver for.
    """
    import geopandas
    import pandas
    import pyarrow

    kind = kind_of(path)
    check_driver(path)
    if not is_connection(path) and not Path(path).exists():
        raise DataError(f"{path}: there is no such file")
    check_layer(path, layer)
    try:
        if kind == "text":
            frame = pandas.read_csv(
                path,
                sep=separator(path),
                dtype={name: str for name in text},
                low_memory=False,
                na_values=list(NULLS),
                keep_default_na=False,
            )
        elif kind == "parquet":
            spatial = geo_metadata(path) is not None
            frame = geopandas.read_parquet(path) if spatial else pandas.read_parquet(path)
        else:
            frame = geopandas.read_file(path, layer=layer, engine="pyogrio")
    except pandas.errors.EmptyDataError as error:
        raise DataError(f"{path} is empty; expected a line of column names and rows below it") from error
    except (ValueError, RuntimeError, OSError, pyarrow.ArrowException, pandas.errors.ParserError) as error:
        raise DataError(f"{path} cannot be read as a table ({_first_line(error)})") from error
    if not len(frame):
        raise DataError(f"{path} has no rows")
    return _split(frame, path)


def _split(frame: Any, path: str) -> Table:
    import pandas

    active = getattr(frame, "_geometry_column_name", None)
    if active is None or active not in frame.columns:
        return Table(pandas.DataFrame(frame))
    geometry = frame[active]
    crs = None if geometry.crs is None else geometry.crs.to_string()
    plain = pandas.DataFrame(frame.drop(columns=active))
    if geometry.isna().all():
        return Table(plain)
    shapes = geometry.to_numpy(dtype=object)
    return Table(plain, shapes, credible_crs(shapes, crs, path))


def credible_crs(geometry: NDArray[np.object_], crs: str | None, path: str) -> str | None:
    """Return a layer's CRS; None, and a warning, where it is geographic and the coordinates are no degrees.

    GeoJSON has no way to say that its coordinates are local ones, so readers take them for degrees.
    """
    import pyproj
    import shapely

    if crs is None or not pyproj.CRS.from_user_input(crs).is_geographic:
        return crs
    left, bottom, right, top = shapely.total_bounds(geometry)
    if left >= -360 and right <= 360 and bottom >= -90.001 and top <= 90.001:
        return crs
    if not np.isfinite([left, bottom, right, top]).all():
        return crs
    _LOG.warning(
        "%s says %s, but its coordinates go from %.6g to %.6g: taken for a layer without CRS",
        *(path, crs, min(left, bottom), max(right, top)),
    )
    return None


def read_tables(paths: Sequence[str], *, layer: str | None = None, text: Sequence[str] = ()) -> Table:
    """Read tables of the same columns one below the other.

    Raises:
      DataError: one cannot be read, or lacks a column that the first one has.
      MissingCRSError: some have a CRS and others none.
    """
    import pandas

    tables = [read_table(path, layer=layer, text=text) for path in paths]
    first = tables[0]
    for path, table in zip(paths, tables, strict=True):
        lacking = [name for name in first.frame.columns if name not in table.frame.columns]
        if lacking:
            raise DataError(
                f"{path} has no column {lacking[0]!r}, which {paths[0]} has; "
                f"{did_you_mean(lacking[0], table.frame.columns)}"
            )
    if len(tables) == 1:
        return first
    frame = pandas.concat([table.frame for table in tables], ignore_index=True)
    if any(table.geometry is None for table in tables):
        return Table(frame)
    placed = [to_crs(t.geometry, t.crs, first.crs, path) for path, t in zip(paths, tables, strict=True)]  # type: ignore[arg-type]
    return Table(frame, np.concatenate(placed), first.crs)


def to_crs(
    geometry: NDArray[np.object_],
    crs: str | None,
    target: str | None,
    what: str,
    beside: str = "what it is combined with",
) -> NDArray[np.object_]:
    """Return geometries in another CRS; unchanged where neither is known.

    Args:
      geometry: (N,).
      crs: theirs, None where it is not known.
      target: the other one, None where it is not known.
      what: the geometries are of, for the error.
      beside: what the other CRS is of.

    Raises:
      MissingCRSError: one of the two is known and the other is not.
    """
    if crs is None and target is None:
        return geometry
    if crs is None or target is None:
        without, other = (what, beside) if crs is None else (beside, what)
        raise MissingCRSError(
            f"{without} has no CRS, and {other} has one; assign the right one (gdal_edit.py -a_srs EPSG:… of "
            "a raster, ogr2ogr -a_srs EPSG:… NEW OLD of a layer, dataset.crs=EPSG:… of x and y fields)"
        )
    import pyproj
    import shapely

    from geomm.io.raster_info import same_crs

    if same_crs(crs, target):
        return geometry
    change = pyproj.Transformer.from_crs(crs, target, always_xy=True)

    def move(points: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.stack(change.transform(points[:, 0], points[:, 1]), axis=1)

    return np.asarray(shapely.transform(geometry, move), dtype=object)


def points_of(x: Any, y: Any) -> NDArray[np.object_]:
    """Return points from coordinates, None where one is missing."""
    import shapely

    xs, ys = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    points = np.full(len(xs), None, dtype=object)
    there = np.isfinite(xs) & np.isfinite(ys)
    points[there] = shapely.points(xs[there], ys[there])
    return points


def geo_metadata(path: str) -> dict[str, Any] | None:
    """Return GeoParquet's metadata, None of a Parquet file without geometries."""
    import pyarrow.parquet

    meta = pyarrow.parquet.read_schema(path).metadata or {}
    return json.loads(meta[b"geo"]) if b"geo" in meta else None


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
