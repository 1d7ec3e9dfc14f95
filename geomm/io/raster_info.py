"""What the header of a raster says: size, bands, nodata, place on the map."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import NotGeoreferencedWarning, RasterioIOError

from geomm.errors import DataError, did_you_mean
from geomm.structures import IN_PIXELS, Georeference

#: MB of GDAL's block cache, unless the user set another: its default, a share of the machine, looks
#: like a leak. GDAL reads it once, at its first use in the process.
GDAL_CACHE_MB = 64
os.environ.setdefault("GDAL_CACHEMAX", str(GDAL_CACHE_MB))
# Imagery without a place on the map is welcome; who needs a CRS says so in words of their own.
warnings.filterwarnings("ignore", category=NotGeoreferencedWarning)
#: What GDAL calls the pixel types of numpy.
GDAL_TYPES = {
    "uint8": "Byte",
    "int8": "Int8",
    "uint16": "UInt16",
    "int16": "Int16",
    "uint32": "UInt32",
    "int32": "Int32",
    "uint64": "UInt64",
    "int64": "Int64",
    "float32": "Float32",
    "float64": "Float64",
}
#: Grids whose corners are nearer than this are the same, pixels.
_SAME_PX = 0.01
#: World files of one grid may say a pixel's corner or its middle.
_SAME_WORLD_FILE_PX = 0.51
#: What rasterio calls the transform of a file without one.
_NO_TRANSFORM = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


@dataclass(frozen=True)
class RasterInfo:
    """What is known of a raster without reading its pixels.

    Attributes:
      path: as it was given.
      width: pixels.
      height: pixels.
      count: bands, alpha included.
      dtype: numpy name; the widest where bands differ.
      nodata: the value that means no data, None where there is none.
      band_names: descriptions of the bands, ``band_1`` … where they have none.
      georeference: CRS and transform; ``IN_PIXELS`` where the file has neither.
      alpha: 1-based number of the alpha band, None where there is none.
      masked: whether the file brings a mask of its own (alpha or a mask band).
      colors: what each band is shown as: ``red``, ``gray``, ``palette``, ``undefined``, …
    """

    path: str
    width: int
    height: int
    count: int
    dtype: str
    nodata: float | None
    band_names: tuple[str, ...]
    georeference: Georeference
    alpha: int | None
    masked: bool
    colors: tuple[str, ...] = ()

    @property
    def gsd(self) -> float:
        """Pixel edge in units of the CRS, the mean of both axes; 0 without a CRS."""
        return 0.0 if self.georeference.crs is None else _pixel_edge(self.georeference.transform)

    @property
    def image_bands(self) -> tuple[int, ...]:
        """Numbers of the bands that hold imagery: all but alpha."""
        return tuple(band for band in range(1, self.count + 1) if band != self.alpha)

    @property
    def has_gaps(self) -> bool:
        """Whether it can have pixels without data at all."""
        marked = self.masked or self.alpha is not None or self.nodata is not None
        return marked or np.dtype(self.dtype).kind in "fc"

    def select_bands(self, bands: Sequence[int | str] | None) -> tuple[int, ...]:
        """Return 1-based band numbers for numbers or names; all but alpha for None.

        Raises:
          DataError: a band that the raster does not have.
        """
        if bands is None:
            return self.image_bands
        chosen = []
        for band in bands:
            if isinstance(band, str) and not band.isdigit():
                if band not in self.band_names:
                    known = did_you_mean(band, self.band_names)
                    raise DataError(f"{self.path}: no band named {band!r}; {known}")
                chosen.append(self.band_names.index(band) + 1)
            elif not 1 <= int(band) <= self.count:
                raise DataError(f"{self.path}: no band {band}; it has bands 1 to {self.count}")
            else:
                chosen.append(int(band))
        return tuple(chosen)


def read_info(path: str | Path) -> RasterInfo:
    """Return what a raster's header says.

    Raises:
      DataError: there is no such file, or it is no raster.
    """
    text = str(path)
    changed = os.path.getmtime(text) if os.path.exists(text) else 0.0
    return _read(text, changed)


@lru_cache(maxsize=4096)
def _read(path: str, changed: float) -> RasterInfo:
    with open_raster(path) as source:
        names = tuple(name or f"band_{index}" for index, name in enumerate(source.descriptions, start=1))
        colors = list(source.colorinterp)
        dtype = str(np.result_type(*source.dtypes))
        return RasterInfo(
            path=path,
            width=source.width,
            height=source.height,
            count=source.count,
            dtype=dtype,
            nodata=_usable_nodata(source.nodata, dtype),
            band_names=names,
            georeference=_georeference(source),
            alpha=colors.index(ColorInterp.alpha) + 1 if ColorInterp.alpha in colors else None,
            masked=any(MaskFlags.per_dataset in flags for flags in source.mask_flag_enums),
            colors=tuple(color.name for color in colors),
        )


def _georeference(source: Any) -> Georeference:
    transform = tuple(source.transform)[:6]
    if not source.crs and transform == _NO_TRANSFORM:
        return IN_PIXELS
    return Georeference(source.crs.to_wkt() if source.crs else None, transform)


def _usable_nodata(nodata: float | None, dtype: str) -> float | None:
    """Return the nodata value, None where no pixel of this type can have it."""
    if nodata is None or np.dtype(dtype).kind not in "iu":
        return nodata
    limits = np.iinfo(dtype)
    fits = float(nodata).is_integer() and limits.min <= nodata <= limits.max
    return nodata if fits else None


def open_raster(path: str) -> Any:
    """Open a dataset of rasterio.

    Raises:
      DataError: there is no such file, or it is no raster.
    """
    if not path.startswith("/vsi") and ":" not in path and not os.path.exists(path):
        raise DataError(f"{path}: there is no such file")
    try:
        return rasterio.open(path)
    except RasterioIOError as error:
        reason = " ".join(str(error).replace(path, "it").split())
        if "not recognized" in reason:
            reason = "no format that GDAL knows"
        raise DataError(f"{path} cannot be opened as a raster ({reason})") from error


def same_grid(first: RasterInfo, second: RasterInfo) -> bool:
    """Return whether two rasters have the same pixels.

    A CRS that one lacks is the other's, and a plain image, without a transform either, lies where the other
    does. Two with world files alone are on one grid where these say so.
    """
    if (first.width, first.height) != (second.width, second.height):
        return False
    one, two = first.georeference, second.georeference
    if one.crs is not None and two.crs is not None:
        return same_crs(one.crs, two.crs) and _corners_apart_px(first, second) < _SAME_PX
    if one.crs is not None or two.crs is not None or IN_PIXELS in (one, two):
        return True
    return _corners_apart_px(first, second) < _SAME_WORLD_FILE_PX


def _corners_apart_px(first: RasterInfo, second: RasterInfo) -> float:
    """Return how far the corners of two rasters of one size lie apart at most, in pixels of the first."""
    corners = np.array([(0, 0, 1), (first.width, 0, 1), (0, first.height, 1)], float)
    one, two = first.georeference.transform, second.georeference.transform
    places = [corners @ np.reshape(transform, (2, 3)).T for transform in (one, two)]
    return float(np.abs(places[0] - places[1]).max()) / max(_pixel_edge(one), 1e-12)


def _pixel_edge(transform: Sequence[float]) -> float:
    a, b, _, d, e, _ = transform
    return (math.hypot(a, d) + math.hypot(b, e)) / 2


def same_crs(first: str, second: str) -> bool:
    """Return whether two CRS, as WKT or codes, are the same."""
    if first == second:
        return True
    from pyproj import CRS

    return bool(CRS.from_user_input(first).equals(CRS.from_user_input(second), ignore_axis_order=True))
