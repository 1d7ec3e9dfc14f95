"""Rasters as bands of one: on one grid, with their own nodata, and the same file each time."""

import os

import numpy as np
import pytest
import rasterio

from geomm.errors import MissingCRSError
from geomm.io.raster import RasterReader
from geomm.io.raster_info import read_info
from geomm.io.raster_stack import StackBand, axes_are_straight, stack_rasters
from geomm.structures import PixelWindow
from tests.io.test_raster_samples import write

WHOLE = PixelWindow(0, 0, 6, 4)


def read(path):
    return RasterReader(path).read(WHOLE)


@pytest.fixture
def dem(tmp_path):
    pixels = np.arange(24, dtype=float).reshape(4, 6)
    pixels[1, 2] = -1
    return write(tmp_path / "dem.tif", pixels)


def test_bands_keep_their_values_and_their_gaps(dem, tmp_path):
    other = write(tmp_path / "rain.tif", np.full((4, 6), 7.0), nodata=None)
    stack = stack_rasters(
        [StackBand("rain", other), StackBand("dem", dem)], read_info(dem), tmp_path / "w", "s"
    )
    pixels, valid = read(stack)
    assert (pixels[0] == 7).all() and np.isnan(pixels[1, 1, 2]) and not valid[1, 2]
    assert valid.sum() == 23 and read_info(stack).band_names == ("rain", "dem")
    assert read_info(stack).georeference == read_info(dem).georeference


def test_another_grid_is_warped(dem, tmp_path):
    fine = write(tmp_path / "fine.tif", np.kron(np.arange(24.0).reshape(4, 6), np.ones((2, 2))), gsd=5.0)
    stack = stack_rasters(
        [StackBand("dem", dem), StackBand("fine", fine)], read_info(dem), tmp_path / "w", "s"
    )
    pixels, valid = read(stack)
    assert np.array_equal(pixels[0][valid], pixels[1][valid])
    far = write(tmp_path / "far.tif", np.ones((4, 6)), gsd=1.0)
    stack = stack_rasters([StackBand("far", far)], read_info(dem), tmp_path / "w", "t")
    pixels, valid = read(stack)
    assert valid.sum() == 0 or valid.sum() < 3  # six by four metres of it lie on one pixel


def test_coordinates_are_bands(dem, tmp_path):
    bands = [StackBand("x", None, axis=0), StackBand("y", None, axis=1)]
    pixels, _ = read(stack_rasters(bands, read_info(dem), tmp_path / "w", "s"))
    assert pixels.dtype == np.float64
    np.testing.assert_allclose(pixels[0], np.tile(5e5 + 10 * (np.arange(6) + 0.5), (4, 1)))
    np.testing.assert_allclose(pixels[1], np.tile(4e6 - 10 * (np.arange(4) + 0.5), (6, 1)).T)
    assert axes_are_straight(read_info(dem), "EPSG:32633")
    assert not axes_are_straight(read_info(dem), "EPSG:4326")


def test_the_same_sources_give_the_same_file(dem, tmp_path):
    bands = [StackBand("dem", dem), StackBand("x", None, axis=0)]
    first = stack_rasters(bands, read_info(dem), tmp_path / "w", "s")
    seen = first.stat().st_mtime_ns
    assert stack_rasters(bands, read_info(dem), tmp_path / "w", "s").stat().st_mtime_ns == seen
    with rasterio.open(dem, "r+") as opened:  # a source that changed is another stack
        opened.write(np.zeros((1, 4, 6), np.float32))
    assert stack_rasters(bands, read_info(dem), tmp_path / "w", "s").stat().st_mtime_ns != seen


def test_a_raster_that_took_the_name_of_another_lies_at_its_own_place(dem, tmp_path):
    def stacked():
        stack = stack_rasters([StackBand("fine", fine)], read_info(dem), tmp_path / "w", "s")
        return read(stack)[1]

    fine = write(tmp_path / "fine.tif", np.ones((8, 12)), gsd=5.0)
    assert stacked().all()
    os.utime(write(tmp_path / "fine.tif", np.ones((8, 12)), gsd=2.5), ns=(10**18, 10**18))
    assert stacked().sum() == 6 and stacked()[:2, :3].all()
    kept = sorted(path.name for path in (tmp_path / "w").iterdir())
    stacked()
    assert sorted(path.name for path in (tmp_path / "w").iterdir()) == kept


def test_a_grid_without_crs_takes_no_raster_with_one(dem, tmp_path):
    bare = write(tmp_path / "bare.tif", np.ones((3, 3)), crs=None)
    with pytest.raises(MissingCRSError, match="one of them has no CRS"):
        stack_rasters([StackBand("bare", bare)], read_info(dem), tmp_path / "w", "s")


def test_rasters_with_world_files_alone_are_laid_by_them(tmp_path):
    first = write(tmp_path / "first.tif", np.ones((4, 6)), crs=None)
    pixels = np.arange(24.0).reshape(4, 6)
    second = write(tmp_path / "second.tif", pixels, crs=None, gsd=20.0)
    stack = stack_rasters([StackBand("second", second)], read_info(first), tmp_path / "w", "s")
    assert np.array_equal(read(stack)[0][0], np.kron(pixels, np.ones((2, 2)))[:4, :6])
