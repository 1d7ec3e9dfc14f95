"""From finished bands of rows to polygons, joined across the bands."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray

from geomm.io.cog import MapLayout, Rows
from geomm.io.ground_sizes import ground_of

_BATCH = 5000


@dataclass
class _Piece:
    """A region within the bands read so far, in pixel coordinates."""

    geometries: list[Any]
    value: int
    confidence_sum: float
    pixels: int


@dataclass(frozen=True)
class _Edge:
    """One row of pixels: the class value and the piece, as its index + 1, of each column."""

    values: NDArray[Any]
    pieces: NDArray[np.int64]


def polygonise(
    classes: Rows,
    confidence: Rows,
    layout: MapLayout,
    target: Path,
    *,
    work: Path,
    leave_out: Sequence[int] = (),
    min_area_m2: float = 0.0,
) -> Path:
    """Write connected regions of a class map as a GeoPackage, band by band.

    Pixels that share an edge and a class are one polygon, across bands too; held in memory are one
    band and the regions that reach the next.

    Args:
      classes: first row, height and file of each band of class values.
      confidence: likewise, per cent.
      layout: of the class map.
      target: the final name, taken when the file is complete.
      work: folder on the same file system for what is not complete.
      leave_out: class values that get no polygons.
      min_area_m2: smaller polygons are left out (square units where there is no CRS).

    Returns:
      ``target``: a layer ``polygons`` with ``class``, ``value``, ``confidence`` (mean probability,
      0 to 1), ``area_m2``, as ``ground_of`` measures it, and ``pixels``.
    """
    temporary = work / target.name
    temporary.unlink(missing_ok=True)
    skip = {*leave_out, *(() if layout.nodata is None else (int(layout.nodata),))}
    table = _Table(temporary, layout, min_area_m2)
    waiting: list[_Piece] = []
    edge = _Edge(np.zeros(layout.width, int), np.zeros(layout.width, int))
    for (first, _, path), (_, _, sure) in zip(classes, confidence, strict=True):
        with rasterio.open(path) as source, rasterio.open(sure) as other:
            values, per_cent = source.read(1), other.read(1)
        pieces, top, bottom = _regions(values, per_cent, first, skip)
        groups = _groups(len(waiting), len(pieces), edge, top)
        joined = _join([*waiting, *pieces], groups)
        group_of = np.concatenate([[0], groups[len(waiting) :] + 1])
        reaching = group_of[bottom.pieces]
        kept = np.unique(reaching[reaching > 0])
        numbers = np.where(reaching > 0, np.searchsorted(kept, reaching) + 1, 0)
        edge = _Edge(bottom.values, numbers)
        waiting = [joined[index - 1] for index in kept]
        for index in np.setdiff1d(np.arange(len(joined)), kept - 1):
            table.add(joined[index])
    for piece in waiting:
        table.add(piece)
    table.close()
    os.replace(temporary, target)
    return target


def _regions(
    values: NDArray[Any], confidence: NDArray[Any], first: int, skip: set[int]
) -> tuple[list[_Piece], _Edge, _Edge]:
    """Return the regions of a band of rows, and its upper and lower edge."""
    from rasterio.features import shapes
    from rasterio.transform import Affine
    from scipy.ndimage import label
    from shapely.geometry import shape

    regions = np.zeros(values.shape, np.int32)
    owners: list[int] = []
    for value in np.unique(values):
        if int(value) not in skip:
            found, count = label(values == value)
            regions += np.where(found > 0, found + len(owners), 0).astype(np.int32)
            owners += [int(value)] * count
    sums = np.bincount(regions.ravel(), confidence.ravel(), minlength=len(owners) + 1)
    sizes = np.bincount(regions.ravel(), minlength=len(owners) + 1)
    pieces = [
        _Piece([], value, float(sums[index]) / 100, int(sizes[index]))
        for index, value in enumerate(owners, start=1)
    ]
    place = Affine.translation(0, first)
    for geometry, number in shapes(regions, mask=regions > 0, transform=place):
        pieces[int(number) - 1].geometries.append(shape(geometry))
    top, bottom = (_Edge(values[row], regions[row].astype(np.int64)) for row in (0, -1))
    return pieces, top, bottom


def _groups(waiting: int, found: int, above: _Edge, below: _Edge) -> NDArray[np.int64]:
    """Return the group of each waiting and found piece; those that meet at the seam are one.

    Args:
      waiting: pieces that reach the seam from above; they come first.
      found: pieces of the band below.
      above: the last row above the seam.
      below: the first row below it.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    meet = (above.pieces > 0) & (below.pieces > 0) & (above.values == below.values)
    rows, cols = above.pieces[meet] - 1, below.pieces[meet] - 1 + waiting
    total = waiting + found
    graph = coo_matrix((np.ones(len(rows), np.int8), (rows, cols)), shape=(total, total))
    return np.asarray(connected_components(graph, directed=False)[1], np.int64)


def _join(pieces: Sequence[_Piece], groups: NDArray[np.int64]) -> list[_Piece]:
    """Return one piece a group."""
    joined: dict[int, _Piece] = {}
    for piece, group in zip(pieces, groups.tolist(), strict=True):
        whole = joined.setdefault(group, piece)
        if whole is not piece:
            whole.geometries += piece.geometries
            whole.confidence_sum += piece.confidence_sum
            whole.pixels += piece.pixels
    return [joined[group] for group in range(len(joined))]


def _outline(piece: _Piece) -> Any:
    """Return the polygon of a piece, without the points that seams left on its straight edges."""
    import shapely

    if len(piece.geometries) == 1:
        return piece.geometries[0]
    return shapely.simplify(shapely.union_all(piece.geometries), 0)


class _Table:
    """Appends polygons to a GeoPackage, a few thousand at a time."""

    def __init__(self, path: Path, layout: MapLayout, min_area_m2: float) -> None:
        self.path, self.layout, self.min_area_m2 = path, layout, min_area_m2
        self.names = {item.value: item.name for item in layout.classes}
        self._waiting: list[_Piece] = []
        self._written = False

    def add(self, piece: _Piece) -> None:
        self._waiting.append(piece)
        if len(self._waiting) >= _BATCH:
            self._flush()

    def close(self) -> None:
        if self._waiting or not self._written:
            self._flush()

    def _flush(self) -> None:
        import geopandas
        import shapely

        pieces, self._waiting = self._waiting, []
        a, b, c, d, e, f = self.layout.georeference.transform
        geometries = shapely.transform(
            np.array([_outline(piece) for piece in pieces], dtype=object),
            lambda p: np.stack([a * p[:, 0] + b * p[:, 1] + c, d * p[:, 0] + e * p[:, 1] + f], axis=1),
        )
        crs = self.layout.georeference.crs
        areas = ground_of(crs).areas_m2(geometries)
        columns = {
            "class": [self.names[piece.value] for piece in pieces],
            "value": np.array([piece.value for piece in pieces], np.int32),
            "confidence": np.array(
                [piece.confidence_sum / piece.pixels for piece in pieces], np.float64
            ).round(4),
            "area_m2": areas,
            "pixels": np.array([piece.pixels for piece in pieces], np.int64),
        }
        frame = geopandas.GeoDataFrame(columns, geometry=list(geometries), crs=crs)
        frame = frame[areas >= self.min_area_m2]
        frame.to_file(
            self.path,
            driver="GPKG",
            layer="polygons",
            engine="pyogrio",
            append=self._written,
            geometry_type="Polygon",
        )
        self._written = True
