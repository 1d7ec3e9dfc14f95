"""Ground that several chips show: exports stride by less than a chip, and neighbours must not leak."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geomm.datasets.blocks import assign_groups
from geomm.io.raster_info import RasterInfo
from geomm.io.tables import to_crs
from geomm.structures import PixelWindow

#: A group of overlapping chips that holds more than this share of them all is divided.
_LARGEST_SHARE = 0.1
#: How far chips that lie side by side may reach over their edges, pixels. No round number: edges that lie a
#: half or a tenth of a pixel off the other grid are then rounded alike all along.
_TOUCHING_PX = 0.23
#: Scale and turn of a chip that lies where its pixels do in a picture without a place on the map.
_OF_PIXELS = {(1.0, 0.0, 0.0, -1.0), (1.0, 0.0, 0.0, 1.0)}


def group_chips(infos: Sequence[RasterInfo]) -> NDArray[np.intp]:
    """Return a group number a chip, so that splits by groups share little or no ground.

    Chips that share ground, directly or through others, are a group. Where a chain of overlaps runs
    through much of an export, it is cut into cells of a few chips; ``covered_by_later`` then says what
    the chips at a cut show in common. Chips without a place are a group each. Chips in several CRSs are
    compared in that of the first; those without one, placed by world files, with each other alone.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    count = len(infos)
    one, two = _sharing(infos)
    graph = coo_matrix((np.ones(len(one)), (one, two)), shape=(count, count))
    _, groups = connected_components(graph, directed=False)
    sizes = np.bincount(groups)
    large = np.flatnonzero(sizes > max(_LARGEST_SHARE * count, 1))
    divided = groups
    for across in (4, 2, 1) if len(large) else ():
        divided = _cut_into_cells(infos, groups, large, across)
        if divided.max() > 4:
            break
    return np.asarray(divided, np.intp)


def _cut_into_cells(
    infos: Sequence[RasterInfo], groups: NDArray[np.intp], large: NDArray[np.intp], across: int
) -> NDArray[np.intp]:
    """Return a group number a chip, with the large groups cut into cells of some chips along an edge."""
    import shapely

    cells = np.zeros((len(infos), 2), np.intp)
    for group in large:
        members = np.flatnonzero(groups == group)
        chips = [infos[number] for number in members]
        bounds = np.nan_to_num(
            shapely.bounds(_outlines(chips, chips[0].georeference.crs)), posinf=0, neginf=0
        )
        edge = max(float(np.median(bounds[:, 2] - bounds[:, 0])), 1e-9)
        cells[members] = (bounds[:, :2] - bounds[:, :2].min(0)) // (across * edge)
    _, divided = np.unique(np.column_stack([groups, cells]), axis=0, return_inverse=True)
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
    import shapely

    one, two = _sharing(infos)
    hides = (splits[one] >= 0) & (splits[one] < splits[two])
    one, two = one[hides], two[hides]
    found: dict[int, list[PixelWindow]] = {}
    for crs, pairs in _by_crs([infos[number] for number in one]).items():
        later, position = np.unique(two[pairs], return_inverse=True)
        outlines = shapely.get_coordinates(_outlines([infos[number] for number in later], crs))
        for chip, corners in zip(one[pairs].tolist(), outlines.reshape(-1, 5, 2)[position], strict=True):
            windows = _windows_under(infos[chip], corners)
            if windows:
                found.setdefault(chip, []).extend(windows)
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


def common_ground(
    infos: Sequence[RasterInfo], scene_of: NDArray[np.intp]
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]:
    """Return the pairs of pieces of different scenes that share ground, the earlier first, and how much.

    Args:
      infos: of every piece, such as the blocks of several scenes.
      scene_of: (N,) number of each piece's scene.

    Returns:
      (P,) and (P,) numbers of pieces; (P,) shares of the first one's ground.
    """
    import shapely

    one, two = _sharing(infos)
    later = scene_of[one] < scene_of[two]
    one, two = one[later], two[later]
    shared = np.zeros(len(one))
    for crs, pairs in _by_crs([infos[number] for number in one]).items():
        mine, others = (_outlines([infos[n] for n in side[pairs]], crs) for side in (one, two))
        shared[pairs] = shapely.area(shapely.intersection(mine, others)) / shapely.area(mine)
    return one, two, shared


def placed(infos: Sequence[RasterInfo]) -> bool:
    """Return whether the chips have places on the map, by their CRS or by world files alone."""
    if all(info.georeference.crs is not None for info in infos):
        return True
    return len({info.georeference.transform for info in infos}) > len(infos) // 2


def _comparable(infos: Sequence[RasterInfo]) -> list[NDArray[np.intp]]:
    """Return the numbers of the chips that know their CRS, and of those placed by world files alone.

    Where chips without a CRS lie in pixels of a picture, and two at one spot, they are of several pictures:
    none of them has a place.
    """
    known = [number for number, info in enumerate(infos) if info.georeference.crs is not None]
    others = {n: info.georeference.transform for n, info in enumerate(infos) if info.georeference.crs is None}
    in_pixels = [n for n, (a, b, _, d, e, _) in others.items() if (a, b, d, e) in _OF_PIXELS]
    if len({others[number] for number in in_pixels}) < len(in_pixels):
        others = {number: others[number] for number in others.keys() - in_pixels}
    unknown = sorted(others) if placed([infos[number] for number in others]) else []
    return [np.array(numbers, np.intp) for numbers in (known, unknown)]


def _sharing(infos: Sequence[RasterInfo]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the numbers of the chips of each pair that shares ground, both ways round."""
    import shapely

    pairs = [np.empty((2, 0), np.intp)]
    for numbers in _comparable(infos):
        while len(numbers):
            chips = [infos[number] for number in numbers]
            outlines = _outlines(chips, chips[0].georeference.crs, inset_px=_TOUCHING_PX)
            there = np.isfinite(shapely.bounds(outlines)).all(1)
            there[0] = True
            near = outlines[there]
            pairs.append(numbers[there][shapely.STRtree(near).query(near, predicate="intersects")])
            # Chips that this CRS has no numbers for share no ground with its own.
            numbers = numbers[~there]
    one, two = np.concatenate(pairs, axis=1)
    return one, two


def _by_crs(infos: Sequence[RasterInfo]) -> dict[str | None, list[int]]:
    numbers: dict[str | None, list[int]] = {}
    for number, info in enumerate(infos):
        numbers.setdefault(info.georeference.crs, []).append(number)
    return numbers


def _outlines(infos: Sequence[RasterInfo], crs: str | None, *, inset_px: float = 0.0) -> NDArray[np.object_]:
    """Return (N,) quadrilaterals in a CRS, of chips whose own are known, or none is.

    Where a chip's CRS has no way to the other, as one of a building site has none, they are infinitely far.
    """
    import shapely
    from pyproj.exceptions import ProjError

    sizes = np.array([(info.width, info.height) for info in infos])[:, None]
    unit = np.array([[0, 0], [1, 0], [1, 1], [0, 1]])
    transforms = np.array([info.georeference.transform for info in infos]).reshape(-1, 2, 3)
    pixels = unit * (sizes - 2 * inset_px) + inset_px
    outlines = shapely.polygons(pixels @ transforms[:, :, :2].transpose(0, 2, 1) + transforms[:, None, :, 2])
    for own, numbers in _by_crs(infos).items():
        try:
            outlines[numbers] = to_crs(outlines[numbers], own, crs, infos[numbers[0]].path)
        except ProjError:
            outlines[numbers] = shapely.transform(outlines[numbers], lambda points: points + np.inf)
    return np.asarray(outlines, object)


def _windows_under(info: RasterInfo, outline: NDArray[np.float64]) -> list[PixelWindow]:
    """Return the pixels of a chip under an outline of (K, 2) corners in its CRS, equal rows as one window."""
    a, b, c, d, e, f = info.georeference.transform
    x, y = (outline - [c, f]).T
    cols, rows = (e * x - b * y) / (a * e - b * d), (a * y - d * x) / (a * e - b * d)
    if not np.isfinite([cols, rows]).all():
        return []
    top = max(int(np.floor(rows.min() + _TOUCHING_PX)), 0)
    bottom = min(int(np.ceil(rows.max() - _TOUCHING_PX)), info.height)
    if top >= bottom:
        return []
    lefts, rights = _across(cols, rows, np.arange(top, bottom))
    lefts = np.maximum(np.floor(lefts + _TOUCHING_PX), 0).astype(int)
    rights = np.minimum(np.ceil(rights - _TOUCHING_PX), info.width).astype(int)
    starts = np.flatnonzero(np.diff(lefts, prepend=-1) | np.diff(rights, prepend=-1)).tolist()
    return [
        PixelWindow(int(lefts[at]), top + at, int(rights[at] - lefts[at]), end - at)
        for at, end in zip(starts, [*starts[1:], bottom - top], strict=True)
        if rights[at] > lefts[at]
    ]


def _across(
    cols: NDArray[np.float64], rows: NDArray[np.float64], wanted: NDArray[np.intp]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the least and the greatest column of a closed outline in each wanted row of pixels."""
    low, high = wanted[:, None] + _TOUCHING_PX, wanted[:, None] + 1 - _TOUCHING_PX
    start, step, along = rows[:-1], np.diff(rows), np.diff(cols)
    # Level edges end where others do.
    crosses = (np.minimum(start, rows[1:]) <= high) & (np.maximum(start, rows[1:]) >= low) & (step != 0)
    slope = np.where(step == 0, 1, step)
    ends = [cols[:-1] + along * np.clip((edge - start) / slope, 0, 1) for edge in (low, high)]
    least = np.where(crosses, np.minimum(*ends), np.inf).min(1)
    return least, np.where(crosses, np.maximum(*ends), -np.inf).max(1)
