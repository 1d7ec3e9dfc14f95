"""Label files of objects: PASCAL VOC, KITTI, YOLO, csv of pixel boxes, rasters of instance numbers."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geomm.errors import DataError, did_you_mean
from geomm.io.namesakes import scenes_of_labels
from geomm.io.object_labels import ObjectLabels
from geomm.io.raster import RasterReader
from geomm.io.vector import VectorLabels
from geomm.structures import PixelWindow

_LOG = logging.getLogger("geomm")

#: Of a box, as the columns of a csv are called.
EDGES = ("xmin", "ymin", "xmax", "ymax")
#: Columns of a csv of pixel boxes by what they hold.
_COLUMNS = {
    "image": ("image_path", "image", "filename", "file_name", "file", "path"),
    "xmin": ("xmin", "x_min", "left", "x1"),
    "ymin": ("ymin", "y_min", "top", "y1"),
    "xmax": ("xmax", "x_max", "right", "x2"),
    "ymax": ("ymax", "y_max", "bottom", "y2"),
    "label": ("label", "class", "name", "category", "classname"),
}
#: GEOS's numbers of polygons and multipolygons.
_AREAL = (3, 6)
#: The class of KITTI's regions that nobody labelled.
_DONT_CARE = "DontCare"


def read_voc(path: str | Path) -> ObjectLabels:
    """Read a PASCAL VOC file; coordinates are taken as they are, pixel edges counted from 0.

    Raises:
      DataError: the file cannot be read, is no XML, or a box lacks a number.
    """
    root = _voc_root(path)
    boxes, names, difficult = [], [], []
    for number, node in enumerate(root.iter("object"), start=1):
        edges = node.find("bndbox")
        texts = {key: None if edges is None else edges.findtext(key) for key in EDGES}
        boxes.append([_number(texts[key], f"{path}: object {number}: {key}") for key in EDGES])
        name = (node.findtext("name") or "").strip()
        names.append(name or None)
        difficult.append((node.findtext("difficult") or "0").strip() == "1")
    size = [root.findtext(f"size/{key}") for key in ("width", "height")]
    known = all(text and text.strip().isdigit() and int(text) > 0 for text in size)
    return ObjectLabels.of_boxes(
        str(path),
        boxes,
        names,
        ignored=difficult,
        image=(root.findtext("filename") or "").strip(),
        size=(int(str(size[0])), int(str(size[1]))) if known else None,
    )


def read_voc_names(path: str | Path) -> list[str]:
    """Return the class of each object of a PASCAL VOC file, whether it has a box or not.

    Raises:
      DataError: the file cannot be read, is no XML, or an object has no name.
    """
    names = [(node.findtext("name") or "").strip() for node in _voc_root(path).iter("object")]
    if not all(names):
        raise DataError(f"{path}: an object has no name")
    return names


def _voc_root(path: str | Path) -> Any:
    from xml.etree import ElementTree

    try:
        return ElementTree.parse(path).getroot()
    except (ElementTree.ParseError, OSError, UnicodeDecodeError, ValueError) as error:
        raise DataError(f"{path} cannot be read as PASCAL VOC xml ({error})") from error


def read_kitti(path: str | Path) -> ObjectLabels:
    """Read KITTI's 15 columns: the class, and left, top, right, bottom in columns 5 to 8.

    Raises:
      DataError: the file cannot be read, or a line is not of this form.
    """
    boxes, names = [], []
    for number, line in read_lines(path):
        parts = line.split()
        if len(parts) < 8:
            raise DataError(f"{path}: line {number} has {len(parts)} columns; KITTI has 15")
        where = f"{path}: line {number}"
        boxes.append([_number(text, where) for text in parts[4:8]])
        names.append(_whole_as_text(parts[0]))
    ignored = [name == _DONT_CARE for name in names]
    return ObjectLabels.of_boxes(
        str(path), boxes, [None if name == _DONT_CARE else name for name in names], ignored=ignored
    )


def read_yolo(path: str | Path, width: int, height: int) -> ObjectLabels:
    """Read YOLO's lines: the class number with centre and size of a box, or with a polygon's corners.

    Args:
      path: of the text file.
      width: of the image, pixels; coordinates are shares of it.
      height: of the image, pixels.

    Raises:
      DataError: the file cannot be read, or a line is of neither form.
    """
    boxes: list[list[float]] = []
    polygons: dict[int, Any] = {}
    names: list[str | None] = []
    for number, line in read_lines(path):
        parts = line.split()
        where = f"{path}: line {number}"
        values = [_number(text, where) for text in parts[1:]]
        if len(values) == 4:
            x, y, w, h = values
            boxes.append(
                [(x - w / 2) * width, (y - h / 2) * height, (x + w / 2) * width, (y + h / 2) * height]
            )
        elif len(values) >= 6 and len(values) % 2 == 0:
            polygons[len(boxes)] = polygon_of(np.reshape(values, (-1, 2)) * [width, height], where)
            boxes.append([0.0] * 4)
        else:
            raise DataError(
                f"{where} has {len(parts)} columns; expected a class with centre and size (5 in all), or "
                "with three corners or more"
            )
        names.append(_whole_as_text(parts[0]))
    labels = ObjectLabels.of_boxes(str(path), boxes, names)
    for index, polygon in polygons.items():
        labels.geometries[index] = polygon
    return labels


def is_yolo(path: str | Path) -> bool:
    """Return whether a text file begins with a line of YOLO's: a class and four numbers or more."""
    try:
        with open(path, encoding="utf-8-sig", errors="replace") as file:
            first = next((line for line in file if line.strip()), "")
        return len([float(value) for value in first.split()]) >= 5
    except (OSError, ValueError):
        return False


def read_pixel_csv(path: str | Path, *, label_field: str | None = None) -> dict[str, ObjectLabels]:
    """Read boxes in pixels from a csv of one or several images.

    Columns are ``xmin, ymin, xmax, ymax`` (or ``left`` …, ``x1`` …), ``label`` (or ``class``, ``name``) and
    ``image_path`` (or ``image``, ``filename``), the last two where there are several classes or images.

    Args:
      path: of the csv.
      label_field: column of the class, where it is another.

    Returns:
      Labels by path of the image as the csv gives it, by an empty one without such a column.

    Raises:
      DataError: the file cannot be read, or lacks a column.
    """
    import pandas as pd

    try:
        # Texts as they are: 007 is a name, and so is NA.
        frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{path} cannot be read as a csv of boxes ({reason})") from error
    found = pixel_columns(map(str, frame.columns), label_field=label_field)
    if label_field is not None and found["label"] is None:
        raise DataError(
            f"{path} has no column {label_field!r}; {did_you_mean(label_field, map(str, frame.columns))}"
        )
    lacking = [key for key in EDGES if found[key] is None]
    if lacking:
        raise DataError(
            f"{path} has no column {lacking[0]!r}; {did_you_mean(lacking[0], map(str, frame.columns))}"
        )
    edges = frame[[str(found[key]) for key in EDGES]].apply(pd.to_numeric, errors="coerce")
    labels = None if found["label"] is None else frame[found["label"]]
    images = pd.Series([""] * len(frame)) if found["image"] is None else frame[found["image"]].map(image_key)
    boxes = edges.to_numpy(np.float64)
    names = np.array([None] * len(frame) if labels is None else [_text(value) for value in labels], object)
    result = {}
    for image, mine in images.groupby(images, sort=False).indices.items():
        name = str(image)
        result[name] = ObjectLabels.of_boxes(str(path), boxes[mine], names[mine].tolist(), image=name)
    return result


def pixel_columns(names: Iterable[str], *, label_field: str | None = None) -> dict[str, str | None]:
    """Return a table's columns of a box's edges, its ``image`` and ``label``; None where it has none."""
    given = {name.strip().lower(): name for name in names}
    wanted = _COLUMNS if label_field is None else {**_COLUMNS, "label": (label_field.lower(),)}
    return {key: next((given[n] for n in alike if n in given), None) for key, alike in wanted.items()}


def image_key(path: str) -> str:
    """Return an image's path as labels give it, with forward slashes; an empty one stays so."""
    return path and PureWindowsPath(path).as_posix()


def labels_of_image(
    labels: Mapping[str, ObjectLabels], scene: str, file: str, scenes: Sequence[str] = ()
) -> ObjectLabels:
    """Return the labels of a scene among those of many images, by its file name or stem and its folders.

    Args:
      labels: by path of the image; by an empty one alone where a file has one image.
      scene: path of the image.
      file: of the labels, in whose folder paths may begin.
      scenes: all whose labels are looked for, this one among them.

    Raises:
      DataError: none are its, or its name and folders do not tell which.
    """
    if set(labels) == {""}:
        if len(scenes) > 1 and Path(file).stem != Path(scene).stem:
            raise DataError(
                f"{file} does not say which of {len(scenes)} images its boxes are of; add a column "
                f"image_path, or give a csv a scene, called {Path(scene).stem}.csv for {scene}"
            )
        return labels[""]
    owners = scenes_of_labels(tuple(labels), tuple(scenes) or (scene,), file)
    mine = [name for name, found in owners.items() if scene in found]
    if not mine:
        raise DataError(f"{file} names no image {Path(scene).name}; it names {', '.join(list(labels)[:5])}")
    if len(mine) > 1 or len(owners[mine[0]]) > 1:
        raise DataError(
            f"{file}: the labels of {' or '.join(mine[:3])} may be of {' or '.join(owners[mine[0]][:3])}; "
            "name images with the folders that the scenes lie in"
        )
    return labels[mine[0]]


def _text(value: Any) -> str | None:
    """Return a class as text, None for a missing one."""
    if value is None or not str(value).strip():
        return None
    return _whole_as_text(str(value))


def _whole_as_text(text: str) -> str:
    """Return ``1.0`` as ``1``, other texts as they are."""
    try:
        value = float(text)
    except ValueError:
        return text.strip()
    return str(int(value)) if math.isfinite(value) and value.is_integer() else text.strip()


def read_instances(paths: Mapping[str, str | Path]) -> ObjectLabels:
    """Read rasters of instance numbers, one a class, 0 where nothing is.

    Args:
      paths: file by class name or value.

    Raises:
      DataError: a raster cannot be read, or they differ in size.
    """
    outlines: list[Any] = []
    names: list[str] = []
    size: tuple[int, int] | None = None
    for name, path in paths.items():
        reader = RasterReader(path, nodata_is_data=True)
        info = reader.info
        if size not in (None, (info.width, info.height)):
            raise DataError(f"mask of another size: {path} is {info.width} x {info.height}, not {size}")
        size = (info.width, info.height)
        pixels, _ = reader.read(PixelWindow(0, 0, info.width, info.height), [1])
        if pixels.dtype.kind not in "iu":
            raise DataError(f"{path}: masks of type {info.dtype}; expected whole instance numbers")
        found = polygons_of(pixels[0].astype(np.int32))
        outlines += found
        names += [name] * len(found)
    return ObjectLabels(
        str(next(iter(paths.values()), "")),
        np.array([*outlines, None], object)[:-1],
        np.array([*names, None], object)[:-1],
        np.zeros(len(names), bool),
        size=size,
    )


def polygons_of(numbers: NDArray[np.int32]) -> list[Any]:
    """Return the outline of each instance of a grid of numbers, exact to the pixel, in their order.

    Args:
      numbers: (H, W), 0 where nothing is; an instance may be of several parts.

    Returns:
      Polygons and multipolygons in pixels.
    """
    import shapely
    from rasterio.features import shapes

    parts: dict[int, list[Any]] = {}
    for outline, value in shapes(numbers, mask=numbers != 0, connectivity=4):
        parts.setdefault(int(value), []).append(shapely.geometry.shape(outline))
    return [valid_area(shapely.unary_union(parts[value])) for value in sorted(parts)]


def polygon_of(corners: Any, where: str) -> Any:
    """Return the area of an outline as a valid polygon or multipolygon, an empty one where it has none.

    Args:
      corners: (N, 2) or (2 N,), pixels.
      where: it was found, for messages.

    Raises:
      DataError: a coordinate is not finite, or no polygon can be made of the corners.
    """
    import shapely

    points = np.asarray(corners, np.float64).reshape(-1, 2)
    if not np.isfinite(points).all():
        raise DataError(f"{where}: found a coordinate that is not finite, expected numbers")
    try:
        return valid_area(shapely.Polygon(points))
    except (ValueError, shapely.errors.ShapelyError) as error:
        raise DataError(f"{where}: the {len(points)} corners are no polygon ({error})") from error


def objects_of_layer(layer: VectorLabels) -> ObjectLabels:
    """Return the features of a layer that have an area as objects, in pixels of its scene.

    Raises:
      DataError: there are features, but none with an area.
    """
    import shapely

    geometries = np.array([*layer.geometries, None], object)[:-1]
    for index in np.flatnonzero(~np.isin(shapely.get_type_id(geometries), _AREAL)):
        geometries[index] = valid_area(geometries[index])
    kept = shapely.area(geometries) > 0 if len(geometries) else np.zeros(0, bool)
    if len(geometries) and not kept.any():
        raise DataError(
            f"{layer.path} holds no polygons but {layer.geometries[0].geom_type}s; objects need boxes or "
            "outlines: draw a margin around points (a buffer) first"
        )
    if not kept.all():
        _LOG.warning("%s: %d features without an area left out", layer.path, int((~kept).sum()))
    names = np.array([None] * len(geometries), object) if layer.names is None else layer.names
    return ObjectLabels(layer.path, geometries[kept], names[kept], np.zeros(int(kept.sum()), bool))


def valid_area(geometry: Any) -> Any:
    """Return a geometry's area as a valid polygon or multipolygon, an empty one where it has none."""
    import shapely

    good = geometry if shapely.is_valid(geometry) else shapely.make_valid(geometry)
    if good.geom_type in ("Polygon", "MultiPolygon"):
        return good
    areas = [part for part in shapely.get_parts(good) if part.geom_type in ("Polygon", "MultiPolygon")]
    return shapely.unary_union(areas) if areas else shapely.Polygon()


def read_lines(path: str | Path) -> list[tuple[int, str]]:
    """Return the number and text of a file's lines that are not empty.

    Raises:
      DataError: the file cannot be read.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as text ({error})") from error
    return [(number, line) for number, line in enumerate(text.splitlines(), start=1) if line.strip()]


def _number(text: str | None, where: str) -> float:
    try:
        return float(text or "")
    except ValueError:
        raise DataError(f"{where}: found {text!r}, expected a number") from None
