"""Boxes with a name each, in pixels of one image: PASCAL VOC's xml and plain csv."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from geomm.errors import DataError, did_you_mean

BOX_ENDINGS = (".xml", ".csv")
_SIDES = ("xmin", "ymin", "xmax", "ymax")
_IMAGE_FIELDS = ("image_path", "image", "filename", "file")
_NAME_FIELDS = ("label", "class", "name")


@dataclass(frozen=True)
class NamedBox:
    """A thing in an image.

    Attributes:
      name: of its class, or that class's value as text.
      box: left, top, right, bottom in pixels; None where the file gives none.
    """

    name: str
    box: tuple[float, float, float, float] | None


def read_voc(path: str | Path) -> list[NamedBox]:
    """Return the objects of a PASCAL VOC annotation, none where it lists none.

    Raises:
      DataError: it is no such annotation, or a box is no box.
    """
    try:
        root = ElementTree.parse(path).getroot()
    except (ElementTree.ParseError, OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as PASCAL VOC xml ({error})") from error
    found = []
    for item in root.iter("object"):
        name = (item.findtext("name") or "").strip()
        if not name:
            raise DataError(f"{path}: an object has no name")
        node = item.find("bndbox")
        sides = None if node is None else [node.findtext(side) for side in _SIDES]
        found.append(NamedBox(name, None if sides is None else _box(sides, path)))
    return found


def read_csv_boxes(path: str | Path, image: str | Path, *, field: str | None = None) -> list[NamedBox]:
    """Return an image's boxes in a csv with columns xmin, ymin, xmax, ymax and a name.

    Args:
      path: of the csv.
      image: rows of other images are left out, where a column names the image.
      field: column of the name; ``label``, ``class`` or ``name`` where None.

    Raises:
      DataError: a column is missing, or a box is no box.
    """
    with open(path, encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file)
        columns = list(rows.fieldnames or [])
        missing = [side for side in _SIDES if side not in columns]
        if missing:
            raise DataError(f"{path} has no column {missing[0]!r}; expected {', '.join(_SIDES)} and a name")
        name = field or next((item for item in _NAME_FIELDS if item in columns), None)
        if name not in columns:
            raise DataError(f"{path} has no column {name!r}; {did_you_mean(str(name), columns)}")
        owner = next((item for item in _IMAGE_FIELDS if item in columns), None)
        return [
            NamedBox(str(row[name]).strip(), _box([row[side] for side in _SIDES], path))
            for row in rows
            if owner is None or Path(str(row[owner])).stem == Path(image).stem
        ]


def _box(sides: list[str | None], path: str | Path) -> tuple[float, float, float, float]:
    try:
        left, top, right, bottom = (float(side or "") for side in sides)
    except ValueError:
        raise DataError(f"{path}: a box has sides {sides}; expected four numbers") from None
    if not all(map(math.isfinite, (left, top, right, bottom))) or right <= left or bottom <= top:
        raise DataError(f"{path}: the box {left:g}, {top:g}, {right:g}, {bottom:g} has no area")
    return left, top, right, bottom
