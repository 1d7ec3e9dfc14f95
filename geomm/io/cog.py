"""Writing maps: bands of rows as they are finished, one cloud-optimised GeoTIFF in the end."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import rasterio
from numpy.typing import NDArray
from rasterio.errors import RasterioError
from rasterio.shutil import copy as copy_raster

from geomm.io.raster_info import GDAL_TYPES
from geomm.structures import ClassSpec, Georeference

#: First row, height and file of each band of rows of a map.
Rows = Sequence[tuple[int, int, Path]]

#: LZW is read everywhere and packs classes as well as DEFLATE does in a quarter of the time.
_COMPRESSION: dict[str, dict[str, str | int]] = {
    "bytes": {"COMPRESS": "LZW"},
    "values": {"COMPRESS": "ZSTD", "LEVEL": 1},
}
_STRIP_ROWS = 64
_CLASSES_TAG = "CLASSES"
#: Every map carries this, so that maps are neither taken for inputs nor other files for maps.
_MAP_TAG = "GEOMM_MAP"


@dataclass(frozen=True)
class MapLayout:
    """What a map file is to be.

    Attributes:
      width: pixels.
      height: pixels.
      dtype: numpy name.
      georeference: CRS and transform.
      nodata: value of pixels without data, None where every pixel has some.
      band_names: a description a band.
      classes: whose values the single band holds; they give the colour table and the names.
      colors: what each band is shown as (``red``, ``gray``, …), empty for undefined.
    """

    width: int
    height: int
    dtype: str
    georeference: Georeference
    nodata: float | None
    band_names: tuple[str, ...]
    classes: tuple[ClassSpec, ...] = ()
    colors: tuple[str, ...] = ()


def write_rows(path: Path, first: int, pixels: NDArray[Any], layout: MapLayout) -> None:
    """Write a band of rows (C, h, w) as a file of its own that appears when it is complete.

    Args:
      path: file to write.
      first: the band's first row in the map.
      pixels: in the map's dtype.
      layout: of the map.
    """
    temporary = path.with_name(f".{path.name}.part")
    count, height, width = pixels.shape
    light = {"compress": "lzw"} if pixels.itemsize == 1 else {"compress": "zstd", "zstd_level": 1}
    profile = {
        "driver": "GTiff",
        "width": width,
        "height": height,
        "count": count,
        "dtype": layout.dtype,
        "transform": rasterio.Affine(*layout.georeference.shifted(0, first).transform),
        "blockysize": min(_STRIP_ROWS, height),
        "interleave": "band",
        "bigtiff": "if_safer",
    }
    with rasterio.open(temporary, "w", **profile, **light) as target:
        target.write(pixels)
    os.replace(temporary, path)


def assemble(rows: Rows, layout: MapLayout, target: Path, *, work: Path) -> Path:
    """Join bands of rows into a cloud-optimised GeoTIFF.

    Args:
      rows: first row, height and file of each band, which together cover the map.
      layout: of the map.
      target: the final name, taken when the file is complete.
      work: folder on the same file system for what is not complete.
    """
    source, temporary = work / f"{target.name}.vrt", work / target.name
    source.write_text(_vrt(rows, layout), encoding="utf-8")
    temporary.unlink(missing_ok=True)
    options: dict[str, int | str] = {
        "BLOCKSIZE": 512,
        "PREDICTOR": "NO" if layout.classes else "YES",
        "RESAMPLING": "NEAREST" if layout.classes else "AVERAGE",
        "BIGTIFF": "IF_SAFER",
        "NUM_THREADS": "ALL_CPUS",
        **_COMPRESSION["bytes" if layout.dtype == "uint8" or layout.classes else "values"],
    }
    copy_raster(str(source), str(temporary), driver="COG", strict=False, **options)
    sidecar = work / f"{target.name}.aux.xml"
    sidecar.unlink(missing_ok=True)
    if layout.classes:
        sidecar.write_text(_sidecar(layout), encoding="utf-8")
        os.replace(sidecar, target.with_name(sidecar.name))
    os.replace(temporary, target)
    return target


def is_map(path: Path) -> bool:
    """Return whether a file is a map that ``assemble`` wrote."""
    try:
        with rasterio.open(path) as source:
            return _MAP_TAG in source.tags()
    except RasterioError:
        return False


def _vrt(rows: Rows, layout: MapLayout) -> str:
    """Describe the map to GDAL: https://gdal.org/drivers/raster/vrt.html."""
    a, b, c, d, e, f = map(float, layout.georeference.transform)
    lines = [f'<VRTDataset rasterXSize="{layout.width}" rasterYSize="{layout.height}">']
    if layout.georeference.crs:
        lines.append(f"<SRS>{escape(layout.georeference.crs)}</SRS>")
    lines.append(f"<GeoTransform>{c!r}, {a!r}, {b!r}, {f!r}, {d!r}, {e!r}</GeoTransform>")
    tags = {_MAP_TAG: "classes" if layout.classes else "values"}
    if layout.classes:
        tags[_CLASSES_TAG] = "; ".join(f"{item.value}={item.name}" for item in layout.classes)
    described = "".join(f'<MDI key="{key}">{escape(text)}</MDI>' for key, text in tags.items())
    lines.append(f"<Metadata>{described}</Metadata>")
    for band, name in enumerate(layout.band_names, start=1):
        lines.append(f'<VRTRasterBand dataType="{GDAL_TYPES[layout.dtype]}" band="{band}">')
        lines.append(f"<Description>{escape(name)}</Description>")
        if layout.nodata is not None:
            lines.append(f"<NoDataValue>{layout.nodata!r}</NoDataValue>")
        if layout.colors:
            lines.append(f"<ColorInterp>{layout.colors[band - 1].capitalize()}</ColorInterp>")
        lines += _class_lines(layout)
        lines += [_vrt_source(band, *part, layout) for part in rows]
        lines.append("</VRTRasterBand>")
    lines.append("</VRTDataset>")
    return "\n".join(lines)


def _vrt_source(band: int, first: int, height: int, path: Path, layout: MapLayout) -> str:
    size = f'xSize="{layout.width}" ySize="{height}"'
    name = escape(str(path.resolve()))
    return (
        f'<SimpleSource><SourceFilename relativeToVRT="0">{name}</SourceFilename>'
        f"<SourceBand>{band}</SourceBand>"
        f'<SourceProperties RasterXSize="{layout.width}" RasterYSize="{height}" '
        f'DataType="{GDAL_TYPES[layout.dtype]}" BlockXSize="{layout.width}" '
        f'BlockYSize="{min(_STRIP_ROWS, height)}"/>'
        f'<SrcRect xOff="0" yOff="0" {size}/><DstRect xOff="0" yOff="{first}" {size}/>'
        "</SimpleSource>"
    )


def _class_lines(layout: MapLayout) -> list[str]:
    if not layout.classes:
        return []
    colors = {item.value: item.color for item in layout.classes}
    highest = 255 if layout.dtype == "uint8" else max(colors)
    lines = ["<ColorInterp>Palette</ColorInterp>", "<ColorTable>"]
    for value in range(highest + 1):
        red, green, blue = colors.get(value, (0, 0, 0))
        alpha = 0 if value == layout.nodata or value not in colors else 255
        lines.append(f'<Entry c1="{red}" c2="{green}" c3="{blue}" c4="{alpha}"/>')
    return [*lines, "</ColorTable>", *_names(layout)]


def _names(layout: MapLayout) -> list[str]:
    names = {item.value: item.name for item in layout.classes}
    listed = [f"<Category>{escape(names.get(value, ''))}</Category>" for value in range(max(names) + 1)]
    return ["<CategoryNames>", *listed, "</CategoryNames>"]


def _sidecar(layout: MapLayout) -> str:
    """Return what GeoTIFF has no tag for, where GDAL, QGIS and ArcGIS look: an attribute table."""
    fields = (("Value", 0, 5), ("Class", 2, 2), ("Red", 0, 6), ("Green", 0, 7), ("Blue", 0, 8))
    table = ['<GDALRasterAttributeTable tableType="thematic">']
    for index, (name, kind, usage) in enumerate(fields):
        described = f"<Name>{name}</Name><Type>{kind}</Type><Usage>{usage}</Usage>"
        table.append(f'<FieldDefn index="{index}">{described}</FieldDefn>')
    for index, item in enumerate(layout.classes):
        cells = (item.value, escape(item.name), *item.color)
        table.append(f'<Row index="{index}">{"".join(f"<F>{cell}</F>" for cell in cells)}</Row>')
    lines = ["<PAMDataset>", '<PAMRasterBand band="1">', *_names(layout), *table]
    return "\n".join([*lines, "</GDALRasterAttributeTable>", "</PAMRasterBand>", "</PAMDataset>"])
