"""What a map is, where it lies and what it was made from, as a STAC item beside it."""

from __future__ import annotations

import datetime
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from geomm.io.raster_info import RasterInfo, read_info
from geomm.io.stac import has_item, load_pystac, source_item
from geomm.structures import ClassSpec

_PROJECTION = "https://stac-extensions.github.io/projection/v2.0.0/schema.json"
_CLASSIFICATION = "https://stac-extensions.github.io/classification/v2.0.0/schema.json"
_PROCESSING = "https://stac-extensions.github.io/processing/v1.2.0/schema.json"
#: Media type and roles by the ending of a result.
_KINDS: dict[str, tuple[str, tuple[str, ...]]] = {
    ".tif": ("image/tiff; application=geotiff; profile=cloud-optimized", ("data",)),
    ".gpkg": ("application/geopackage+sqlite3", ("data",)),
    ".geojson": ("application/geo+json", ("data",)),
    ".fgb": ("application/vnd.flatgeobuf", ("data",)),
    ".parquet": ("application/vnd.apache.parquet", ("data",)),
    ".png": ("image/png", ("thumbnail",)),
    ".qml": ("application/xml", ("metadata",)),
}


def wants_item(option: bool | str, scenes: Sequence[str]) -> bool:
    """Return whether results get an item: always, never, or where their scenes came from one.

    Args:
      option: ``inference.stac``.
      scenes: that a result was made from.
    """
    return any(map(has_item, scenes)) if option == "auto" else bool(option)


def write_item(
    name: str,
    outputs: Sequence[Path],
    scenes: Sequence[str],
    *,
    classes: Sequence[ClassSpec] = (),
    model_id: str = "",
) -> Path:
    """Write ``NAME.json`` beside results: a STAC item with a file an asset.

    Args:
      name: of the results, which is the item's id.
      outputs: files of one folder, the result itself first.
      scenes: what they were made from; of items, the geometry, the time and a link are taken over.
      classes: of the values in the first file.
      model_id: of the model.

    Raises:
      GeommError: pystac is not installed.
    """
    pystac = load_pystac("inference.stac")
    infos = [read_info(scene) for scene in scenes]
    items = [item for item in map(source_item, scenes) if item is not None]
    geometry, bbox = _footprint(infos, items)
    start, end = _times(items)
    item = pystac.Item(
        id=name,
        geometry=geometry,
        bbox=bbox,
        datetime=start if start == end else None,
        properties={
            "created": _text(datetime.datetime.now(datetime.timezone.utc)),
            "processing:software": {"geomm": _own_version()},
            **({"geomm:model": model_id} if model_id else {}),
        },
        start_datetime=None if start == end else start,
        end_datetime=None if start == end else end,
        stac_extensions=[_PROCESSING],
    )
    for output in outputs:
        key, asset = _asset(pystac, output, name, classes if output == outputs[0] else ())
        item.add_asset(key, asset)
    if classes:
        item.stac_extensions.append(_CLASSIFICATION)
    if outputs[0].suffix == ".tif":
        item.stac_extensions.append(_PROJECTION)
        item.properties |= _projection(read_info(outputs[0]))
    for scene, source in zip(scenes, map(source_item, scenes), strict=True):
        href = source.get_self_href() if source is not None else str(Path(scene).absolute())
        if href:
            item.add_link(pystac.Link("derived_from", href))
    target = outputs[0].with_name(f"{name}.json")
    temporary = target.with_name(f".{target.name}.part")
    described = item.to_dict(include_self_link=False, transform_hrefs=False)
    temporary.write_text(json.dumps(described, indent=2, ensure_ascii=False), encoding="utf-8")
    os.replace(temporary, target)
    return target


def _footprint(infos: Sequence[RasterInfo], items: Sequence[Any]) -> tuple[Any, list[float] | None]:
    """Return where scenes lie, in degrees, and its bounding box; None where no CRS says so."""
    import shapely

    if items and len(items) == len(infos):
        shapes = [shapely.from_geojson(json.dumps(item.geometry)) for item in items]
    else:
        shapes = [shape for shape in map(_outline, infos) if shape is not None]
    if not shapes:
        return None, None
    whole = shapely.union_all(shapes) if len(shapes) > 1 else shapes[0]
    return json.loads(shapely.to_geojson(whole)), [float(value) for value in whole.bounds]


def _outline(info: RasterInfo) -> Any:
    """Return a raster's outline in degrees, with points between its corners: edges bend."""
    import numpy as np
    import shapely
    from pyproj import Transformer

    if info.georeference.crs is None:
        return None
    a, b, c, d, e, f = info.georeference.transform
    steps = np.linspace(0, 1, 9)[:-1]
    along = np.concatenate([steps, np.ones(8), 1 - steps, np.zeros(8)]) * info.width
    down = np.concatenate([np.zeros(8), steps, np.ones(8), 1 - steps]) * info.height
    x, y = a * along + b * down + c, d * along + e * down + f
    to_degrees = Transformer.from_crs(info.georeference.crs, "EPSG:4326", always_xy=True)
    return shapely.Polygon(np.round(np.stack(to_degrees.transform(x, y), axis=1), 9))


def _times(items: Sequence[Any]) -> tuple[datetime.datetime, datetime.datetime]:
    """Return from when to when the scenes were taken; now where nothing says so."""
    starts, ends = [], []
    for item in items:
        common = item.common_metadata
        starts += [t for t in (common.start_datetime or item.datetime,) if t is not None]
        ends += [t for t in (common.end_datetime or item.datetime,) if t is not None]
    if not starts or not ends:
        now = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
        return now, now
    return min(starts), max(ends)


def _text(time: datetime.datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


def _asset(pystac: Any, path: Path, name: str, classes: Sequence[ClassSpec]) -> tuple[str, Any]:
    kind, roles = _KINDS.get(path.suffix.lower(), ("application/octet-stream", ("data",)))
    key = path.stem.removeprefix(name).strip("_") or {".tif": "map", ".qml": "style"}.get(
        path.suffix, "objects"
    )
    extra: dict[str, Any] = {}
    if path.suffix == ".tif":
        extra["bands"] = _bands(read_info(path), classes)
    return key, pystac.Asset(f"./{path.name}", media_type=kind, roles=list(roles), extra_fields=extra)


def _bands(info: RasterInfo, classes: Sequence[ClassSpec]) -> list[dict[str, Any]]:
    bands: list[dict[str, Any]] = []
    for number in info.image_bands:
        band: dict[str, Any] = {"name": info.band_names[number - 1], "data_type": info.dtype}
        if info.nodata is not None:
            band["nodata"] = "nan" if info.nodata != info.nodata else info.nodata
        bands.append(band)
    if classes and len(bands) == 1:
        bands[0]["classification:classes"] = [
            {
                "value": item.value,
                "name": item.name.replace(" ", "_"),
                "title": item.name,
                "color_hint": "{:02X}{:02X}{:02X}".format(*item.color),
            }
            for item in classes
        ]
    return bands


def _projection(info: RasterInfo) -> dict[str, Any]:
    from pyproj import CRS

    found: dict[str, Any] = {
        "proj:shape": [info.height, info.width],
        "proj:transform": [float(value) for value in info.georeference.transform],
    }
    if info.georeference.crs is not None:
        crs = CRS.from_user_input(info.georeference.crs)
        authority = crs.to_authority()
        found |= {"proj:code": ":".join(authority)} if authority else {"proj:wkt2": crs.to_wkt()}
    return found


def _own_version() -> str:
    import geomm

    return geomm.__version__
