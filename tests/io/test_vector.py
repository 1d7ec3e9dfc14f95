import logging
import pickle

import geopandas
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rasterio.features import rasterize
from shapely import LineString, MultiPolygon, Point, Polygon, box

from geomm.errors import DataError, MissingCRSError
from geomm.io import vector
from geomm.io.raster import read_info
from geomm.io.vector import VectorLabels, layer_classes, read_layer, to_map, to_pixels
from geomm.structures import IGNORE_INDEX, PixelWindow
from tests.io.common import CRS, grid, layer, noise, place, write

SIZE = 32
WHOLE = PixelWindow(0, 0, SIZE, SIZE)
NAMES = {"a": 0, "b": 1, "c": 2}


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    return read_info(write(tmp_path_factory.mktemp("scene") / "scene.tif", noise(SIZE, SIZE)))


# Quarters of a pixel are exact on the map, and never a pixel's centre.
places = st.tuples(st.integers(-20, 2 * SIZE + 20), st.integers(-20, 2 * SIZE + 20)).map(
    lambda xy: (xy[0] / 2 + 0.25, xy[1] / 2 + 0.25)
)
shapes = st.one_of(
    st.lists(places, min_size=3, max_size=6).map(lambda p: Polygon(p).buffer(0)),
    st.tuples(places, st.integers(1, 9)).map(lambda t: box(*t[0], t[0][0] + t[1], t[0][1] + t[1])),
    places.map(Point),
).filter(lambda shape: not shape.is_empty)
windows = st.builds(
    PixelWindow, st.integers(-9, 40), st.integers(-9, 40), st.integers(1, 40), st.integers(1, 40)
)


@settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    features=st.lists(st.tuples(shapes, st.sampled_from("abcd")), min_size=1, max_size=5),
    window=windows,
    fill=st.sampled_from([0, IGNORE_INDEX]),
    all_touched=st.booleans(),
)
def test_a_burnt_window_is_a_part_of_the_burnt_scene(scene, features, window, fill, all_touched):
    geometries, names = (np.array(items, object) for items in zip(*features, strict=True))
    labels = VectorLabels("made", geometries, names)
    known = [(place(g), NAMES[n]) for g, n in zip(geometries, names, strict=True) if n in NAMES]
    # A margin around the scene, since windows reach past its edges.
    whole = np.full((SIZE + 100, SIZE + 100), fill, np.uint8)
    if known:
        rasterize(known, out=whole, transform=grid(-50, -50), all_touched=all_touched)
    burnt = labels.burn(window, NAMES, fill=fill, all_touched=all_touched)
    inside = PixelWindow(window.col + 50, window.row + 50, window.width, window.height)
    np.testing.assert_array_equal(burnt, whole[inside.slices])


def test_features_without_a_field_are_all_one_class(scene, tmp_path):
    path = layer(tmp_path / "a.gpkg", [box(2, 2, 8, 8), box(20, 20, 30, 30)])
    labels = VectorLabels.open(path, scene)
    burnt = labels.burn(WHOLE, 1, fill=0)
    assert labels.names is None and burnt.sum() == 36 + 100


def test_later_features_cover_earlier_ones(scene, tmp_path):
    path = layer(tmp_path / "a.gpkg", [box(0, 0, 9, 9), box(3, 3, 6, 6)], kind=["a", "b"])
    burnt = VectorLabels.open(path, scene, label_field="kind").burn(WHOLE, NAMES, fill=255)
    assert (burnt == 1).sum() == 9 and (burnt == 0).sum() == 81 - 9


@pytest.mark.parametrize("ending", ["gpkg", "geojson", "shp", "fgb", "parquet"])
def test_every_format_gives_the_same_mask(scene, tmp_path, ending):
    boxes = [box(2, 3, 9, 12), box(10, 3, 20, 30)]
    crs = "EPSG:4326" if ending == "geojson" else CRS
    frame = geopandas.GeoDataFrame({"kind": ["a", "b"]}, geometry=[place(b) for b in boxes], crs=CRS)
    path = tmp_path / f"a.{ending}"
    if ending == "parquet":
        frame.to_parquet(path)
    else:
        frame.to_crs(crs).to_file(path)
    labels = VectorLabels.open(path, scene, label_field="kind")
    burnt = dict(zip(labels.names, labels.geometries, strict=True))
    mask = labels.burn(WHOLE, NAMES, fill=255)
    assert set(burnt) == {"a", "b"}
    assert (mask[3:12, 2:9] == 0).all() and (mask[3:30, 10:20] == 1).all()
    assert (mask == 255).sum() == SIZE**2 - 63 - 270


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:3857", "EPSG:32617"])
def test_a_layer_in_another_crs_is_put_where_it_belongs(scene, tmp_path, crs):
    frame = geopandas.GeoDataFrame(geometry=[place(box(4.25, 6.25, 20.25, 26.25))], crs=CRS)
    frame.to_crs(crs).to_file(tmp_path / "other.gpkg")
    labels = VectorLabels.open(tmp_path / "other.gpkg", scene)
    np.testing.assert_allclose(labels.geometries[0].bounds, (4.25, 6.25, 20.25, 26.25), atol=0.05)
    burnt = labels.burn(WHOLE, 1, fill=0)
    assert (burnt[6:26, 4:20] == 1).all() and burnt.sum() == 320


def test_a_layer_without_a_crs_is_refused(scene, tmp_path):
    path = layer(tmp_path / "bare.shp", [box(2, 2, 8, 8)], crs=None)
    with pytest.raises(MissingCRSError, match=r"bare\.shp has no CRS; assign"):
        VectorLabels.open(path, scene)


def test_a_scene_without_a_crs_is_refused(tmp_path):
    bare = read_info(write(tmp_path / "bare.tif", noise(SIZE, SIZE), crs=None))
    path = layer(tmp_path / "a.gpkg", [box(2, 2, 8, 8)])
    with pytest.raises(MissingCRSError, match=r"bare\.tif has no CRS.*a\.gpkg"):
        VectorLabels.open(path, bare)


def test_without_any_crs_both_are_taken_as_they_are(tmp_path):
    bare = read_info(write(tmp_path / "bare.tif", noise(SIZE, SIZE), crs=None))
    path = layer(tmp_path / "a.shp", [box(2, 2, 8, 8)], crs=None)
    assert VectorLabels.open(path, bare).burn(WHOLE, 1, fill=0).sum() == 36


@pytest.mark.parametrize("sign", [1, -1], ids=["rows", "as QGIS shows it"])
def test_a_plain_picture_takes_rows_and_what_is_drawn_over_it_in_qgis(tmp_path, sign):
    """Without a place, QGIS shows a picture below y = 0, its first row uppermost."""
    import cv2

    cv2.imwrite(str(tmp_path / "plain.png"), np.zeros((SIZE, SIZE), np.uint8))
    plain = read_info(tmp_path / "plain.png")
    drawn = [box(2, sign * 3, 8, sign * 5), box(20, sign * -2, 30, sign * 9)]
    geopandas.GeoDataFrame(geometry=drawn).to_file(tmp_path / "a.shp")
    labels = VectorLabels.open(tmp_path / "a.shp", plain)
    assert [shape.bounds for shape in labels.geometries] == [(2, 3, 8, 5), (20, -2, 30, 9)]
    moved = to_map(labels.geometries, plain)
    assert [shape.bounds for shape in moved] == [(2, -5, 8, -3), (20, -9, 30, 2)]
    assert [shape.bounds for shape in to_pixels(moved, plain)] == [(2, 3, 8, 5), (20, -2, 30, 9)]


def test_labels_beside_the_scene_are_an_error_with_both_extents(scene, tmp_path):
    path = layer(tmp_path / "far.gpkg", [box(900, 100, 950, 120)])
    with pytest.raises(DataError, match="does not overlap") as caught:
        VectorLabels.open(path, scene)
    text = str(caught.value)
    assert "columns 900 to 950" in text and "rows 100 to 120" in text and "32 x 32" in text
    assert "far.gpkg" in text and "scene.tif" in text and "\n" not in text


def test_features_beside_the_scene_are_left_out(scene, tmp_path):
    path = layer(tmp_path / "a.gpkg", [box(900, 0, 950, 9), box(1, 1, 5, 5)], kind=["a", "b"])
    labels = VectorLabels.open(path, scene, label_field="kind")
    assert list(labels.names) == ["b"] and len(labels.geometries) == 1


def test_a_scene_among_the_features_may_have_none_of_its_own(scene, tmp_path, caplog):
    path = layer(tmp_path / "a.gpkg", [box(-90, -90, -80, -80), box(90, 90, 99, 99)], kind=["a", "b"])
    with caplog.at_level(logging.WARNING, "geomm"):
        labels = VectorLabels.open(path, scene, label_field="kind")
    assert not len(labels.geometries) and not len(labels.names) and "no feature" in caplog.text
    assert (labels.burn(WHOLE, {}, fill=0) == 0).all()


@pytest.mark.parametrize("crs", [CRS, "EPSG:4326"])
def test_of_a_layer_of_many_features_those_near_the_scene_are_read(scene, tmp_path, monkeypatch, crs):
    boxes = [box(2, 2, 8, 8), box(20, 4, 26, 9), box(-500, -500, -490, -490), box(900, 900, 910, 910)]
    frame = geopandas.GeoDataFrame({"kind": list("abcd")}, geometry=[place(b) for b in boxes], crs=CRS)
    frame.to_crs(crs).to_file(tmp_path / "a.gpkg")
    whole = VectorLabels.open(tmp_path / "a.gpkg", scene, label_field="kind")
    monkeypatch.setattr(vector, "_MANY_FEATURES", 3)
    assert len(read_layer(tmp_path / "a.gpkg", around=scene)) == 2
    near = VectorLabels.open(tmp_path / "a.gpkg", scene, label_field="kind")
    index_of = {"a": 1, "b": 2}
    expected = whole.burn(WHOLE, index_of, fill=0)
    np.testing.assert_array_equal(near.burn(WHOLE, index_of, fill=0), expected)


def test_a_layer_of_many_features_far_from_the_scene_is_an_error(scene, tmp_path, monkeypatch):
    monkeypatch.setattr(vector, "_MANY_FEATURES", 1)
    far = layer(tmp_path / "far.gpkg", [box(900, 100, 950, 120), box(960, 100, 970, 120)])
    with pytest.raises(DataError, match=r"far\.gpkg does not overlap .*scene\.tif: in the layer's CRS"):
        VectorLabels.open(far, scene)
    around = layer(tmp_path / "a.gpkg", [box(-90, -90, -80, -80), box(90, 90, 99, 99)])
    assert not len(VectorLabels.open(around, scene).geometries)


def test_features_without_a_class_are_counted_and_ignored(scene, tmp_path, caplog):
    path = layer(tmp_path / "a.gpkg", [box(1, 1, 5, 5), box(6, 6, 9, 9)], kind=["a", None])
    with caplog.at_level(logging.WARNING, "geomm"):
        labels = VectorLabels.open(path, scene, label_field="kind")
    assert "1 features without a kind" in caplog.text
    mask = labels.burn(WHOLE, {"a": 1}, fill=0)
    assert (mask == 1).sum() == 16 and (mask == IGNORE_INDEX).sum() == 9


def test_an_unknown_field_is_an_error_that_names_the_nearest(scene, tmp_path):
    path = layer(tmp_path / "a.gpkg", [box(1, 1, 5, 5)], species=["oak"], height=[3.0])
    with pytest.raises(DataError, match=r"did you mean 'species'.*height"):
        VectorLabels.open(path, scene, label_field="specis")
    with pytest.raises(DataError, match="no field 'geometry'"):
        VectorLabels.open(path, scene, label_field="geometry")


def test_whole_numbers_and_missing_values_are_class_names(scene, tmp_path):
    boxes = [box(1, 1, 5, 5), box(6, 6, 9, 9), box(10, 10, 12, 12)]
    path = layer(tmp_path / "a.gpkg", boxes, code=[2.0, None, 10.0], share=[0.5, 1.0, 1.5])
    labels = VectorLabels.open(path, scene, label_field="code")
    assert list(labels.names) == ["2", None, "10"]
    assert layer_classes([labels.names]) == ["2", "10"]
    shares = VectorLabels.open(path, scene, label_field="share")
    assert list(shares.names) == ["0.5", "1.0", "1.5"]


def test_classes_of_several_layers_are_sorted_numbers_first():
    columns = [np.array(["tree", "10", None], object), np.array(["9", "-1", "road"], object)]
    assert layer_classes(columns) == ["-1", "9", "10", "road", "tree"]


def test_invalid_geometries_are_repaired_and_counted(scene, tmp_path, caplog):
    bow_tie = Polygon([(2, 2), (12, 12), (12, 2), (2, 12)])
    path = layer(tmp_path / "a.gpkg", [bow_tie, box(20, 20, 24, 24)])
    with caplog.at_level(logging.WARNING, "geomm"):
        labels = VectorLabels.open(path, scene)
    assert all(shape.is_valid for shape in labels.geometries)
    assert labels.geometries[0].area == 50 and "1 invalid geometries repaired" in caplog.text


def test_features_without_a_geometry_are_left_out(scene, tmp_path, caplog):
    frame = geopandas.GeoDataFrame(
        {"kind": ["a", "b", "c"]}, geometry=[None, Polygon(), place(box(1, 1, 5, 5))], crs=CRS
    )
    frame.to_file(tmp_path / "a.gpkg")
    with caplog.at_level(logging.WARNING, "geomm"):
        labels = VectorLabels.open(tmp_path / "a.gpkg", scene, label_field="kind")
    assert list(labels.names) == ["c"] and "2 features without a usable geometry" in caplog.text


def test_a_layer_of_empty_geometries_is_an_error(scene, tmp_path):
    geopandas.GeoDataFrame(geometry=[Polygon()], crs=CRS).to_file(tmp_path / "a.gpkg")
    with pytest.raises(DataError, match="no feature has a geometry"):
        VectorLabels.open(tmp_path / "a.gpkg", scene)


def test_a_feature_that_cannot_be_reprojected_is_no_hindrance(scene, tmp_path):
    good = geopandas.GeoSeries([place(box(2, 2, 8, 8))], crs=CRS).to_crs("EPSG:4326").iloc[0]
    frame = geopandas.GeoDataFrame(geometry=[box(400, 95, 401, 96), good], crs="EPSG:4326")
    frame.to_file(tmp_path / "a.gpkg")
    labels = VectorLabels.open(tmp_path / "a.gpkg", scene)
    assert len(labels.geometries) == 1 and labels.burn(WHOLE, 1, fill=0).sum() == 36


def test_a_layer_whose_crs_is_not_that_of_its_coordinates_is_an_error(scene, tmp_path):
    frame = geopandas.GeoDataFrame(geometry=[place(box(2, 2, 8, 8))], crs="EPSG:4326")
    frame.to_file(tmp_path / "a.gpkg")
    with pytest.raises(DataError, match=r"a\.gpkg.*CRS") as caught:
        VectorLabels.open(tmp_path / "a.gpkg", scene)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("ending", ["gpkg", "geojson", "shp", "parquet"])
def test_an_empty_layer_is_an_error(tmp_path, ending):
    path = tmp_path / f"empty.{ending}"
    frame = geopandas.GeoDataFrame({"kind": []}, geometry=[], crs=CRS)
    if ending == "parquet":
        frame.to_parquet(path)
    else:
        frame.to_file(path)
    with pytest.raises(DataError, match=rf"empty\.{ending}: the layer has no features"):
        read_layer(path)


@pytest.mark.parametrize("name", ["a.gpkg", "a.shp", "a.geojson", "a.parquet", "a.fgb"])
@pytest.mark.parametrize("content", [None, b"", b"no vector layer at all\n" * 40])
def test_what_is_no_layer_is_an_error_of_one_line(tmp_path, name, content):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    reason = "there is no such file" if content is None else "cannot be opened"
    with pytest.raises(DataError, match=reason) as caught:
        read_layer(path)
    assert name in str(caught.value) and "\n" not in str(caught.value)


def test_a_raster_is_no_layer(tmp_path):
    with pytest.raises(DataError, match=r"a\.tif"):
        read_layer(write(tmp_path / "a.tif", noise(5, 5)))


@pytest.mark.parametrize("ending", ["gpkg", "parquet"])
def test_a_table_without_geometries_is_an_error(tmp_path, ending):
    import pandas
    import pyogrio

    path, table = tmp_path / f"table.{ending}", pandas.DataFrame({"kind": ["a"]})
    if ending == "parquet":
        table.to_parquet(path)
    else:
        pyogrio.write_dataframe(table, path)
    with pytest.raises(DataError, match="table") as caught:
        read_layer(path)
    assert "\n" not in str(caught.value)


def test_lines_points_and_parts_are_labels_too(scene, tmp_path):
    parts = MultiPolygon([box(1, 1, 3, 3), box(8, 8, 10, 10)])
    line = LineString([(0.5, 20.5), (8.5, 20.5)])
    path = layer(tmp_path / "a.gpkg", [parts, line, Point(15.5, 15.5)])
    burnt = VectorLabels.open(path, scene).burn(WHOLE, 1, fill=0)
    assert burnt[15, 15] == 1 and burnt[20, :8].all() and burnt[1:3, 1:3].all()


def test_heights_of_geometries_do_not_matter(scene, tmp_path):
    high = Polygon([(1, 1, 5), (5, 1, 5), (5, 5, 5), (1, 5, 5)])
    import shapely

    flat = place(shapely.force_2d(high))
    frame = geopandas.GeoDataFrame(geometry=[shapely.force_3d(flat, 5.0)], crs=CRS)
    frame.to_file(tmp_path / "a.gpkg")
    labels = VectorLabels.open(tmp_path / "a.gpkg", scene)
    assert not labels.geometries[0].has_z and labels.burn(WHOLE, 1, fill=0).sum() == 16


def test_labels_are_picklable_after_use(scene, tmp_path):
    path = layer(tmp_path / "a.gpkg", [box(2, 2, 8, 8)], kind=["a"])
    labels = VectorLabels.open(path, scene, label_field="kind")
    burnt = labels.burn(WHOLE, NAMES, fill=255)
    again = pickle.loads(pickle.dumps(labels))
    np.testing.assert_array_equal(again.burn(WHOLE, NAMES, fill=255), burnt)


def test_only_features_that_touch_a_window_are_burnt(scene, tmp_path):
    boxes = [box(20, 20, 24, 24), box(2, 2, 8, 8), box(6, 6, 12, 12)]
    labels = VectorLabels.open(layer(tmp_path / "a.gpkg", boxes), scene)
    assert labels.inside(PixelWindow(0, 0, 10, 10)).tolist() == [1, 2]
    assert labels.inside(PixelWindow(13, 0, 5, 5)).tolist() == []
