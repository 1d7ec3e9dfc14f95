"""Bioclimatic rasters, and where people fell ill: susceptibility to a disease that mosquitoes carry."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from geomm.samples.store import sample
from geomm.samples.texture import fractal_noise, smooth_noise, write_features, write_raster

_CRS, _ORIGIN, _GSD_M, _SIZE = "EPSG:32736", (300000.0, 9800000.0), 1000.0, 360
_NAMES = ("bio1_temperature", "bio12_rain", "bio15_seasonality", "elevation", "distance_to_water", "land_use")
_VISITS = 1500


@sample
def disease_susceptibility(folder: Path) -> dict[str, str]:
    """Make six rasters of 360 x 360 pixels of 1 km, and 1500 surveyed villages with the field ``sick``.

    ``unseen`` is a folder of the same variables for the neighbouring region, ``truth`` and
    ``unseen_truth`` the probability that the illness was drawn from.
    """
    from shapely import Point

    paths: dict[str, str] = {}
    for number, role in enumerate(("rasters", "unseen")):
        rng = np.random.default_rng([47, number])
        origin = (_ORIGIN[0] + number * _SIZE * _GSD_M * 1.1, _ORIGIN[1])
        layers = _climate(rng)
        (folder / role).mkdir()
        for name in _NAMES:
            write_raster(
                folder / role / f"{name}.tif",
                layers[name][None].astype(np.uint8 if name == "land_use" else np.float32),
                crs=_CRS,
                origin=origin,
                gsd=_GSD_M,
                nodata=255 if name == "land_use" else -9999,
                names=(name,),
            )
        chance = _chance(layers)
        truth = write_raster(
            folder / f"{role}_truth.tif",
            chance[None].astype(np.float32),
            crs=_CRS,
            origin=origin,
            gsd=_GSD_M,
            nodata=-9999,
        )
        paths[role] = str(folder / role)
        paths["truth" if role == "rasters" else "unseen_truth"] = truth
        if number:
            continue
        rows, cols = rng.integers(0, _SIZE, (2, _VISITS))
        sick = rng.random(_VISITS) < chance[rows, cols]
        shapes = [
            Point(origin[0] + (c + 0.5) * _GSD_M, origin[1] - (r + 0.5) * _GSD_M)
            for r, c in zip(rows, cols, strict=True)
        ]
        names = ["present" if item else "absent" for item in sick]
        paths["table"] = write_features(folder / "villages.gpkg", shapes, crs=_CRS, fields={"sick": names})
    return paths


def _climate(rng: np.random.Generator) -> dict[str, Any]:
    from scipy.ndimage import distance_transform_edt

    shape = (_SIZE, _SIZE)
    relief = fractal_noise(rng, shape, (12, 40, 120))
    elevation = np.clip(900 + 550 * relief, 0, None)
    wet = smooth_noise(rng, shape, 60)
    land_use = np.digitize(smooth_noise(rng, shape, 14) + 0.5 * wet, (-0.7, 0.3, 1.1)).astype(np.float64)
    rivers = np.abs(smooth_noise(rng, shape, 30)) < 0.05
    return {
        "elevation": elevation,
        "bio1_temperature": 28 - 0.0065 * elevation + 0.6 * rng.standard_normal(shape),
        "bio12_rain": np.clip(1100 + 420 * wet + 60 * relief + 25 * rng.standard_normal(shape), 100, None),
        "bio15_seasonality": 60 - 14 * wet + 8 * smooth_noise(rng, shape, 25),
        "distance_to_water": distance_transform_edt(~rivers) * _GSD_M,
        "land_use": land_use,
    }


def _chance(layers: dict[str, Any]) -> Any:
    """Return the probability of the illness: warm, wet but not too wet, near water, cropland most."""
    warmth = -(((layers["bio1_temperature"] - 24.5) / 2.6) ** 2)
    rain = -(((layers["bio12_rain"] - 1250) / 420) ** 2)
    water = -layers["distance_to_water"] / 9000
    use = np.array([-0.8, 0.2, 1.1, -0.3])[layers["land_use"].astype(int)]
    return 1 / (1 + np.exp(-(2.2 + 1.3 * warmth + 1.1 * rain + 1.2 * water + use)))
