"""From what a model finds in a tile to candidates of the scene."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geomm.inference.grid import TileGrid
from geomm.inference.objects.candidates import Candidates
from geomm.inference.objects.merge import better_seen, cut_sides
from geomm.inference.objects.views import scores_of
from geomm.inference.tiles import Tile
from geomm.structures import Objects

#: Less of a box than this on valid pixels of the scene, and it is no object.
_LEAST_VALID = 0.5


def tile_candidates(
    tile: Tile, objects: Objects, grid: TileGrid, *, least_score: float, edge_px: float, source: int = 0
) -> Candidates:
    """Place a tile's objects on the scene, without those that another tile sees better.

    Args:
      tile: where it lies and what is valid in it.
      objects: in pixels of the tile.
      grid: of the scene's tiles.
      least_score: objects below it are left out.
      edge_px: a box so near to a border that another tile goes on behind is cut there.
      source: number of the input.
    """
    objects = objects[_usable(objects, tile, least_score)]
    left, top = grid.lefts[tile.col], grid.tops[tile.row]
    size = grid.tile_px
    window = (left, top, min(left + size, grid.width), min(top + size, grid.height))
    boxes = objects.boxes.astype(np.float64) + np.tile([left, top], 2)
    boxes = np.clip(boxes, np.tile(window[:2], 2), np.tile(window[2:], 2))
    inside = (boxes[:, 2:] > boxes[:, :2]).all(1)
    objects, boxes = objects[inside], boxes[inside]
    cols, rows = (
        _neighbours(starts, at, size) for starts, at in ((grid.lefts, tile.col), (grid.tops, tile.row))
    )
    inner = (cols[0] is not None, rows[0] is not None, cols[1] is not None, rows[1] is not None)
    cut = cut_sides(boxes, window, inner, edge_px)
    zone = (cols[0] or 0.0, rows[0] or 0.0, cols[1] or 0.0, rows[1] or 0.0)
    kept = ~better_seen(boxes, cut, zone, edge_px)
    found = Candidates(
        boxes,
        objects.labels.astype(np.int32),
        scores_of(objects).astype(np.float32),
        np.tile(np.array(window, np.float64), (len(boxes), 1)),
        cut,
        np.full(len(boxes), source, np.int32),
    )[kept]
    if objects.masks is None:
        return found
    # Nothing lies beyond a scene smaller than its tile.
    masks = objects.masks[kept][:, : window[3] - top, : window[2] - left]
    shapes = outlines(masks, (left, top))
    drawn = np.array([shape is not None for shape in shapes], bool)
    return replace(found[drawn], shapes=shapes[drawn])


def _neighbours(starts: tuple[int, ...], at: int, size: int) -> tuple[float | None, float | None]:
    """Return where the tile before ends and the one after begins, None where there is none."""
    before = starts[at - 1] + size if at > 0 else None
    return before, starts[at + 1] if at + 1 < len(starts) else None


def _usable(objects: Objects, tile: Tile, least_score: float) -> NDArray[np.bool_]:
    """Return (N,) bool: sure enough, finite, of some area, and on valid pixels for the most part."""
    boxes = objects.boxes
    usable = np.isfinite(boxes).all(1) & (scores_of(objects) >= least_score)
    usable &= (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    valid = tile.valid.numpy()
    if not len(boxes) or valid.all():
        return np.asarray(usable)
    height, width = valid.shape
    sums = np.zeros((height + 1, width + 1), np.int64)
    np.cumsum(np.cumsum(valid, 0), 1, out=sums[1:, 1:])
    safe = np.where(usable[:, None], boxes, 0)
    low = np.floor(safe[:, :2] + 1e-3).astype(int).clip(0, [width - 1, height - 1])
    high = np.maximum(np.ceil(safe[:, 2:] - 1e-3).astype(int).clip(0, [width, height]), low + 1)
    inside = sums[high[:, 1], high[:, 0]] - sums[low[:, 1], high[:, 0]]
    inside += sums[low[:, 1], low[:, 0]] - sums[high[:, 1], low[:, 0]]
    return np.asarray(usable & (inside >= _LEAST_VALID * (high - low).prod(1)))


def outlines(masks: NDArray[np.bool_], origin: tuple[int, int]) -> NDArray[np.object_]:
    """Return the outline of each mask (N, H, W) as a valid polygon, holes kept; None of an empty mask.

    Args:
      masks: a thing each.
      origin: column and row of the masks' upper left corner.
    """
    import shapely
    from rasterio.features import shapes
    from rasterio.transform import Affine
    from shapely.geometry import shape

    found = np.empty(len(masks), dtype=object)
    for index, mask in enumerate(masks):
        rows, cols = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        if not len(rows):
            continue
        part = mask[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1].astype(np.uint8)
        place: Any = Affine.translation(origin[0] + int(cols[0]), origin[1] + int(rows[0]))
        pieces = [shape(item) for item, _ in shapes(part, mask=part > 0, transform=place)]
        found[index] = pieces[0] if len(pieces) == 1 else shapely.union_all(pieces)
    return found
