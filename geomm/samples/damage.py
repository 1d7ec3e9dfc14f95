"""A suburb after a storm: some roofs whole, some torn open, with their footprints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from geomm.samples import buildings
from geomm.samples.store import sample
from geomm.samples.texture import Array, fractal_noise, smooth_noise, write_features, write_raster

_CRS, _ORIGIN, _GSD_M, _SIZE = "EPSG:32616", (402000.0, 3712500.0), 0.5, 1024
#: Colours that grey is tinted with: ground, roads, roofs of several kinds.
_GRASS, _ROAD = (0.86, 1.04, 0.72), (1.0, 1.0, 1.02)
_ROOFS = ((1.0, 1.0, 1.0), (1.18, 0.86, 0.74), (1.06, 0.96, 0.84), (0.86, 0.94, 1.08))


@sample
def damage_assessment(folder: Path) -> dict[str, str]:
    """Make two scenes of 1024 x 1024 pixels at 0.5 m, RGB bytes, and their footprints with ``damage``.

    Every third roof or so is damaged: collapsed to rubble, or torn open in part; debris lies around it.
    Whole roofs have ridges, chimneys, and some a tarpaulin or solar panels, so that neither brightness
    nor contrast alone tells. The second scene is for maps; its truth is beside it.
    """
    paths = {}
    for number, (role, truth) in enumerate((("images", "labels"), ("unseen", "truth"))):
        rng = np.random.default_rng([53, number])
        origin = (_ORIGIN[0] + number * 2000.0, _ORIGIN[1])
        pixels, roofs, damaged = _scene(rng)
        moved = [_to_map(roof, origin) for roof in roofs]
        path = folder / f"storm_{number + 1}.tif"
        paths[role] = write_raster(
            path, pixels, crs=_CRS, origin=origin, gsd=_GSD_M, names=["red", "green", "blue"]
        )
        fields: dict[str, Any] = {
            "building": list(range(1, len(roofs) + 1)),
            "damage": ["damaged" if item else "intact" for item in damaged],
        }
        paths[truth] = write_features(folder / f"buildings_{number + 1}.gpkg", moved, crs=_CRS, fields=fields)
    return paths


def _to_map(polygon: Any, origin: tuple[float, float]) -> Any:
    from shapely import transform

    return transform(
        polygon, lambda p: np.stack([origin[0] + p[:, 0] * _GSD_M, origin[1] - p[:, 1] * _GSD_M], 1)
    )


def _scene(rng: np.random.Generator) -> tuple[Any, list[Any], Any]:
    from scipy.ndimage import gaussian_filter

    shape = (_SIZE, _SIZE)
    grey = 0.36 + 0.05 * fractal_noise(rng, shape, (6, 24, 120)) + 0.012 * rng.standard_normal(shape)
    tint = np.empty((3, *shape))
    tint[:] = np.reshape(_GRASS, (3, 1, 1))
    rows, cols = np.mgrid[:_SIZE, :_SIZE]
    angle, spacing = rng.uniform(-25, 25), 120.0
    along, across = buildings._turn(cols, rows, angle)
    offset = np.abs((across + spacing / 2) % spacing - spacing / 2)
    road = (offset < 7) | (np.abs((along + 160) % 320 - 160) < 6)
    grey = np.where(road, 0.42 + 0.015 * smooth_noise(rng, shape, 10), grey)
    tint[:, road] = np.reshape(_ROAD, (3, 1))
    roofs = buildings._lots(rng, angle, spacing)
    # A storm's track: where it passed, most roofs are damaged.
    track = smooth_noise(rng, shape, 500)
    damaged = np.array(
        [
            track[int(r.centroid.y) % _SIZE, int(r.centroid.x) % _SIZE] + rng.normal(0, 0.9) > 0.5
            for r in roofs
        ]
    )
    heights = np.zeros(shape)
    buildings._pave_drives(rng, grey, roofs, angle)
    for roof, hit in zip(roofs, damaged, strict=True):
        _paint(rng, grey, tint, heights, roof, angle, bool(hit))
    grey = buildings._shade(grey, heights)
    before = grey.copy()
    buildings._plant_trees(rng, grey, heights, road)
    tint[:, before != grey] = np.reshape((0.8, 1.15, 0.7), (3, 1))
    for roof in (r for r, hit in zip(roofs, damaged, strict=True) if hit):
        _strew(rng, grey, tint, roof)
    image = gaussian_filter(grey * tint, (0, 0.6, 0.6)) + 0.008 * rng.standard_normal((3, *shape))
    return np.clip(image * 300, 1, 255).astype(np.uint8), roofs, damaged


def _paint(
    rng: np.random.Generator, grey: Array, tint: Array, heights: Array, roof: Any, angle: float, hit: bool
) -> None:
    rows, cols, inside = buildings._inside(roof)
    y, x = np.mgrid[rows, cols]
    along, across = buildings._turn(x - roof.centroid.x, y - roof.centroid.y, angle)
    base = rng.choice([0.3, 0.42, 0.55, 0.68]) + rng.normal(0, 0.03)
    light = base * np.where(across > 0, 1.12, 0.86) * (1 + 0.02 * rng.standard_normal(inside.shape))
    color = np.reshape(_ROOFS[int(rng.integers(len(_ROOFS)))], (3, 1, 1)) * np.ones((3, *inside.shape))
    if rng.random() < 0.3:  # a tarpaulin, or solar panels
        spot = (np.abs(along - rng.uniform(-5, 5)) < 3.5) & (np.abs(across - 4) < 3)
        light = np.where(spot, rng.choice([0.16, 0.6]), light)
        color[:, spot] = np.reshape((0.7, 0.9, 1.35), (3, 1))
    height = rng.uniform(4, 9)
    if hit:
        share = rng.uniform(0.3, 1.0)
        field = smooth_noise(rng, inside.shape, 9)
        torn = inside & (field < np.quantile(field[inside], share))
        rubble = 0.38 + 0.17 * rng.standard_normal(inside.shape) + 0.06 * smooth_noise(rng, inside.shape, 3)
        light = np.where(torn, np.clip(rubble, 0.08, 0.85), light)
        color[:, torn] = np.reshape((1.04, 0.98, 0.9), (3, 1))
        height *= 1 - 0.8 * share
    grey[rows, cols] = np.where(inside, light, grey[rows, cols])
    tint[:, rows, cols] = np.where(inside, color, tint[:, rows, cols])
    heights[rows, cols] = np.where(inside, height, heights[rows, cols])


def _strew(rng: np.random.Generator, grey: Array, tint: Array, roof: Any) -> None:
    """Strew debris around a damaged house."""
    reach = rng.uniform(4, 12)
    for _ in range(int(rng.integers(15, 60))):
        spot = roof.exterior.interpolate(rng.uniform(0, 1), normalized=True)
        y, x = int(spot.y + rng.normal(0, reach / 2)), int(spot.x + rng.normal(0, reach / 2))
        if 0 <= y < _SIZE - 2 and 0 <= x < _SIZE - 2:
            part = (slice(y, y + int(rng.integers(1, 3))), slice(x, x + int(rng.integers(1, 3))))
            grey[part] = rng.uniform(0.1, 0.8)
            tint[(slice(None), *part)] = np.reshape((1.04, 0.98, 0.9), (3, 1, 1))
