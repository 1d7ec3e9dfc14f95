"""Label files of objects are read as they are, and refused where they make no sense."""

import numpy as np
import pytest
import shapely

from geomm.errors import DataError
from geomm.io.object_files import labels_of_image, objects_of_layer, read_pixel_csv, read_yolo
from geomm.io.object_labels import Problems
from geomm.io.vector import VectorLabels

HEADER = "image_path,xmin,ymin,xmax,ymax,label\n"


def rows(*names):
    return HEADER + "".join(f"{name},{n},0,{n + 1},1,a\n" for n, name in enumerate(names))


def test_images_of_one_name_in_two_folders_are_two_in_a_csv(tmp_path):
    file = tmp_path / "boxes.csv"
    file.write_text(rows("a/t.tif", "a/t.tif", r"b\t.tif", "./a/t.tif"))
    labels = read_pixel_csv(file)
    assert {name: item.boxes[:, 0].tolist() for name, item in labels.items()} == {
        "a/t.tif": [0, 1, 3],
        "b/t.tif": [2],
    }
    scenes = ["/x/a/t.tif", "/x/b/t.tif"]
    assert [len(labels_of_image(labels, scene, str(file), scenes)) for scene in scenes] == [3, 1]


@pytest.mark.parametrize("names", [["t.tif"], ["c/t.tif"], ["c/t.tif", "d/t.tif"]])
def test_what_folders_do_not_tell_is_refused(tmp_path, names):
    file = tmp_path / "boxes.csv"
    file.write_text(rows(*names))
    labels = read_pixel_csv(file)
    scenes = ["/x/a/t.tif", "/x/b/t.tif"]
    with pytest.raises(
        DataError, match=r"may be of /x/a/t\.tif or /x/b/t\.tif; name images with the folders"
    ):
        labels_of_image(labels, scenes[0], str(file), scenes)


def test_labels_of_another_image_of_that_name_are_not_taken(tmp_path):
    file = tmp_path / "boxes.csv"
    file.write_text(rows("a/t.tif"))
    with pytest.raises(DataError, match=r"names no image t\.tif; it names a/t\.tif"):
        labels_of_image(read_pixel_csv(file), "/x/b/t.tif", str(file), ["/x/a/t.tif", "/x/b/t.tif"])


def yolo(folder, line):
    file = folder / "t.txt"
    file.write_text(f"0 .2 .2 .1 .1\n{line}\n")
    return file


@pytest.mark.parametrize("line", ["0 nan .2 .1 .1 .5 .5", "0 inf .2 .1 .1 .5 .5"])
def test_a_yolo_polygon_that_is_not_finite_is_named(tmp_path, line):
    with pytest.raises(DataError, match=r"t\.txt: line 2: found a coordinate that is not finite"):
        read_yolo(yolo(tmp_path, line), 100, 100)


@pytest.mark.parametrize("line", ["0 .5 .5 -.1 .1", "0 .5 .5 .1 -.1", "0 nan .5 .1 .1"])
def test_a_yolo_box_the_wrong_way_round_has_no_area(tmp_path, line):
    labels, problems = read_yolo(yolo(tmp_path, line), 100, 100), Problems(True)
    kept = labels.in_image(100, 100, problems)
    np.testing.assert_allclose(kept.boxes, [[15, 15, 25, 25]])
    assert dict(problems.counts) == {"object without area": 1}


def test_boxes_and_polygons_of_yolo_keep_their_order(tmp_path):
    labels = read_yolo(yolo(tmp_path, "1 .1 .1 .5 .1 .5 .5\n2 .5 .5 .2 .2"), 100, 50)
    assert labels.names.tolist() == ["0", "1", "2"]
    np.testing.assert_allclose(labels.boxes, [[15, 7.5, 25, 12.5], [10, 5, 50, 25], [40, 20, 60, 30]])
    np.testing.assert_allclose(labels.areas, [50, 400, 200])


def test_a_repaired_feature_keeps_its_area(caplog):
    spike = shapely.Polygon([(1, 1), (21, 1), (21, 21), (21, 41), (21, 21), (1, 21)])
    repaired = shapely.make_valid(spike)
    assert repaired.geom_type == "GeometryCollection"
    geometries = np.array(
        [repaired, shapely.LineString([(0, 0), (5, 5)]), shapely.box(50, 50, 60, 60)], object
    )
    names = np.array(["a", "b", None], object)
    labels = objects_of_layer(VectorLabels("x.gpkg", geometries, names))
    assert labels.boxes.tolist() == [[1, 1, 21, 21], [50, 50, 60, 60]]
    assert labels.names.tolist() == ["a", None] and "1 features without an area" in caplog.text


def test_texts_of_a_csv_are_as_they_are(tmp_path):
    file = tmp_path / "boxes.csv"
    file.write_text(HEADER + "001.tif,0,0,5,5,NA\n002.tif,0,0,5,5.5,\n001.tif,7,0,9,5,1.0\n")
    labels = read_pixel_csv(file)
    assert list(labels) == ["001.tif", "002.tif"]
    assert labels["001.tif"].names.tolist() == ["NA", "1"] and labels["002.tif"].names.tolist() == [None]
    assert labels["002.tif"].boxes.tolist() == [[0, 0, 5, 5.5]]


def test_a_csv_without_images_is_of_the_scene_that_it_is_called_like(tmp_path):
    file = tmp_path / "a.csv"
    file.write_text("xmin,ymin,xmax,ymax\n0,0,5,5\n")
    labels = read_pixel_csv(file)
    assert len(labels_of_image(labels, "x/a.tif", str(file), ["x/a.tif", "x/b.tif"])) == 1
    assert len(labels_of_image(labels, "x/b.tif", str(file))) == 1
    with pytest.raises(DataError, match=r"which of 2 images its boxes are of; add a column.*b\.csv"):
        labels_of_image(labels, "x/b.tif", str(file), ["x/a.tif", "x/b.tif"])
