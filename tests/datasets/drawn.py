"""Small labelled pictures for tests: files, exports, scenes with features."""

import json

import geopandas
import numpy as np
import rasterio
import shapely

from geomm.structures import BandStatistics, ClassificationSpec, make_classes

CRS, ORIGIN = "EPSG:32633", (500000.0, 5000000.0)


def picture(rng, kind, shape=(20, 20), bands=3, dtype="uint8"):
    """Return (bands, *shape): class 0 is dark with stripes, class 1 bright."""
    base = np.full((bands, *shape), 60 if kind == 0 else 180, float)
    base[:, :: 2 if kind == 0 else 5] += 30
    return (base + rng.normal(0, 8, base.shape)).clip(1, 255).astype(dtype)


def spec_of_two():
    """What a classifier of dark and light pictures of 8 pixels must know."""
    return ClassificationSpec(
        bands=(1, 2, 3),
        band_names=("red", "green", "blue"),
        dtype="uint8",
        statistics=BandStatistics((0.0,) * 3, (255.0,) * 3, (100.0,) * 3, (50.0,) * 3, 1),
        classes=make_classes(["dark", "light"]),
        window_px=8,
    )


def write(path, pixels, *, origin=None, gsd=1.0, nodata=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    place = {} if origin is None else {
        "crs": CRS, "transform": rasterio.Affine(gsd, 0, origin[0], 0, -gsd, origin[1]),
    }  # fmt: skip
    driver = {".png": "PNG", ".jpg": "JPEG"}.get(path.suffix, "GTiff")
    count, height, width = pixels.shape
    with rasterio.open(
        path, "w", driver=driver, count=count, height=height, width=width, dtype=pixels.dtype,
        nodata=nodata, **place,
    ) as file:  # fmt: skip
        file.write(pixels)
    return path


def class_folders(root, counts=(8, 8), names=("dark", "light"), shape=(20, 20)):
    rng = np.random.default_rng(1)
    for kind, (name, count) in enumerate(zip(names, counts, strict=False)):
        for index in range(count):
            write(root / name / f"{name}_{index}.png", picture(rng, kind, shape))
    return root


def export(root, kind, names, *, shapes=((20, 20), (30, 16)), placed=True):
    """Write an export of chips side by side; ``names`` holds each chip's classes (values as text)."""
    rng = np.random.default_rng(2)
    for index, mine in enumerate(names):
        bright = 1 if "2" in mine else 0
        origin = (ORIGIN[0] + 40 * index, ORIGIN[1]) if placed else None
        stem = f"{index:09d}"
        folder = f"images/class_{mine[0]}" if kind == "Imagenet" else "images"
        write(root / folder / f"{stem}.tif", picture(rng, bright, shapes[index % len(shapes)]), origin=origin)
        if kind != "Imagenet":
            objects = "".join(
                f"<object><name>{n}</name><bndbox><xmin>0</xmin><ymin>0</ymin><xmax>9</xmax>"
                "<ymax>9</ymax></bndbox></object>" for n in mine
            )  # fmt: skip
            label = root / "labels" / f"{stem}.xml"
            label.parent.mkdir(exist_ok=True)
            label.write_text(f"<annotation><filename>{stem}.tif</filename>{objects}</annotation>")
    classes = [{"Value": 1, "Name": "roof", "Color": [255, 0, 0]}, {"Value": 2, "Name": "pool", "Color": -1}]
    described = {"MetaDataMode": kind, "ImageSpaceUsed": "MAP_SPACE"}
    if kind != "Imagenet":
        described["Classes"] = classes
    (root / "esri_model_definition.emd").write_text(json.dumps(described))
    return root


def scene_with_features(folder, *, bands=4, dtype="uint16", layer_crs=CRS, size=240, gsd=0.5):
    """Write a scene with a grid of 6 x 6 features, every other bright, and their layer; return both paths."""
    rng = np.random.default_rng(3)
    pixels = np.full((bands, size, size), 300, float) + rng.normal(0, 5, (bands, size, size))
    shapes, names = [], []
    for row in range(6):
        for col in range(6):
            left, top = 8 + col * 38, 8 + row * 38
            kind = (row + col) % 2
            pixels[:, top : top + 22, left : left + 22] = 100 if kind == 0 else 900
            corners = shapely.box(left, top, left + 22, top + 22)
            shapes.append(
                shapely.transform(
                    corners,
                    lambda p: np.stack([ORIGIN[0] + p[:, 0] * gsd, ORIGIN[1] - p[:, 1] * gsd], 1),
                )
            )
            names.append("dark" if kind == 0 else "light")
    scene = write(folder / "scene.tif", pixels.clip(1, 4000).astype(dtype), origin=ORIGIN, gsd=gsd, nodata=0)
    frame = geopandas.GeoDataFrame({"number": range(36), "kind": names}, geometry=shapes, crs=CRS)
    layer = folder / "features.gpkg"
    frame.to_crs(layer_crs).to_file(layer, driver="GPKG", engine="pyogrio")
    return scene, layer
