"""Rows with coordinates as a layer of points."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def write_points(
    rows: Sequence[Mapping[str, Any]], columns: Sequence[str], path: Path, *, layer: str
) -> Path:
    """Write a GeoPackage of points in EPSG:4326; it appears when complete, without points too.

    Args:
      rows: with ``latitude`` and ``longitude``, degrees, beside the columns.
      columns: attributes, in order; a row may lack some.
      path: of the GeoPackage.
      layer: its name.
    """
    import geopandas
    import pandas
    import pyogrio

    table = pandas.DataFrame({name: [row.get(name) for row in rows] for name in columns})
    points = geopandas.points_from_xy(
        [row["longitude"] for row in rows], [row["latitude"] for row in rows], crs="EPSG:4326"
    )
    frame = geopandas.GeoDataFrame(table, geometry=points, crs="EPSG:4326")
    temporary = path.with_name(f".{path.stem}.part.gpkg")
    temporary.unlink(missing_ok=True)
    pyogrio.write_dataframe(frame, temporary, layer=layer, driver="GPKG", geometry_type="Point")
    os.replace(temporary, path)
    return path
