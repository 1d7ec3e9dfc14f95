"""What the tests of files share: small rasters and layers on one grid."""

import geopandas
import numpy as np
import rasterio
from rasterio.enums import ColorInterp

CRS = "EPSG:32616"
#: Upper left corner and pixel edge of every scene; quarters of a pixel are exact in float64.
LEFT, TOP, GSD = 700000.0, 3700000.0, 0.5


def grid(col=0, row=0, gsd=GSD):
    return rasterio.Affine(gsd, 0, LEFT + col * GSD, 0, -gsd, TOP - row * GSD)


def write(path, pixels, *, nodata=None, crs=CRS, transform=None, alpha=None, mask=None, **options):
    """Write (C, H, W) or (H, W); ``alpha`` becomes a band more, ``mask`` the file's own mask."""
    pixels = np.asarray(pixels)
    pixels = pixels[None] if pixels.ndim == 2 else pixels
    count, height, width = pixels.shape
    bands = count if alpha is None else count + 1
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(
            path, "w", driver="GTiff", width=width, height=height, count=bands, nodata=nodata,
            dtype=pixels.dtype, crs=crs, transform=transform or grid(), **options,
        ) as target,
    ):  # fmt: skip
        for band, plane in enumerate(pixels, start=1):
            target.write(plane, band)
        if alpha is not None:
            target.write(alpha.astype(pixels.dtype), count + 1)
            target.colorinterp = (*[ColorInterp.undefined] * count, ColorInterp.alpha)
        if mask is not None:
            target.write_mask(mask)
    return path


def noise(height, width, *, count=1, seed=0, dtype="uint8"):
    values = np.random.default_rng(seed).integers(1, 120, (count, height, width))
    return values.astype(dtype)


def to_map(col, row):
    return LEFT + col * GSD, TOP - row * GSD


def place(geometry):
    """Move a geometry in pixels (column, row) onto the map."""
    from shapely import transform

    return transform(geometry, lambda xy: np.stack([LEFT + xy[:, 0] * GSD, TOP - xy[:, 1] * GSD], 1))


def layer(path, geometries, *, crs=CRS, **fields):
    """Write features given in pixels; the ending of ``path`` says the format."""
    frame = geopandas.GeoDataFrame(fields, geometry=[place(g) for g in geometries], crs=crs)
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    else:
        frame.to_file(path)
    return path
