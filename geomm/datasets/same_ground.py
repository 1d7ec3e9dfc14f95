"""Ground that several scenes show, as several dates of one place and overlapping tiles do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from geomm.datasets.blocks import BlockScan
from geomm.datasets.overlaps import common_ground
from geomm.io.raster_info import RasterInfo


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
    scene_of = np.repeat(np.arange(len(scans)), [len(scan.valid) for scan in scans])
    owner = np.arange(len(scene_of), dtype=np.intp)
    if len(infos) < 2:
        return owner, np.zeros((0, 2), np.intp)
    blocks = [block for info, scan in zip(infos, scans, strict=True) for block in _blocks(info, scan)]
    one, two, shared = common_ground(blocks, scene_of)
    for position in np.lexsort((shared, two)):  # of one block's, the one with most in common comes last
        owner[two[position]] = one[position]
    for block in range(len(owner)):  # an owner is of an earlier scene, so it is settled already
        owner[block] = owner[owner[block]]
    return owner, np.stack([one, two], axis=1)


def _blocks(info: RasterInfo, scan: BlockScan) -> list[RasterInfo]:
    """Return the blocks of a scene as rasters of their own."""
    windows = [scan.window(block, info.width, info.height) for block in range(len(scan.valid))]
    place = info.georeference
    return [
        replace(info, width=w.width, height=w.height, georeference=place.shifted(w.col, w.row))
        for w in windows
    ]
