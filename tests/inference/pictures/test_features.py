"""Features on scenes: boxes of a table are pixels of a scene, whatever its place on the map."""

from functools import partial

import geopandas
import numpy as np
import pandas
import pytest
from shapely.geometry import box

from geomm.errors import DataError
from geomm.inference.pictures.features import classify_features
from geomm.io.object_files import read_pixel_csv
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
        target.write_text("mine\n1\n")
    else:
        geopandas.GeoDataFrame({"mine": [1]}, geometry=[box(0, 0, 1, 1)], crs=4326).to_file(target)
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
        filename=["b.tif", "folder\\a.jpg", "chips/b.tif", "c.tif", None],
    )  # fmt: skip
    assert {"a.jpg", "b.tif", "c.tif"} < set(read_pixel_csv(given))
    scenes = [str(tmp_path / "a.tif"), str(tmp_path / "b.tif")]
    classify_features(scenes, tmp_path / "out", **classifier, options=options(features=given, preview=True))
    ((path, outlines),) = shown
    assert path == scenes[0] and [item.bounds for item in outlines] == [LIGHT]
    found = pandas.read_csv(tmp_path / "out" / "boxes.csv")
    assert found["class"].tolist()[:3] == ["light", "dark", "light"]
    assert found["reason"].tolist()[3:] == ["off the scene"] * 2


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
