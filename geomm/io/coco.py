"""COCO's json of objects: boxes, polygons and run-length encoded masks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np

from geomm.errors import DataError
from geomm.io.object_files import polygons_of, valid_area
from geomm.io.object_labels import ObjectLabels, Problems


@dataclass(frozen=True)
class CocoFile:
    """What a COCO file holds.

    Attributes:
      labels: of each image, by its file name as the file gives it.
      classes: name by category number.
    """

    labels: dict[str, ObjectLabels]
    classes: dict[int, str]


def read_coco(path: str | Path, problems: Problems) -> CocoFile:
    """Read a file of objects; those of ``iscrowd`` are ignored.

    Args:
      path: of the json.
      problems: told of annotations of unknown images or categories, and of masks of another size.

    Raises:
      DataError: the file is no COCO json, or an annotation cannot be used and ``problems`` is to raise.
    """
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as COCO json ({error})") from error
    try:
        images = {item["id"]: item for item in data["images"]}
        classes = {int(item["id"]): str(item["name"]) for item in data["categories"]}
        annotations = data["annotations"]
        names = {key: str(image["file_name"]) for key, image in images.items()}
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
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            problems.tell("object that cannot be read", f"{where} is malformed ({error!r})")
    labels = {
        PureWindowsPath(names[key]).as_posix(): _labels(str(path), images[key], names[key], mine)
        for key, mine in per_image.items()
    }
    return CocoFile(labels, classes)


def _labels(
    path: str, image: Mapping[str, Any], name: str, objects: list[tuple[Any, str | None, bool]]
) -> ObjectLabels:
    outlines, classes, crowds = ([item[part] for item in objects] for part in range(3))
    width, height = image.get("width"), image.get("height")
    known = isinstance(width, int) and isinstance(height, int)
    return ObjectLabels(
        path,
        np.array([*outlines, None], object)[:-1],
        np.array([*classes, None], object)[:-1],
        np.array(crowds, bool),
        name,
        (int(width), int(height)) if known else None,  # type: ignore[arg-type]
    )


def _outline(item: Mapping[str, Any], image: Mapping[str, Any], where: str) -> Any:
    """Return the polygon of an annotation: its segmentation, else its box."""
    import shapely

    segmentation = item.get("segmentation")
    if isinstance(segmentation, Mapping):
        return _decoded(segmentation, image, where)
    rings = [ring for ring in segmentation or [] if len(ring) >= 6]
    if rings:
        return valid_area(
            shapely.unary_union([valid_area(shapely.Polygon(np.reshape(ring, (-1, 2)))) for ring in rings])
        )
    left, top, width, height = (float(value) for value in item["bbox"])
    if width <= 0 or height <= 0:
        raise DataError(f"{where}: box {item['bbox']} has no area")
    return shapely.box(left, top, left + width, top + height)


def _decoded(code: Mapping[str, Any], image: Mapping[str, Any], where: str) -> Any:
    """Return the polygon of a run-length encoded mask."""
    import shapely
    from pycocotools import mask as rle

    size = [int(value) for value in code["size"]]
    wanted = [image.get("height"), image.get("width")]
    if None not in wanted and size != wanted:
        raise DataError(
            f"{where}: mask of another size: {size[1]} x {size[0]} px, its image {wanted[1]} x {wanted[0]}"
        )
    if isinstance(code["counts"], list):
        if sum(code["counts"]) != size[0] * size[1]:
            raise DataError(f"{where}: runs of {sum(code['counts'])} px for a mask of {size[0] * size[1]}")
        code = rle.frPyObjects(dict(code), *size)
    elif isinstance(code["counts"], str):
        code = {"size": size, "counts": code["counts"].encode()}
    mask = np.asarray(rle.decode(code))
    outlines = polygons_of(mask.astype(np.int32))
    return outlines[0] if outlines else shapely.Polygon()
