"""Writing chips as image files that know their place on the map."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray

from geomm.chips.options import ChipOptions
from geomm.errors import DataError
from geomm.io.raster_info import RasterInfo
from geomm.structures import Georeference

_DRIVERS = {".tif": "GTiff", ".png": "PNG", ".jpg": "JPEG"}
_WORLD_FILES = {".png": ".pgw", ".jpg": ".jgw"}
#: Types that a format of pictures can hold, and its numbers of bands.
_HOLDS = {"png": (("uint8", "uint16"), (1, 3)), "jpeg": (("uint8",), (1, 3))}


def check_holds(image_format: str, dtype: str, bands: int) -> None:
    """Check that a format can hold a raster's pixels.

    Raises:
      DataError: it cannot.
    """
    if image_format == "tiff":
        return
    dtypes, counts = _HOLDS[image_format]
    if dtype not in dtypes or bands not in counts:
        raise DataError(
            f"image_format={image_format} holds {' or '.join(map(str, counts))} bands of "
            f"{' or '.join(dtypes)}, the scenes have {bands} of {dtype}; use image_format=tiff, or choose "
            "dataset.bands"
        )


def check_nodata(nodata: float | None, info: RasterInfo) -> None:
    """Check that a raster's pixels can have a value that is to mean no data.

    Raises:
      DataError: they cannot.
    """
    real = np.dtype(info.dtype).kind == "f"
    if nodata is None or (real and not np.isfinite(nodata)):
        return
    limits = np.finfo(info.dtype) if real else np.iinfo(info.dtype)
    if not (limits.min <= nodata <= limits.max and (real or float(nodata).is_integer())):
        span = f"{limits.min:g} to {limits.max:g}" if real else f"{limits.min} to {limits.max}"
        raise DataError(
            f"nodata={nodata:g} is no value of {info.path}, which is {info.dtype}: use one from {span}, or "
            "nodata=null for each raster's own"
        )


def write_chip(
    path: Path,
    pixels: NDArray[Any],
    valid: NDArray[np.bool_],
    place: Georeference,
    options: ChipOptions,
    *,
    nodata: float | None,
    band_names: Sequence[str],
) -> None:
    """Write a chip.

    Args:
      path: its ending says the format.
      pixels: (C, h, w).
      valid: (h, w), False where there is no data: written as ``nodata``, or 0 and a mask (TIFF alone).
      place: of its upper left corner; without a CRS its transform alone is written, which then says where
        the chip lies in its scene.
      options: of the export.
      nodata: value that means no data, None where none does.
      band_names: C names.
    """
    filled = pixels if valid.all() else np.where(valid, pixels, np.asarray(nodata or 0).astype(pixels.dtype))
    with _opened(path, filled, place, nodata, options) as file:
        file.write(filled)
        if path.suffix == ".tif":
            for number, name in enumerate(band_names, 1):
                file.set_band_description(number, name)
            if nodata is None and not valid.all():
                file.write_mask(valid)


def write_values(path: Path, values: NDArray[Any], place: Georeference, *, nodata: float | None) -> None:
    """Write a label raster (h, w) of whole numbers as TIFF."""
    with _opened(path, values[None], place, nodata, None) as file:
        file.write(values, 1)


def _world_file(place: Georeference) -> str:
    """Return a world file's six lines: the last two are the middle of the upper left pixel."""
    a, b, c, d, e, f = place.transform
    return "".join(f"{value:.10f}\n" for value in (a, d, b, e, c + (a + b) / 2, f + (d + e) / 2))


@contextmanager
def _opened(
    path: Path, pixels: NDArray[Any], place: Georeference, nodata: float | None, options: ChipOptions | None
) -> Iterator[Any]:
    path.parent.mkdir(parents=True, exist_ok=True)
    count, height, width = pixels.shape
    profile: dict[str, Any] = {"count": count, "height": height, "width": width, "dtype": pixels.dtype.name}
    tiff = path.suffix == ".tif"
    if place.crs is not None or tiff:
        profile |= {"crs": place.crs, "transform": rasterio.Affine(*place.transform)}
    if tiff:
        profile |= {"compress": "lzw"}
    else:
        path.with_suffix(_WORLD_FILES[path.suffix]).write_text(_world_file(place), encoding="ascii")
        if path.suffix == ".jpg" and options is not None:
            profile |= {"quality": options.jpeg_quality}
    settings = rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True, GDAL_PAM_ENABLED="YES")
    with settings, rasterio.open(path, "w", driver=_DRIVERS[path.suffix], nodata=nodata, **profile) as file:
        yield file
