"""Tree crowns in real airborne imagery, from the data that the deepforest package carries."""

from __future__ import annotations

import importlib.util
import shutil
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
_TRAINED = "2019_YELL_2_528000_4978000_image_crop2"
_UNSEEN = "OSBS_029"


@sample
def tree_crowns(folder: Path) -> dict[str, str]:
    """Lay out airborne RGB scenes of the National Ecological Observatory Network, 0.1 m.

    ``images`` is a conifer forest of 2472 x 2299 pixels (Yellowstone) with 574 crowns; ``labels`` are
    ellipses in the boxes that people drew, ``boxes`` the boxes themselves. ``unseen`` is another
    forest (Ordway-Swisher, Florida), ``unseen_boxes`` its crowns.

    Raises:
      DependencyError: the package deepforest, which carries the imagery (MIT), is not installed.
    """
    data = data_folder()
    easting, northing = (float(part) for part in _TRAINED.split("_")[3:5])
    origin, crs = (easting, northing + _TILE_M), "EPSG:32612"
    pixels = _read_png(data / f"{_TRAINED}.png")
    image = write_raster(folder / "yellowstone.tif", pixels, crs=crs, origin=origin, gsd=_GSD_M)
    boxes = [_to_map(box, origin) for box in read_voc_boxes(data / f"{_TRAINED}.xml")]
    crowns = [ellipse(box) for box in boxes]
    unseen = shutil.copy(data / f"{_UNSEEN}.tif", folder / "ordway_swisher.tif")
    unseen_boxes, unseen_crs = _unseen_boxes(Path(unseen), data / f"{_UNSEEN}.csv")
    return {
        "images": image,
        "labels": write_features(folder / "crowns.gpkg", crowns, crs=crs),
        "boxes": write_features(folder / "boxes.gpkg", boxes, crs=crs),
        "unseen": str(unseen),
        "unseen_boxes": write_features(folder / "unseen_boxes.gpkg", unseen_boxes, crs=unseen_crs),
    }


def data_folder() -> Path:
    """Return the folder of the example scenes without importing deepforest, which is heavy."""
    spec = importlib.util.find_spec("deepforest")
    for location in (spec.submodule_search_locations or []) if spec else []:
        folder = Path(location) / "data"
        if (folder / f"{_TRAINED}.png").is_file():
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


def _unseen_boxes(image: Path, table: Path) -> tuple[list[Any], str]:
    import pandas as pd
    import rasterio
    from shapely import box as rectangle

    with rasterio.open(image) as source:
        place, crs = source.transform, source.crs.to_string()
    boxes = []
    for row in pd.read_csv(table).itertuples():
        # The scene's rows run south and its columns east.
        x1, x2 = place.c + place.a * row.xmin, place.c + place.a * row.xmax
        y1, y2 = place.f + place.e * row.ymax, place.f + place.e * row.ymin
        boxes.append(rectangle(x1, y1, x2, y2))
    return boxes, crs
