"""A layer of found objects is judged by what people drew, whatever the CRS, order or number."""

import geopandas
import numpy as np
import pytest
import shapely

from geomm.errors import DataError
from geomm.inference import judge_objects
from tests.inference.conftest import noise, write_scene


@pytest.fixture
def scene(tmp_path):
    path = tmp_path / "scene.tif"
    write_scene(path, noise(100, 200))
    return path


def layer(path, scene, boxes, *, crs=None, **fields):
    """Write boxes in pixels of the scene as polygons on the map."""
    import rasterio

    with rasterio.open(scene) as source:
        corners = [(source.transform * (b[0], b[1])) + (source.transform * (b[2], b[3])) for b in boxes]
        frame = geopandas.GeoDataFrame(fields, geometry=[shapely.box(*c) for c in corners], crs=source.crs)
    frame = frame if crs is None else frame.to_crs(crs)
    frame.to_file(path)
    return path


BOXES = [(10, 10, 30, 30), (50, 20, 80, 60), (120, 40, 140, 90)]


def test_what_is_all_there_is_perfect_in_any_order_and_crs(tmp_path, scene):
    found = layer(
        tmp_path / "found.gpkg", scene, BOXES[::-1], **{"class": ["a"] * 3, "confidence": [0.9, 0.8, 0.7]}
    )
    truth = layer(tmp_path / "truth.gpkg", scene, BOXES, crs="EPSG:4326")
    result = judge_objects(found, truth, scene, iou=0.5)
    assert result["AP50"] == pytest.approx(1.0)
    assert result["precision"] == result["recall"] == pytest.approx(1.0)


def test_what_is_missed_and_made_up_counts(tmp_path, scene):
    found = layer(
        tmp_path / "found.gpkg", scene, [BOXES[0], (150, 5, 160, 15)],
        **{"class": ["a", "a"], "confidence": [0.9, 0.8]},
    )  # fmt: skip
    truth = layer(tmp_path / "truth.gpkg", scene, BOXES)
    result = judge_objects(found, truth, scene, score_threshold=0.5)
    assert result["recall"] == pytest.approx(1 / 3)
    assert result["precision"] == pytest.approx(1 / 2)


def test_classes_count_where_the_truth_names_them(tmp_path, scene):
    found = layer(
        tmp_path / "found.gpkg", scene, BOXES, **{"class": ["a", "b", "b"], "confidence": [0.9] * 3}
    )
    truth = layer(tmp_path / "truth.gpkg", scene, BOXES, kind=["a", "a", "b"])
    as_one = judge_objects(found, truth, scene)
    named = judge_objects(found, truth, scene, label_field="kind", score_threshold=0.5)
    assert as_one["recall"] == pytest.approx(1.0)
    assert named["recall/a"] == pytest.approx(1 / 2)
    assert named["precision/b"] == pytest.approx(1 / 2)


def test_outlines_tell_apart_what_boxes_do_not(tmp_path, scene):
    found = layer(tmp_path / "found.gpkg", scene, BOXES[:1], **{"class": ["a"], "confidence": [0.9]})
    frame = geopandas.read_file(found)
    corners = np.array(frame.geometry.iloc[0].exterior.coords)[:3]
    frame.geometry = [shapely.Polygon(corners)]  # half of the square, with the same box around it
    frame.to_file(tmp_path / "half.gpkg")
    truth = layer(tmp_path / "truth.gpkg", scene, BOXES[:1])
    half = tmp_path / "half.gpkg"
    assert judge_objects(half, truth, scene, iou=0.6)["recall"] == 1.0
    assert judge_objects(half, truth, scene, iou=0.6, outlines=True)["recall"] == 0.0


def test_nothing_found_is_a_result(tmp_path, scene):
    found = layer(tmp_path / "found.gpkg", scene, [], **{"class": [], "confidence": []})
    truth = layer(tmp_path / "truth.gpkg", scene, BOXES)
    result = judge_objects(found, truth, scene)
    assert result["recall"] == 0.0
    assert result["AP50"] == 0.0


def test_a_layer_without_confidence_is_named(tmp_path, scene):
    found = layer(tmp_path / "found.gpkg", scene, BOXES, **{"class": ["a"] * 3})
    with pytest.raises(DataError, match=r"found\.gpkg has no field 'confidence'"):
        judge_objects(found, found, scene)


@pytest.mark.parametrize("outlines", [False, True])
def test_what_was_drawn_ends_where_the_scene_does(tmp_path, scene, outlines):
    drawn = [BOXES[0], (-12, 40, 8, 60), (192, 70, 212, 90), (300, 300, 310, 310)]
    found = layer(
        tmp_path / "found.gpkg", scene, [BOXES[0], (0, 40, 8, 60), (192, 70, 200, 90)],
        **{"class": ["a"] * 3, "confidence": [0.9] * 3},
    )  # fmt: skip
    result = judge_objects(found, layer(tmp_path / "truth.gpkg", scene, drawn), scene, outlines=outlines)
    assert result["AP"] == pytest.approx(1.0) and result["recall"] == pytest.approx(1.0)


@pytest.mark.parametrize("outlines", [False, True])
def test_what_nobody_named_is_ignored(tmp_path, scene, outlines):
    truth = layer(tmp_path / "truth.gpkg", scene, BOXES, kind=["a", None, "b"])
    found = layer(
        tmp_path / "found.gpkg", scene, BOXES, **{"class": ["a", "b", "b"], "confidence": [0.9] * 3}
    )
    some = layer(tmp_path / "some.gpkg", scene, BOXES[::2], **{"class": ["a", "b"], "confidence": [0.9] * 2})
    for path in (found, some):
        result = judge_objects(path, truth, scene, label_field="kind", score_threshold=0.5, outlines=outlines)
        assert not any("None" in name for name in result)
        assert result["AP50"] == result["precision"] == result["recall"] == pytest.approx(1.0)


def test_the_truth_may_hold_values(tmp_path, scene):
    truth = layer(tmp_path / "truth.gpkg", scene, BOXES, kind=[1, 5, 7])
    found = layer(
        tmp_path / "found.gpkg", scene, BOXES[:2],
        **{"class": ["roof", "tree"], "value": [1, 5], "confidence": [0.9] * 2},
    )  # fmt: skip
    result = judge_objects(found, truth, scene, label_field="kind", score_threshold=0.5)
    assert result["AP50/roof"] == result["AP50/tree"] == pytest.approx(1.0)
    assert result["recall/7"] == 0.0 and result["AP50"] == pytest.approx(2 / 3)


def test_a_name_that_is_also_a_value_is_a_name(tmp_path, scene):
    truth = layer(tmp_path / "truth.gpkg", scene, BOXES[:2], kind=["1", "2"])
    found = layer(
        tmp_path / "found.gpkg", scene, BOXES[:2],
        **{"class": ["1", "2"], "value": [2, 1], "confidence": [0.9] * 2},
    )  # fmt: skip
    assert judge_objects(found, truth, scene, label_field="kind")["AP50"] == pytest.approx(1.0)
