"""Folders, exports and features become labelled pictures; what cannot be used is named."""

import shutil

import geopandas
import numpy as np
import pytest
import shapely

from geomm.datasets.pictures.chips import NamedChips
from geomm.datasets.pictures.folders import Folders
from geomm.datasets.pictures.footprints import Footprints
from geomm.datasets.pictures.source import LabelTarget
from geomm.errors import DataError
from tests.datasets.drawn import CRS, class_folders, export, scene_with_features


def samples(data):
    """All samples of one epoch; iterating over a dataset goes on into the next."""
    return [data[index] for index in range(len(data))]


def names(spec):
    return [item.name for item in spec.classes]


def test_folders_are_classes_shared_out_by_class(tmp_path):
    source = Folders(root=str(class_folders(tmp_path, (20, 10))), split={"val": 0.2})
    spec = source.prepare(tmp_path)
    assert names(spec) == ["dark", "light"] and spec.class_pixels == (16, 8)
    assert source.split("val").labels.sum(0).tolist() == [4, 2]
    assert not spec.map_space and not spec.multi_label and spec.window_px == 32
    assert not {c.path for c in source.split("val").crops} & {c.path for c in source.split("train").crops}


def test_folders_may_settle_the_splits(tmp_path):
    class_folders(tmp_path / "train", (6, 6))
    class_folders(tmp_path / "val", (2, 3))
    source = Folders(root=str(tmp_path))
    source.prepare(tmp_path)
    assert [len(source.split(name)) for name in ("train", "val", "test")] == [12, 5, 0]


def test_a_class_that_only_validation_has(tmp_path):
    class_folders(tmp_path / "train", (6, 6))
    class_folders(tmp_path / "val", (2, 2), names=("dark", "grey"))
    with pytest.raises(DataError, match="no training picture shows class grey"):
        Folders(root=str(tmp_path)).prepare(tmp_path)


def test_broken_and_empty_are_named_or_counted(tmp_path, caplog):
    class_folders(tmp_path, (6, 6))
    (tmp_path / "dark" / "broken.jpg").write_bytes(b"no picture")
    (tmp_path / "nothing").mkdir()
    with pytest.raises(DataError, match=r"broken\.jpg cannot be opened"):
        Folders(root=str(tmp_path)).prepare(tmp_path)
    spec = Folders(root=str(tmp_path), on_error="skip").prepare(tmp_path)
    assert names(spec) == ["dark", "light"]
    assert "1 damaged images" in caplog.text and "1 empty classes" in caplog.text


def test_a_truncated_png_is_left_out(tmp_path, caplog):
    class_folders(tmp_path, (6, 6))
    whole = tmp_path / "dark" / "dark_0.png"
    whole.write_bytes(whole.read_bytes()[:300])
    Folders(root=str(tmp_path), on_error="skip").prepare(tmp_path)
    assert "dark_0.png" in caplog.text and "1 damaged images" in caplog.text


def test_unknown_classes_are_refused_or_counted(tmp_path, caplog):
    class_folders(tmp_path, (6, 6, 3), names=("dark", "light", "other"))
    with pytest.raises(DataError, match=r"class 'other' is not in dataset\.classes"):
        Folders(root=str(tmp_path), classes=["dark", "light"]).prepare(tmp_path)
    spec = Folders(root=str(tmp_path), classes=["dark", "light"], on_error="skip").prepare(tmp_path)
    assert sum(spec.class_pixels) < 13 and "3 pictures of other classes" in caplog.text


def test_values_that_share_a_name_are_one_class(tmp_path):
    class_folders(tmp_path, (6, 6, 6), names=("a", "b", "c"))
    spec = Folders(root=str(tmp_path), classes={"a": "x", "b": "x", "c": "y"}).prepare(tmp_path)
    assert names(spec) == ["x", "y"] and sum(spec.class_pixels) in range(13, 17)


def test_one_class_tells_nothing_apart(tmp_path):
    with pytest.raises(DataError, match="all pictures are of one class"):
        Folders(root=str(class_folders(tmp_path, (6,), names=("dark",)))).prepare(tmp_path)


def test_a_class_of_one_picture_is_learnt_and_said(tmp_path, caplog):
    source = Folders(root=str(class_folders(tmp_path, (9, 1))))
    assert source.prepare(tmp_path).class_pixels[1] == 1
    assert "class light has 1 picture" in caplog.text


@pytest.mark.parametrize("kind", ["Labeled_Tiles", "Imagenet"])
def test_exports_of_one_label(tmp_path, kind):
    labels = [("1",), ("2",)] * 6
    source = NamedChips(root=str(export(tmp_path, kind, labels)))
    spec = source.prepare(tmp_path)
    expected = ["pool", "roof"] if kind == "Labeled_Tiles" else ["class_1", "class_2"]
    assert sorted(names(spec)) == expected
    assert len(source.split("train")) + len(source.split("val")) == 12
    assert {s.image.shape for s in samples(source.split("val"))} == {(3, 32, 32)}
    assert spec.map_space and spec.crs is not None


def test_exports_of_several_labels(tmp_path):
    labels = [("1",), ("2",), ("1", "2"), ()] * 4
    source = NamedChips(root=str(export(tmp_path, "MultiLabeled_Tiles", labels)))
    spec = source.prepare(tmp_path)
    assert spec.multi_label and names(spec) == ["roof", "pool"]
    assert spec.classes[0].color == (255, 0, 0)
    rows = np.concatenate([source.split("train").labels, source.split("val").labels])
    assert sorted(map(tuple, rows)) == [(0, 0)] * 4 + [(0, 1)] * 4 + [(1, 0)] * 4 + [(1, 1)] * 4


def test_chips_without_their_label_or_image(tmp_path, caplog):
    root = export(tmp_path, "Labeled_Tiles", [("1",), ("2",)] * 6)
    (root / "labels" / "000000003.xml").unlink()
    (root / "labels" / "000000004.xml").write_text("<annotation")
    with pytest.raises(DataError, match="chip without a label"):
        NamedChips(root=str(root)).prepare(tmp_path)
    NamedChips(root=str(root), on_error="skip").prepare(tmp_path)
    assert "2 chips that cannot be used" in caplog.text


@pytest.mark.parametrize("crs", [CRS, "EPSG:4326"])
def test_features_are_cut_from_scenes_of_any_crs(tmp_path, crs):
    scene, layer = scene_with_features(tmp_path, layer_crs=crs)
    source = Footprints(images=str(scene), labels=str(layer), label_field="kind", margin=0.0)
    spec = source.prepare(tmp_path)
    assert names(spec) == ["dark", "light"] and spec.in_channels == 4 and spec.dtype == "uint16"
    for name in ("train", "val"):
        for sample in samples(source.split(name)):
            light = sample.image[:, 8:-8, 8:-8].mean() > 500
            if name == "val":
                assert light == bool(sample.extras["labels"][1])
    blocks = [{crop.window for crop in source.split(name).crops} for name in ("train", "val")]
    assert not blocks[0] & blocks[1]


def test_features_off_the_scene_or_unnamed_are_counted(tmp_path, caplog):
    scene, layer = scene_with_features(tmp_path)
    frame = geopandas.read_file(layer)
    far = shapely.box(0, 0, 10, 10)
    frame.loc[0, "kind"] = None
    extra = geopandas.GeoDataFrame({"number": [99], "kind": ["dark"]}, geometry=[far], crs=frame.crs)
    import pandas

    pandas.concat([frame, extra]).to_file(layer, driver="GPKG")
    given = {"images": str(scene), "labels": str(layer), "label_field": "kind"}
    with pytest.raises(DataError, match="has no kind"):
        Footprints(**given).prepare(tmp_path)
    Footprints(**given, on_error="skip").prepare(tmp_path)
    assert "1 features without a class" in caplog.text and "1 features off the scenes" in caplog.text
    assert "35 pictures used" in caplog.text


def test_boxes_from_xml_and_csv_are_the_same(tmp_path):
    scene, _ = scene_with_features(tmp_path, bands=3, dtype="uint8")
    boxes = [(8 + c * 38, 8 + r * 38, "light" if (r + c) % 2 else "dark") for r in range(6) for c in range(6)]
    objects = "".join(
        f"<object><name>{n}</name><bndbox><xmin>{x}</xmin><ymin>{y}</ymin><xmax>{x + 22}</xmax>"
        f"<ymax>{y + 22}</ymax></bndbox></object>" for x, y, n in boxes
    )  # fmt: skip
    (tmp_path / "scene.xml").write_text(f"<annotation>{objects}</annotation>")
    lines = "".join(f"scene.tif,{x},{y},{x + 22},{y + 22},{n}\n" for x, y, n in boxes)
    (tmp_path / "scene.csv").write_text("image_path,xmin,ymin,xmax,ymax,label\n" + lines)
    specs = [
        Footprints(images=str(scene), labels=str(tmp_path / f"scene.{ending}")).prepare(tmp_path)
        for ending in ("xml", "csv")
    ]
    assert specs[0] == specs[1] and sum(specs[0].class_pixels) > 20


def test_points_need_a_margin_in_map_units(tmp_path):
    scene, layer = scene_with_features(tmp_path)
    frame = geopandas.read_file(layer)
    frame.geometry = frame.geometry.centroid
    points = tmp_path / "points.gpkg"
    frame.to_file(points, driver="GPKG")
    given = {"images": str(scene), "labels": str(points), "label_field": "kind"}
    with pytest.raises(DataError, match=r"give dataset\.margin_m"):
        Footprints(**given).prepare(tmp_path)
    source = Footprints(**given, margin_m=6.0)
    source.prepare(tmp_path)
    assert {crop.window.width for crop in source.split("train").crops} == {24}


def test_oversampling_is_of_training_alone(tmp_path):
    source = Folders(root=str(class_folders(tmp_path, (20, 5))), target=LabelTarget(oversample=1.0))
    source.prepare(tmp_path)
    train, val = source.split("train"), source.split("val")
    assert np.bincount([t.extras["labels"].argmax() for t in samples(train)]).tolist() == [16, 16]
    assert len(val) == len(val.crops)


def test_pictures_of_other_bands_are_named(tmp_path):
    class_folders(tmp_path, (6, 6))
    from tests.datasets.drawn import picture, write

    write(tmp_path / "dark" / "grey.png", picture(np.random.default_rng(0), 0, bands=1))
    with pytest.raises(DataError, match=r"grey\.png has 1 bands"):
        Folders(root=str(tmp_path)).prepare(tmp_path)
    shutil.rmtree(tmp_path / "dark")
