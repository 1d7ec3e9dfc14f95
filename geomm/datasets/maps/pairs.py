"""Pairs of a coarser and a finer picture of the same ground."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geomm.datasets.maps.labels import SceneLabels
from geomm.errors import DataError
from geomm.io.raster import RasterInfo, RasterReader, same_crs
from geomm.structures import IGNORE_INDEX, PixelWindow, RasterSample
from geomm.transforms.compose import Compose

#: How far two grids may miss each other, finer pixels.
_OFF_PX = 0.1


@dataclass
class Everywhere(SceneLabels):
    """Labels of imagery that teaches by itself: every pixel is of the one class there is."""

    def mask(self, window: PixelWindow) -> NDArray[np.uint8]:
        return np.zeros((window.height, window.width), np.uint8)


class PairLabels(Everywhere):
    """The coarser picture of a scene.

    Args:
      coarse: its reader.
      scale: finer pixels along an edge of a coarser one.
      offset: column and row of the coarser picture's origin on the finer grid.
    """

    def __init__(self, coarse: RasterReader, scale: int, offset: tuple[int, int]) -> None:
        super().__init__()
        self.coarse, self.step_px, self.offset_px = coarse, scale, offset

    @property
    def path(self) -> str:
        return self.coarse.source.path

    def extend(self, sample: RasterSample, window: PixelWindow, bands: Sequence[int]) -> RasterSample:
        """Add the coarser picture of a window, whose place is a multiple of ``step_px``."""
        col, row = window.col - self.offset_px[0], window.row - self.offset_px[1]
        step = self.step_px
        place = PixelWindow(col // step, row // step, window.width // step, window.height // step)
        pixels, valid = self.coarse.read(place, bands)
        return replace(sample, extras={**sample.extras, "coarse": pixels, "coarse_valid": valid})


def align(fine: RasterInfo, coarse: RasterInfo, scale: int) -> tuple[int, int]:
    """Return column and row of the coarser picture's origin on the finer grid.

    Raises:
      DataError: their bands, CRS, pixel sizes or origins do not fit each other.
    """
    names = f"{coarse.path} and {fine.path}"
    if len(coarse.image_bands) != len(fine.image_bands):
        raise DataError(
            f"{names}: {len(coarse.image_bands)} and {len(fine.image_bands)} bands; a pair has the same"
        )
    one, two = coarse.georeference, fine.georeference
    if one.crs is None or two.crs is None:
        if (coarse.width * scale, coarse.height * scale) != (fine.width, fine.height):
            raise DataError(
                f"{names}: {coarse.width} x {coarse.height} and {fine.width} x {fine.height} px without a "
                f"CRS; expected the second {scale} times as large (head.scale)"
            )
        return 0, 0
    if not same_crs(one.crs, two.crs):
        raise DataError(f"{names}: different CRS; warp one onto the other's grid (gdalwarp -t_srs … -tap)")
    _check_pixel_size(fine, coarse, scale)
    a, b, c, d, e, f = two.transform
    apart = np.array([one.transform[2] - c, one.transform[5] - f])
    shift = np.linalg.solve(np.array([[a, b], [d, e]]), apart)
    whole = np.rint(shift)
    off = np.abs(shift - whole).max()
    if off > _OFF_PX:
        raise DataError(
            f"{names} do not align: their grids miss each other by {off:.2f} of the finer pixels; warp one "
            "onto the other's grid (gdalwarp -te … -tr …)"
        )
    col, row = (int(value) for value in whole)
    right, bottom = col + coarse.width * scale, row + coarse.height * scale
    if not (col < fine.width and row < fine.height and right > 0 and bottom > 0):
        raise DataError(f"{names} do not overlap on the map")
    return col, row


def _check_pixel_size(fine: RasterInfo, coarse: RasterInfo, scale: int) -> None:
    one, two = (np.array(info.georeference.transform)[[0, 1, 3, 4]] for info in (coarse, fine))
    across = max(coarse.width, coarse.height)
    if np.abs(two * scale - one).max() * across > _OFF_PX * fine.gsd:
        wanted = fine.gsd * scale
        raise DataError(
            f"{coarse.path} and {fine.path}: pixels of {coarse.gsd:g} and {fine.gsd:g}; expected the first "
            f"{scale} times the second (head.scale), warp one of them (gdalwarp -tr {wanted:g} {wanted:g})"
        )


def finish_pair(sample: RasterSample, degrade: Compose, scale: int, rng: np.random.Generator) -> RasterSample:
    """Turn a finer window into a pair.

    Args:
      sample: finer pixels; ``extras["coarse"]`` where there is a real coarser picture.
      degrade: makes the coarser pixels where there is none.
      scale: finer pixels along an edge of a coarser one.
      rng: for ``degrade``.

    Returns:
      A sample whose image is the coarser picture, (C, h, w) in whole numbers where the scene has such;
      ``extras["target"]`` the finer one (C, h * scale, w * scale) and ``extras["target_valid"]`` where it
      counts: valid, and in the window's own split.
    """
    assert sample.mask is not None
    if "coarse" in sample.extras:
        coarse = replace(sample, image=sample.extras["coarse"], valid=sample.extras["coarse_valid"])
    else:
        coarse = degrade(sample, rng)
        coarse = replace(coarse, image=_as_stored(coarse.image, sample.image.dtype))
    counts = sample.valid & (sample.mask != IGNORE_INDEX)
    seen = coarse.valid.repeat(scale, 0).repeat(scale, 1)
    extras = {key: value for key, value in sample.extras.items() if not key.startswith("coarse")}
    return replace(
        coarse,
        mask=None,
        georeference=None if sample.georeference is None else sample.georeference.coarser(scale),
        extras={**extras, "target": sample.image, "target_valid": counts & seen},
    )


def _as_stored(image: NDArray[np.float32], dtype: Any) -> NDArray[np.float32]:
    """Round and cut as a file of that dtype would."""
    if np.dtype(dtype).kind not in "iu":
        return image
    limits = np.iinfo(dtype)
    return np.clip(np.rint(image), limits.min, limits.max)
