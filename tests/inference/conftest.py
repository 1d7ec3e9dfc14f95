"""Scenes and pointwise models for the tests of inference."""

import numpy as np
import pytest
import rasterio
import torch

from geomm.structures import BandStatistics, RasterSpec, make_classes

CLASSES = 4


def pointwise(inputs, valid):
    """Scores of a pixel from that pixel alone: class = value mod 4, surely."""
    target = inputs[:, 0].long() % CLASSES
    scores = torch.full((len(inputs), CLASSES, *inputs.shape[2:]), 0.1)
    return scores.scatter_(1, target[:, None], 0.7)


@pytest.fixture
def spec():
    statistics = BandStatistics((0.0,), (255.0,), (100.0,), (50.0,), 1)
    return RasterSpec(
        bands=(1,),
        band_names=("pan",),
        dtype="uint8",
        statistics=statistics,
        classes=make_classes(["water", "forest", "road", "roof"]),
        window_px=16,
        gsd=0.5,
        crs="EPSG:32616",
    )


def write_scene(path, pixels, *, nodata=None, crs="EPSG:32616", alpha=None):
    count = 1 if alpha is None else 2
    height, width = pixels.shape
    with rasterio.open(
        path, "w", driver="GTiff", width=width, height=height, count=count, dtype=pixels.dtype,
        crs=crs, transform=rasterio.Affine(0.5, 0, 700000, 0, -0.5, 3700000), nodata=nodata,
    ) as target:  # fmt: skip
        target.write(pixels, 1)
        if alpha is not None:
            target.write(alpha, 2)
            target.colorinterp = (
                rasterio.enums.ColorInterp.gray,
                rasterio.enums.ColorInterp.alpha,
            )
    return path


def noise(height, width, seed=0, low=1):
    return np.random.default_rng(seed).integers(low, 255, (height, width)).astype(np.uint8)
