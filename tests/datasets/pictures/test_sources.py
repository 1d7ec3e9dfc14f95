"""Folders, exports and features become labelled pictures; what cannot be used is named."""

import json
import shutil
from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from geomm.datasets.pictures.chips import NamedChips
from geomm.datasets.pictures.folders import Folders
from geomm.datasets.pictures.footprints import Footprints
from geomm.datasets.pictures.source import LabelTarget
from geomm.errors import DataError
from geomm.io.raster_info import read_info
from geomm.io.tables import to_crs
from geomm.io.vector import to_map
from tests.datasets.drawn import CRS, ORIGIN, class_folders, export, picture, scene_with_features, write


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


def test_classes_of_an_export_are_known_by_name_and_by_value(tmp_path):
    def learnt(root, classes):
        source = NamedChips(root=str(root), classes=classes)
        spec = source.prepare(tmp_path)
        return [(item.value, item.name, item.color) for item in spec.classes], source

    values = export(tmp_path / "values", "Labeled_Tiles", [("1",), ("2",)] * 6)
    named = export(tmp_path / "names", "Labeled_Tiles", [("roof",), ("pool",)] * 6)
    for root in (values, named):
        (first, second), source = learnt(root, ["pool", "roof"])
        assert first[:2] == (2, "pool") and second == (1, "roof", (255, 0, 0))
        paths = [crop.path for name in ("train", "val") for crop in source.split(name).crops]
        labels = np.concatenate([source.split(name).labels for name in ("train", "val")])
        assert [int(path[-5]) % 2 for path in paths] == [int(row[0]) for row in labels]
        assert [item[1] for item in learnt(root, {"roof": "A", "pool": "B"})[0]] == ["A", "B"]
        assert [item[1] for item in learnt(root, {1: "A", 2: "B"})[0]] == ["A", "B"]
    with pytest.raises(DataError, match=r"class '1' is not in dataset\.classes \(2, pool\)"):
        learnt(values, ["pool"])


def test_chips_of_equal_names_in_folders_a_class(tmp_path):
    """ArcGIS counts the chips of each class from 0."""
    for number, kind in enumerate(("dark", "partly gone")):
        for index in range(8):
            pixels = picture(np.random.default_rng(index), number)
            write(tmp_path / "images" / kind / f"{index:09d}.tif", pixels)
    write(tmp_path / "images" / "stray.tif", picture(np.random.default_rng(0), 0))
    source = NamedChips(root=str(tmp_path), on_error="skip")
    source.prepare(tmp_path)
    labels = np.concatenate([source.split(name).labels for name in ("train", "val")])
    assert labels.sum(0).tolist() == [8, 8]
    with pytest.raises(DataError, match=r"stray\.tif lies in the folder of no class"):
        NamedChips(root=str(tmp_path)).prepare(tmp_path)


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


@settings(max_examples=8, deadline=None)
@given(
    right=st.integers(-80, 80), down=st.integers(-80, 80), gsd=st.sampled_from([0.5, 0.4]),
    second=st.sampled_from([CRS, "EPSG:32634", None]), seed=st.integers(0, 3),
)  # fmt: skip
def test_a_place_on_two_scenes_is_in_one_split(tmp_path_factory, right, down, gsd, second, seed):
    """The second scene has its own grid; another CRS turns it; without any, both have world files alone."""
    folder = tmp_path_factory.mktemp("dates")
    _, layer = scene_with_features(folder)
    first = second and CRS
    frame = geopandas.read_file(layer).set_crs(first, allow_override=True)
    frame.to_file(layer)
    corner = geopandas.GeoSeries([shapely.Point(ORIGIN[0] + right / 2, ORIGIN[1] - down / 2)], crs=first)
    corner = corner[0] if second is None else corner.to_crs(second)[0]
    pixels = np.random.default_rng(0).integers(1, 255, (3, 300, 300)).astype(np.uint8)
    for name, crs, x, y, size in (("a", first, *ORIGIN, 0.5), ("b", second, corner.x, corner.y, gsd)):
        with rasterio.open(
            folder / f"{name}.tif", "w", driver="GTiff", count=3, height=300, width=300, dtype="uint8",
            crs=crs, transform=rasterio.Affine(size, 0, x, 0, -size, y),
        ) as file:  # fmt: skip
            file.write(pixels)
    source = Footprints(
        images=[str(folder / "a.tif"), str(folder / "b.tif")], labels=str(layer), label_field="kind",
        split={"val": 0.3, "seed": seed}, on_error="skip", margin=0.0, window_px=32,
    )  # fmt: skip
    source.prepare(folder)
    seen = {"train": set(), "val": set()}
    for name, numbers in seen.items():
        for crop in source.split(name).crops:
            info = read_info(crop.path)
            middle = to_map(np.array([crop.outline.centroid]), info)
            (place,) = to_crs(middle, info.georeference.crs, first, crop.path)
            numbers.add(int(frame.distance(place).argmin()))
    assert seen["val"] and seen["train"] and not seen["train"] & seen["val"]


def test_scenes_without_a_place_have_blocks_of_their_own(tmp_path):
    rng = np.random.default_rng(0)
    lines = ["image_path,xmin,ymin,xmax,ymax,label"]
    for name in ("a", "b"):
        write(tmp_path / f"{name}.png", rng.integers(1, 255, (3, 240, 240)).astype(np.uint8))
        lines += [
            f"{name}.png,{8 + c * 38},{8 + r * 38},{30 + c * 38},{30 + r * 38},{'xy'[(r + c) % 2]}"
            for r in range(6) for c in range(6)
        ]  # fmt: skip
    (tmp_path / "boxes.csv").write_text("\n".join(lines))
    source = Footprints(images=str(tmp_path / "*.png"), labels=str(tmp_path / "boxes.csv"), window_px=32)
    pictures = source.find()
    assert len(pictures) == 72 and len({item.group[0] for item in pictures}) == 2


def test_crops_of_scenes_of_one_name_are_told_apart(tmp_path):
    for year in ("2023", "2024"):
        scene, layer = scene_with_features(tmp_path / year)
    frame = geopandas.read_file(layer)
    frame.loc[7, "kind"] = None
    frame.to_file(layer)
    scenes = [str(tmp_path / year / "scene.tif") for year in ("2023", "2024")]
    given = {"labels": str(layer), "label_field": "kind"}
    names = [item.crop.name for item in Footprints(images=scenes, **given, on_error="skip").find()]
    assert len(set(names)) == len(names) == 70
    middle = frame.geometry[7].centroid
    said = rf"2024/scene\.tif: feature at {middle.x:.9g}, {middle.y:.9g} has no kind"
    with pytest.raises(DataError, match=said):
        Footprints(images=str(scene), **given).prepare(tmp_path)


@pytest.mark.parametrize("ending", ["gpkg", "csv"])
def test_features_around_one_middle_have_names_of_their_own(tmp_path, ending):
    scene, layer = scene_with_features(tmp_path, bands=3, dtype="uint8")
    frame = geopandas.read_file(layer)
    around = frame.assign(geometry=frame.buffer(2, join_style="mitre"), kind="yard")
    both = frame.iloc[[0, 1]].merge(around.iloc[[0, 1]], how="outer")
    assert len(both) == 4
    labels = tmp_path / f"both.{ending}"
    if ending == "gpkg":
        both.set_crs(CRS).to_file(labels)
    else:
        lines = ["image_path,xmin,ymin,xmax,ymax,label"]
        for shape, kind in zip(both.geometry, both["kind"], strict=True):
            left, low, right, high = (shape.bounds - np.repeat([ORIGIN], 2, 0).ravel()) / 0.5
            lines.append(f"scene.tif,{left},{-high},{right},{-low},{kind}")
        labels.write_text("\n".join(lines))
    field = "kind" if ending == "gpkg" else None
    source = Footprints(images=str(scene), labels=str(labels), label_field=field)
    crops = {item.crop.name: item.crop for item in source.find()}
    assert len(crops) == 4 and sum(name.endswith(" (2)") for name in crops) == 2
    assert {crop.window.width for crop in crops.values()} == {33, 45}


def test_a_feature_without_a_size_is_left_out_alone(tmp_path, caplog):
    scene, layer = scene_with_features(tmp_path)
    frame = geopandas.read_file(layer)
    frame.loc[0, "geometry"] = frame.geometry[0].centroid
    frame.to_file(layer)
    given = {"images": str(scene), "labels": str(layer), "label_field": "kind"}
    with pytest.raises(DataError, match=r"is a point, which has no size: give dataset\.margin_m"):
        Footprints(**given).prepare(tmp_path)
    assert len(Footprints(**given, on_error="skip").find()) == 35


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
    write(tmp_path / "dark" / "grey.png", picture(np.random.default_rng(0), 0, bands=1))
    with pytest.raises(DataError, match=r"grey\.png has 1 bands"):
        Folders(root=str(tmp_path)).prepare(tmp_path)
    shutil.rmtree(tmp_path / "dark")


def test_folders_that_are_called_like_other_values_keep_their_names(tmp_path):
    export(tmp_path, "Imagenet", ["a", "b"] * 6)
    for old, new in (("class_a", "1"), ("class_b", "2")):
        (tmp_path / "images" / old).rename(tmp_path / "images" / new)
    described = {
        "MetaDataMode": "Imagenet",
        "Classes": [{"Value": 2, "Name": "1"}, {"Value": 1, "Name": "2"}],
    }
    (tmp_path / "esri_model_definition.emd").write_text(json.dumps(described))
    source = NamedChips(root=str(tmp_path))
    spec = source.prepare(tmp_path)
    for split in ("train", "val"):
        data = source.split(split)
        shown = [names(spec)[int(row.argmax())] for row in data.labels]
        assert shown == [Path(crop.path).parent.name for crop in data.crops]
    assert {(item.value, item.name) for item in spec.classes} == {(2, "1"), (1, "2")}


def test_difficult_objects_and_labels_of_another_image_are_no_pictures(tmp_path, caplog):
    scene = write(tmp_path / "scene.tif", np.full((3, 60, 60), 90, np.uint8), origin=ORIGIN)
    one = (
        "<object><name>{}</name><difficult>{}</difficult><bndbox><xmin>{}</xmin><ymin>1</ymin><xmax>{}</xmax>"
    )
    one += "<ymax>20</ymax></bndbox></object>"
    objects = "".join(one.format("uv"[k % 2], int(k == 3), 1 + 8 * k, 8 + 8 * k) for k in range(6))
    file = tmp_path / "scene.xml"
    for size in (60, 99):
        head = f"<size><width>{size}</width><height>{size}</height></size>"
        file.write_text(f"<annotation>{head}{objects}</annotation>")
        source = Footprints(images=str(scene), labels=str(file), split={"val": 0.3, "block_px": 10})
        if size == 60:
            assert len(source.find()) == 5
        else:
            with pytest.raises(DataError, match=r"labels of another size, 99 x 99; .* has 60 x 60 px"):
                source.find()
