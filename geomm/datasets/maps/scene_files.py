"""From the files that a user names to scenes that are open beside their labels."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from geomm.datasets.blocks import fingerprint
from geomm.datasets.maps.labels import SceneLabels, distinct_values, is_vector
from geomm.errors import DataError
from geomm.io.namesakes import namesakes
from geomm.io.paths import RASTER_ENDINGS, VECTOR_ENDINGS, expand
from geomm.io.raster import RasterReader, same_crs
from geomm.structures import PixelWindow

_LOG = logging.getLogger("geomm")
Paths = str | Sequence[str] | None
#: Edge of the windows in which a label raster is searched for its values, pixels.
_SEARCH_PX = 1024
#: What a label file may be called after its scene.
_SUFFIXES = ("", "_mask", "_label", "_labels", "_gt", "_truth")
#: Label files that seldom say where on the map they lie.
_IN_PIXELS = (".csv", ".xml", ".png", ".jpg", ".jpeg")


@dataclass
class OpenScene:
    """A scene beside its labels.

    Attributes:
      reader: of the pixels.
      labels: on the same grid.
      role: index into ``SPLITS`` that all of the scene is for; 0 where it is divided into blocks.
    """

    reader: RasterReader
    labels: SceneLabels
    role: int = 0


def open_scenes(
    images: Paths,
    labels: Paths,
    place: Callable[[str, str], OpenScene],
    *,
    skip_errors: bool,
    endings: Sequence[str] = (*VECTOR_ENDINGS, *RASTER_ENDINGS),
) -> list[OpenScene]:
    """Open scenes, and for each the label file that goes with it.

    Args:
      images: file, glob, folder or list of scenes.
      labels: one file for all scenes, or one a scene of the same name; None where none belong to them.
      place: from the paths of a scene and its label file (empty without labels) to both, opened.
      skip_errors: leave out a scene that cannot be used, with a warning.
      endings: of label files, where ``labels`` names folders.

    Raises:
      DataError: a scene or its labels cannot be used, or none can.
    """
    assert images is not None
    scenes = expand(images, RASTER_ENDINGS)
    found = [] if labels is None else expand(labels, endings)
    opened, failed = [], []
    for scene in scenes:
        try:
            opened.append(place(scene, "" if labels is None else pair(scene, found, scenes)))
        except DataError as error:
            if not skip_errors:
                raise
            failed.append(str(error))
            _LOG.warning("left out: %s", error)
    if not opened:
        raise DataError(f"none of the {len(scenes)} scenes can be used: {failed[0] if failed else ''}")
    if failed:
        _LOG.warning("%d of %d scenes left out", len(failed), len(scenes))
    return opened


def pair(scene: str, labels: Sequence[str], scenes: Sequence[str] = ()) -> str:
    """Return the label file of a scene: the only one, or the one whose name and folders are most alike.

    An xml (PASCAL VOC) is of one scene, even where it is the only one for several. Scenes of one name may
    share a file that says where it lies, as several dates of one place do.

    Args:
      scene: path.
      labels: paths of all label files.
      scenes: all whose labels are looked for, this one among them.

    Raises:
      DataError: there are several, and none, or more than one, is named like the scene.
    """
    if len(labels) == 1 and not (len(scenes) > 1 and Path(labels[0]).suffix.lower() == ".xml"):
        return labels[0]
    found, owners = _namesakes_of(tuple(scenes) or (scene,), tuple(labels))
    mine = found.get(scene, ())
    if not mine:
        kind = "layer" if is_vector(labels[0]) else "raster"
        raise DataError(
            f"{scene}: none of the {len(labels)} label files is named like it; expected a {kind} called "
            f"{Path(scene).stem}"
        )
    if len(mine) > 1:
        raise DataError(f"{scene}: {' and '.join(mine[:3])} are named alike; {_FOLDERS}")
    if owners[mine[0]] > 1 and Path(mine[0]).suffix.lower() in _IN_PIXELS:
        raise DataError(f"{scene}: {mine[0]} may be of another scene of that name; {_FOLDERS}")
    return mine[0]


#: How files of one name are told apart.
_FOLDERS = "put labels into folders that are called like their scenes'"


@lru_cache(maxsize=4)
def _namesakes_of(
    scenes: tuple[str, ...], labels: tuple[str, ...]
) -> tuple[dict[str, tuple[str, ...]], Counter[str]]:
    """Return the label files that each scene may have, and of how many scenes each is one."""
    found: dict[str, tuple[str, ...]] = {}
    for suffix in _SUFFIXES:
        called = tuple(str(Path(s).with_name(Path(s).stem + suffix + Path(s).suffix)) for s in scenes)
        for scene, mine in zip(scenes, namesakes(called, labels), strict=True):
            if mine:
                found.setdefault(scene, tuple(labels[index] for index in mine))
    return found, Counter(label for mine in found.values() for label in mine)


def check_alike(scenes: Sequence[OpenScene], bands: Sequence[int], *, all_bands: bool) -> None:
    """Check that every scene has the bands that the first one is read by.

    Args:
      scenes: opened.
      bands: 1-based numbers.
      all_bands: whether these are all there are, rather than the user's choice.

    Raises:
      DataError: a scene has other bands.
    """
    first = scenes[0].reader.info
    for scene in scenes[1:]:
        info = scene.reader.info
        if max(bands) > info.count or (all_bands and len(info.image_bands) != len(bands)):
            raise DataError(
                f"{info.path} has {len(info.image_bands)} bands, {first.path} has "
                f"{len(first.image_bands)}; choose common ones with dataset.bands"
            )
        if info.dtype != first.dtype:
            _LOG.warning(
                "%s holds %s, %s %s: make sure that their values mean the same",
                *(info.path, info.dtype, first.path, first.dtype),
            )
        one, two = info.georeference.crs, first.georeference.crs
        if one and two and not same_crs(one, two):
            _LOG.info("%s is in another CRS than %s; each scene keeps its own", info.path, first.path)


def label_values(scenes: Sequence[OpenScene], cache: Path, *, skip_errors: bool) -> list[int]:
    """Return the class values of the label rasters, looked for all over each scene.

    Args:
      scenes: opened.
      cache: folder in which the values are kept.
      skip_errors: go on where a label raster is damaged: scanning the scene meets the damage again,
        and leaves it out.

    Raises:
      DataError: a label raster cannot be read.
    """
    values: set[int] = set()
    failed: DataError | None = None
    for scene in scenes:
        if scene.labels.raster is None:
            continue
        try:
            values |= _kept_values(scene.reader, scene.labels.raster, cache)
        except DataError as error:
            if not skip_errors:
                raise
            failed = error
    if failed and not values:
        raise failed
    return sorted(values)


def _kept_values(scene: RasterReader, labels: RasterReader, cache: Path) -> set[int]:
    file = cache / f"values_{fingerprint([scene.source.path, labels.source.path])}.json"
    if file.is_file():
        try:
            return {int(value) for value in json.loads(file.read_text(encoding="utf-8"))}
        except (ValueError, TypeError):
            _LOG.warning("%s is damaged; the label raster is searched again", file)
    info = scene.info
    windows = [
        PixelWindow(col, row, min(_SEARCH_PX, info.width - col), min(_SEARCH_PX, info.height - row))
        for row in range(0, info.height, _SEARCH_PX)
        for col in range(0, info.width, _SEARCH_PX)
    ]
    values = distinct_values(labels, windows)
    cache.mkdir(parents=True, exist_ok=True)
    temporary = file.with_suffix(".part")
    temporary.write_text(json.dumps(sorted(values)), encoding="utf-8")
    temporary.replace(file)
    return values
