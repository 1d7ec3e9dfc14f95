"""Reading rasters by windows, with what is valid in them."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import ColorInterp, MaskFlags, Resampling
from rasterio.errors import RasterioError, RasterioIOError
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window

from geomm.errors import DataError, MissingCRSError, did_you_mean
from geomm.structures import Georeference, PixelWindow

#: GDAL's block cache is kept small: its default, a share of the machine, looks like a leak.
GDAL_OPTIONS = {
    "GDAL_CACHEMAX": 64,
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_NUM_THREADS": "1",
}
for _key, _value in GDAL_OPTIONS.items():
    if _key != "GDAL_DISABLE_READDIR_ON_OPEN":
        os.environ.setdefault(_key, str(_value))


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
      georeference: CRS and transform.
      alpha: 1-based number of the alpha band, None where there is none.
      masked: whether the file brings a mask of its own (alpha or a mask band).
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

    @property
    def gsd(self) -> float:
        """Pixel edge in units of the CRS, the mean of both axes; 0 without a CRS."""
        a, b, _, d, e, _ = self.georeference.transform
        if self.georeference.crs is None:
            return 0.0
        return (math.hypot(a, d) + math.hypot(b, e)) / 2

    @property
    def image_bands(self) -> tuple[int, ...]:
        """Numbers of the bands that hold imagery: all but alpha."""
        return tuple(band for band in range(1, self.count + 1) if band != self.alpha)

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
                    raise DataError(f"{self.path}: no band named {band!r}; {did_you_mean(band, self.band_names)}")
                chosen.append(self.band_names.index(band) + 1)
            elif not 1 <= int(band) <= self.count:
                raise DataError(f"{self.path}: no band {band}; it has bands 1 to {self.count}")
            else:
                chosen.append(int(band))
        return tuple(chosen)


@lru_cache(maxsize=4096)
def _info(path: str, changed: float) -> RasterInfo:
    with _open(path) as source:
        names = tuple(
            name or f"band_{index}" for index, name in enumerate(source.descriptions, start=1)
        )
        interpretations = list(source.colorinterp)
        alpha = interpretations.index(ColorInterp.alpha) + 1 if ColorInterp.alpha in interpretations else None
        flags = {flag for flags in source.mask_flag_enums for flag in flags}
        return RasterInfo(
            path=path,
            width=source.width,
            height=source.height,
            count=source.count,
            dtype=str(np.result_type(*source.dtypes)),
            nodata=source.nodata,
            band_names=names,
            georeference=Georeference(
                source.crs.to_wkt() if source.crs else None, tuple(source.transform)[:6]
            ),
            alpha=alpha,
            masked=MaskFlags.per_dataset in flags,
        )


def read_info(path: str | Path) -> RasterInfo:
    """Return what a raster's header says.

    Raises:
      DataError: there is no such file, or it is no raster.
    """
    text = str(path)
    changed = os.path.getmtime(text) if os.path.exists(text) else 0.0
    return _info(text, changed)


def _open(path: str) -> Any:
    if not path.startswith("/vsi") and "://" not in path and not os.path.exists(path):
        raise DataError(f"{path}: there is no such file")
    try:
        return rasterio.open(path)
    except RasterioIOError as error:
        reason = str(error).replace(path, "it").strip()
        raise DataError(f"{path} cannot be opened as a raster ({reason})") from error


class RasterReader:
    """Reads windows of one raster, from any number of threads or loader processes.

    Args:
      path: anything rasterio opens, a VRT included.
      like: read on this raster's grid instead of its own, reprojected as needed.
      resampling: how pixels are chosen on the other grid, ``nearest`` for classes.

    Raises:
      DataError: no such file, or it is no raster.
      MissingCRSError: ``like`` is given and one of the two has no CRS, and their grids differ.
    """

    def __init__(
        self, path: str | Path, *, like: RasterInfo | None = None, resampling: str = "nearest"
    ) -> None:
        self.source = read_info(path)
        self.resampling = Resampling[resampling]
        self.like = None if like is None or _same_grid(self.source, like) else like
        if self.like is not None and None in (self.source.georeference.crs, self.like.georeference.crs):
            raise MissingCRSError(
                f"{path} and {self.like.path} have different grids and one of them has no CRS; "
                "assign one (gdal_edit.py -a_srs EPSG:… FILE)"
            )
        self._handles = threading.local()

    @property
    def info(self) -> RasterInfo:
        """The raster as it is read: on its own grid, or on the one it was asked to be like."""
        if self.like is None:
            return self.source
        like = self.like
        return RasterInfo(
            self.source.path, like.width, like.height, self.source.count, self.source.dtype,
            self.source.nodata, self.source.band_names, like.georeference, self.source.alpha, True,
        )

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_handles"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._handles = threading.local()

    def _handle(self) -> Any:
        handle = getattr(self._handles, "dataset", None)
        if handle is None:
            stack = ExitStack()
            handle = stack.enter_context(_open(self.source.path))
            if self.like is not None:
                a, b, c, d, e, f = self.like.georeference.transform
                handle = stack.enter_context(
                    WarpedVRT(
                        handle,
                        crs=self.like.georeference.crs,
                        transform=rasterio.Affine(a, b, c, d, e, f),
                        width=self.like.width,
                        height=self.like.height,
                        resampling=self.resampling,
                        add_alpha=self.source.nodata is None and self.source.alpha is None,
                    )
                )
            self._handles.dataset, self._handles.stack = handle, stack
        return handle

    def close(self) -> None:
        """Close this thread's handle; the next read opens a new one."""
        stack = getattr(self._handles, "stack", None)
        if stack is not None:
            stack.close()
        self._handles = threading.local()

    def read(
        self, window: PixelWindow, bands: Sequence[int] | None = None
    ) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Read a window, which may reach past the raster.

        Args:
          window: in pixels of the raster, or of the grid it is read on.
          bands: 1-based numbers, None for all but alpha.

        Returns:
          Pixels (C, h, w) in the raster's dtype, 0 outside of it, and (h, w) bool: False outside,
          where alpha or a mask says so, where a band is not finite, and where every band read is
          the nodata value.

        Raises:
          DataError: the pixels cannot be read: the file is damaged.
        """
        chosen = list(self.source.image_bands if bands is None else bands)
        inside = _clip(window, self.info)
        pixels = np.zeros((len(chosen), window.height, window.width), self.source.dtype)
        valid = np.zeros((window.height, window.width), bool)
        if inside is None:
            return pixels, valid
        rows = slice(inside.row - window.row, inside.row - window.row + inside.height)
        cols = slice(inside.col - window.col, inside.col - window.col + inside.width)
        where = Window(inside.col, inside.row, inside.width, inside.height)
        try:
            handle = self._handle()
            pixels[:, rows, cols] = handle.read(chosen, window=where)
            valid[rows, cols] = self._valid(handle, where, pixels[:, rows, cols])
        except RasterioError as error:
            raise DataError(
                f"{self.source.path}: pixels at column {inside.col}, row {inside.row} cannot be read "
                f"({error}); the file is damaged, copy or make it again"
            ) from error
        return pixels, valid

    def _valid(self, handle: Any, where: Window, pixels: NDArray[Any]) -> NDArray[np.bool_]:
        if self.source.masked or self.source.alpha is not None:
            valid: NDArray[np.bool_] = handle.dataset_mask(window=where) > 0
        elif self.like is not None and self.source.nodata is None:
            valid = handle.read(handle.count, window=where) > 0  # the alpha that warping added
        else:
            valid = np.ones(pixels.shape[1:], bool)
        if pixels.dtype.kind in "fc":
            valid &= np.isfinite(pixels).all(0)
        nodata = self.source.nodata
        if nodata is not None and not math.isnan(nodata):
            valid &= (pixels != np.asarray(nodata).astype(pixels.dtype)).any(0)
        return valid

    def read_overview(self, longest_px: int, bands: Sequence[int]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Read the whole raster small, through its overviews: (C, h, w) and what is valid."""
        info = self.info
        scale = min(1.0, longest_px / max(info.width, info.height))
        shape = (max(1, round(info.height * scale)), max(1, round(info.width * scale)))
        try:
            handle = self._handle()
            pixels = handle.read(list(bands), out_shape=(len(bands), *shape))
            valid = np.ones(shape, bool)
            if self.source.masked or self.source.alpha is not None:
                valid = handle.dataset_mask(out_shape=shape) > 0
        except RasterioError as error:
            raise DataError(f"{info.path} cannot be read ({error})") from error
        if pixels.dtype.kind in "fc":
            valid &= np.isfinite(pixels).all(0)
        if info.nodata is not None and not math.isnan(info.nodata):
            valid &= (pixels != np.asarray(info.nodata).astype(pixels.dtype)).any(0)
        return pixels, valid


def _clip(window: PixelWindow, info: RasterInfo) -> PixelWindow | None:
    """Return the part of a window that lies on the raster, None where there is none."""
    left, top = max(window.col, 0), max(window.row, 0)
    right = min(window.col + window.width, info.width)
    bottom = min(window.row + window.height, info.height)
    if right <= left or bottom <= top:
        return None
    return PixelWindow(left, top, right - left, bottom - top)


def _same_grid(first: RasterInfo, second: RasterInfo) -> bool:
    if (first.width, first.height) != (second.width, second.height):
        return False
    one, two = first.georeference, second.georeference
    if one.crs is not None and two.crs is not None and not same_crs(one.crs, two.crs):
        return False
    return bool(np.allclose(one.transform, two.transform, rtol=1e-6, atol=1e-9)) or None in (one.crs, two.crs)


def same_crs(first: str, second: str) -> bool:
    """Return whether two CRS, as WKT or codes, are the same."""
    if first == second:
        return True
    from pyproj import CRS

    return bool(CRS.from_user_input(first).equals(CRS.from_user_input(second), ignore_axis_order=True))
