import json
import logging
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely import Point, box

from geomm.datasets.maps.geotiff import GeoTiffScenes
from geomm.datasets.objects.collate import collate_objects
from geomm.datasets.objects.targets import BoxTarget
from geomm.datasets.objects.windows import cut_objects, hide
from geomm.errors import DataError
from geomm.io.object_labels import ObjectLabels, Problems
from geomm.structures import Objects, PixelWindow
from tests.datasets.common import CRS, layer, positions, squares, write

SIZE = 160


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """A scene whose pixels say where they are, with squares of two classes as a layer."""
    folder = tmp_path_factory.mktemp("scene")
    boxes, kinds = squares(SIZE, SIZE, step=16, size=8)
    image = write(folder / "scene.tif", positions(SIZE, SIZE))
    labels = layer(folder / "labels.gpkg", boxes, kind=kinds)
    return image, labels, np.array([item.bounds for item in boxes]).clip(0, SIZE), kinds


def prepared(images, labels, cache, target=None, **options):
    options = {"window_px": 48, "windows_per_epoch": 40, "split": {"val": 0.3}, **options}
    target = target or BoxTarget(label_field="kind")
    source = GeoTiffScenes(images=str(images), labels=labels and str(labels), target=target, **options)
    source.prepare(cache)
    return source


def all_of(source, split):
    return [source.split(split)[index] for index in range(len(source.split(split)))]


def on_scene(sample):
    """Boxes of a sample in pixels of the scene, by where its pixels say they are."""
    rows, cols = np.nonzero(sample.valid)
    top, left = (sample.image[band, rows[0], cols[0]] - 1 for band in (0, 1))
    shift = np.array([left - cols[0], top - rows[0]] * 2)
    return sample.extras["objects"].boxes + shift


def test_outlines_that_are_boxes_are_said(scene, tmp_path, caplog):
    image, labels, _, _ = scene
    with caplog.at_level(logging.WARNING):
        prepared(image, labels, tmp_path / "a", BoxTarget(masks=True))
        assert "all outlines are rectangles" in caplog.text
        caplog.clear()
        discs = layer(
            tmp_path / "discs.gpkg", [Point(x, y).buffer(6) for x in (30, 70, 130) for y in (30, 130)]
        )
        prepared(image, discs, tmp_path / "b", BoxTarget(masks=True))
        prepared(image, labels, tmp_path / "c", BoxTarget())
        assert "rectangles" not in caplog.text


def test_the_spec_counts_objects(scene, tmp_path):
    image, labels, _, kinds = scene
    source = prepared(image, labels, tmp_path)
    spec = source.spec
    assert [item.name for item in spec.classes] == ["a", "b"]
    assert spec.background is None and spec.object_px == (8.0, 8.0)
    val = [s.extras["objects"] for s in all_of(source, "val")]
    counted = np.concatenate([item.labels[~item.ignored] for item in val])
    assert [spec.class_pixels[k] + (counted == k).sum() for k in (0, 1)] == [
        kinds.count("a"),
        kinds.count("b"),
    ]


@pytest.mark.parametrize("window", [24, 48, 200])
def test_each_object_of_validation_counts_exactly_once(scene, tmp_path, window):
    image, labels, boxes, _ = scene
    source = prepared(image, labels, tmp_path, window_px=window)
    seen = []
    for sample in all_of(source, "val"):
        objects = sample.extras["objects"]
        seen += [tuple(b) for b in on_scene(sample)[~objects.ignored].round(3)]
        middles = (objects.boxes[:, :2] + objects.boxes[:, 2:]) / 2
        inside = ((middles >= objects.counted[:2]) & (middles < objects.counted[2:])).all(1)
        np.testing.assert_array_equal(inside, ~objects.ignored)
    assert len(seen) == len(set(seen)) > 0
    # Whole: none is cut by the edge of the window that it counts in.
    assert set(seen) <= {tuple(b) for b in boxes.round(3)}
    scan, splits = source._scenes[0].scan, source._scenes[0].splits
    cols, rows = ((boxes[:, :2] + boxes[:, 2:]) / 2 // scan.size).astype(int).T
    assert len(seen) == (splits[rows * scan.cols + cols] == 1).sum()


def test_training_windows_show_no_ground_of_other_splits(scene, tmp_path):
    image, labels, boxes, _ = scene
    source = prepared(image, labels, tmp_path)
    scan, splits = source._scenes[0].scan, source._scenes[0].splits
    for sample in all_of(source, "train"):
        rows, cols = (sample.image[band][sample.valid].astype(int) - 1 for band in (0, 1))
        assert (splits[rows // scan.size * scan.cols + cols // scan.size] == 0).all()
        objects = sample.extras["objects"]
        for found in on_scene(sample)[~objects.ignored]:
            whole = boxes[((boxes[:, :2] <= found[:2] + 0.01) & (boxes[:, 2:] >= found[2:] - 0.01)).all(1)]
            assert len(whole) == 1
            assert (found[2:] - found[:2]).prod() >= 0.5 * (whole[0, 2:] - whole[0, :2]).prod() - 1e-3


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_windows_without_objects_come_in_their_share(tmp_path, share):
    image = write(tmp_path / "scene.tif", positions(SIZE, SIZE))
    labels = layer(tmp_path / "labels.gpkg", [box(10 + 30 * i, 10, 18 + 30 * i, 18) for i in range(5)])
    target = BoxTarget(empty_share=share)
    source = prepared(image, labels, tmp_path, target, window_px=24, windows_per_epoch=200)
    empty = np.mean([not len(s.extras["objects"]) for s in all_of(source, "train")])
    assert empty < 0.12 if share == 0 else abs(empty - share) < 0.15


def test_outlines_become_masks_where_asked(tmp_path):
    image = write(tmp_path / "scene.tif", positions(64, 64))
    discs = [Point(16 * i + 8, 16 * j + 8).buffer(5) for i in range(4) for j in range(4)]
    labels = layer(tmp_path / "labels.gpkg", discs)
    source = prepared(image, labels, tmp_path, BoxTarget(masks=True), window_px=32)
    objects = source.split("val")[0].extras["objects"]
    whole = [n for n, b in enumerate(objects.boxes) if np.allclose(b[2:] - b[:2], 10, atol=0.1)]
    assert whole and objects.masks.shape == (len(objects), 32, 32)
    for number in whole:
        assert abs(objects.masks[number].sum() - np.pi * 25) < 12
    plain = prepared(image, labels, tmp_path, BoxTarget(), window_px=32).split("val")[0]
    assert plain.extras["objects"].masks is None


steady = settings(max_examples=60, deadline=None, derandomize=True)
number = st.integers(-10, 50)


@steady
@given(left=number, top=number, wide=st.integers(1, 40), high=st.integers(1, 40), col=number, row=number)
def test_a_cut_box_is_that_of_its_pixels(left, top, wide, high, col, row):
    labels = ObjectLabels.of_boxes("x", [[left, top, left + wide, top + high]], ["a"])
    window = PixelWindow(col, row, 20, 16)
    cut = cut_objects(labels, window, {"a": 0}, masks=True)
    ground = np.zeros((120, 120), bool)
    ground[top + 20 : top + high + 20, left + 20 : left + wide + 20] = True
    seen = ground[row + 20 : row + 36, col + 20 : col + 40]
    assert len(cut.objects) == seen.any()
    if seen.any():
        np.testing.assert_array_equal(cut.objects.masks[0], seen)
        rows, cols = np.nonzero(seen)
        expected = [cols.min(), rows.min(), cols.max() + 1, rows.max() + 1]
        np.testing.assert_allclose(cut.objects.boxes[0], expected)
        assert cut.share[0] == pytest.approx(seen.sum() / (wide * high))


def pixel_scene(folder, name="scene.png"):
    import cv2

    cv2.imwrite(str(folder / name), (positions(96, 96)[0] % 250).astype(np.uint8))
    return folder / name


BOXES = [(10 * i + 2, 10 * j + 2, 10 * i + 8, 10 * j + 9, "ab"[i % 2]) for i in range(9) for j in range(9)]


def voc_xml(boxes, name="scene.png", size=(96, 96)):
    items = "".join(
        f"<object><name>{kind}</name><bndbox><xmin>{x0}</xmin><ymin>{y0}</ymin><xmax>{x1}</xmax><ymax>{y1}</ymax>"
        "</bndbox></object>"
        for x0, y0, x1, y1, kind in boxes
    )
    return (
        f"<annotation><filename>{name}</filename><size><width>{size[0]}</width><height>{size[1]}</height>"
        f"<depth>3</depth></size>{items}</annotation>"
    )


def csv_text(boxes, name="scene.png"):
    return "image_path,xmin,ymin,xmax,ymax,label\n" + "".join(
        f"{name},{a},{b},{c},{d},{k}\n" for a, b, c, d, k in boxes
    )


def coco_text(boxes, name="scene.png"):
    return json.dumps(
        {
            "images": [{"id": 7, "file_name": name, "width": 96, "height": 96}],
            "categories": [{"id": 3, "name": "a"}, {"id": 5, "name": "b"}],
            "annotations": [
                {"id": n, "image_id": 7, "category_id": {"a": 3, "b": 5}[k], "bbox": [a, b, c - a, d - b]}
                for n, (a, b, c, d, k) in enumerate(boxes)
            ],
        }
    )


@pytest.mark.parametrize(
    ("ending", "write_text"), [(".xml", voc_xml), (".csv", csv_text), (".json", coco_text)]
)
@pytest.mark.parametrize("beside", [True, False])
def test_boxes_in_pixels_need_no_georeference(tmp_path, ending, write_text, beside):
    image = pixel_scene(tmp_path)
    file = tmp_path / f"scene{ending}"
    file.write_text(write_text(BOXES))
    source = prepared(image, None if beside else file, tmp_path, BoxTarget(), window_px=32)
    assert [item.name for item in source.spec.classes] == ["a", "b"] and source.spec.crs is None
    val = sum(int((~s.extras["objects"].ignored).sum()) for s in all_of(source, "val"))
    assert sum(source.spec.class_pixels) + val == len(BOXES)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ((200, 200, 210, 210, "a"), "outside of the image"),
        ((50, 50, 50, 60, "a"), "no area"),
        ((60, 50, 50, 60, "a"), "no area"),
        ((float("nan"), 50, 60, 60, "a"), "no area"),
    ],
)
def test_a_bad_box_is_named_and_left_out_or_refused(tmp_path, caplog, bad, message):
    image = pixel_scene(tmp_path)
    (tmp_path / "scene.csv").write_text(csv_text([*BOXES, bad]))
    with pytest.raises(DataError, match=message):
        prepared(image, None, tmp_path, BoxTarget(), window_px=32)
    with caplog.at_level(logging.WARNING, "geomm"):
        source = prepared(image, None, tmp_path, BoxTarget(), window_px=32, on_error="skip")
    assert message in caplog.text and "object" in caplog.text
    val = sum(int((~s.extras["objects"].ignored).sum()) for s in all_of(source, "val"))
    assert sum(source.spec.class_pixels) + val == len(BOXES)


def test_a_class_that_is_not_listed_is_refused_or_left_out(tmp_path, caplog):
    image = pixel_scene(tmp_path)
    (tmp_path / "scene.csv").write_text(csv_text(BOXES))
    with pytest.raises(DataError, match=r"'b' is not in dataset.classes"):
        prepared(image, None, tmp_path, BoxTarget(classes=["a"]), window_px=32)
    with caplog.at_level(logging.WARNING, "geomm"):
        source = prepared(image, None, tmp_path, BoxTarget(classes=["a"]), window_px=32, on_error="skip")
    assert [item.name for item in source.spec.classes] == ["a"] and "not listed: 36" in caplog.text


def test_labels_of_a_missing_image_are_told(tmp_path, caplog):
    image = pixel_scene(tmp_path)
    (tmp_path / "all.csv").write_text(csv_text(BOXES) + "gone.png,1,1,5,5,a\n")
    with caplog.at_level(logging.WARNING, "geomm"):
        prepared(image, tmp_path / "all.csv", tmp_path, BoxTarget(), window_px=32)
    assert "missing image: 1 (gone.png" in caplog.text


def test_images_of_other_splits_are_not_missing(tmp_path, caplog):
    image, other = pixel_scene(tmp_path), pixel_scene(tmp_path, "other.png")
    rows = csv_text(BOXES) + csv_text(BOXES, "other.png").split("\n", 1)[1]
    (tmp_path / "all.csv").write_text(rows + "gone.png,1,1,5,5,a\n")
    with caplog.at_level(logging.WARNING, "geomm"):
        prepared(image, tmp_path / "all.csv", tmp_path, BoxTarget(), window_px=32, val_images=str(other))
    (told,) = [record.getMessage() for record in caplog.records if "missing image" in record.getMessage()]
    assert "missing image: 1 (gone.png" in told


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("scene.xml", "<annotation><object>", "PASCAL VOC xml"),
        ("scene.csv", "a,b\n1,2\n", "no column 'xmin'"),
        ("scene.json", '{"images": [], "annotations": []}', "no COCO json"),
    ],
)
def test_a_malformed_file_is_one_line(tmp_path, name, text, message):
    image = pixel_scene(tmp_path)
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        prepared(image, tmp_path / name, tmp_path, BoxTarget())
    assert "\n" not in str(caught.value)


def test_without_labels_it_says_where_it_looked(tmp_path):
    with pytest.raises(DataError, match=r"dataset.labels: none given"):
        prepared(pixel_scene(tmp_path), None, tmp_path, BoxTarget())


def test_points_are_no_objects(tmp_path):
    image = write(tmp_path / "scene.tif", positions(64, 64))
    labels = layer(tmp_path / "labels.gpkg", [Point(10, 10), Point(30, 30)])
    with pytest.raises(DataError, match="draw a margin around points"):
        prepared(image, labels, tmp_path, BoxTarget())


def test_a_batch_is_filled_up_to_its_largest(scene, tmp_path):
    image, labels, _, _ = scene
    small = prepared(image, labels, tmp_path, window_px=24).split("train")[0]
    target = BoxTarget(label_field="kind", masks=True)
    large = prepared(image, labels, tmp_path, target, window_px=40).split("train")[0]
    batch = collate_objects([large, small])
    assert batch["inputs"].shape == (2, 2, 40, 40) and not batch["valid"][1, 24:].any()
    assert batch["objects"][0].masks.shape[1:] == (40, 40) and len(batch["objects"][1]) == len(
        small.extras["objects"]
    )
    assert CRS and batch["name"][0] == large.name


def test_objects_cut_by_an_images_edge_say_nothing_of_sizes():
    boxes = [(10, 10, 40, 40), (20, 30, 50, 60), (0, 5, 4, 35), (90, 40, 95.5, 70), (30, 95, 60, 96)]
    labels = ObjectLabels.of_boxes("a.xml", boxes, ["palm"] * 5).in_image(96, 96, Problems(False))
    target = BoxTarget()
    target.settle_classes([labels], Problems(False))
    assert target.object_px == (30.0, 30.0)


def test_where_the_edge_cuts_all_objects_all_are_measured():
    labels = ObjectLabels.of_boxes("a.xml", [(0, 5, 20, 25)], ["palm"]).in_image(96, 96, Problems(False))
    target = BoxTarget()
    target.settle_classes([labels], Problems(False))
    assert target.object_px == (20.0, 20.0)


@pytest.mark.parametrize("write_text", [csv_text, coco_text, voc_xml])
def test_scenes_of_one_name_have_the_boxes_of_their_folder(tmp_path, write_text):
    scenes, files = [], []
    for folder, one in (("a", BOXES[0]), ("b", BOXES[40])):
        (tmp_path / folder).mkdir()
        scenes.append(str(pixel_scene(tmp_path / folder)))
        files.append(tmp_path / "labels" / folder / f"scene.{'xml' if write_text is voc_xml else 'txt'}")
        files[-1].parent.mkdir(parents=True)
        files[-1].write_text(write_text([one]))
    if write_text is csv_text:
        files = [tmp_path / "all.csv"]
        files[0].write_text(csv_text([BOXES[0]], "a/scene.png") + "b/scene.png,42,42,48,49,a\n")
    elif write_text is coco_text:
        data = json.loads(coco_text([BOXES[0], BOXES[40]]))
        data["images"] = [{"id": n, "file_name": f"{f}/scene.png"} for n, f in enumerate("ab")]
        for number, item in enumerate(data["annotations"]):
            item["image_id"] = number
        files = [tmp_path / "all.json"]
        files[0].write_text(json.dumps(data))
    opened = BoxTarget().open(scenes, [str(file) for file in files], skip_errors=False, role=0)
    assert [scene.labels.objects.boxes[0, 0] for scene in opened] == [BOXES[0][0], BOXES[40][0]]


def test_the_class_of_a_csv_is_in_the_column_that_is_named(tmp_path):
    image = pixel_scene(tmp_path)
    file = tmp_path / "scene.csv"
    file.write_text(csv_text(BOXES[:1]).replace("label", "label,species").replace(",a\n", ",a,oak\n"))

    def names(label_field):
        target = BoxTarget(label_field=label_field)
        (scene,) = target.open(str(image), str(file), skip_errors=False, role=0)
        return scene.labels.objects.names.tolist()

    assert names(None) == ["a"] and names("species") == ["oak"]
    with pytest.raises(DataError, match="no column 'kind'"):
        names("kind")


@pytest.mark.parametrize(("name", "write_text"), [("scene.xml", voc_xml), ("scene.json", coco_text)])
def test_a_label_field_is_refused_where_the_class_has_its_place(tmp_path, name, write_text):
    image = pixel_scene(tmp_path)
    (tmp_path / name).write_text(write_text(BOXES))
    with pytest.raises(DataError, match=f"{name}: dataset.label_field=kind is for vector layers and csv"):
        BoxTarget(label_field="kind").open(str(image), None, skip_errors=False, role=0)


def test_a_file_of_one_scene_may_call_its_image_otherwise(tmp_path):
    scenes = []
    for folder, one in (("a", BOXES[0]), ("b", BOXES[40])):
        (tmp_path / folder).mkdir()
        scenes.append(str(pixel_scene(tmp_path / folder)))
        (tmp_path / folder / "scene.csv").write_text(csv_text([one], "C:/old/scene.png"))
    opened = BoxTarget().open(scenes, None, skip_errors=False, role=0)
    assert [scene.labels.objects.boxes[0, 0] for scene in opened] == [BOXES[0][0], BOXES[40][0]]


def test_a_label_file_that_cannot_be_read_leaves_out_its_scene(tmp_path):
    images = [str(pixel_scene(tmp_path, name)) for name in ("scene.png", "other.png")]
    files = [str(tmp_path / "scene.csv"), str(tmp_path / "other.csv")]
    (tmp_path / "scene.csv").write_text("a,b\n1,2\n")
    (tmp_path / "other.csv").write_text(csv_text(BOXES, "other.png"))
    opened = BoxTarget().open(images, files, skip_errors=True, role=0)
    assert [scene.reader.info.path for scene in opened] == images[1:]


def test_labels_of_another_size_leave_out_their_scene(tmp_path, caplog):
    images = [str(pixel_scene(tmp_path, name)) for name in ("scene.png", "other.png")]
    (tmp_path / "scene.xml").write_text(voc_xml(BOXES, size=(99, 96)))
    (tmp_path / "other.xml").write_text(voc_xml(BOXES, name="other.png"))
    with pytest.raises(DataError, match=r"scene\.xml: labels of another size, 99 x 96; .* has 96 x 96 px"):
        BoxTarget().open(images, None, skip_errors=False, role=0)
    with caplog.at_level(logging.WARNING, "geomm"):
        opened = BoxTarget().open(images, None, skip_errors=True, role=0)
    assert [scene.reader.info.path for scene in opened] == images[1:] and "1 of 2 scenes" in caplog.text


def test_features_without_a_class_are_ignored(tmp_path, caplog):
    boxes, kinds = squares(SIZE, SIZE, step=16, size=8)
    image = write(tmp_path / "scene.tif", positions(SIZE, SIZE))
    kinds = [None if number % 4 == 0 else kind for number, kind in enumerate(kinds)]
    labels = layer(tmp_path / "labels.gpkg", boxes, kind=kinds)
    with caplog.at_level(logging.WARNING, "geomm"):
        source = prepared(image, labels, tmp_path)
    assert f"without a class, ignored: {kinds.count(None)}" in caplog.text
    assert [item.name for item in source.spec.classes] == ["a", "b"]
    nameless = {tuple(item.bounds[:2]) for item, kind in zip(boxes, kinds, strict=True) if kind is None}
    seen = 0
    for sample in all_of(source, "val"):
        objects = sample.extras["objects"]
        for corners, ignored in zip(on_scene(sample), objects.ignored, strict=True):
            if tuple(corners[:2]) in nameless:
                seen += 1
                assert ignored
    assert seen


@pytest.mark.parametrize(
    ("texts", "names", "by_value", "expected"),
    [
        (["0", "1"], {0: "1", 1: "0"}, True, ["1", "0"]),  # numbers of YOLO
        (["0", "1"], {0: "1", 1: "0"}, False, ["0", "1"]),  # categories of COCO
        (["0", "1"], {0: "1", 1: "0"}, None, ["0", "1"]),
        (["2", "3"], {1: "2", 2: "3"}, None, ["2", "3"]),
        (["1", "2"], {1: "2", 2: "3"}, None, ["2", "3"]),
        (["1", "2"], {1: "palm", 2: "pool"}, None, ["palm", "pool"]),
        (["palm", "2"], {1: "palm", 2: "pool"}, None, ["palm", "pool"]),
    ],
)
def test_names_that_look_like_values_are_told_from_them(texts, names, by_value, expected):
    labels = ObjectLabels.of_boxes("x", [[0, 0, 9, 9], [10, 0, 19, 9]], texts)
    target, problems = BoxTarget(), Problems(False)
    specs, index_of, (known,) = target.settle_classes([labels], problems, names=names, by_value=by_value)
    assert [specs[index_of[name]].name for name in known.names] == expected
    value_of = {name: value for value, name in names.items()}
    assert [specs[index_of[name]].value for name in known.names] == [value_of[name] for name in expected]


def test_values_of_a_layer_are_values_even_where_they_are_names_too(scene, tmp_path):
    image, _, _, kinds = scene
    boxes, _ = squares(SIZE, SIZE, step=16, size=8)
    labels = layer(tmp_path / "numbers.gpkg", boxes, kind=[{"a": 1, "b": 2}[kind] for kind in kinds])
    target = BoxTarget(label_field="kind", classes={1: "2", 2: "1"})
    source = prepared(image, labels, tmp_path, target, classes={1: "2", 2: "1"})
    assert [(item.value, item.name) for item in source.spec.classes] == [(1, "2"), (2, "1")]


def test_a_masked_object_shows_by_its_mask_and_not_by_its_box():
    """Beside ground of another split: of the lower left triangle the left half is hidden."""
    rows, cols = np.mgrid[:100, :100]
    mask = rows >= cols  # three quarters of it lie left of the middle
    objects = Objects(np.array([[0, 0, 100, 100]], np.float32), np.array([0]), masks=mask[None])
    seen = cols >= 50
    shown, share = hide(objects, np.ones(1), seen)
    assert share[0] == pytest.approx(0.25, abs=0.01)
    assert shown.boxes[0].tolist() == [50, 50, 100, 100]
    np.testing.assert_array_equal(shown.masks[0], mask & seen)
    boxed, share = hide(replace(objects, masks=None), np.ones(1), seen)
    assert share[0] == 0.5 and boxed.boxes[0].tolist() == [50, 0, 100, 100]


@pytest.mark.parametrize("ending", [".xml", ".csv"])
def test_labels_of_one_scene_are_not_given_to_another(tmp_path, ending):
    for name in "ab":
        write(tmp_path / f"{name}.tif", positions(SIZE, SIZE))
    boxes = [(9 * k, 9 * k, 9 * k + 8, 9 * k + 8, "x") for k in range(1, 17)]
    lines = ["xmin,ymin,xmax,ymax,label", *(",".join(map(str, item)) for item in boxes)]
    text = voc_xml(boxes, "a.tif", (SIZE, SIZE)) if ending == ".xml" else "\n".join(lines)
    labels = tmp_path / f"a{ending}"
    labels.write_text(text)
    with pytest.raises(DataError, match=r"b\.tif"):
        prepared(tmp_path / "*.tif", labels, tmp_path / "cache", BoxTarget())
    source = prepared(tmp_path / "a.tif", labels, tmp_path / "cache", BoxTarget())
    assert [item.name for item in source.spec.classes] == ["x"]
