"""Layers of objects lie where their scene does, whatever the file can say of its CRS."""

import numpy as np
import pyogrio
import pytest

from geomm.io.object_layer import ObjectLayerWriter, box_polygons
from geomm.structures import ClassSpec, Georeference

NAMELESS = "+proj=merc +lon_0=0 +R=6378137 +units=m +type=crs"


@pytest.mark.parametrize("ending", ["gpkg", "geojson", "fgb"])
@pytest.mark.parametrize("crs", [NAMELESS, "EPSG:32616"])
def test_objects_are_where_the_scene_is(tmp_path, ending, crs):
    place = Georeference(crs, (0.5, 0.0, 500_000.0, 0.0, -0.5, 4_000_000.0))
    classes = [ClassSpec(1, "palm", (255, 0, 0))]
    path = tmp_path / f"objects.{ending}"
    with ObjectLayerWriter(path, georeference=place, classes=classes, scenes=["a.tif"]) as writer:
        found = np.array([[10.0, 20.0, 30.0, 60.0]])
        writer.add(found, np.zeros(1, np.int32), np.ones(1, np.float32), np.zeros(1, np.int32))
    layer = pyogrio.read_dataframe(path, layer="objects")
    there = layer.to_crs(crs).total_bounds
    np.testing.assert_allclose(there, [500_005, 3_999_970, 500_015, 3_999_990], atol=0.01)
    scale = 1.0 if crs != NAMELESS else 1 / np.cosh(3_999_980 / 6378137)  # of a sphere's Mercator
    np.testing.assert_allclose(layer["width_m"], 10 * scale, atol=1e-3)
    np.testing.assert_allclose(layer["height_m"], 20 * scale, atol=1e-3)
    np.testing.assert_allclose(layer["area_m2"], 200 * scale**2, atol=1e-3)


@pytest.mark.parametrize("outlines", [False, True])
def test_sizes_in_web_mercator_are_those_on_the_ground(tmp_path, outlines):
    place = Georeference("EPSG:3857", (10.0, 0.0, 1669792.0, 0.0, -10.0, 8399838.0))  # at 15° E, 60° N
    classes, path = [ClassSpec(1, "palm", (255, 0, 0))], tmp_path / "objects.gpkg"
    boxes = np.array([[0.0, 0.0, 10.0, 10.0], [20.0, 0.0, 26.0, 6.0]])
    shapes = box_polygons(boxes) if outlines else None
    with ObjectLayerWriter(
        path, georeference=place, classes=classes, scenes=["a"], outlines=outlines, min_area_m2=1000.0
    ) as writer:
        zeros, nothing = np.zeros(2, np.int32), np.zeros(0, np.int32)
        kept = writer.add(boxes, zeros, np.ones(2, np.float32), zeros, shapes)
        assert not len(writer.add(np.zeros((0, 4)), nothing, np.zeros(0, np.float32), nothing))
    assert kept.tolist() == [True, False]
    layer = pyogrio.read_dataframe(path, layer="objects")
    np.testing.assert_allclose(layer["area_m2"], [2508.4], rtol=1e-4)
    np.testing.assert_allclose([*layer["width_m"], *layer["height_m"]], [50.126, 50.042], rtol=1e-4)


@pytest.mark.parametrize("outlines", [False, True])
@pytest.mark.parametrize("transform", [(1.0, 0.0, 0.0, 0.0, 1.0, 0.0), (0.5, 0.1, 1000.0, 0.2, -0.5, 2000.0)])
def test_without_a_crs_sizes_are_pixels_whatever_the_world_file(tmp_path, outlines, transform):
    place = Georeference(None, transform)
    classes, path = [ClassSpec(1, "palm", (255, 0, 0))], tmp_path / "objects.gpkg"
    boxes = np.array([[10.0, 20.0, 30.0, 60.0], [20.0, 0.0, 26.0, 6.0]])
    shapes = box_polygons(boxes) if outlines else None
    with ObjectLayerWriter(
        path, georeference=place, classes=classes, scenes=["a"], outlines=outlines, min_area_m2=100.0
    ) as writer:
        writer.add(boxes, np.zeros(2, np.int32), np.ones(2, np.float32), np.zeros(2, np.int32), shapes)
    layer = pyogrio.read_dataframe(path, layer="objects")
    assert layer[["width_px", "height_px", "area_px2"]].to_numpy().tolist() == [[20.0, 40.0, 800.0]]
    a, b, c, d, e, f = transform
    corners = [(a * x + b * y + c, d * x + e * y + f) for x in (10, 30) for y in (20, 60)]
    expected = [*np.min(corners, 0), *np.max(corners, 0)]
    np.testing.assert_allclose(layer.total_bounds, expected)
