"""Folders of chips with objects: which labels are whose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol

from geomm.errors import DataError
from geomm.io.object_labels import ObjectLabels, Problems
from geomm.io.paths import RASTER_ENDINGS
from geomm.io.photos import read_tags
from geomm.io.raster_info import RasterInfo


class ReadLabels(Protocol):
    """Reads the labels of a chip when its image is known."""

    def __call__(self, info: RasterInfo) -> ObjectLabels:
        """Return the objects of an image.

        Raises:
          DataError: the label file cannot be read.
        """


@dataclass
class ChipFolder:
    """What a folder of chips holds, before any pixel is read.

    Attributes:
      chips: image and reader of its labels.
      names: class name by value, empty where nothing says.
      colors: by value.
      map_space: False for oblique imagery and photos.
      cell_size: pixel edge in map units, 0 where unknown.
      by_value: whether labels hold values rather than names; None where that is not known.
    """

    chips: list[tuple[Path, ReadLabels]]
    names: dict[int, str] = field(default_factory=dict)
    colors: dict[int, tuple[int, int, int]] = field(default_factory=dict)
    map_space: bool = True
    cell_size: float = 0.0
    by_value: bool | None = None


def tell_turned(info: RasterInfo, problems: Problems) -> None:
    """Count an image that is shown turned by its EXIF tags: boxes drawn on what is shown would miss."""
    if read_tags(info.path).orientation != 1:
        problems.note("image that its EXIF tags turn: labels are taken to be of its pixels as stored", 1)


def list_images(root: Path) -> list[Path]:
    """Return the images below a folder, sorted.

    Raises:
      DataError: there is no such folder, or no image in it.
    """
    if not root.is_dir():
        raise DataError(f"{root}: there is no such folder")
    found = [path for path in sorted(root.rglob("*")) if path.suffix.lower() in RASTER_ENDINGS]
    if not found:
        raise DataError(
            f"{root} holds no images; expected files that end in {', '.join(RASTER_ENDINGS[:8])} …"
        )
    return found


def certain_chips(
    labels: Mapping[str, ObjectLabels], images: Mapping[str, Sequence[Path]], problems: Problems
) -> list[tuple[Path, ReadLabels]]:
    """Return the chips of which it is clear whose labels are whose.

    Args:
      labels: by what they are called in messages.
      images: those that labels may be of, by the same; what has none is left to the caller to tell.
      problems: told of labels of several images, and of images with several labels.
    """
    owners: dict[Path, list[str]] = {}
    for name, found in images.items():
        if len(found) > 1:
            several = " or ".join(str(path) for path in found[:3])
            problems.tell("labels of one of several images", f"{name} may be of {several}; {_FOLDERS}")
        for path in found if len(found) == 1 else ():
            owners.setdefault(path, []).append(name)
    chips: list[tuple[Path, ReadLabels]] = []
    for path, names in owners.items():
        if len(names) > 1:
            several = " or of ".join(names[:3])
            problems.tell("image of several labels", f"{path} may have the labels of {several}; {_FOLDERS}")
        else:
            chips.append((path, partial(_known_labels, labels[names[0]])))
    return chips


#: How files of one name are told apart.
_FOLDERS = "keep labels in folders that are called like their images', or name images with their folders"


def _known_labels(labels: ObjectLabels, info: RasterInfo) -> ObjectLabels:
    """Return labels that were read with those of all images."""
    return labels
