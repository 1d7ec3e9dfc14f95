import logging

import numpy as np
import pytest
from shapely import box

from geomm.datasets.maps import scene_files
from geomm.datasets.maps.scene_files import check_alike, label_values, pair
from geomm.datasets.maps.targets import MaskTarget
from geomm.errors import DataError
from tests.datasets.common import grid, layer, noise, write

TARGET = MaskTarget(label_field=None, classes=None, background="auto", all_touched=False)


def opened(images, labels):
    return TARGET.open(str(images), str(labels), skip_errors=False, role=0)


@pytest.mark.parametrize("name", ["town.tif", "town_mask.tif", "town_labels.gpkg", "town_gt.png"])
def test_a_scene_goes_with_the_label_named_like_it(name):
    assert pair("images/town.tif", ["other.tif", f"labels/{name}"]) == f"labels/{name}"


def test_a_single_label_goes_with_every_scene():
    assert pair("images/town.tif", ["all.gpkg"]) == "all.gpkg"


@pytest.mark.parametrize(("ending", "kind"), [("gpkg", "layer"), ("tif", "raster")])
def test_a_scene_without_a_label_of_its_name_is_an_error(ending, kind):
    with pytest.raises(DataError, match=f"town.tif: none of the 2 label files.*a {kind} called town"):
        pair("town.tif", [f"a.{ending}", f"b.{ending}"])


def test_a_scene_among_the_features_without_one_is_all_background(tmp_path):
    for number in range(3):
        write(tmp_path / f"{number}.tif", noise(40, 40), transform=grid(40 * number, 0))
    labels = layer(tmp_path / "a.gpkg", [box(3, 3, 9, 9), box(90, 3, 99, 9)])
    scenes = opened(tmp_path / "*.tif", labels)
    assert [len(scene.labels.vector.geometries) for scene in scenes] == [1, 0, 1]


def test_scenes_of_another_dtype_are_used_with_a_warning(tmp_path, caplog):
    write(tmp_path / "a.tif", noise(20, 20))
    write(tmp_path / "b.tif", noise(20, 20, dtype="float32"))
    labels = layer(tmp_path / "a.gpkg", [box(3, 3, 9, 9)])
    scenes = opened(tmp_path / "*.tif", labels)
    with caplog.at_level(logging.WARNING, "geomm"):
        check_alike(scenes, [1], all_bands=True)
    assert "b.tif holds float32" in caplog.text


def test_values_of_a_label_raster_are_looked_for_once(tmp_path, monkeypatch):
    values = np.zeros((30, 50), np.uint8)
    values[29, 49], values[3, 3] = 7, 2
    write(tmp_path / "a.tif", noise(30, 50))
    labels = write(tmp_path / "a_mask.tif", values)
    monkeypatch.setattr(scene_files, "_SEARCH_PX", 16)
    cache = tmp_path / "cache"

    def found():
        scenes = opened(tmp_path / "a.tif", labels)
        return label_values(scenes, cache, skip_errors=False)

    assert found() == [0, 2, 7]
    with monkeypatch.context() as patched:
        patched.setattr(scene_files, "distinct_values", None)
        assert found() == [0, 2, 7]
    next(cache.glob("values_*.json")).write_text("{")
    assert found() == [0, 2, 7]
    values[0, 0] = 9
    write(labels, values, compress="deflate")
    assert found() == [0, 2, 7, 9]


def test_labels_of_one_name_go_by_their_folders():
    scenes = ["images/a/tile.tif", "images/b/tile.tif"]
    labels = ["labels/a/tile_mask.tif", "labels/b/tile_mask.tif"]
    assert [pair(scene, labels, scenes) for scene in scenes] == labels
    with pytest.raises(DataError, match="none of the 2 label files"):
        pair(scenes[1], [labels[0], "labels/a/town.tif"], scenes)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["one/tile.gpkg", "two/tile.gpkg"], "tile.gpkg and two/tile.gpkg are named alike"),
        (["tile.xml", "town.xml"], "tile.xml may be of another scene of that name"),
    ],
)
def test_labels_that_folders_do_not_tell_apart_are_refused(labels, message):
    scenes = ["a/tile.tif", "b/tile.tif"]
    with pytest.raises(DataError, match=message):
        pair(scenes[0], labels, scenes)


def test_dates_of_one_place_share_a_label_that_says_where_it_lies():
    scenes = ["2019/town.tif", "2020/town.tif"]
    assert {pair(scene, ["town.gpkg", "other.gpkg"], scenes) for scene in scenes} == {"town.gpkg"}
