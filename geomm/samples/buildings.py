"""A suburb from above in one 16-bit band, with its roofs as polygons."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from geomm.samples.store import sample
from geomm.samples.texture import Array, fractal_noise, smooth_noise, write_features, write_raster

_CRS, _ORIGIN, _GSD_M, _SIZE = "EPSG:32616", (742000.0, 3725500.0), 0.5, 1024
#: Shadows fall this way, (rows, columns) a pixel of height: the sun stands in the south-west.
_SHADOW = (-0.9, 1.1)
#: Blur of the optics, pixels.
_BLUR_PX = 0.6


@sample
def building_footprints(folder: Path) -> dict[str, str]:
    """Make two scenes of 1024 x 1024 pixels at 0.5 m, uint16, nodata 0, and their roofs.

    Streets at an angle, houses along them with gable roofs of several brightnesses (some as dark as
    the road, some as bright as bare ground), shadows, drives, trees that hide corners, parked
    cars, the blur and noise of a sensor. The second scene has no labels: it is for maps.
    """
    return _two_suburbs(folder)


@sample
def building_instances(folder: Path) -> dict[str, str]:
    """Make the two scenes of ``building_footprints``, each roof being a thing of its own.

    Roofs of neighbours nearly touch, so that what tells pixels apart does not yet tell houses apart;
    ``unseen_labels`` are the roofs of the second scene.
    """
    paths = _two_suburbs(folder)
    return {"unseen_labels" if role == "truth" else role: path for role, path in paths.items()}


def _two_suburbs(folder: Path) -> dict[str, str]:
    paths = {}
    for number, role in enumerate(("images", "unseen")):
        rng = np.random.default_rng([17, number])
        origin = (_ORIGIN[0] + number * 2000.0, _ORIGIN[1])
        pixels, roofs = _scene(rng)
        placed = [_to_map(roof, origin) for roof in roofs]
        paths[role] = write_raster(
            folder / f"suburb_{number + 1}.tif",
            pixels[None],
            crs=_CRS,
            origin=origin,
            gsd=_GSD_M,
            nodata=0,
            names=["pan"],
        )
        role = "labels" if number == 0 else "truth"
        paths[role] = write_features(folder / f"roofs_{number + 1}.gpkg", placed, crs=_CRS)
    return paths


def _scene(rng: np.random.Generator) -> tuple[Any, list[Any]]:
    from scipy.ndimage import gaussian_filter

    shape = (_SIZE, _SIZE)
    ground = 0.34 + 0.05 * fractal_noise(rng, shape, (6, 24, 120)) + 0.012 * rng.standard_normal(shape)
    rows, cols = np.mgrid[:_SIZE, :_SIZE]
    angle = rng.uniform(-25, 25)
    along, across = _turn(cols, rows, angle)
    spacing = 120.0
    road_offset = np.abs((across + spacing / 2) % spacing - spacing / 2)
    cross_offset = np.abs((along + 160) % 320 - 160)
    road = (road_offset < 7) | (cross_offset < 6)
    image = np.where(road, 0.27 + 0.015 * smooth_noise(rng, shape, 10), ground)
    heights = np.zeros(shape)
    roofs = _lots(rng, angle, spacing)
    _pave_drives(rng, image, roofs, angle)
    for polygon in roofs:
        _paint_roof(rng, image, heights, polygon, angle)
    image = _shade(image, heights)
    _plant_trees(rng, image, heights, road)
    _park_cars(rng, image, road, angle)
    image = gaussian_filter(image, _BLUR_PX) + 0.01 * rng.standard_normal(shape)
    return np.clip(image * 2600, 60, 4095).astype(np.uint16), roofs


def _turn(x: Any, y: Any, angle: float) -> tuple[Array, Array]:
    a = np.deg2rad(angle)
    return x * np.cos(a) + y * np.sin(a), -x * np.sin(a) + y * np.cos(a)


def _lots(rng: np.random.Generator, angle: float, spacing: float) -> list[Any]:
    """Return house footprints in pixels: rows along both sides of each street."""
    from shapely import Polygon, box
    from shapely.affinity import rotate, translate

    lots, frame = [], box(0, 0, _SIZE, _SIZE)
    for street in np.arange(-9, 18) * spacing:
        for side in (-1, 1):
            position = -_SIZE * 1.5
            while position < _SIZE * 2.2:
                width, depth = rng.uniform(16, 34), rng.uniform(14, 24)
                position += width + rng.uniform(8, 26)
                if rng.random() < 0.14 or abs((position + 160) % 320 - 160) < 6 + width / 2 + 6:
                    continue
                outline = box(-width / 2, -depth / 2, width / 2, depth / 2)
                if rng.random() < 0.35:
                    wing = box(-width / 2, 0, -width / 2 + width * 0.45, depth / 2 + rng.uniform(4, 9))
                    outline = outline.union(wing)
                across = street + side * (7 + 10 + depth / 2 + rng.uniform(0, 6))
                a = np.deg2rad(angle)
                x = position * np.cos(a) - across * np.sin(a)
                y = position * np.sin(a) + across * np.cos(a)
                house = translate(rotate(outline, angle + rng.normal(0, 3), origin=(0, 0)), x, y)
                seen = house.intersection(frame)
                if isinstance(seen, Polygon) and seen.area > 60:
                    lots.append(seen)
    return lots


def _inside(polygon: Any) -> tuple[slice, slice, Any]:
    """Return the rows and columns around a polygon and which of their pixels it covers."""
    from rasterio.features import rasterize
    from rasterio.transform import Affine

    left, top, right, bottom = (int(v) for v in polygon.bounds)
    rows, cols = (
        slice(max(top, 0), min(bottom + 1, _SIZE)),
        slice(max(left, 0), min(right + 1, _SIZE)),
    )
    shape = (rows.stop - rows.start, cols.stop - cols.start)
    burnt = rasterize(
        [(polygon, 1)],
        out_shape=shape,
        transform=Affine.translation(cols.start, rows.start),
        dtype="uint8",
    )
    return rows, cols, burnt.astype(bool)


def _paint_roof(rng: np.random.Generator, image: Array, heights: Array, polygon: Any, angle: float) -> None:
    rows, cols, inside = _inside(polygon)
    y, x = np.mgrid[rows, cols]
    _, across = _turn(x - polygon.centroid.x, y - polygon.centroid.y, angle)
    base = rng.choice([0.24, 0.32, 0.44, 0.57, 0.7], p=[0.1, 0.2, 0.3, 0.25, 0.15]) + rng.normal(0, 0.03)
    gable = np.where(across > 0, 1.12, 0.86)  # the sunny and the shaded side
    tiles = 1 + 0.02 * rng.standard_normal(inside.shape)
    image[rows, cols] = np.where(inside, base * gable * tiles, image[rows, cols])
    heights[rows, cols] = np.where(inside, rng.uniform(4, 9), heights[rows, cols])


def _shade(image: Array, heights: Array) -> Array:
    shadow = np.zeros(image.shape, bool)
    for step in np.linspace(0.15, 1, 12):
        dy, dx = (round(float(v * step * 9)) for v in _SHADOW)
        moved = np.roll(heights, (dy, dx), (0, 1))
        shadow |= (moved > 9 * step) & (heights < 1)
    return np.where(shadow, image * 0.5, image)


def _pave_drives(rng: np.random.Generator, image: Array, roofs: list[Any], angle: float) -> None:
    """Pave a strip from beside a house towards both its streets, as bright as a roof may be."""
    from shapely import box
    from shapely.affinity import rotate

    for roof in roofs:
        x, y = roof.centroid.x, roof.centroid.y
        shift, reach, width = rng.uniform(6, 12), rng.uniform(20, 34), rng.uniform(5, 8)
        side = rng.choice([-1, 1])
        strip = box(x + shift, min(y, y + side * reach), x + shift + width, max(y, y + side * reach))
        seen = rotate(strip, angle, origin=(x, y)).intersection(box(0, 0, _SIZE, _SIZE))
        if rng.random() < 0.6 and seen.area > 20:
            rows, cols, inside = _inside(seen)
            light = rng.uniform(0.28, 0.5) + 0.012 * rng.standard_normal(inside.shape)
            image[rows, cols] = np.where(inside, light, image[rows, cols])


def _plant_trees(rng: np.random.Generator, image: Array, heights: Array, road: Any) -> None:
    rows, cols = np.mgrid[:_SIZE, :_SIZE]
    for _ in range(420):
        y, x, radius = rng.uniform(0, _SIZE), rng.uniform(0, _SIZE), rng.uniform(3, 9)
        if road[int(y), int(x)] and rng.random() < 0.8:
            continue
        if heights[int(y), int(x)] > 0 and rng.random() < 0.92:
            continue
        top, left = max(int(y - 20), 0), max(int(x - 14), 0)
        part = (slice(top, top + 35), slice(left, left + 35))
        down, right = rows[part] - y, cols[part] - x
        ragged = rng.normal(0, 0.6, down.shape)
        crown = np.hypot(down, right) + ragged < radius
        shadow = np.hypot(down - _SHADOW[0] * radius, right - _SHADOW[1] * radius) + ragged < radius
        light = 0.2 + 0.05 * (down - right) / radius + rng.normal(0, 0.02, crown.shape)
        ground = np.where(shadow & (heights[part] < 1), 0.5 * image[part], image[part])
        image[part] = np.where(crown, light, ground)


def _park_cars(rng: np.random.Generator, image: Array, road: Any, angle: float) -> None:
    spots = np.argwhere(road)
    for row, col in spots[rng.choice(len(spots), 160)]:
        part = tuple(slice(max(n - 6, 0), min(n + 7, _SIZE)) for n in (row, col))
        rows, cols = np.mgrid[part]
        along, across = _turn(cols - col, rows - row, angle)
        car = (np.abs(along) < 4.2) & (np.abs(across) < 1.8)
        image[part] = np.where(car, rng.choice([0.12, 0.2, 0.45, 0.65]), image[part])


def _to_map(polygon: Any, origin: tuple[float, float]) -> Any:
    from shapely import transform

    return transform(
        polygon, lambda p: np.stack([origin[0] + p[:, 0] * _GSD_M, origin[1] - p[:, 1] * _GSD_M], 1)
    )
