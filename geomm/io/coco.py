"""COCO's json of objects: boxes, polygons and run-length encoded masks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from geomm.errors import DataError
from geomm.io.object_files import image_key, polygon_of, polygons_of, valid_area
from geomm.io.object_labels import ObjectLabels, Problems


@dataclass(frozen=True)
class CocoFile:
    """What a COCO file holds.

    Attributes:
      labels: of each image, by its path as the file gives it, with forward slashes.
      classes: name by category number.
    """

    labels: dict[str, ObjectLabels]
    classes: dict[int, str]


def read_coco(path: str | Path, problems: Problems) -> CocoFile:
    """Read a file of objects; those of ``iscrowd`` are ignored.

    Args:
      path: of the json.
      problems: told of annotations of unknown images or categories, of outlines and masks that are none, and
        of images that are listed in several sizes.

    Raises:
      DataError: the file is no COCO json, or an annotation cannot be used and ``problems`` is to raise.
    """
    from shapely.errors import ShapelyError

    try:
        data = json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as COCO json ({error})") from error
    try:
        images = {item["id"]: item for item in data["images"]}
        classes = {int(item["id"]): str(item["name"]) for item in data["categories"]}
        annotations = data["annotations"]
        names = {key: image_key(str(image["file_name"])) for key, image in images.items()}
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{path} is no COCO json of objects ({error}); expected images, annotations and categories"
        ) from error
    per_image: dict[Any, list[tuple[Any, str | None, bool]]] = {key: [] for key in images}
    for number, item in enumerate(annotations):
        where = f"{path}: annotation {item.get('id', number) if isinstance(item, Mapping) else number}"
        try:
            owner, category = item["image_id"], int(item["category_id"])
            if owner not in images:
                problems.tell("object of a missing image", f"{where} is of image {owner}, not listed")
            elif category not in classes:
                problems.tell("object of an unknown class", f"{where} is of category {category}, not listed")
            else:
                outline = _outline(item, images[owner], where)
                per_image[owner].append((outline, classes[category], bool(item.get("iscrowd", 0))))
        except DataError as error:
            problems.tell("object that cannot be read", str(error))
        except (
            KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError, ShapelyError
        ) as error:  # fmt: skip
            problems.tell("object that cannot be read", f"{where} is malformed ({error!r})")
    entries: dict[str, list[Any]] = {}
    for key, name in names.items():
        entries.setdefault(name, []).append(key)
    labels = {}
    for name, keys in entries.items():
        sizes = sorted({size for key in keys if (size := _size(images[key])) is not None})
        if len(sizes) > 1:
            said = " and ".join(f"{width} x {height}" for width, height in sizes)
            problems.tell("image listed in several sizes", f"{path}: image {name} is listed as of {said} px")
            continue
        objects = [item for key in keys for item in per_image[key]]
        labels[name] = _labels(str(path), name, sizes[0] if sizes else None, objects)
    return CocoFile(labels, classes)


def _size(image: Mapping[str, Any]) -> tuple[int, int] | None:
    """Return width and height of an entry of an image, None where it does not give them."""
    width, height = image.get("width"), image.get("height")
    return (width, height) if isinstance(width, int) and isinstance(height, int) else None


def _labels(
    path: str, name: str, size: tuple[int, int] | None, objects: list[tuple[Any, str | None, bool]]
) -> ObjectLabels:
    outlines, classes, crowds = ([item[part] for item in objects] for part in range(3))
    return ObjectLabels(
        path,
        np.array([*outlines, None], object)[:-1],
        np.array([*classes, None], object)[:-1],
        np.array(crowds, bool),
        name,
        size,
    )


def _outline(item: Mapping[str, Any], image: Mapping[str, Any], where: str) -> Any:
    """Return the polygon of an annotation: its segmentation, else its box.

    Raises:
      DataError: it has no area, or a number that is not finite.
    """
    import shapely

    segmentation = item.get("segmentation")
    rings = [] if isinstance(segmentation, Mapping) else [r for r in segmentation or [] if len(r) >= 6]
    if isinstance(segmentation, Mapping):
        outline = _decoded(segmentation, image, where)
    elif rings:
        outline = valid_area(shapely.unary_union([polygon_of(ring, where) for ring in rings]))
    else:
        left, top, width, height = (float(value) for value in item["bbox"])
        if not np.isfinite([left, top, width, height]).all() or width <= 0 or height <= 0:
            raise DataError(f"{where}: box {item['bbox']} has no area")
        outline = shapely.box(left, top, left + width, top + height)
    if outline.is_empty:
        raise DataError(f"{where}: its outline has no area")
    return outline


def _decoded(code: Mapping[str, Any], image: Mapping[str, Any], where: str) -> Any:
    """Return the polygon of a run-length encoded mask, an empty one of a mask without a pixel."""
    import shapely

    size = [int(value) for value in code["size"]]
    wanted = [image.get("height"), image.get("width")]
    if None not in wanted and size != wanted:
        raise DataError(
            f"{where}: mask of another size: {size[1]} x {size[0]} px, its image {wanted[1]} x {wanted[0]}"
        )
    given = code["counts"]
    runs = _runs(given) if isinstance(given, str) else [int(value) for value in given]
    if min(runs, default=0) < 0 or sum(runs) != size[0] * size[1]:
        raise DataError(
            f"{where}: runs of {sum(runs)} px, the shortest {min(runs, default=0)}, for a mask of "
            f"{size[0] * size[1]}"
        )
    # Runs go down the columns; the first is of what is no object.
    mask = np.repeat(np.arange(len(runs)) % 2, runs).astype(np.int32).reshape(size[::-1]).T
    outlines = polygons_of(mask)
    return outlines[0] if outlines else shapely.Polygon()


def _runs(text: str) -> list[int]:
    """Return the runs of COCO's compressed form: differences to the last but one, five bits a character.

    Raises:
      ValueError: the text is of another form.
    """
    runs: list[int] = []
    value = shift = 0
    for letter in text:
        bits = ord(letter) - 48
        if not 0 <= bits < 64:
            raise ValueError(f"character {letter!r} in a run-length code")
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    if shift:
        raise ValueError("a run-length code that ends early")
    return runs
