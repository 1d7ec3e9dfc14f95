"""Reading rasters by windows, with what is valid in them."""

from __future__ import annotations

import math
import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window

from geomm.errors import DataError, MissingCRSError
from geomm.io.raster_info import RasterInfo, open_raster, read_info, same_crs, same_grid
from geomm.structures import PixelWindow

__all__ = ["RasterInfo", "RasterReader", "read_info", "same_crs"]

#: Files that a thread holds open; a dataset may have thousands, a process few more than a thousand.
MOST_OPEN = 64


class _Open(threading.local):
    """The readers whose files this thread holds open, the one used last at the end."""

    def __init__(self) -> None:
        self.readers: OrderedDict[int, weakref.ref[RasterReader]] = OrderedDict()
        self.process = os.getpid()

    def use(self, reader: RasterReader) -> None:
        """Note that a reader is used, and close those not used for longest where there are too many."""
        if self.process != os.getpid():  # forked: the others are the parent's
            self.__init__()  # type: ignore[misc]
        key = id(reader)
        self.readers[key] = weakref.ref(reader)
        self.readers.move_to_end(key)
        while len(self.readers) > MOST_OPEN:
            oldest = self.readers.popitem(last=False)[1]()
            if oldest is not None:
                oldest.close()


_OPEN = _Open()


class RasterReader:
    """Reads windows of one raster, from any number of threads or loader processes.

    Args:
      path: anything rasterio opens, a VRT included.
      like: read on this raster's grid instead of its own, reprojected as needed.
      resampling: how pixels are chosen on the other grid, ``nearest`` for classes.
      nodata_is_data: take the raster's nodata value for a value like any other.

    Raises:
      DataError: no such file, or it is no raster.
      MissingCRSError: ``like`` is given and the two do not both have a CRS, and their grids differ.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        like: RasterInfo | None = None,
        resampling: str = "nearest",
        nodata_is_data: bool = False,
    ) -> None:
        info = read_info(path)
        self.source = replace(info, nodata=None) if nodata_is_data else info
        self.resampling = Resampling[resampling]
        self.like = None if like is None or same_grid(self.source, like) else like
        crs = () if self.like is None else (self.source.georeference.crs, self.like.georeference.crs)
        if self.like is not None and None in crs:
            which = "one of them has no" if any(crs) else "neither has a"
            raise MissingCRSError(
                f"{path} and {self.like.path} have different grids and {which} CRS; "
                "assign one (gdal_edit.py -a_srs EPSG:… FILE)"
            )
        self._handles = threading.local()

    @property
    def info(self) -> RasterInfo:
        """The raster as it is read: on its own grid, or on the one it was asked to be like."""
        if self.like is None:
            return self.source
        return replace(
            self.source,
            width=self.like.width,
            height=self.like.height,
            georeference=self.like.georeference,
            masked=True,
        )

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_handles"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._handles = threading.local()

    def _handle(self) -> Any:
        handle = getattr(self._handles, "dataset", None)
        # A forked loader process would share its parent's place in the file.
        if handle is None or self._handles.process != os.getpid():
            stack = ExitStack()
            handle = stack.enter_context(open_raster(self.source.path))
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
                        src_nodata=self.source.nodata,
                        add_alpha=self.source.nodata is None and self.source.alpha is None,
                    )
                )
            self._handles.dataset, self._handles.stack = handle, stack
            self._handles.process = os.getpid()
        _OPEN.use(self)
        return handle

    def close(self) -> None:
        """Close this thread's handle; the next read opens a new one."""
        stack = getattr(self._handles, "stack", None)
        if stack is not None:
            stack.close()
            vars(self._handles).clear()

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
          DataError: no such band, or the pixels cannot be read: the file is damaged.
        """
        chosen = list(self.source.select_bands(bands))
        inside = _clip(window, self.info)
        pixels = np.zeros((len(chosen), window.height, window.width), self.source.dtype)
        valid = np.zeros((window.height, window.width), bool)
        if inside is None:
            return pixels, valid
        rows = slice(inside.row - window.row, inside.row - window.row + inside.height)
        cols = slice(inside.col - window.col, inside.col - window.col + inside.width)
        pixels[:, rows, cols], valid[rows, cols] = self._part(chosen, inside)
        return pixels, valid

    def read_overview(self, longest_px: int, bands: Sequence[int]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Read the whole raster small, through its overviews: (C, h, w) and what is valid."""
        info = self.info
        scale = min(1.0, longest_px / max(info.width, info.height))
        shape = (max(1, round(info.height * scale)), max(1, round(info.width * scale)))
        try:
            handle = self._handle()
            pixels = handle.read(list(bands), out_shape=(len(bands), *shape))
            return pixels, self._valid(handle, pixels, out_shape=shape)
        except RasterioError as error:
            raise DataError(f"{info.path} cannot be read ({_one_line(error)})") from error

    def valid_share(self, window: PixelWindow, *, longest_px: int = 256) -> float:
        """Return the share of a window that is valid, of a long one by every few pixels.

        Raises:
          DataError: the pixels cannot be read: the file is damaged.
        """
        inside = _clip(window, self.info)
        if inside is None:
            return 0.0
        scale = min(1.0, longest_px / max(inside.width, inside.height))
        shape = (max(1, round(inside.height * scale)), max(1, round(inside.width * scale)))
        _, valid = self._part(list(self.source.image_bands), inside, shape)
        shown = inside.width * inside.height / (window.width * window.height)
        return float(valid.mean()) * shown

    def read_resized(
        self, window: PixelWindow, size_px: int, bands: Sequence[int] | None = None
    ) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Read a square window, which may reach past the raster, at another size.

        Args:
          window: in pixels of the raster; as wide as high.
          size_px: edge of the result; smaller pictures are averages, larger ones bilinear.
          bands: 1-based numbers, None for all but alpha.

        Returns:
          Pixels (C, size_px, size_px) in the raster's dtype and what is valid, as ``read`` has them.

        Raises:
          DataError: no such band, or the pixels cannot be read: the file is damaged.
        """
        if (window.width, window.height) == (size_px, size_px):
            return self.read(window, bands)
        chosen = list(self.source.select_bands(bands))
        pixels = np.zeros((len(chosen), size_px, size_px), self.source.dtype)
        valid = np.zeros((size_px, size_px), bool)
        inside = _clip(window, self.info)
        if inside is None:
            return pixels, valid
        scale = size_px / window.width
        rows = _scaled(inside.row - window.row, inside.height, scale, size_px)
        cols = _scaled(inside.col - window.col, inside.width, scale, size_px)
        shape = (rows.stop - rows.start, cols.stop - cols.start)
        resampling = Resampling.average if scale < 1 else Resampling.bilinear
        pixels[:, rows, cols], valid[rows, cols] = self._part(chosen, inside, shape, resampling=resampling)
        return pixels, valid

    def _part(
        self, bands: list[int], inside: PixelWindow, shape: tuple[int, int] | None = None, **how: Any
    ) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Read a window that lies on the raster, in another shape where one is given."""
        where = Window(inside.col, inside.row, inside.width, inside.height)
        of_one: dict[str, Any] = {} if shape is None else {"out_shape": shape}
        of_all: dict[str, Any] = {} if shape is None else {"out_shape": (len(bands), *shape)}
        try:
            handle = self._handle()
            pixels = handle.read(bands, window=where, **of_all, **how)
            return pixels, self._valid(handle, pixels, window=where, **of_one)
        except RasterioError as error:
            raise DataError(
                f"{self.source.path}: pixels at column {inside.col}, row {inside.row} cannot be "
                f"read ({_one_line(error)}); the file is damaged, copy or make it again"
            ) from error

    def _valid(self, handle: Any, pixels: NDArray[Any], **where: Any) -> NDArray[np.bool_]:
        """Return what is valid of pixels (C, h, w) that were read with ``where``."""
        if self.source.alpha is not None:
            # GDAL takes alpha for a mask only in unsigned bytes and words.
            valid: NDArray[np.bool_] = handle.read(self.source.alpha, **where) > 0
        elif self.source.masked:
            valid = handle.dataset_mask(**where) > 0
        elif self.like is not None and self.source.nodata is None:
            valid = handle.read(handle.count, **where) > 0  # the alpha that warping added
        else:
            valid = np.ones(pixels.shape[1:], bool)
        if pixels.dtype.kind in "fc":
            valid &= np.isfinite(pixels).all(0)
        nodata = self.source.nodata
        if nodata is not None and not math.isnan(nodata):
            valid &= (pixels != np.asarray(nodata).astype(pixels.dtype)).any(0)
        return valid


def _one_line(error: Exception) -> str:
    return " ".join(str(error.__cause__ or error).split())


def _scaled(start: int, length: int, scale: float, most: int) -> slice:
    """Return where a stretch of pixels lies once scaled, at least one pixel of it."""
    first = min(round(start * scale), most - 1)
    return slice(first, min(max(round((start + length) * scale), first + 1), most))


def _clip(window: PixelWindow, info: RasterInfo) -> PixelWindow | None:
    """Return the part of a window that lies on the raster, None where there is none."""
    left, top = max(window.col, 0), max(window.row, 0)
    right = min(window.col + window.width, info.width)
    bottom = min(window.row + window.height, info.height)
    if right <= left or bottom <= top:
        return None
    return PixelWindow(left, top, right - left, bottom - top)
