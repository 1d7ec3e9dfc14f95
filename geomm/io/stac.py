"""STAC items, collections and search results as scenes: each item one raster of the bands asked for.

SpatioTemporal Asset Catalogs, https://stacspec.org, version 1.0 and later. An item's assets become the bands
of a VRT that is named like the item, so that nothing is copied and everything else sees a raster.
"""

from __future__ import annotations

import glob
import hashlib
import json
import logging
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geomm.errors import DataError, GeommError, did_you_mean
from geomm.io.cache import cache_folder
from geomm.io.paths import RASTER_ENDINGS
from geomm.io.raster_info import read_info
from geomm.io.raster_stack import StackBand, copy_as_vrt, stack_rasters

_LOG = logging.getLogger("geomm")
STAC_ENDINGS = (".json", ".geojson")
_ITEM_FILE = "item.json"
#: Where GDAL finds what other addresses call by other names.
_GDAL_NAMES = {"http://": "/vsicurl/http://", "https://": "/vsicurl/https://", "s3://": "/vsis3/",
               "gs://": "/vsigs/", "az://": "/vsiaz/"}  # fmt: skip
_NAME_KEYS = ("name", "common_name", "eo:common_name")
_NOT_IMAGERY = {"thumbnail", "overview", "metadata", "visual-overview"}


@dataclass(frozen=True)
class _Band:
    """A band that an item offers.

    Attributes:
      asset: key of its asset.
      href: what GDAL opens.
      number: 1-based in the asset.
      names: what it may be called, the first its own.
      alone: whether it is the only band of its asset.
      data: whether the asset has the role ``data``.
    """

    asset: str
    href: str
    number: int
    names: tuple[str, ...]
    alone: bool
    data: bool


def is_stac(path: str | Path) -> bool:
    """Return whether imagery is given as a STAC file: by its ending, here or at an address."""
    return str(path).partition("?")[0].lower().endswith(STAC_ENDINGS)


def place_items(
    given: Any,
    *,
    bands: Sequence[int | str] | None = None,
    numbers: Sequence[int] | None = None,
) -> Any:
    """Put in the place of STAC files the rasters of their items; leave everything else as it is.

    Args:
      given: a path, glob, folder or address, a list of them, or None.
      bands: names that choose and order the items' bands: those of bands, common names, or keys of assets.
        None, or numbers, takes the one asset that has the imagery.
      numbers: the 1-based numbers under which those bands will be read; 1, 2, … where not given.

    Returns:
      ``given``, or a list of paths.

    Raises:
      DataError: a file that is no STAC, an item without geometry, a band or an asset that is not there.
    """
    if given is None:
        return None
    items = [given] if isinstance(given, str | Path) else list(given)
    if not any(is_stac(item) for item in items):
        return given
    found: list[str] = []
    for item in items:
        found += _rasters_of(str(item), bands, numbers) if is_stac(item) else [str(item)]
    return list(dict.fromkeys(found))


def has_item(scene: str | Path) -> bool:
    """Return whether ``place_items`` made a raster."""
    return Path(scene).suffix == ".vrt" and (Path(scene).parent / _ITEM_FILE).is_file()


def source_item(scene: str | Path) -> Any:
    """Return the pystac Item behind a raster that ``place_items`` made, None for any other."""
    if not has_item(scene):
        return None
    text = (Path(scene).parent / _ITEM_FILE).read_text(encoding="utf-8")
    return load_pystac().Item.from_dict(json.loads(text))


def load_pystac(purpose: str = "STAC as input") -> Any:
    """Return the module pystac.

    Raises:
      GeommError: it is not installed.
    """
    try:
        import pystac
    except ImportError as error:
        raise GeommError(f"{purpose} needs pystac: pip install 'geomm[stac]'") from error
    return pystac


def _rasters_of(path: str, bands: Sequence[int | str] | None, numbers: Sequence[int] | None) -> list[str]:
    files = sorted(glob.glob(path, recursive=True)) if glob.has_magic(path) and "://" not in path else [path]
    if not files:
        raise DataError(f"{path}: there is no such file, folder or match in {Path.cwd()}")
    scenes = [str(_raster(item, bands, numbers)) for file in files for item in read_items(file)]
    _LOG.info("%s: %d STAC items", path, len(scenes))
    return scenes


def read_items(path: str | Path) -> Iterator[Any]:
    """Yield the items of an item, a collection, a catalog or a search result, as pystac has them.

    Raises:
      DataError: the file cannot be read, or is no STAC.
    """
    pystac = load_pystac()
    text = str(path)
    if "://" not in text:
        text = str(Path(text).absolute())
    try:
        data = json.loads(pystac.StacIO.default().read_text(text))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as STAC ({_one_line(error)})") from error
    kind = data.get("type") if isinstance(data, dict) else None
    try:
        if kind == "FeatureCollection":
            features = data.get("features") or []
            if not all(isinstance(feature, dict) and "assets" in feature for feature in features):
                raise DataError(
                    f"{path} holds features without assets; expected STAC items (labels go to dataset.labels)"
                )
            for feature in features:
                yield _with_address(pystac.Item.from_dict(feature), text)
        elif kind == "Feature":
            if "assets" not in data:
                raise DataError(f"{path} is a feature without assets; expected a STAC item")
            yield _with_address(pystac.Item.from_dict(data), text)
        elif kind in ("Collection", "Catalog"):
            yield from pystac.read_file(text).get_items(recursive=True)
        else:
            raise DataError(
                f"{path} is JSON of type {kind!r}; expected a STAC item, collection, catalog or search result"
            )
    except (pystac.STACError, OSError, KeyError, ValueError, TypeError) as error:
        raise DataError(f"{path} is not valid STAC ({_one_line(error)})") from error


def _with_address(item: Any, address: str) -> Any:
    """Give an item the address that its relative hrefs are relative to, where it has none that is there."""
    own = item.get_self_href()
    if own is None or not ("://" in own or Path(own).exists()):
        item.set_self_href(address)
    return item


def _raster(item: Any, bands: Sequence[int | str] | None, numbers: Sequence[int] | None) -> Path:
    """Write the VRT of an item, and the item beside it; return the VRT."""
    where = f"STAC item {item.id!r}"
    if item.geometry is None:
        raise DataError(f"{where} has no geometry; expected one that says where on earth it lies")
    names = [str(band) for band in bands or []]
    if all(name.isdigit() or re.fullmatch(r"band_\d+", name) for name in names):
        names = []
    chosen = _choose(item, names) if names else []
    # What decides the file's content: an item, which may change, and what is taken from it.
    described = item.to_dict(include_self_link=True, transform_hrefs=False)
    key = json.dumps([described, names, list(numbers or [])], sort_keys=True, default=str)
    folder = cache_folder("stac") / hashlib.sha256(key.encode()).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{_file_name(item.id)}.vrt"
    _write_new(folder / _ITEM_FILE, json.dumps(described))
    try:
        if not chosen:
            return copy_as_vrt(_the_imagery(item), target)
        order = numbers or range(1, len(chosen) + 1)
        # A model may read any of its raster's bands; those that it does not read are there in number only.
        stack = [StackBand(names[0], chosen[0].href, chosen[0].number)] * max(order)
        for place, name, band in zip(order, names, chosen, strict=True):
            stack[place - 1] = StackBand(name, band.href, band.number, resampling="bilinear")
        finest = min((read_info(band.href) for band in chosen), key=lambda info: info.gsd)
        return stack_rasters(stack, finest, folder, target.stem, keep_type=True)
    except DataError as error:
        raise DataError(f"{where}: {error}") from error


def _file_name(text: str) -> str:
    return re.sub(r"[^\w.\- ]", "_", text).strip(". ") or "item"


def _write_new(file: Path, text: str) -> None:
    if not (file.is_file() and file.read_text(encoding="utf-8") == text):
        temporary = file.with_name(f".{file.name}.{os.getpid()}")
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, file)


def _choose(item: Any, names: Sequence[str]) -> list[_Band]:
    """Return a band a name: by key of an asset of one band first, then by a band's own or common name.

    Raises:
      DataError: a name that no band has.
    """
    offered = [band for key, asset in item.assets.items() for band in _bands(key, asset)]
    chosen = []
    for name in names:
        wanted = name.lower()
        fitting = [band for band in offered if wanted in band.names]
        if not fitting:
            known = list(dict.fromkeys(name for band in offered for name in band.names))
            raise DataError(
                f"STAC item {item.id!r} has no band or asset {name!r}; {did_you_mean(name, known, limit=30)}"
            )
        # The asset of that name, else the band in a file of its own, else one of several in a file.
        chosen.append(
            min(fitting, key=lambda b: (not (b.alone and b.asset.lower() == wanted), not b.alone, not b.data))
        )
    return chosen


def _bands(key: str, asset: Any) -> list[_Band]:
    """Return what an asset says of its bands; one of its key's name where it says nothing."""
    if not _is_imagery(asset):
        return []
    extra = asset.extra_fields
    lists = [extra.get(name) or [] for name in ("bands", "eo:bands", "raster:bands")]
    count = max([len(found) for found in lists] or [0]) or 1
    href, data = _address(asset), "data" in (asset.roles or [])
    bands = []
    for index in range(count):
        names: list[str] = []
        for found in lists:
            described = found[index] if index < len(found) else {}
            names += [str(described[key]) for key in _NAME_KEYS if described.get(key)]
        common = extra.get("eo:common_name") if count == 1 else None
        names += [str(common)] if common else []
        names += [key] if count == 1 else [f"{key}_{index + 1}"]
        lowered = tuple(dict.fromkeys(name.lower() for name in names))
        bands.append(_Band(key, href, index + 1, lowered, count == 1, data))
    return bands


def _is_imagery(asset: Any) -> bool:
    if _NOT_IMAGERY & set(asset.roles or []):
        return False
    kind = str(asset.media_type or "").lower()
    ending = asset.href.partition("?")[0].lower().endswith(RASTER_ENDINGS)
    return (
        ending
        if not kind
        else kind.startswith("image/")
        or kind.startswith("application/x-hdf")
        or ("netcdf" in kind or "vrt" in kind)
    )


def _the_imagery(item: Any) -> str:
    """Return the address of the one asset that has an item's imagery.

    Raises:
      DataError: there is none, or there are several.
    """
    imagery = {key: asset for key, asset in item.assets.items() if _is_imagery(asset)}
    data = {key: asset for key, asset in imagery.items() if "data" in (asset.roles or [])} or imagery
    if not data:
        raise DataError(f"has no asset with imagery; it has {', '.join(item.assets) or 'none at all'}")
    if len(data) > 1:
        names = list(
            dict.fromkeys(name for key, asset in data.items() for b in _bands(key, asset) for name in b.names)
        )
        raise DataError(
            f"has {len(data)} assets with imagery; name the bands, in order, of {', '.join(names)} "
            "(dataset.bands=[…] to train, inference.assets=[…] to map)"
        )
    return _address(next(iter(data.values())))


def _address(asset: Any) -> str:
    """Return what GDAL opens for an asset."""
    href = str(asset.get_absolute_href() or asset.href)
    if href.startswith("file://"):
        return href.removeprefix("file://")
    for prefix, name in _GDAL_NAMES.items():
        if href.startswith(prefix):
            return name + href.removeprefix(prefix)
    return href


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
