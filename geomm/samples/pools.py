"""Gardens from above in RGB, with swimming pools among blue roofs, tarpaulins and trampolines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from geomm.samples.store import sample
from geomm.samples.texture import Array, fractal_noise, smooth_noise, write_features, write_raster

_CRS, _ORIGIN, _GSD_M, _SIZE = "EPSG:32611", (485000.0, 3690000.0), 0.3, 1024
#: Edge of a garden, pixels.
_LOT_PX = 64


@sample
def swimming_pools(folder: Path) -> dict[str, str]:
    """Make two scenes of 1024 x 1024 pixels at 0.3 m, uint8 RGB, and their pools as polygons.

    Pools are rectangles and ellipses of turquoise water with a light rim, at any angle; the water's colour
    varies, some lie in shadow. Blue roofs are larger and have a ridge, tarpaulins are of one flat blue,
    trampolines are dark discs: colour alone tells none of them apart. The second scene is for maps.
    """
    paths = {}
    for number, role in enumerate(("images", "unseen")):
        rng = np.random.default_rng([23, number])
        origin = (_ORIGIN[0] + number * 1000.0, _ORIGIN[1])
        pixels, pools = _scene(rng)
        paths[role] = write_raster(
            folder / f"gardens_{number + 1}.tif",
            pixels,
            crs=_CRS,
            origin=origin,
            gsd=_GSD_M,
            names=["red", "green", "blue"],
        )
        paths["labels" if number == 0 else "unseen_labels"] = write_features(
            folder / f"pools_{number + 1}.gpkg", [to_map(pool, origin, _GSD_M) for pool in pools], crs=_CRS
        )
    return paths


def to_map(outline: Any, origin: tuple[float, float], gsd_m: float) -> Any:
    """Return a shape in pixels on the map."""
    import shapely

    return shapely.transform(outline, lambda p: np.array(origin) + p * [gsd_m, -gsd_m])


def _scene(rng: np.random.Generator) -> tuple[Any, list[Any]]:
    from scipy.ndimage import gaussian_filter

    shape = (_SIZE, _SIZE)
    grass = 0.5 + 0.13 * fractal_noise(rng, shape, (5, 30, 150))
    image = np.stack([0.62 * grass, 0.8 * grass, 0.45 * grass])
    dry = smooth_noise(rng, shape, 60) > 0.4
    image[:, dry] = image[:, dry] * 0.5 + np.array([[0.36], [0.31], [0.22]]) * 0.9
    rows, cols = np.mgrid[:_SIZE, :_SIZE]
    road = ((rows % (3 * _LOT_PX)) < 14) | ((cols % (4 * _LOT_PX)) < 12)
    image[:, road] = 0.42 + 0.03 * rng.standard_normal(int(road.sum()))
    pools: list[Any] = []
    for top in range(0, _SIZE - _LOT_PX + 1, _LOT_PX):
        for left in range(0, _SIZE - _LOT_PX + 1, _LOT_PX):
            if not road[top : top + _LOT_PX, left : left + _LOT_PX].mean() > 0.5:
                pools += _furnish(rng, image, top, left)
    image = gaussian_filter(image, (0, 0.7, 0.7)) + 0.015 * rng.standard_normal(image.shape)
    return np.clip(image * 255, 0, 255).astype(np.uint8), pools


def _furnish(rng: np.random.Generator, image: Array, top: int, left: int) -> list[Any]:
    """Put a house and garden things on a lot; return its pools."""
    middle = np.array([left, top]) + _LOT_PX / 2
    _house(rng, image, middle + np.array([0, -15]))
    for _ in range(int(rng.integers(2, 5))):
        _tree(rng, image, middle + rng.uniform(-28, 28, 2))
    found = []
    kinds = ("pool", "tarpaulin", "trampoline", "shed", "nothing")
    for side in (-15, 15):
        place = middle + np.array([side, 15]) + rng.uniform(-4, 4, 2)
        kind = rng.choice(
            ["pool", "tarpaulin", "trampoline", "shed", "nothing"], p=[0.3, 0.15, 0.1, 0.1, 0.35]
        )
        if kind == "pool":
            found.append(_pool(rng, image, place))
        elif kind == "tarpaulin":
            blue = np.array([0.15, 0.35, 0.75]) * rng.uniform(0.7, 1.2)
            _paint(image, _shape(rng, place, (4, 9), (4, 8), round_share=0.0), blue)
        elif kind == "trampoline":
            disc = _shape(rng, place, (5, 7), (5, 7), round_share=1.0)
            _paint(image, disc.buffer(1.2), np.array([0.2, 0.4, 0.75]))
            _paint(image, disc, np.array([0.08, 0.08, 0.1]))
        elif kind == "shed":
            _paint(image, _shape(rng, place, (5, 9), (5, 8), round_share=0.0), rng.uniform(0.3, 0.8, 3))
    return found


def _shape(
    rng: np.random.Generator,
    place: Array,
    halves: tuple[float, float],
    other: tuple[float, float],
    *,
    round_share: float,
) -> Any:
    """Return a rectangle or an ellipse at any angle; ``halves`` and ``other`` bound its half axes."""
    from shapely import Point, box
    from shapely.affinity import rotate, scale, translate

    a, b = rng.uniform(*halves), rng.uniform(*other)
    outline = scale(Point(0, 0).buffer(1), a, b) if rng.random() < round_share else box(-a, -b, a, b)
    return translate(rotate(outline, rng.uniform(0, 180)), *place)


def _pool(rng: np.random.Generator, image: Array, place: Array) -> Any:
    water = _shape(rng, place, (6, 11), (4, 6), round_share=0.4)
    _paint(image, water.buffer(1.5), np.full(3, rng.uniform(0.6, 0.85)))
    tint = rng.uniform(0, 1)
    color = np.array([0.2 + 0.15 * tint, 0.6 + 0.15 * tint, 0.75]) * rng.uniform(0.55, 1.1)
    _paint(image, water, color, grain=rng.uniform(0.02, 0.06), rng=rng)
    return water.buffer(0.8)


def _house(rng: np.random.Generator, image: Array, place: Array) -> None:
    from shapely import box
    from shapely.affinity import translate

    roofs = ([0.55, 0.28, 0.2], [0.45, 0.42, 0.4], [0.7, 0.66, 0.6], [0.25, 0.42, 0.68], [0.3, 0.55, 0.7])
    color = np.array(roofs[int(rng.integers(len(roofs)))]) * rng.uniform(0.85, 1.1)
    half, deep = rng.uniform(13, 22), rng.uniform(7, 11)
    # The ridge: one side lies in the sun, the other in its own shade.
    _paint(image, translate(box(-half, -deep, half, 0), *place), color * 1.15)
    _paint(image, translate(box(-half, 0, half, deep), *place), color * 0.8)
    _paint(image, translate(box(-half, deep, half, deep + 3), *place), None)


def _tree(rng: np.random.Generator, image: Array, place: Array) -> None:
    from shapely import Point

    radius = rng.uniform(2, 6)
    _paint(image, Point(*(place + radius * 0.6)).buffer(radius), None)
    _paint(image, Point(*place).buffer(radius), np.array([0.16, 0.3, 0.13]), grain=0.06, rng=rng)


def _paint(
    image: Array,
    outline: Any,
    color: Array | None,
    *,
    grain: float = 0.0,
    rng: np.random.Generator | None = None,
) -> None:
    """Fill a shape with a colour, or darken it as shadow does where that is None."""
    from rasterio.features import rasterize
    from rasterio.transform import Affine

    left, top, right, bottom = outline.bounds
    rows = slice(max(int(top), 0), min(int(bottom) + 2, image.shape[1]))
    cols = slice(max(int(left), 0), min(int(right) + 2, image.shape[2]))
    if rows.stop <= rows.start or cols.stop <= cols.start:
        return
    inside = rasterize(
        [(outline, 1)],
        out_shape=(rows.stop - rows.start, cols.stop - cols.start),
        transform=Affine.translation(cols.start, rows.start),
        dtype="uint8",
    ).astype(bool)
    part = image[:, rows, cols]
    if color is None:
        part[:, inside] *= 0.5
        return
    speckle = 0.0 if rng is None else grain * rng.standard_normal(int(inside.sum()))
    part[:, inside] = color[:, None] + speckle
