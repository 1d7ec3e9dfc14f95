"""Several rasters as the bands of one, on one grid: a VRT, so that nothing is copied."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
import rasterio
from rasterio.shutil import copy as copy_raster
from rasterio.vrt import WarpedVRT

from geomm.errors import MissingCRSError
from geomm.io.paths import is_connection
from geomm.io.raster_info import GDAL_TYPES, RasterInfo, open_raster, read_info, same_crs, same_grid


@dataclass(frozen=True)
class StackBand:
    """One band of a stack.

    Attributes:
      name: of the band.
      path: of the raster it comes from; None for a coordinate.
      band: 1-based.
      resampling: on another grid, ``nearest`` or ``bilinear``.
      axis: 0 for x and 1 for y, of a coordinate.
    """

    name: str
    path: str | None
    band: int = 1
    resampling: str = "nearest"
    axis: int | None = None


@dataclass(frozen=True)
class _Values:
    """What a stack's pixels are: their type and the value of those without data."""

    dtype: str
    nodata: float | None


def stack_rasters(
    bands: Sequence[StackBand], grid: RasterInfo, folder: Path, name: str, *, keep_type: bool = False
) -> Path:
    """Write a VRT whose bands are these, NaN where one has no data.

    The same sources give the same file to the byte, its time included as long as it is there, so that an
    interrupted map of it can go on.

    Args:
      bands: in order.
      grid: whose pixels the stack has; rasters on other grids are warped as they are read.
      folder: for the VRT and its parts.
      name: of the VRT, without ending.
      keep_type: where all rasters have one type and nodata value, and no other mask, the stack has them too.

    Raises:
      DataError: a raster cannot be opened.
      MissingCRSError: grids differ and one has no CRS.
    """
    folder.mkdir(parents=True, exist_ok=True)
    values = (_common_values(bands, grid) if keep_type else None) or _Values(_dtype(bands), float("nan"))
    lines = [
        f'<VRTDataset rasterXSize="{grid.width}" rasterYSize="{grid.height}">',
        *([f"<SRS>{escape(grid.georeference.crs)}</SRS>"] if grid.georeference.crs else []),
        "<GeoTransform>{2},{0},{1},{5},{3},{4}</GeoTransform>".format(
            *(f"{value!r}" for value in grid.georeference.transform)
        ),
    ]
    for number, band in enumerate(bands, start=1):
        if band.path is None:
            source = _axis_source(band, grid, folder)
        else:
            source = _source(band, grid, folder, values)
        lines += [
            f'<VRTRasterBand dataType="{GDAL_TYPES[values.dtype]}" band="{number}">',
            f"<Description>{escape(band.name)}</Description>",
            *([] if values.nodata is None else [f"<NoDataValue>{values.nodata!r}</NoDataValue>"]),
            *source,
            "</VRTRasterBand>",
        ]
    lines.append("</VRTDataset>")
    target = folder / f"{name}.vrt"
    _write_if_new(target, "\n".join(lines))
    return target


def _dtype(bands: Sequence[StackBand]) -> str:
    """Return the type that holds every value: float64 where a band has more than 24 bits."""
    infos = [read_info(band.path) for band in bands if band.path is not None]
    exact = all(np.can_cast(info.dtype, np.float32) for info in infos)
    return "float32" if exact and all(band.axis is None for band in bands) else "float64"


def _common_values(bands: Sequence[StackBand], grid: RasterInfo) -> _Values | None:
    """Return the type and nodata value that all rasters of a stack have, None where they differ.

    A raster on another grid, which may not cover all of it, needs a nodata value.
    """
    infos = [read_info(band.path) for band in bands if band.path is not None]
    kinds = {(info.dtype, info.nodata) for info in infos}
    if len(infos) < len(bands) or len(kinds) != 1:
        return None
    dtype, nodata = kinds.pop()
    if nodata is None and any(info.masked or not same_grid(info, grid) for info in infos):
        return None
    return _Values(dtype, nodata)


def copy_as_vrt(path: str, target: Path) -> Path:
    """Write a VRT that stands for a raster under another name; return it.

    It is as new as the raster, so that what was found in it is known to be of that version.

    Raises:
      DataError: the raster cannot be opened.
    """
    stat = Path(path).stat() if Path(path).exists() else None
    if target.is_file() and stat is not None and target.stat().st_mtime_ns == stat.st_mtime_ns:
        return target
    temporary = target.with_name(f".{target.stem}.{os.getpid()}.vrt")
    with open_raster(path) as source:
        copy_raster(source, str(temporary), driver="VRT")
    if stat is not None:
        os.utime(temporary, ns=(stat.st_mtime_ns, stat.st_mtime_ns))
    elif target.is_file() and target.read_bytes() == temporary.read_bytes():
        temporary.unlink()
        return target
    os.replace(temporary, target)
    return target


def _write_if_new(target: Path, text: str) -> None:
    if not target.is_file() or target.read_text(encoding="utf-8") != text:
        temporary = target.with_name(f"{target.name}.part")
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, target)


def _source(band: StackBand, grid: RasterInfo, folder: Path, values: _Values) -> list[str]:
    path = str(band.path)
    info = read_info(path)
    changed = f"<!-- {version} -->" if (version := _version(path)) else ""
    if same_grid(info, grid):
        return [changed, *_band_source(_located(path), band.band, info.nodata, info.masked)]
    warped = _warp(path, info, band.resampling, grid, folder, values)
    return [changed, *_band_source(str(warped.absolute()), band.band, values.nodata, False)]


def _version(path: str) -> str:
    """Return a file's size and time, by which it is known to be the same; of one far away nothing."""
    stat = Path(path).stat() if Path(path).exists() else None
    return "" if stat is None else f"{stat.st_size} {stat.st_mtime_ns}"


def _located(path: str) -> str:
    """Return a path that holds from everywhere; what GDAL finds by other means is left as it is."""
    return path if is_connection(path) else str(Path(path).absolute())


def _band_source(path: str, band: int, nodata: float | None, masked: bool) -> list[str]:
    place = [f'<SourceFilename relativeToVRT="0">{escape(path)}</SourceFilename>']
    place.append(f"<SourceBand>{band}</SourceBand>")
    if nodata is not None:
        return ["<ComplexSource>", *place, f"<NODATA>{nodata!r}</NODATA>", "</ComplexSource>"]
    if masked:
        return ["<ComplexSource>", *place, "<UseMaskBand>true</UseMaskBand>", "</ComplexSource>"]
    return ["<SimpleSource>", *place, "</SimpleSource>"]


def _warp(
    path: str, info: RasterInfo, resampling: str, grid: RasterInfo, folder: Path, values: _Values
) -> Path:
    """Write a VRT of a whole raster on the grid, its pixels of the stack's type and nodata value."""
    one, two = info.georeference.crs, grid.georeference.crs
    if (one is None) != (two is None):
        raise MissingCRSError(
            f"{path} and {grid.path} have different grids and one of them has no CRS; "
            "assign one (gdal_edit.py -a_srs EPSG:… FILE)"
        )
    # The VRT keeps the place of the raster that it was made of: another one under that name needs its own.
    key = f"{info}|{_version(path)}|{resampling}|{grid}|{values}"
    code = hashlib.sha256(key.encode()).hexdigest()[:12]
    target = folder / f"warped_{code}.vrt"
    if target.is_file():
        return target
    # Without a CRS on either side any one will do: only the transforms count.
    crs = two or "EPSG:3857"
    with open_raster(path) as source:
        with WarpedVRT(
            source,
            src_crs=one or crs,
            src_transform=rasterio.Affine(*info.georeference.transform),
            crs=crs,
            transform=rasterio.Affine(*grid.georeference.transform),
            width=grid.width,
            height=grid.height,
            resampling=rasterio.enums.Resampling[resampling],
            src_nodata=info.nodata,
            nodata=values.nodata,
            dtype=values.dtype,
        ) as vrt:
            temporary = target.with_name(f"{target.name}.part")
            copy_raster(vrt, str(temporary), driver="VRT")
    os.replace(temporary, target)
    return target


def _axis_source(band: StackBand, grid: RasterInfo, folder: Path) -> list[str]:
    """Return a source of one row (or column) of coordinates, stretched over the grid."""
    a, _, c, _, e, f = grid.georeference.transform
    across = band.axis == 0
    count = grid.width if across else grid.height
    centres = np.arange(count) + 0.5
    values = (a * centres + c) if across else (e * centres + f)
    shape = (1, count) if across else (count, 1)
    path = folder / f"axis_{'xy'[int(band.axis or 0)]}.tif"
    digest = hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()[:12]
    path = path.with_name(f"{path.stem}_{digest}.tif")
    if not path.is_file():
        temporary = path.with_name(f"{path.name}.part")
        with rasterio.open(
            temporary, "w", driver="GTiff", height=shape[0], width=shape[1], count=1, dtype="float64"
        ) as target:
            target.write(values.reshape(shape), 1)
        os.replace(temporary, path)
    return [
        "<SimpleSource>",
        f'<SourceFilename relativeToVRT="0">{escape(str(path.absolute()))}</SourceFilename>',
        "<SourceBand>1</SourceBand>",
        f'<SrcRect xOff="0" yOff="0" xSize="{shape[1]}" ySize="{shape[0]}"/>',
        f'<DstRect xOff="0" yOff="0" xSize="{grid.width}" ySize="{grid.height}"/>',
        "</SimpleSource>",
    ]


def axes_are_straight(grid: RasterInfo, crs: str | None) -> bool:
    """Return whether a column has one x and a row one y, in that CRS."""
    _, b, _, d, _, _ = grid.georeference.transform
    own = grid.georeference.crs
    same = (own is None and crs is None) or (own is not None and crs is not None and same_crs(own, crs))
    return same and b == 0 and d == 0
