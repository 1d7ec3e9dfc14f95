"""Ground that several scenes show, as several dates of one place and overlapping tiles do."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from geomm.datasets.blocks import BlockScan
from geomm.datasets.overlaps import placed
from geomm.io.raster_info import RasterInfo
from geomm.io.tables import to_crs
from geomm.io.vector import to_map, to_pixels

#: Share of the smaller block from which two show the same ground: edges that merely touch do not.
_SHARED = 1e-3


def moved(shapes: NDArray[np.object_], scene: RasterInfo, other: RasterInfo) -> NDArray[np.object_]:
    """Return shapes in pixels of another scene, which may go on past it."""
    if scene is other:
        return shapes
    crs, wanted = scene.georeference.crs, other.georeference.crs
    return to_pixels(to_crs(to_map(shapes, scene), crs, wanted, scene.path), other)


def first_placed(infos: Sequence[RasterInfo]) -> RasterInfo | None:
    """Return the scene whose pixels the places of all others can be given in, None where none has a place."""
    known = next((info for info in infos if info.georeference.crs is not None), None)
    if known is None and infos and placed(infos):
        return infos[0]
    return known


def comparable(info: RasterInfo, first: RasterInfo | None) -> bool:
    """Return whether a scene's place can be given in pixels of the first one that has a place."""
    return first is not None and (info.georeference.crs is None) == (first.georeference.crs is None)


def blocks_on_same_ground(
    infos: Sequence[RasterInfo], scans: Sequence[BlockScan]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return which blocks of several scenes show the same ground.

    Args:
      infos: of the scenes.
      scans: of their blocks, which are numbered through.

    Returns:
      (N,) of each block the one of an earlier scene with most in common, which has none itself, or the block;
      (P, 2) all pairs of blocks of different scenes that have some in common, the earlier first.
    """
    import shapely

    counts = [len(scan.valid) for scan in scans]
    owner = np.arange(sum(counts), dtype=np.intp)
    first = first_placed(infos)
    if first is None or len(infos) < 2:
        return owner, np.zeros((0, 2), np.intp)
    shapes, numbers, scene_of = [], [], []
    for scene, (info, scan, start) in enumerate(zip(infos, scans, np.cumsum([0, *counts[:-1]]), strict=True)):
        if comparable(info, first):
            shapes.append(moved(_boxes(scan, info), info, first))
            numbers.append(start + np.arange(len(scan.valid)))
            scene_of.append(np.full(len(scan.valid), scene))
    ground, number, scene_number = map(np.concatenate, (shapes, numbers, scene_of))
    one, two = shapely.STRtree(ground).query(ground, predicate="intersects")
    later = scene_number[one] < scene_number[two]
    one, two = one[later], two[later]
    common = shapely.area(shapely.intersection(ground[one], ground[two]))
    areas = shapely.area(ground)
    shared = common > _SHARED * np.minimum(areas[one], areas[two])
    one, two, common = one[shared], two[shared], common[shared]
    for position in np.lexsort(
        (common, two)
    ):  # of those of one block, the one with most in common comes last
        owner[number[two[position]]] = number[one[position]]
    for block in range(len(owner)):  # an owner is of an earlier scene, so it is settled already
        owner[block] = owner[owner[block]]
    return owner, np.stack([number[one], number[two]], axis=1)


def _boxes(scan: BlockScan, info: RasterInfo) -> NDArray[np.object_]:
    import shapely

    windows = [scan.window(block, info.width, info.height) for block in range(len(scan.valid))]
    return np.array(
        [shapely.box(w.col, w.row, w.col + w.width, w.row + w.height) for w in windows], dtype=object
    )
