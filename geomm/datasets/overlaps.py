"""Ground that several chips show: exports stride by less than a chip, and neighbours must not leak."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geomm.datasets.blocks import assign_groups
from geomm.io.raster_info import RasterInfo
from geomm.structures import PixelWindow

#: A group of overlapping chips that holds more than this share of them all is divided.
_LARGEST_SHARE = 0.1
#: Chips that share less than this part of an edge lie side by side.
_TOUCHING = 0.01


def group_chips(infos: Sequence[RasterInfo]) -> NDArray[np.intp]:
    """Return a group number a chip, so that splits by groups share little or no ground.

    Chips that share ground, directly or through others, are a group. Where a chain of overlaps runs
    through much of an export, it is cut into cells of a few chips; ``covered_by_later`` then says what
    the chips at a cut show in common. Chips without a place are a group each.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    count = len(infos)
    if not placed(infos):
        return np.arange(count)
    bounds = _bounds(infos)
    one, two = _sharing(bounds)
    graph = coo_matrix((np.ones(len(one)), (one, two)), shape=(count, count))
    _, groups = connected_components(graph, directed=False)
    large = np.bincount(groups)[groups] > max(_LARGEST_SHARE * count, 1)
    if not large.any():
        return np.asarray(groups, np.intp)
    edge = max(float(np.median(bounds[:, 2] - bounds[:, 0])), 1e-9)
    for across in (4, 2, 1):
        cells = np.floor((bounds[:, :2] - bounds[:, :2].min(0)) / (across * edge)).astype(np.intp)
        keys = np.column_stack([groups, np.where(large[:, None], cells, 0)])
        _, divided = np.unique(keys, axis=0, return_inverse=True)
        if divided.max() > 4:
            break
    return np.asarray(divided.ravel(), np.intp)


def covered_by_later(infos: Sequence[RasterInfo], splits: NDArray[np.int8]) -> dict[int, list[PixelWindow]]:
    """Return, for each chip, its pixels that a chip of a later split shows too.

    Hidden in the earlier split's masks, no ground is both trained on and validated, nor validated and
    tested.

    Args:
      infos: of every chip.
      splits: (N,) index into ``SPLITS`` a chip, -1 for none.

    Returns:
      Chip number -> windows in its pixels; chips that share nothing are left out.
    """
    if not placed(infos):
        return {}
    bounds = _bounds(infos)
    found: dict[int, list[PixelWindow]] = {}
    for one, two in zip(*_sharing(bounds), strict=True):
        if 0 <= splits[one] < splits[two]:
            found.setdefault(int(one), []).append(_on_grid(infos[one], bounds[two]))
    return found


def divide_chips(
    infos: Sequence[RasterInfo],
    holds: NDArray[np.int64],
    split: Mapping[str, Any],
    *,
    seed: int,
    cure: str,
) -> tuple[NDArray[np.int8], dict[int, list[PixelWindow]]]:
    """Divide chips into splits that share no ground.

    Args:
      infos: of every chip.
      holds: (N, K) what each chip holds of what is to be divided evenly.
      split: ``val`` and ``test``, shares, and ``seed``, None for the run's.
      seed: of the run.
      cure: for the message where the chips are too few.

    Returns:
      (N,) index into ``SPLITS`` a chip, -1 for none, and what ``covered_by_later`` says of it.

    Raises:
      DataError: the chips cannot be divided.
    """
    what = "groups of chips that do not overlap"
    splits = assign_groups(group_chips(infos), holds, split, seed=seed, what=what, cure=cure)
    return splits, covered_by_later(infos, splits)


def placed(infos: Sequence[RasterInfo]) -> bool:
    """Return whether the chips have places on the map, by their CRS or by world files alone."""
    if all(info.georeference.crs is not None for info in infos):
        return True
    return len({info.georeference.transform for info in infos}) > len(infos) // 2


def _corners(left: float, top: float, right: float, bottom: float) -> NDArray[np.float64]:
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]])


def _bounds(infos: Sequence[RasterInfo]) -> NDArray[np.float64]:
    """Return (N, 4) left, bottom, right, top in map units."""
    bounds = []
    for info in infos:
        a, b, c, d, e, f = info.georeference.transform
        cols, rows = _corners(0, 0, info.width, info.height).T
        xs, ys = a * cols + b * rows + c, d * cols + e * rows + f
        bounds.append((xs.min(), ys.min(), xs.max(), ys.max()))
    return np.array(bounds)


def _sharing(bounds: NDArray[np.float64]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the numbers of the chips of each pair that shares ground, both ways round."""
    import shapely

    margin = _TOUCHING * (bounds[:, 2:] - bounds[:, :2])
    shrunk = shapely.box(*np.hstack([bounds[:, :2] + margin, bounds[:, 2:] - margin]).T)
    one, two = shapely.STRtree(shrunk).query(shrunk, predicate="intersects")
    return one, two


def _on_grid(info: RasterInfo, bounds: NDArray[np.float64]) -> PixelWindow:
    """Return the pixels of a chip that some bounds on the map touch."""
    a, b, c, d, e, f = info.georeference.transform
    x, y = (_corners(*bounds) - [c, f]).T
    cols, rows = (e * x - b * y) / (a * e - b * d), (a * y - d * x) / (a * e - b * d)
    # Where grids agree, a corner is a whole number but for rounding.
    left, top = (max(int(np.floor(v.min() + _TOUCHING)), 0) for v in (cols, rows))
    right = min(int(np.ceil(cols.max() - _TOUCHING)), info.width)
    bottom = min(int(np.ceil(rows.max() - _TOUCHING)), info.height)
    return PixelWindow(left, top, max(right - left, 0), max(bottom - top, 0))
