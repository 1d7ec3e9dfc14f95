"""Sizes are those on the ground, whatever plane things were drawn in."""

import numpy as np
import pyproj
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS

from geomm.io.ground_sizes import ground_of

#: Web Mercator as people and files write it, and what it may be part of.
WEB_MERCATOR = ("EPSG:3857", "ESRI:102100", "EPSG:3857+5773", CRS.from_epsg(3857).to_wkt())
SHIFTED = "+proj=merc +lon_0=10 +ellps=bessel +towgs84=598.1,73.7,418.2,0.202,0.045,-2.455,6.7 +type=crs"
MEASURED = ("EPSG:4326", "EPSG:3395", "EPSG:3832", "EPSG:4087", "EPSG:4807", "+proj=mill +type=crs", SHIFTED)


def boxes(*corners):
    return np.array([shapely.box(*corner) for corner in corners], object)


@pytest.mark.parametrize("crs", WEB_MERCATOR)
def test_web_mercator_is_measured_on_the_ellipsoid(crs):
    square = boxes((1669792, 8399738, 1669892, 8399838))  # at 15° E, 60° N
    np.testing.assert_allclose(ground_of(crs).areas_m2(square), 2508.36, atol=0.01)
    np.testing.assert_allclose(ground_of(crs).metres_per_unit(square), [[0.50125, 0.50041]], atol=1e-5)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(MEASURED), st.floats(2, 20), st.floats(-75, 75))
def test_sizes_are_those_of_geodesics(crs, lon, lat):
    own = pyproj.CRS.from_user_input(crs)
    own = own.source_crs if own.is_bound else own
    base = own.geodetic_crs
    to_plane = pyproj.Transformer.from_crs(base, own, always_xy=True)
    unit = np.degrees(base.axis_info[0].unit_conversion_factor)
    corners = np.array([[lon, lat], [lon + 1e-3, lat + 1e-3]]) / unit
    placed = np.stack(to_plane.transform(*corners.T), 1)
    geod, (right, top) = base.get_geod(), (lon + 1e-3, lat + 1e-3)
    area = abs(geod.polygon_area_perimeter([lon, right, right, lon], [lat, lat, top, top])[0])
    there = boxes(placed.ravel())
    np.testing.assert_allclose(ground_of(crs).areas_m2(there), area, rtol=1e-6)
    middle = (lon + right) / 2, (lat + top) / 2
    lengths = geod.inv(lon, middle[1], right, middle[1])[2], geod.inv(middle[0], lat, middle[0], top)[2]
    sizes = ground_of(crs).metres_per_unit(there)[0] * (placed[1] - placed[0])
    np.testing.assert_allclose(sizes, lengths, rtol=1e-6)


def test_large_things_are_measured_whole():
    north = boxes((0, 0, 360, 90), (0, -90, 360, 90))
    np.testing.assert_allclose(
        ground_of("EPSG:4326").areas_m2(north), [2.5503281e14, 5.1006562e14], rtol=1e-7
    )


def test_nothing_leaps_where_the_map_ends():
    square, across = boxes((-50, 8e6, 50, 8e6 + 100)), boxes((20037458, 8e6, 20037558, 8e6 + 100))
    np.testing.assert_allclose(*(ground_of("EPSG:3857").areas_m2(item) for item in (square, across)))
    square, across = boxes((9.9, 50, 10.1, 51)), boxes((179.9, 50, 180.1, 51))
    np.testing.assert_allclose(*(ground_of("EPSG:4326").areas_m2(item) for item in (square, across)))


@pytest.mark.parametrize("crs", ["EPSG:32633", "EPSG:3035", "EPSG:2154", "EPSG:6933", "EPSG:2056", None])
def test_other_planes_are_taken_as_they_are(crs):
    there = boxes((500000, 6600000, 500010, 6600020))
    assert ground_of(crs).areas_m2(there) == [200]
    assert ground_of(crs).metres_per_unit(there).tolist() == [[1, 1]]


def test_areas_in_feet_become_square_metres():
    np.testing.assert_allclose(
        ground_of("EPSG:2263").areas_m2(boxes((0, 0, 10, 10))), 100 * 0.3048006096**2, rtol=1e-6
    )


@pytest.mark.parametrize("crs", [None, "EPSG:4326", "EPSG:3857"])
def test_nothing_has_no_size(crs):
    assert ground_of(crs).areas_m2(np.array([], object)).tolist() == []
