"""A sea floor as bathymetry in metres, with shipwrecks among rocks and sand waves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from geomm.samples.pools import to_map
from geomm.samples.store import sample
from geomm.samples.texture import Array, fractal_noise, smooth_noise, write_features, write_raster

_CRS, _ORIGIN, _GSD_M, _SIZE = "EPSG:32631", (520000.0, 5790000.0), 1.0, 1280
_NODATA = -9999.0
_WRECKS, _ROCKS = 42, 90


@sample
def shipwrecks(folder: Path) -> dict[str, str]:
    """Make two surveys of 1280 x 1280 pixels at 1 m, float32 metres below the surface, and their wrecks.

    The sea floor slopes between 18 and 45 m, with sand waves, and has gaps between swaths (nodata). A wreck
    is a hull 14 to 46 m long, pointed at its bow, 1 to 5 m proud of the floor, often broken or half buried,
    in a scour pit on its lee side. Rocks are as high, but round and without a pit. The second survey is
    for maps.
    """
    paths = {}
    for number, role in enumerate(("images", "unseen")):
        rng = np.random.default_rng([31, number])
        origin = (_ORIGIN[0] + number * 5000.0, _ORIGIN[1])
        depth, wrecks = _survey(rng)
        paths[role] = write_raster(
            folder / f"survey_{number + 1}.tif",
            depth[None],
            crs=_CRS,
            origin=origin,
            gsd=_GSD_M,
            nodata=_NODATA,
            names=["depth_m"],
        )
        paths["labels" if number == 0 else "unseen_labels"] = write_features(
            folder / f"wrecks_{number + 1}.gpkg",
            [to_map(wreck, origin, _GSD_M) for wreck in wrecks],
            crs=_CRS,
        )
    return paths


def _survey(rng: np.random.Generator) -> tuple[Any, list[Any]]:
    from scipy.ndimage import gaussian_filter

    shape = (_SIZE, _SIZE)
    rows, cols = np.mgrid[:_SIZE, :_SIZE]
    floor = -31 - 6 * smooth_noise(rng, shape, 500) - 1.2 * fractal_noise(rng, shape, (30, 90))
    angle = rng.uniform(0, np.pi)
    phase = (cols * np.cos(angle) + rows * np.sin(angle)) / rng.uniform(14, 22) + smooth_noise(rng, shape, 80)
    waves = np.clip(smooth_noise(rng, shape, 200), 0, 1.5)
    floor = floor + 0.6 * waves * np.sin(2 * np.pi * phase / 2)
    for _ in range(_ROCKS):
        _rock(rng, floor, rng.uniform(20, _SIZE - 20, 2))
    wrecks: list[Any] = []
    for place in _apart(rng, _WRECKS, 90):
        wrecks.append(_wreck(rng, floor, place))
    floor = gaussian_filter(floor, 0.6) + 0.06 * rng.standard_normal(shape)
    gap = np.abs((cols + 25 * smooth_noise(rng, shape, 300)) % 420 - 210) > 206
    floor[gap] = _NODATA
    return np.clip(floor, _NODATA, -1).astype(np.float32), wrecks


def _apart(rng: np.random.Generator, count: int, least_px: float) -> list[Array]:
    """Return places (column, row) that keep their distance from each other."""
    found: list[Array] = []
    for _ in range(4000):
        place = rng.uniform(40, _SIZE - 40, 2)
        if all(np.hypot(*(place - other)) > least_px for other in found):
            found.append(place)
        if len(found) == count:
            break
    return found


def _around(place: Array, reach: int) -> tuple[tuple[slice, slice], Array, Array]:
    """Return the pixels around a place and their offsets from it, to the right and down."""
    col, row = (int(value) for value in place)
    part = (
        slice(max(row - reach, 0), min(row + reach, _SIZE)),
        slice(max(col - reach, 0), min(col + reach, _SIZE)),
    )
    rows, cols = np.mgrid[part]
    return part, cols + 0.5 - place[0], rows + 0.5 - place[1]


def _rock(rng: np.random.Generator, floor: Array, place: Array) -> None:
    radius, height = rng.uniform(2.5, 9), rng.uniform(0.8, 4.5)
    part, right, down = _around(place, 30)
    ragged = 1 + 0.25 * smooth_noise(rng, right.shape, 6)
    distance = np.hypot(right, down * rng.uniform(0.8, 1.25)) / (radius * ragged)
    floor[part] += height * np.clip(1 - distance**2, 0, None)


def _wreck(rng: np.random.Generator, floor: Array, place: Array) -> Any:
    """Lay a hull onto the floor; return its outline in pixels."""
    from shapely import Polygon
    from shapely.affinity import rotate, translate

    half = rng.uniform(7, 23)
    beam, height, angle = half * rng.uniform(0.2, 0.32), rng.uniform(1.2, 5), rng.uniform(0, 360)
    part, right, down = _around(place, 60)
    a = np.deg2rad(angle)
    along = (right * np.cos(a) + down * np.sin(a)) / half
    across = (-right * np.sin(a) + down * np.cos(a)) / beam
    # A blunt stern and a pointed bow.
    width = np.where(along > 0.3, np.clip((1 - along) / 0.7, 0, 1) ** 0.6, 1.0)
    hull = (np.abs(along) < 1) & (np.abs(across) < width)
    relief = height * (0.65 + 0.35 * (np.abs(across) > 0.6 * width))
    if rng.random() < 0.4:  # broken in two
        relief = np.where(np.abs(along - rng.uniform(-0.3, 0.4)) < 0.12, 0.25 * relief, relief)
    if rng.random() < 0.35:  # one end is buried
        relief = relief * np.clip(0.75 + rng.choice([-0.6, 0.6]) * along, 0.15, 1)
    pit = np.exp(-((along * 0.7) ** 2) - ((across - 1.6) / 1.3) ** 2)
    floor[part] += np.where(hull, relief, -0.3 * height * pit)
    outline = Polygon([(-half, -beam), (0.3 * half, -beam), (half, 0), (0.3 * half, beam), (-half, beam)])
    return translate(rotate(outline, angle, origin=(0, 0)), *place)
