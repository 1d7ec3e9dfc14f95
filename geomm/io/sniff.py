"""What a file is, from its beginning alone: no library for its format is loaded."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

#: How much of a file is looked at, bytes.
_BEGINNING = 65536
#: A json up to this size is read whole to see whether it is COCO's, bytes.
_SMALL_JSON = 4 * 2**20
_KEYS_OF_COCO = re.compile(rb'"(images|annotations|categories)"\s*:\s*\[')


def is_coco(path: str | Path) -> bool:
    """Return whether a .json is COCO's rather than GeoJSON; a file that is no JSON is not.

    A large file is judged by its beginning and its end.
    """
    file = Path(path)
    try:
        size = file.stat().st_size
        if size > _SMALL_JSON:
            with file.open("rb") as opened:
                seen = opened.read(_SMALL_JSON // 4)
                opened.seek(size - _SMALL_JSON // 4)
                seen += opened.read()
            return len(set(_KEYS_OF_COCO.findall(seen))) > 1
        data = json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError):
        return False
    return isinstance(data, dict) and "annotations" in data and "images" in data


def is_geojson(path: str | Path) -> bool:
    """Return whether a json holds features."""
    return re.search(r'"type"\s*:\s*"Feature(Collection)?"', beginning(path)) is not None


def beginning(path: str | Path) -> str:
    """Return the first lines of a text file, the last of them perhaps cut; empty where it cannot be read."""
    try:
        with Path(path).open("rb") as file:
            return file.read(_BEGINNING).decode("utf-8-sig", errors="replace")
    except OSError:
        return ""


def csv_header(path: str | Path) -> list[str]:
    """Return the cells of a csv's first row, stripped and in lower case."""
    lines = beginning(path).splitlines()
    if not lines:
        return []
    return [cell.strip().lower() for cell in next(csv.reader([lines[0]]), [])]


def is_voc(path: str | Path) -> bool:
    """Return whether an xml is an annotation in PASCAL VOC's form."""
    return re.search(r"<annotation[\s>]", beginning(path)) is not None


def object_rows(path: str | Path) -> str | None:
    """Return ``kitti`` or ``yolo`` for a text file of such rows, None for any other.

    An empty file, an image without objects, is either; it is called ``yolo``, which has such files.
    """
    rows = [line.split() for line in beginning(path).splitlines() if line.strip()]
    if len(beginning(path)) == _BEGINNING:
        rows = rows[:-1]
    if not rows:
        return "yolo"
    if all(len(row) in (15, 16) and _numbers(row[1:]) for row in rows):
        return "kitti"
    shares = [_numbers(row[1:]) for row in rows]
    fits = all(
        values is not None and len(values) >= 4 and len(values) % 2 == 0 and max(map(abs, values)) <= 1.5
        for values in shares
    )
    return "yolo" if fits else None


def is_tagged_text(path: str | Path) -> bool:
    """Return whether a text file has a token and a tag a line, as CoNLL's have."""
    lines = [line for line in beginning(path).splitlines()[:200] if line.strip()]
    lines = [line for line in lines if not line.startswith(("-DOCSTART-", "#"))]
    tag = re.compile(r"(O|[BILUESMW]-\S+)$")
    tagged = sum(len(line.split()) > 1 and tag.match(line.split()[-1]) is not None for line in lines)
    return len(lines) > 1 and tagged > 0.9 * len(lines)


def _numbers(cells: list[str]) -> list[float] | None:
    try:
        return [float(cell) for cell in cells]
    except ValueError:
        return None
