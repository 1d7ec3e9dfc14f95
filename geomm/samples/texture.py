"""Textures and files that the samples share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int], scale_px: float) -> Array:
    """Return noise of mean 0 and deviation 1 whose features are about ``scale_px`` across."""
    from scipy.ndimage import gaussian_filter, zoom

    step = max(1, int(scale_px // 4))
    small = rng.standard_normal(tuple(-(-n // step) + 4 for n in shape))
    small = gaussian_filter(small, scale_px / step / 2)
    large = zoom(small, step, order=1)[: shape[0], : shape[1]] if step > 1 else small[: shape[0], : shape[1]]
    return (large - large.mean()) / (large.std() + 1e-12)  # type: ignore[no-any-return]


def fractal_noise(rng: np.random.Generator, shape: tuple[int, int], scales_px: Sequence[float]) -> Array:
    """Return a sum of smooth noises, the coarse ones strongest, of deviation 1."""
    total = sum(smooth_noise(rng, shape, scale) * scale**0.5 for scale in scales_px)
    return (total - np.mean(total)) / np.std(total)  # type: ignore[no-any-return]


def write_raster(
    path: Path,
    pixels: NDArray[Any],
    *,
    crs: str,
    origin: tuple[float, float],
    gsd: float,
    nodata: float | None = None,
    names: Sequence[str] = (),
) -> str:
    """Write (C, H, W) as a tiled, compressed GeoTIFF; return its path."""
    import rasterio

    count, height, width = pixels.shape
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=width,
        height=height,
        count=count,
        dtype=pixels.dtype,
        crs=crs,
        transform=rasterio.Affine(gsd, 0, origin[0], 0, -gsd, origin[1]),
        nodata=nodata,
        tiled=True,
        blockxsize=256,
        blockysize=256,
        compress="deflate",
        predictor=2 if pixels.dtype.kind in "iu" else 3,
    ) as target:
        target.write(pixels)
        for band, name in enumerate(names, start=1):
            target.set_band_description(band, name)
    return str(path)


def write_features(
    path: Path,
    geometries: Sequence[Any],
    *,
    crs: str,
    fields: dict[str, Sequence[Any]] | None = None,
) -> str:
    """Write geometries in map coordinates as a GeoPackage; return its path."""
    import geopandas

    frame = geopandas.GeoDataFrame(fields or {}, geometry=list(geometries), crs=crs)
    frame.to_file(path, driver="GPKG", engine="pyogrio")
    return str(path)
