"""Features on scenes: boxes of a table are pixels of a scene, whatever its place on the map."""

import json
import sqlite3
import struct
from dataclasses import replace
from functools import partial

import geopandas
import numpy as np
import pandas
import pyogrio
import pytest
import shapely
from hypothesis import given as drawn
from hypothesis import strategies as st
from shapely.geometry import box

from geomm.errors import DataError
from geomm.inference.pictures.features import classify_features
from geomm.inference.pictures.steps import short_names
from geomm.io.object_files import read_pixel_csv
from geomm.structures import make_classes
from tests.datasets.drawn import CRS, ORIGIN, write

LIGHT, DARK, OFF = (4, 2, 12, 10), (20, 20, 28, 26), (90, 90, 99, 99)


@pytest.fixture(params=["crs", "world file", "nowhere"])
def scene(request, tmp_path):
    """A dark scene, light where LIGHT is."""
    pixels = np.full((3, 40, 60), 60, np.uint8)
    pixels[:, 2:10, 4:12] = 200
    if request.param == "crs":
        return write(tmp_path / "scene.tif", pixels, origin=ORIGIN, gsd=0.5)
    path = write(tmp_path / "scene.png", pixels)
    if request.param == "world file":
        path.with_suffix(".pgw").write_text(f"0.5\n0\n0\n-0.5\n{ORIGIN[0] + 0.25}\n{ORIGIN[1] - 0.25}\n")
    return path


def table(path, rows, *, names=("xmin", "ymin", "xmax", "ymax"), **columns):
    frame = pandas.DataFrame(rows, columns=names).assign(**columns)
    frame.to_parquet(path) if path.suffix == ".parquet" else frame.to_csv(path, index=False)
    return str(path)


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_boxes_of_a_table_are_pixels_of_the_scene(scene, tmp_path, classifier, options, ending):
    given = table(tmp_path / f"boxes.{ending}", [LIGHT, DARK, OFF, (None, 1, 2, 3)], tree=list("abcd"))
    report = classify_features(
        str(scene), tmp_path / "out", **classifier, options=options(features=given, preview=True)
    )
    assert report.failed == [] and report.amount == 4
    read = pandas.read_csv if ending == "csv" else pandas.read_parquet
    found = read(tmp_path / "out" / f"boxes.{ending}")
    assert (
        found["class"].tolist()[:2] == ["light", "dark"] and found["class"].isna().tolist()[2:] == [True] * 2
    )
    assert found["reason"].tolist()[2:] == ["off the scene", "no geometry"]
    assert found["tree"].tolist() == list("abcd") and "wkb_geometry" not in found
    assert (tmp_path / "out" / "boxes_preview.png").is_file()


def test_a_layer_has_the_boxes_on_the_map(scene, tmp_path, classifier, options):
    given = table(tmp_path / "boxes.csv", [LIGHT, (None, 1, 2, 3)])
    classify_features(
        str(scene), tmp_path / "out", **classifier, options=options(features=given, format="gpkg")
    )
    found = geopandas.read_file(tmp_path / "out" / "boxes.gpkg")
    left, top, right, bottom = LIGHT
    if scene.suffix == ".tif" or scene.with_suffix(".pgw").exists():
        (left, right), (top, bottom) = (
            ORIGIN[0] + np.array([left, right]) / 2,
            ORIGIN[1] - np.array([bottom, top]) / 2,
        )
    else:
        top, bottom = -bottom, -top
    np.testing.assert_allclose(found.geometry[0].bounds, (left, top, right, bottom))
    assert found.geometry[1] is None and found["class"][0] == "light"
    assert (found.crs is not None and found.crs == CRS) == (scene.suffix == ".tif")


@pytest.mark.parametrize("ending", ["csv", "gpkg", "shp"])
@pytest.mark.parametrize("field", ["tree", "class"])
@pytest.mark.parametrize("scene", ["crs"], indirect=True)
def test_only_earlier_results_are_replaced(scene, tmp_path, classifier, options, ending, field):
    given = table(tmp_path / "boxes.csv", [LIGHT, DARK], **{field: ["a", "b"]})
    run = partial(classify_features, str(scene), tmp_path / "out", **classifier)
    for _ in range(2):
        assert run(options=options(features=given, format=ending)).failed == []
    target = tmp_path / "out" / f"boxes.{ending}"
    assert target.is_file()
    if ending == "csv":
        target.write_text("class,confidence,surveyor\nroof,1,me\n")
    else:
        mine = {"class": ["roof"], "confidence": [1.0], "surveyor": ["me"]}
        geopandas.GeoDataFrame(mine, geometry=[box(0, 0, 1, 1)], crs=4326).to_file(target)
    before = target.read_bytes()
    ((path, reason),) = run(options=options(features=given, format=ending)).failed
    assert path == given and f"boxes.{ending} is there and is no classified layer that geomm" in reason
    assert target.read_bytes() == before


def test_boxes_name_their_scene_as_training_labels_do(tmp_path, classifier, options, monkeypatch):
    shown = []
    monkeypatch.setattr(
        "geomm.visualization.labels.draw_feature_map", lambda *args: shown.append(args[:2]) or args[-1]
    )
    for name, value in (("a.tif", 60), ("b.tif", 200)):
        write(tmp_path / name, np.full((3, 40, 60), value, np.uint8), origin=ORIGIN)
    rows = [LIGHT, LIGHT, DARK, DARK, DARK]
    given = table(
        tmp_path / "boxes.csv", rows, names=("Left", "top", "right", "bottom"),
        filename=["b.tif", "folder\\a.jpg", "./b.tif", "c.tif", None],
    )  # fmt: skip
    assert {"folder/a.jpg", "b.tif", "c.tif"} < set(read_pixel_csv(given))
    scenes = [str(tmp_path / "a.tif"), str(tmp_path / "b.tif")]
    classify_features(scenes, tmp_path / "out", **classifier, options=options(features=given, preview=True))
    ((path, outlines),) = shown
    assert path == scenes[0] and [item.bounds for item in outlines] == [LIGHT]
    found = pandas.read_csv(tmp_path / "out" / "boxes.csv")
    assert found["class"].tolist()[:3] == ["light", "dark", "light"]
    assert found["reason"].tolist()[3:] == ["off the scene"] * 2


def test_boxes_of_scenes_of_one_name_say_which_by_its_folder(tmp_path, classifier, options, caplog):
    for year, value in (("2023", 60), ("2024", 200)):
        write(tmp_path / year / "ortho.tif", np.full((3, 40, 60), value, np.uint8), origin=ORIGIN)
    scenes = [str(tmp_path / year / "ortho.tif") for year in ("2023", "2024")]

    def run(*names):
        given = table(tmp_path / "boxes.csv", [LIGHT] * len(names), image=names)
        classify_features(scenes, tmp_path / "out", **classifier, options=options(features=given))
        return pandas.read_csv(tmp_path / "out" / "boxes.csv")

    assert run("2024/ortho.tif", "2023\\ortho.tif")["class"].tolist() == ["light", "dark"]
    assert run("ortho.tif")["reason"].tolist() == ["off the scene"]
    assert "1 names of images may mean several scenes (ortho.tif may be" in caplog.text


def test_texts_of_a_table_stay_as_they_are(tmp_path, classifier, options):
    scene = write(tmp_path / "scene.tif", np.full((3, 40, 60), 60, np.uint8), origin=ORIGIN)
    words = ["NA", "null", "None", "007", "", '"a, b"']
    lines = [f"4,2,12,10,{word},NA" for word in words]
    (tmp_path / "boxes.csv").write_text(
        "\n".join(["xmin,ymin,xmax,ymax,word,image", *lines, "NA,2,12,10,x,"])
    )
    classify_features(
        str(scene), tmp_path / "out", **classifier, options=options(features=str(tmp_path / "boxes.csv"))
    )
    found = pandas.read_csv(tmp_path / "out" / "boxes.csv", dtype=str, keep_default_na=False)
    assert found["word"].tolist() == ["NA", "null", "None", "007", "", "a, b", "x"]
    assert found["image"].tolist() == [*["NA"] * 6, ""]
    assert found["reason"].tolist() == [*[""] * 6, "no geometry"]


def test_a_word_in_place_of_an_edge_leaves_its_row_without_a_class(tmp_path, classifier, options):
    scene = write(tmp_path / "scene.tif", np.full((3, 40, 60), 60, np.uint8), origin=ORIGIN)
    path = tmp_path / "boxes.csv"
    path.write_text("xmin,ymin,xmax,ymax\n4.50,2,12,10\nabc,2,12,10\n,2,12,10\n")
    run = partial(classify_features, str(scene), tmp_path / "out", **classifier)
    for ending in ("csv", "gpkg", "parquet"):
        assert run(options=options(features=str(path), format=ending)).failed == []
    found = pandas.read_csv(tmp_path / "out" / "boxes.csv", dtype=str, keep_default_na=False)
    assert found["xmin"].tolist() == ["4.50", "abc", ""] and found["class"].tolist() == ["dark", "", ""]
    reasons = ["no number: xmin is 'abc'", "no geometry"]
    assert found["reason"].tolist() == ["", *reasons]
    layers = (
        geopandas.read_file(tmp_path / "out" / "boxes.gpkg"),
        pandas.read_parquet(tmp_path / "out" / "boxes.parquet"),
    )
    for layer in layers:
        assert layer["xmin"].dtype == float and layer["xmin"].isna().tolist() == [False, True, True]
        assert layer["reason"].tolist()[1:] == reasons
    with pytest.raises(
        DataError, match=r"boxes.csv: column 'xmin', row 2: found 'abc', expected a number; corr"
    ):
        run(options=options(features=str(path), on_error="raise"))


@pytest.mark.parametrize("name", ["fid", "FID", "geom", "wkb_geometry", "OGC_FID", "id"])
@pytest.mark.parametrize("source", ["csv", "geojson", "shp", "gpkg", "parquet"])
def test_fields_may_be_called_as_a_geopackage_calls_its_own(tmp_path, classifier, options, name, source):
    scene, path = dark_scene(tmp_path / "a.tif"), tmp_path / f"in.{source}"
    if source == "csv":
        table(path, [LIGHT, DARK], **{name: ["x", "x"]})
    elif source == "gpkg":
        shapes = [at(*LIGHT), at(*DARK)]
        frame = geopandas.GeoDataFrame({name: ["x", "x"]}, geometry=shapes, crs=CRS)
        frame.to_file(path, FID="own", GEOMETRY_NAME="shape")
    else:
        layer(path, [at(*LIGHT), at(*DARK)], **{name: ["x", "x"]})
    for ending in ("gpkg", "geojson"):
        report = classify_features(
            scene, tmp_path / "out", **classifier, options=options(features=str(path), format=ending)
        )
        assert report.failed == []
        found = geopandas.read_file(report.outputs[0])
        called = name[:10] if source == "shp" else name
        if name == "OGC_FID" and ending == "geojson":
            called = "ogc_fid_2" if source == "gpkg" else "ogc_fid"  # beside the ids of the features
        assert found[called].tolist() == ["x", "x"] and found["class"].tolist() == ["light", "dark"]
        assert not found.geometry.isna().any()


@pytest.mark.parametrize("ending", ["gpkg", "geojson", "fgb", "shp", "csv"])
def test_classes_may_differ_in_case_alone(tmp_path, classifier, options, ending):
    spec = replace(classifier["spec"], classes=make_classes(["B", "b"]))
    given = layer(tmp_path / "in.gpkg", [at(*LIGHT)])
    report = classify_features(
        dark_scene(tmp_path / "a.tif"), tmp_path / "out", score=classifier["score"], spec=spec,
        options=options(features=given, format=ending),
    )  # fmt: skip
    found = geopandas.read_file(report.outputs[0])
    assert report.failed == []
    assert found[["score_B", "score_b_2"]].astype(float).to_numpy().tolist() == [[0, 1]]


@pytest.mark.parametrize("index", [True, False])
def test_a_flatgeobuf_has_an_index_where_no_geometry_is_missing(tmp_path, classifier, options, index):
    scene = dark_scene(tmp_path / "a.tif")
    given = layer(tmp_path / "in.gpkg", [at(*LIGHT), at(*DARK) if index else None])
    run = partial(classify_features, scene, **classifier)
    (target,) = run(output=tmp_path / "out", options=options(features=given, format="fgb")).outputs
    info = pyogrio.read_info(target)
    assert info["capabilities"]["fast_spatial_filter"] == index
    (again,) = run(output=tmp_path / "again", options=options(features=str(target))).outputs
    found = geopandas.read_file(again).sort_values("n")
    assert found["class"].tolist() == ["light", "dark" if index else None]


def test_that_a_file_has_several_layers_is_said(tmp_path, classifier, options, caplog):
    scene, path = dark_scene(tmp_path / "a.tif"), tmp_path / "in.gpkg"
    for name in ("roofs", "trees"):
        geopandas.GeoDataFrame(geometry=[at(*LIGHT)], crs=CRS).to_file(path, layer=name)
    run = partial(classify_features, scene, tmp_path / "out", **classifier)
    run(options=options(features=str(path), layer="roofs"))
    assert "several layers" not in caplog.text
    run(options=options(features=str(path)))
    assert "in.gpkg holds several layers (roofs, trees); the first is read" in caplog.text


def at(left, top, right, bottom):
    """A box in pixels of the scenes of ``dark_scene``, on the map."""
    return box(ORIGIN[0] + left / 2, ORIGIN[1] - bottom / 2, ORIGIN[0] + right / 2, ORIGIN[1] - top / 2)


def dark_scene(path, *, empty_cols=0, light=LIGHT):
    pixels = np.full((3, 40, 60), 60, np.uint8)
    left, top, right, bottom = light
    pixels[:, top:bottom, left:right] = 200
    pixels[:, :, :empty_cols] = 0
    return str(write(path, pixels, origin=ORIGIN, gsd=0.5, nodata=0))


def layer(path, shapes, **fields):
    fields = fields or {"n": range(len(shapes))}
    frame = geopandas.GeoDataFrame(fields, geometry=shapes, crs=CRS)
    frame.to_parquet(path) if path.suffix == ".parquet" else frame.to_file(path)
    return str(path)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
@pytest.mark.parametrize("empty_cols", [9, 30])
def test_the_scene_that_has_data_counts_whatever_the_order(tmp_path, classifier, options, order, empty_cols):
    """LIGHT reaches from column 4 to 12, so 5 or 8 of its 8 columns are empty on the first scene."""
    scenes = [
        dark_scene(tmp_path / "a.tif", empty_cols=empty_cols, light=DARK), dark_scene(tmp_path / "b.tif"),
    ]  # fmt: skip
    given = layer(tmp_path / "in.gpkg", [at(*LIGHT), at(40, 20, 48, 26), at(*OFF)])
    classify_features(
        [scenes[i] for i in order], tmp_path / "out", **classifier, options=options(features=given)
    )
    found = geopandas.read_file(tmp_path / "out" / "in.gpkg")
    assert found["class"].tolist()[:2] == ["light", "dark"]
    assert found["reason"].tolist() == [None, None, "off the scene"]


def test_what_no_scene_shows_says_why(tmp_path, classifier, options):
    scenes = [dark_scene(tmp_path / f"{name}.tif", empty_cols=30) for name in "ab"]
    given = layer(tmp_path / "in.gpkg", [at(*LIGHT), at(40, 20, 48, 26)])
    classify_features(scenes, tmp_path / "out", **classifier, options=options(features=given))
    assert geopandas.read_file(tmp_path / "out" / "in.gpkg")["reason"].tolist() == ["no data", None]


ODD = {
    "point": shapely.Point(ORIGIN[0] + 10, ORIGIN[1] - 10),
    "polygon of no size": shapely.from_wkt(f"POLYGON(({', '.join(['500010 4999990'] * 4)}))"),
    "line of no size": shapely.LineString([(500010, 4999990)] * 2),
}


@pytest.mark.parametrize("shape", ODD.values(), ids=ODD)
def test_a_feature_without_a_size_is_left_out_alone(tmp_path, classifier, options, shape):
    scene, given = dark_scene(tmp_path / "a.tif"), layer(tmp_path / "in.parquet", [at(*LIGHT), shape])
    run = partial(classify_features, scene, tmp_path / "out", **classifier)
    assert run(options=options(features=given, preview=True)).failed == []
    found = geopandas.read_parquet(tmp_path / "out" / "in.parquet")
    assert found["class"].tolist() == ["light", None] and found["reason"].tolist() == [None, "no size"]
    assert run(options=options(features=given, margin_m=0.5)).failed == []
    assert geopandas.read_parquet(tmp_path / "out" / "in.parquet")["class"].tolist() == ["light", "dark"]
    ((_, reason),) = run(options=options(features=layer(tmp_path / "points.gpkg", [shape]))).failed
    assert reason.endswith("holds points, which have no size: give inference.margin_m=…")


def test_curves_are_classified_and_kept(tmp_path, classifier, options, curves):
    """The layer holds a box at DARK and a circle around LIGHT."""
    scene = dark_scene(tmp_path / "a.tif")
    classify_features(scene, tmp_path / "out", **classifier, options=options(features=curves, preview=True))
    found = geopandas.read_file(tmp_path / "out" / "curves.gpkg")
    assert found["class"].tolist() == ["dark", "light"]
    with sqlite3.connect(tmp_path / "out" / "curves.gpkg") as file:
        (kept,) = file.execute("select geom from curves where n = 2").fetchone()
    assert struct.pack("<BI", 1, 10) in kept  # WKB's number of a curve polygon


def test_geometries_that_are_no_wkb_are_named(tmp_path, classifier, options):
    scene, path = dark_scene(tmp_path / "a.tif"), tmp_path / "in.parquet"
    geopandas.GeoDataFrame(geometry=[at(*LIGHT)], crs=CRS).to_parquet(path, geometry_encoding="geoarrow")
    ((_, reason),) = classify_features(
        scene, tmp_path / "out", **classifier, options=options(features=str(path))
    ).failed
    assert "in.parquet holds its geometries as polygon, expected WKB; write it again" in reason


@pytest.mark.parametrize("ending", ["gpkg", "geojson"])
def test_ids_of_features_and_times_without_a_zone_stay(tmp_path, classifier, options, ending):
    scene = dark_scene(tmp_path / "a.tif")
    when = pandas.to_datetime(["2024-05-01T10:00:00", None])
    zoned = pandas.to_datetime(["2024-05-01T10:00:00+02:00", None])
    given = layer(tmp_path / "in.gpkg", [at(*LIGHT), at(*DARK)], when=when, zoned=zoned)
    with sqlite3.connect(given) as file:
        for (name,) in file.execute("select name from sqlite_master where type = 'trigger'").fetchall():
            file.execute(f'drop trigger "{name}"')
        file.execute('update "in" set fid = fid + 100')
    classify_features(scene, tmp_path / "out", **classifier, options=options(features=given, format=ending))
    target = tmp_path / "out" / f"in.{ending}"
    if ending == "gpkg":
        with sqlite3.connect(target) as file:
            rows = file.execute('select fid, "when", zoned, class from "in" order by fid').fetchall()
        assert rows[0] == (101, "2024-05-01T10:00:00", "2024-05-01T08:00:00Z", "light")
        assert rows[1] == (102, None, None, "dark")
        return
    first, second = json.loads(target.read_text())["features"]
    assert (first["id"], second["id"]) == (101, 102)
    assert first["properties"]["when"] == "2024-05-01T10:00:00" and "fid" not in first["properties"]
    # Read again, the ids are the features' own.
    again = tmp_path / "again.geojson"
    target.rename(again)
    classify_features(scene, tmp_path / "out", **classifier, options=options(features=str(again)))
    features = json.loads((tmp_path / "out" / "again.geojson").read_text())["features"]
    assert [item["id"] for item in features] == [101, 102]


def test_names_in_a_shapefile_are_told_apart(tmp_path, classifier, options, caplog):
    caplog.set_level("INFO", logger="geomm")
    scene = dark_scene(tmp_path / "a.tif")
    given = layer(tmp_path / "in.shp", [at(*LIGHT)], **{"class": ["mine"]})
    names = ["residential_low", "residential_high"]
    spec = replace(classifier["spec"], classes=make_classes(names))
    classify_features(
        scene, tmp_path / "out", score=classifier["score"], spec=spec, options=options(features=given)
    )
    found = geopandas.read_file(tmp_path / "out" / "in.shp")
    added = ["pred_class", "pred_confi", "pred_sco_1", "pred_sco_2", "pred_reaso"]
    assert found.columns.tolist() == ["class", *added, "geometry"]
    assert found["class"][0] == "mine" and found["pred_class"][0] == "residential_high"
    assert found[["pred_sco_1", "pred_sco_2"]].to_numpy().tolist() == [[0.0, 1.0]]
    assert "pred_sco_1 = pred_score_residential_low, pred_sco_2 = pred_score_residential_high" in caplog.text


@drawn(
    taken=st.lists(st.text("aB_é", min_size=1, max_size=14), max_size=6, unique_by=str.lower),
    added=st.lists(st.text("aB_é", min_size=1, max_size=14), max_size=12, unique=True),
)
def test_short_names_fit_and_differ(taken, added):
    found = short_names(taken, added)
    assert list(found) == added and all(0 < len(name.encode()) <= 10 for name in found.values())
    cut = {name.encode()[:10].decode(errors="ignore").lower() for name in taken}
    lowered = [name.lower() for name in found.values()]
    assert len(set(lowered)) == len(lowered) and not cut & set(lowered)


def test_scenes_without_crs_are_no_warning(tmp_path, classifier, options, caplog):
    scene = write(tmp_path / "scene.png", np.full((3, 40, 60), 60, np.uint8))
    given = table(tmp_path / "boxes.csv", [LIGHT])
    classify_features(str(scene), tmp_path / "out", **classifier, options=options(features=given))
    assert "has no CRS" not in caplog.text


def test_what_boxes_lack_is_named(tmp_path, classifier, options):
    for name in "ab":
        write(tmp_path / f"{name}.tif", np.full((3, 40, 60), 60, np.uint8), origin=ORIGIN)
    scenes = [str(tmp_path / "a.tif"), str(tmp_path / "b.tif")]
    for columns, said in (
        (("xmin", "ymin", "xmax", "ymax"), "2 scenes and no column image_path; name each"),
        (("xmin", "ymin", "xmax", "height"), "no geometries and no column 'ymax'; expected"),
    ):
        given = table(tmp_path / "boxes.csv", [LIGHT], names=columns)
        with pytest.raises(DataError, match=said):
            classify_features(
                scenes, tmp_path / "out", **classifier, options=options(features=given, on_error="raise")
            )
