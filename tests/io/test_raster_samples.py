"""Rasters at points and over polygons, distances to other layers."""

import numpy as np
import pyproj
import pytest
import rasterio
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely import Point, box

from geomm.errors import DataError, MissingCRSError
from geomm.io.raster_samples import band_names, metric_crs, nearest_distance, sample_raster

CRS = "EPSG:32633"


def write(path, pixels, *, crs=CRS, nodata=-1, gsd=10.0):
    pixels = np.asarray(pixels, np.float32)
    pixels = pixels[None] if pixels.ndim == 2 else pixels
    with rasterio.open(
        path, "w", driver="GTiff", count=len(pixels), height=pixels.shape[1], width=pixels.shape[2],
        dtype="float32", crs=crs, nodata=nodata, transform=rasterio.Affine(gsd, 0, 5e5, 0, -gsd, 4e6),
    ) as target:  # fmt: skip
        target.write(pixels)
    return str(path)


@pytest.fixture(scope="module")
def ramp(tmp_path_factory):
    """Value = column + 100 row, nodata in the upper left pixel; larger than a block of the reader."""
    rows, cols = np.mgrid[:40, :700]
    pixels = cols + 100.0 * rows
    pixels[0, 0] = -1
    return write(tmp_path_factory.mktemp("r") / "ramp.tif", pixels)


def centre(col, row):
    return Point(5e5 + (col + 0.5) * 10, 4e6 - (row + 0.5) * 10)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 699), st.integers(0, 39)), min_size=1, max_size=30))
def test_points_have_their_pixels_value(ramp, cells):
    found = sample_raster(ramp, np.array([centre(*cell) for cell in cells], object), CRS)
    wanted = [np.nan if cell == (0, 0) else cell[0] + 100 * cell[1] for cell in cells]
    np.testing.assert_array_equal(found, wanted)


def test_points_are_reprojected(ramp):
    there = pyproj.Transformer.from_crs(CRS, "EPSG:4326", always_xy=True)
    points = [Point(*there.transform(p.x, p.y)) for p in (centre(5, 7), centre(650, 39))]
    found = sample_raster(ramp, np.array(points, object), "EPSG:4326")
    assert found.tolist() == [705.0, 4550.0]


def test_outside_and_missing_geometries_have_no_value(ramp):
    found = sample_raster(ramp, np.array([Point(0, 0), None, centre(1, 1)], object), CRS)
    assert np.isnan(found[:2]).all() and found[2] == 101


@settings(max_examples=50, deadline=None)
@given(st.floats(1.5, 690), st.floats(1.5, 38))
def test_bilinear_values_of_a_plane_are_the_planes(ramp, col, row):
    point = Point(5e5 + (col + 0.5) * 10, 4e6 - (row + 0.5) * 10)
    found = sample_raster(ramp, np.array([point], object), CRS, resampling="bilinear")
    assert found[0] == pytest.approx(col + 100 * row, abs=1e-3)


@settings(max_examples=40, deadline=None)
@given(st.floats(1, 30), st.floats(1, 30), st.floats(0.3, 8), st.floats(0.3, 8))
def test_polygons_have_the_mean_by_exact_coverage(ramp, col, row, width, height):
    """The mean of a plane over a box, pixel by pixel with the share covered, from its definition."""
    shape = box(5e5 + col * 10, 4e6 - (row + height) * 10, 5e5 + (col + width) * 10, 4e6 - row * 10)
    total = weight = 0.0
    for c in range(40):
        for r in range(40):
            share = max(0, min(c + 1, col + width) - max(c, col)) * max(
                0, min(r + 1, row + height) - max(r, row)
            )
            total, weight = total + share * (c + 100 * r), weight + share
    found = sample_raster(ramp, np.array([shape], object), CRS)
    assert found[0] == pytest.approx(total / weight, rel=1e-4)


def test_statistics_of_polygons(ramp):
    shape = np.array([box(5e5 + 10, 4e6 - 30, 5e5 + 40, 4e6 - 10)], object)
    assert sample_raster(ramp, shape, CRS, statistic="max")[0] == 203
    with pytest.raises(DataError, match="unknown 'maen'; did you mean 'mean'"):
        sample_raster(ramp, shape, CRS, statistic="maen")


def test_a_crs_on_one_side_only_is_an_error(ramp, tmp_path):
    with pytest.raises(MissingCRSError, match=r"the table has no CRS, and .* has one; assign"):
        sample_raster(ramp, np.array([centre(1, 1)], object), None)


@pytest.mark.parametrize("sign", [1, -1], ids=["rows", "as QGIS shows it"])
def test_a_plain_picture_is_sampled_in_pixels(tmp_path, sign):
    import cv2

    path = str(tmp_path / "plain.png")
    cv2.imwrite(path, np.arange(60, dtype=np.uint8).reshape(6, 10))
    points = np.array([Point(2.5, sign * 1.5), Point(9.5, sign * 5.5)], object)
    assert sample_raster(path, points, None).tolist() == [12, 59]
    areas = np.array([box(0, 0, 10, sign * 2), box(3, sign * 4, 5, sign * 5)], object)
    assert sample_raster(path, areas, None).tolist() == [9.5, 43.5]


def test_bands_are_named_after_their_file(tmp_path):
    one = write(tmp_path / "dem.tif", np.ones((2, 2)))
    two = write(tmp_path / "climate.tif", np.ones((2, 2, 2)))
    assert band_names(one, None) == [(1, "dem")]
    assert band_names(two, None) == [(1, "climate_band_1"), (2, "climate_band_2")]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 100)), min_size=1, max_size=8), st.integers(0, 9))
def test_the_nearest_is_nearest(places, seed):
    others = np.random.default_rng(seed).uniform(0, 100, (6, 2))
    layer = [Point(*p) for p in others] + [None]
    found = nearest_distance(np.array([Point(*p) for p in places], object), None, layer, None, None)
    wanted = np.hypot(*(np.array(places)[:, None] - others[None]).transpose(2, 0, 1)).min(1)
    np.testing.assert_allclose(found, wanted)


def test_distances_between_degrees_are_in_metres():
    rows = np.array([Point(15.0, 50.0), None], object)
    crs = metric_crs(rows, "EPSG:4326")
    found = nearest_distance(rows, "EPSG:4326", [Point(15.0, 50.01)], "EPSG:4326", crs)
    assert found[0] == pytest.approx(1112, abs=3) and np.isnan(found[1])
    assert metric_crs(rows, CRS) == CRS and metric_crs(rows, None) is None
    assert shapely.is_missing(rows[1])
