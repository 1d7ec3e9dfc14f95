"""Scenes with polygons for the tests of exports, and what their chips must show."""

import json

import geopandas
import numpy as np
import rasterio
import shapely
from hypothesis import strategies as st

CRS, LEFT, TOP, GSD = "EPSG:32633", 500000.0, 5000000.0, 0.5
NAMES = ("roof", "pool", "tree top")


@st.composite
def towns(draw):
    """Draw a scene's size, and polygons in its pixels with a class each; none overlap."""
    width, height = draw(st.integers(30, 90)), draw(st.integers(30, 90))
    rng = np.random.default_rng(draw(st.integers(0, 2**31)))
    kinds = draw(st.integers(2, 3))
    shapes, names = [], []
    for number in range(draw(st.integers(kinds, 9))):
        middle, size = rng.uniform([4, 4], [width - 4, height - 4]), rng.uniform(3, 14, 2)
        corners = shapely.box(*(middle - size / 2), *(middle + size / 2))
        turned = shapely.affinity.rotate(corners, rng.uniform(0, 90))
        shape = turned.intersection(shapely.box(0, 0, width, height))
        apart = all(shape.distance(other) > 1.5 for other in shapes)
        if shape.area > 4 and (apart or number < kinds):
            shapes = [other.difference(shape.buffer(1.5)) for other in shapes]
            shapes.append(shape)
            names.append(NAMES[number % kinds])
    kept = [(s, n) for s, n in zip(shapes, names, strict=True) if s.geom_type == "Polygon" and s.area > 1]
    return width, height, kept


def write_town(folder, width, height, objects, *, bands=3, dtype="uint8", nodata=None, holes=()):
    """Write the scene and its layer; return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(width).integers(1, 250, (bands, height, width)).astype(dtype)
    for rows, cols in holes:
        pixels[:, rows, cols] = nodata
    scene, layer = folder / "town.tif", folder / "town.gpkg"
    place = rasterio.Affine(GSD, 0, LEFT, 0, -GSD, TOP)
    with rasterio.open(
        scene, "w", driver="GTiff", width=width, height=height, count=bands, dtype=dtype, crs=CRS,
        transform=place, nodata=nodata,
    ) as file:  # fmt: skip
        file.write(pixels)
    outlines = [shapely.transform(shape, to_map) for shape, _ in objects]
    frame = geopandas.GeoDataFrame({"kind": [name for _, name in objects]}, geometry=outlines, crs=CRS)
    frame.to_file(layer, driver="GPKG", engine="pyogrio")
    return scene, layer


def to_map(points):
    return np.stack([LEFT + points[:, 0] * GSD, TOP - points[:, 1] * GSD], 1)


def dataset(scene, layer, **changes):
    """Return the config of ``dataset=geotiff`` for a town."""
    from tests.models.common import composed

    config = composed("dataset=geotiff")["dataset"]
    return {**config, "images": str(scene), "labels": None if layer is None else str(layer),
            "label_field": "kind", **changes}  # fmt: skip


def window_of(chip):
    """Return left, top, right and bottom of a chip in pixels of its scene, and its pixels."""
    with rasterio.open(chip) as file:
        transform, shape = file.transform, file.shape
        pixels = file.read()
    left, top = (transform.c - LEFT) / GSD, (TOP - transform.f) / GSD
    return (round(left), round(top), round(left) + shape[1], round(top) + shape[0]), pixels


def shown(objects, window, min_overlap):
    """Return what a window shows: (class, outline in its pixels) of each object."""
    frame = shapely.box(*window)
    found = []
    for shape, name in objects:
        part = shape.intersection(frame)
        if part.area > 0 and part.area / shape.area >= min_overlap:
            moved = shapely.affinity.translate(part, -window[0], -window[1])
            found.append((name, moved))
    return found


def emd_of(folder):
    return json.loads((folder / "esri_model_definition.emd").read_text())
