"""Tree crowns in real airborne imagery, from the data that the deepforest package carries."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np

from geomm.errors import DependencyError
from geomm.samples.store import sample
from geomm.samples.texture import write_features, write_raster

_GSD_M = 0.1
#: NEON's tiles are named by the easting and northing of their lower left corner, 1 km a side. Where in
#: its tile a crop lies is not recorded, so it is put into the tile's upper left corner.
_TILE_M = 1000.0
_PICTURE = "2019_YELL_2_528000_4978000_image_crop2"
#: The column that parts what is trained on from what is not.
_PARTED_PX = 1800


@sample
def tree_crowns(folder: Path) -> dict[str, str]:
    """Lay out an airborne RGB scene of the National Ecological Observatory Network, 0.1 m, in two parts.

    The scene is a conifer forest (Yellowstone, 2472 x 2299 pixels) in which people drew boxes around 574
    crowns. ``images`` is its western part, with ``labels``, ellipses in the boxes, and the ``boxes``
    themselves; ``unseen`` is the eastern part, with ``unseen_labels`` and ``unseen_boxes``.

    Raises:
      DependencyError: the package deepforest, which carries the imagery (MIT), is not installed.
    """
    picture = data_folder() / f"{_PICTURE}.png"
    pixels = _read_png(picture)
    image, labels, boxes = _lay_out(picture, pixels, (0, _PARTED_PX), folder, "west")
    unseen, unseen_labels, unseen_boxes = _lay_out(
        picture, pixels, (_PARTED_PX, pixels.shape[2]), folder, "east"
    )
    return {
        "images": image,
        "labels": labels,
        "boxes": boxes,
        "unseen": unseen,
        "unseen_labels": unseen_labels,
        "unseen_boxes": unseen_boxes,
    }


def _lay_out(
    picture: Path, pixels: Any, columns: tuple[int, int], folder: Path, name: str
) -> tuple[str, str, str]:
    """Write some columns of a picture as a GeoTIFF, its crowns and its boxes; return the three files."""
    easting, northing = (float(part) for part in picture.stem.split("_")[3:5])
    corner = (easting, northing + _TILE_M)
    first, last = columns
    area = _to_map((first, 0, last, pixels.shape[1]), corner)
    boxes = [_to_map(box, corner) for box in read_voc_boxes(picture.with_suffix(".xml"))]
    crowns = [ellipse(box).intersection(area) for box in boxes]
    origin, crs = (easting + first * _GSD_M, northing + _TILE_M), "EPSG:32612"
    part = np.ascontiguousarray(pixels[:, :, first:last])
    return (
        write_raster(folder / f"{name}.tif", part, crs=crs, origin=origin, gsd=_GSD_M),
        write_features(folder / f"{name}_crowns.gpkg", [c for c in crowns if not c.is_empty], crs=crs),
        write_features(
            folder / f"{name}_boxes.gpkg",
            [b.intersection(area) for b in boxes if b.intersects(area)],
            crs=crs,
        ),
    )


def data_folder() -> Path:
    """Return the folder of the example scenes without importing deepforest, which is heavy."""
    spec = importlib.util.find_spec("deepforest")
    for location in (spec.submodule_search_locations or []) if spec else []:
        folder = Path(location) / "data"
        if (folder / f"{_PICTURE}.png").is_file():
            return folder
    raise DependencyError(
        "the sample tree_crowns needs the scenes of the package deepforest; "
        "pip install --no-deps deepforest==2.1.0"
    )


def _read_png(path: Path) -> Any:
    import cv2

    # Decoded by OpenCV: GDAL would look for georeferencing beside it, and there is none.
    pixels: Any = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def read_voc_boxes(path: Path) -> list[tuple[float, float, float, float]]:
    """Return (xmin, ymin, xmax, ymax) of every object of a PASCAL VOC file, pixels."""
    from xml.etree import ElementTree

    boxes = []
    for node in ElementTree.parse(path).iter("bndbox"):
        values = [float(node.findtext(key, "nan")) for key in ("xmin", "ymin", "xmax", "ymax")]
        boxes.append((values[0], values[1], values[2], values[3]))
    return boxes


def _to_map(box: tuple[float, float, float, float], origin: tuple[float, float]) -> Any:
    from shapely import box as rectangle

    left, top, right, bottom = (value * _GSD_M for value in box)
    return rectangle(origin[0] + left, origin[1] - bottom, origin[0] + right, origin[1] - top)


def ellipse(box: Any) -> Any:
    """Return the ellipse inscribed in a rectangle: the crown that its box was drawn around."""
    from shapely import Point
    from shapely.affinity import scale, translate

    left, bottom, right, top = box.bounds
    circle = scale(Point(0, 0).buffer(1, quad_segs=12), (right - left) / 2, (top - bottom) / 2)
    return translate(circle, (left + right) / 2, (bottom + top) / 2)
