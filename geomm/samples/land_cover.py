"""A landscape in seven 16-bit bands, of which a few polygons are labelled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from geomm.samples.store import sample
from geomm.samples.texture import Array, fractal_noise, smooth_noise, write_features, write_raster

_CRS, _ORIGIN, _GSD_M, _SIZE = "EPSG:32633", (420000.0, 5380000.0), 10.0, 900
_BANDS = ("blue", "green", "red", "red_edge", "nir", "swir_1", "swir_2")
_CLASSES = ("water", "forest", "cropland", "grassland", "built_up", "bare_soil")
#: Surface reflectance a class and band, as such surfaces have it in summer.
_SPECTRA = np.array(
    [
        [0.055, 0.055, 0.040, 0.032, 0.025, 0.014, 0.010],
        [0.028, 0.050, 0.032, 0.110, 0.300, 0.140, 0.065],
        [0.045, 0.080, 0.065, 0.150, 0.330, 0.210, 0.130],
        [0.048, 0.085, 0.070, 0.140, 0.270, 0.230, 0.140],
        [0.110, 0.130, 0.145, 0.160, 0.190, 0.220, 0.190],
        [0.085, 0.115, 0.155, 0.180, 0.215, 0.290, 0.250],
    ]
)


@sample
def land_cover_sparse(folder: Path) -> dict[str, str]:
    """Make two scenes of 900 x 900 pixels at 10 m, seven bands of uint16, nodata 0.

    Labels are about a hundred small polygons with the field ``class`` that cover some 3 % of the first
    scene; ``truth`` is the whole land cover of it, ``unseen`` the second scene.
    """
    from shapely import Point

    paths: dict[str, str] = {}
    for number in range(2):
        rng = np.random.default_rng([23, number])
        cover = _cover(rng)
        pixels = _reflectance(rng, cover)
        missing = _swath_edge()
        pixels[:, missing] = 0
        origin = (_ORIGIN[0] + number * 12000.0, _ORIGIN[1])
        image = write_raster(
            folder / f"landscape_{number + 1}.tif",
            pixels,
            crs=_CRS,
            origin=origin,
            gsd=_GSD_M,
            nodata=0,
            names=_BANDS,
        )
        values = np.where(missing, 0, cover + 1).astype(np.uint8)
        truth = write_raster(
            folder / f"cover_{number + 1}.tif",
            values[None],
            crs=_CRS,
            origin=origin,
            gsd=_GSD_M,
            nodata=0,
        )
        if number:
            paths |= {"unseen": image, "unseen_truth": truth}
            continue
        shapes, names = [], []
        for row, col, radius, kind in _field_visits(rng, cover, missing):
            x, y = origin[0] + (col + 0.5) * _GSD_M, origin[1] - (row + 0.5) * _GSD_M
            shapes.append(Point(x, y).buffer(radius * _GSD_M, quad_segs=int(rng.integers(1, 4))))
            names.append(_CLASSES[kind])
        labels = write_features(folder / "visits.gpkg", shapes, crs=_CRS, fields={"class": names})
        paths |= {"images": image, "labels": labels, "truth": truth}
    return paths


def _cover(rng: np.random.Generator) -> Any:
    """Return class indices: relief decides water and forest, fields and towns share the rest."""
    shape = (_SIZE, _SIZE)
    relief = fractal_noise(rng, shape, (40, 110, 260))
    wet = smooth_noise(rng, shape, 160)
    cover = np.full(shape, 3)
    cover[relief > 0.35] = 1
    cover[relief < -1.15] = 0
    fields = _fields(rng)
    flat = (relief > -1.05) & (relief < 0.3) & (wet > -0.9)
    cover[flat & (fields == 0)] = 2
    cover[flat & (fields == 1)] = 5
    town = smooth_noise(rng, shape, 70) + 0.35 * smooth_noise(rng, shape, 12)
    cover[(town > 1.35) & (cover != 0)] = 4
    return cover


def _fields(rng: np.random.Generator) -> Any:
    """Return parcels of a turned grid: 0 sown, 1 ploughed, 2 left as grass."""
    rows, cols = np.mgrid[:_SIZE, :_SIZE]
    turned_x = (cols * 0.94 + rows * 0.34 + 2000) // 38
    turned_y = (rows * 0.94 - cols * 0.34 + 2000) // 24
    parcel = (turned_x * 7919 + turned_y * 104729).astype(np.int64) % 997
    kinds = rng.choice(3, size=997, p=[0.5, 0.2, 0.3])
    return kinds[parcel]


def _reflectance(rng: np.random.Generator, cover: Any) -> Any:
    shape = cover.shape
    pixels = _SPECTRA[cover].transpose(2, 0, 1)
    light = 1 + 0.06 * smooth_noise(rng, shape, 200)
    green: Array = fractal_noise(rng, shape, (10, 40))
    built = cover == 4
    # Within a class: vigour of plants, moisture of soil, the mix of roofs and gardens in a town.
    vigour = np.where(np.isin(cover, (1, 2, 3)), 1 + 0.14 * green, 1 + 0.05 * green)
    pixels[3:5] *= vigour
    pixels[5:] *= 2 - vigour
    patchwork = rng.random(shape) < 0.3
    pixels = np.where(built & patchwork, 0.5 * pixels + 0.5 * _SPECTRA[3][:, None, None], pixels)
    pixels = pixels * light * (1 + 0.05 * rng.standard_normal(pixels.shape))
    pixels += 0.004 * rng.standard_normal(pixels.shape)
    return np.clip(pixels * 10000, 1, 10000).astype(np.uint16)


def _swath_edge() -> Any:
    rows, cols = np.mgrid[:_SIZE, :_SIZE]
    return cols + rows * 0.18 < 70


def _field_visits(rng: np.random.Generator, cover: Any, missing: Any) -> list[tuple[int, int, float, int]]:
    """Return (row, col, radius, class) of places that are of one class all around."""
    from scipy.ndimage import distance_transform_edt

    visits = []
    for kind in range(len(_CLASSES)):
        room = distance_transform_edt((cover == kind) & ~missing)
        places = np.argwhere(room > 6)
        for row, col in places[rng.choice(len(places), min(18, len(places)), replace=False)]:
            visits.append((int(row), int(col), float(min(room[row, col] - 1, rng.uniform(6, 13))), kind))
    return visits
