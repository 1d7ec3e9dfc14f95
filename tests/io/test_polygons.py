"""Polygons are the same however the map was cut into bands of rows."""

import geopandas
import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.features import rasterize, shapes
from scipy.ndimage import label

from geomm.io.cog import MapLayout, write_rows
from geomm.io.polygons import polygonise
from geomm.structures import ClassSpec, Georeference

CLASSES = tuple(ClassSpec(value, f"class {value}", (value, 0, 0)) for value in (1, 2, 3))
PLACE = (0.5, 0.0, 700000.0, 0.0, -0.5, 3700000.0)


def run(folder, values, heights, confidence=None, *, place=PLACE, crs="EPSG:32616", **options):
    sure = np.full(values.shape, 80, np.uint8) if confidence is None else confidence
    height, width = values.shape
    georeference = Georeference(crs, place)
    plans = {
        "classes": MapLayout(width, height, "uint8", georeference, 0, ("class",), CLASSES),
        "confidence": MapLayout(width, height, "uint8", georeference, 255, ("confidence",)),
    }
    rows = {}
    for name, pixels in (("classes", values), ("confidence", sure)):
        first, rows[name] = 0, []
        for number, size in enumerate(heights):
            path = folder / f"{name}_{number}.tif"
            write_rows(path, first, pixels[None, first : first + size], plans[name])
            rows[name].append((first, size, path))
            first += size
    target = folder / "map.gpkg"
    work = folder / "work"
    work.mkdir(exist_ok=True)
    polygonise(rows["classes"], rows["confidence"], plans["classes"], target, work=work, **options)
    return geopandas.read_file(target)


@st.composite
def maps(draw):
    heights = draw(st.lists(st.integers(1, 6), min_size=1, max_size=5))
    width = draw(st.integers(1, 14))
    most = draw(st.integers(1, 3))
    random = np.random.default_rng(draw(st.integers(0, 999)))
    values = random.integers(0, most + 1, (sum(heights), width)).astype(np.uint8)
    return values, heights


def whole(values):
    """The polygons of the map at once, as GDAL makes them."""
    found = shapes(values, mask=values > 0)
    return sorted((int(value), shapely.geometry.shape(shape).normalize().wkt) for shape, value in found)


def in_pixels(frame):
    back = shapely.transform(
        frame.geometry.to_numpy(), lambda p: np.stack([(p[:, 0] - 7e5) / 0.5, (3.7e6 - p[:, 1]) / 0.5], 1)
    )
    return sorted(
        (value, shapely.normalize(shapely.simplify(shape, 0)).wkt)
        for value, shape in zip(frame["value"], back, strict=True)
    )


@settings(max_examples=60, deadline=None, derandomize=True)
@given(case=maps())
def test_polygons_are_those_of_the_whole_map(tmp_path_factory, case):
    values, heights = case
    frame = run(tmp_path_factory.mktemp("map"), values, heights)
    assert frame.is_valid.all()
    assert set(frame.geom_type) <= {"Polygon"}
    regions = sum(label(values == value)[1] for value in (1, 2, 3))
    assert len(frame) == regions
    painted = np.zeros_like(values)
    if len(frame):
        pairs = zip(frame.geometry, frame["value"], strict=True)
        from rasterio import Affine

        rasterize(pairs, out=painted, transform=Affine(*PLACE))
    np.testing.assert_array_equal(painted, values)
    assert frame["pixels"].sum() == (values > 0).sum()
    np.testing.assert_allclose(frame["area_m2"], frame["pixels"] / 4)


def test_outlines_keep_no_points_of_the_seams(tmp_path):
    values = np.zeros((9, 5), np.uint8)
    values[1:8, 1:4] = 2
    frame = run(tmp_path, values, (3, 3, 3))
    assert in_pixels(frame) == whole(values)
    assert len(frame.geometry[0].exterior.coords) == 5


def test_confidence_is_the_mean_over_all_bands(tmp_path):
    values = np.ones((4, 2), np.uint8)
    sure = np.repeat(np.array([[100], [80], [60], [40]], np.uint8), 2, axis=1)
    frame = run(tmp_path, values, (1, 3), sure)
    assert frame["confidence"].tolist() == [0.7]
    assert frame["class"].tolist() == ["class 1"]


def test_the_background_and_small_polygons_are_left_out(tmp_path):
    values = np.ones((6, 6), np.uint8)
    values[0, 0] = 2
    values[2:5, 2:5] = 3
    frame = run(tmp_path, values, (3, 3), leave_out=(1,), min_area_m2=1.0)
    assert frame["value"].tolist() == [3]


@pytest.mark.parametrize("values", [np.zeros((5, 4), np.uint8), np.ones((5, 4), np.uint8)])
def test_a_map_without_polygons_is_an_empty_layer(tmp_path, values):
    frame = run(tmp_path, values, (2, 3), leave_out=(1,))
    assert len(frame) == 0
    assert {"class", "value", "confidence", "area_m2"} <= set(frame.columns)


def test_areas_in_degrees_are_measured_on_the_ellipsoid(tmp_path):
    values = np.ones((10, 10), np.uint8)
    values[4:6, 4:6] = 0
    frame = run(tmp_path, values, (5, 5), place=(1e-5, 0.0, -87.0, 0.0, -1e-5, 33.0), crs="EPSG:4326")
    metres = frame.to_crs("EPSG:32616").area
    np.testing.assert_allclose(frame["area_m2"], metres, rtol=2e-3)


def test_areas_in_web_mercator_are_measured_on_the_ellipsoid(tmp_path):
    values = np.array([[1, 1, 2], [1, 1, 0]], np.uint8)
    place = (50.0, 0.0, 1669792.0, 0.0, -50.0, 8399838.0)  # at 15° E, 60° N
    frame = run(tmp_path, values, (1, 1), place=place, crs="EPSG:3857", min_area_m2=1000.0)
    np.testing.assert_allclose(frame["area_m2"], [2508.4], rtol=1e-4)
