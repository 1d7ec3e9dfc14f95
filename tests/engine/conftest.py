"""A small scene with a task that a tiny model learns in seconds."""

import geopandas
import numpy as np
import pytest
import rasterio
from shapely.geometry import box


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """A scene of 192 x 192 pixels with bright squares, and those squares as features."""
    folder = tmp_path_factory.mktemp("tiny")
    rng = np.random.default_rng(5)
    pixels = rng.normal(800, 60, (192, 192))
    shapes = []
    for top in range(8, 180, 24):
        for left in range(8, 180, 24):
            if rng.random() < 0.7:
                height, width = rng.integers(8, 16, 2)
                pixels[top : top + height, left : left + width] += 700
                x, y = 500000 + left * 0.5, 4100000 - top * 0.5
                shapes.append(box(x, y - height * 0.5, x + width * 0.5, y))
    scene = folder / "scene.tif"
    with rasterio.open(
        scene, "w", driver="GTiff", width=192, height=192, count=1, dtype="uint16", nodata=0,
        crs="EPSG:32616", transform=rasterio.Affine(0.5, 0, 500000, 0, -0.5, 4100000),
    ) as target:  # fmt: skip
        target.write(pixels.astype(np.uint16), 1)
    labels = folder / "squares.gpkg"
    geopandas.GeoDataFrame({}, geometry=shapes, crs="EPSG:32616").to_file(labels)
    return [
        f"dataset.images={scene}",
        f"dataset.labels={labels}",
        "dataset.window_px=64",
        "dataset.windows_per_epoch=16",
        "backbone=timm",
        "backbone.name=test_efficientnet",
        "head.channels=[16,16,16,16,16]",
        "schedule.batch_size=4",
        "schedule.patience=null",
        "runtime.workers=0",
        "tracking=none",
    ]
