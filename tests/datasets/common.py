"""What the tests of datasets share: small scenes whose pixels say where they are."""

import numpy as np
from shapely import box

from geomm.datasets.maps.geotiff import GeoTiffScenes
from geomm.structures import IGNORE_INDEX
from tests.io.common import CRS, GSD, grid, layer, noise, place, write

__all__ = ["CRS", "GSD", "IGNORE_INDEX", "grid", "layer", "noise", "place", "positions", "write"]


def positions(height, width):
    """Two bands that hold each pixel's row and column, from 1 on."""
    rows, cols = np.mgrid[1 : height + 1, 1 : width + 1]
    return np.stack([rows, cols]).astype(np.uint16)


def squares(height, width, *, step=20, size=8, seed=0, names="ab"):
    """Squares all over a scene, in pixels, with a class each in turn."""
    rng = np.random.default_rng(seed)
    boxes, kinds = [], []
    for top in range(2, height - size, step):
        for left in range(2, width - size, step):
            down, across = rng.integers(0, step - size, 2)
            boxes.append(box(left + across, top + down, left + across + size, top + down + size))
            kinds.append(names[len(kinds) % len(names)])
    return boxes, kinds


def scenes(images, labels, cache, **options):
    """Return a prepared source of scenes with small windows."""
    options = {"window_px": 32, "windows_per_epoch": 24, "label_field": "kind", **options}
    source = GeoTiffScenes(images=str(images), labels=str(labels), **options)
    source.prepare(cache)
    return source
