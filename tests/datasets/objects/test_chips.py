import json
import logging
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as rle

from geomm.datasets import Chips, CocoChips, VocChips, YoloChips
from geomm.datasets.objects.collate import collate_objects
from geomm.datasets.objects.targets import BoxTarget
from geomm.errors import DataError
from tests.conftest import ROOT
from tests.datasets.common import GSD, grid, write
from tests.datasets.objects.test_targets import voc_xml

SIZE, COUNT = 48, 12
PALMS = ROOT.parent / "shared" / "data" / "palms_export"


def truth_of(number):
    """Two boxes a chip, of classes a and b, none in chips 5 and 11."""
    if number % 6 == 5:
        return []
    at = 3 + number
    return [(at, 4, at + 9, 14, "a"), (20, 25 + number % 7, 32, 40, "b")]


def outline(box):
    """An L: the box without its upper right quarter."""
    left, top, right, bottom = box[:4]
    across, down = (left + right) // 2, (top + bottom) // 2
    return [left, top, across, top, across, down, right, down, right, bottom, left, bottom]


def mask_of(box, size=SIZE):
    out = np.zeros((size, size), np.uint8)
    left, top, right, bottom = box[:4]
    out[top:bottom, left:right] = 1
    out[top : (top + bottom) // 2, (left + right) // 2 : right] = 0
    return out


def image_of(number, size=SIZE):
    rng = np.random.default_rng(number)
    return rng.integers(0, 200, (3, size, size)).astype(np.uint8)


def png(path, number, size=SIZE):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), image_of(number, size).transpose(1, 2, 0))


def export(root, kind, step=SIZE):
    for number in range(COUNT):
        stem, boxes = f"{number:09d}", truth_of(number)
        for part in ("images", "labels"):
            (root / part).mkdir(parents=True, exist_ok=True)
        place = grid((number % 4) * step, (number // 4) * step)
        write(root / "images" / f"{stem}.tif", image_of(number), transform=place)
        value = {"a": 1, "b": 4}
        if kind == "PASCAL_VOC_rectangles":
            text = voc_xml([(*box[:4], value[box[4]]) for box in boxes], f"{stem}.tif", (SIZE, SIZE))
            (root / "labels" / f"{stem}.xml").write_text(text)
        elif kind == "KITTI_rectangles":
            lines = [f"{value[b[4]]} 0 0 0 {b[0]} {b[1]} {b[2]} {b[3]} 0 0 0 0 0 0 0\n" for b in boxes]
            (root / "labels" / f"{stem}.txt").write_text("".join(lines))
        else:
            for name, number_of in (("Palm", "a"), ("4", "b")):
                (root / "labels" / name).mkdir(exist_ok=True)
                ids = sum(
                    (np.int32(i + 1) * mask_of(b) for i, b in enumerate(boxes) if b[4] == number_of),
                    np.zeros((SIZE, SIZE), np.int32),
                )
                write(root / "labels" / name / f"{stem}.tif", ids.astype(np.uint8), transform=place)
    classes = [{"Value": 1, "Name": "Palm", "Color": [255, 0, 0]}, {"Value": 4, "Name": "Pool"}]
    (root / "esri_model_definition.emd").write_text(json.dumps({"MetaDataMode": kind, "Classes": classes}))
    return root


def coco(root, *, segmentation=None, crowd=False, images="images"):
    entries, annotations = [], []
    for number in range(COUNT):
        name = f"{number}.png"
        png(root / images / name, number)
        entries.append({"id": number, "file_name": name, "width": SIZE, "height": SIZE})
        for box in truth_of(number):
            item = {
                "id": len(annotations),
                "image_id": number,
                "category_id": {"a": 1, "b": 4}[box[4]],
                "bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]],
                "iscrowd": int(crowd and box[4] == "b" and number % 2),
            }
            if segmentation == "polygon":
                item["segmentation"] = [outline(box)]
            elif segmentation == "rle":
                code = rle.encode(np.asfortranarray(mask_of(box)))
                item["segmentation"] = {"size": code["size"], "counts": code["counts"].decode()}
            elif segmentation == "runs":
                flat = mask_of(box).ravel(order="F")
                edges = np.flatnonzero(np.diff(flat, prepend=0)) if flat.any() else np.array([], int)
                runs = np.diff(np.concatenate([[0], edges, [flat.size]])).tolist()
                item["segmentation"] = {"size": [SIZE, SIZE], "counts": runs}
            annotations.append(item)
    categories = [{"id": 1, "name": "Palm"}, {"id": 4, "name": "Pool"}]
    data = {"images": entries, "annotations": annotations, "categories": categories}
    (root / "instances.json").write_text(json.dumps(data))
    return data


def voc(root, *, beside):
    for number in range(COUNT):
        png(root / ("" if beside else "JPEGImages") / f"{number}.png", number)
        file = root / ("" if beside else "Annotations") / f"{number}.xml"
        file.parent.mkdir(exist_ok=True)
        file.write_text(voc_xml(truth_of(number), f"{number}.png", (SIZE, SIZE)))


def yolo(root, *, polygons=False, names="data.yaml"):
    for number in range(COUNT):
        png(root / "images" / "train" / f"{number}.png", number)
        lines = []
        for box in truth_of(number):
            left, top, right, bottom, kind = box
            if polygons:
                values = np.array(outline(box)) / SIZE
            else:
                values = (
                    np.array([left + right, top + bottom, 2 * (right - left), 2 * (bottom - top)]) / 2 / SIZE
                )
            lines.append(" ".join([str("ab".index(kind)), *(f"{value:.8f}" for value in values)]))
        file = root / "labels" / "train" / f"{number}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        if lines or number == 5:
            file.write_text("\n".join(lines))
    if names == "data.yaml":
        (root / names).write_text("names: [Palm, Pool]\n")
    elif names:
        (root / names).write_text("Palm\nPool\n")


def check(source, *, masks=False, exact=True, crowds=0):
    """Every object is there once, where it was made."""
    found, ignored = [], 0
    for split in ("train", "val"):
        dataset = source.split(split)
        for chip, sample in zip(dataset.chips, (dataset[i] for i in range(len(dataset))), strict=True):
            objects = sample.extras["objects"]
            number = int(Path(chip.image).stem)
            truth = truth_of(number)
            assert len(objects) == len(truth)
            ignored += int(objects.ignored.sum())
            order = np.argsort(objects.labels)
            for at, box in zip(order, truth, strict=True):
                np.testing.assert_allclose(objects.boxes[at], box[:4], atol=1e-3)
                assert objects.labels[at] == "ab".index(box[4])
                if masks:
                    np.testing.assert_array_equal(objects.masks[at], mask_of(box))
            found.append(number)
    assert sorted(found) == list(range(COUNT)) and ignored == crowds
    assert [item.name for item in source.spec.classes] == ["Palm", "Pool"]


@pytest.mark.parametrize("kind", ["PASCAL_VOC_rectangles", "KITTI_rectangles", "RCNN_Masks"])
def test_an_export_of_each_kind_is_read(tmp_path, kind):
    source = Chips(root=str(export(tmp_path, kind)), target=BoxTarget(masks=kind == "RCNN_Masks"))
    spec = source.prepare(None)
    check(source, masks=kind == "RCNN_Masks")
    assert [item.value for item in spec.classes] == [1, 4] and spec.classes[0].color == (255, 0, 0)
    assert spec.gsd == GSD and spec.window_px == SIZE and spec.background is None
    assert sum(spec.class_pixels) < 20 and spec.object_px[0] > 5


def test_chips_that_overlap_share_no_ground_between_splits(tmp_path):
    source = Chips(root=str(export(tmp_path, "PASCAL_VOC_rectangles", step=SIZE // 2)), target=BoxTarget())
    source.prepare(None)
    train, val = source.split("train"), source.split("val")

    def ground(sample):
        rows, cols = np.nonzero(sample.valid)
        a, _, c, _, e, f = sample.georeference.transform
        return set(zip((c + a * cols).tolist(), (f + e * rows).tolist(), strict=True))

    seen = [set().union(*(ground(part[i]) for i in range(len(part)))) for part in (train, val)]
    assert not seen[0] & seen[1] and all(seen)
    assert any(not train[i].valid.all() for i in range(len(train)))


@pytest.mark.parametrize("segmentation", [None, "polygon", "rle", "runs"])
def test_coco_of_each_form_is_read(tmp_path, segmentation):
    coco(tmp_path, segmentation=segmentation)
    source = CocoChips(root=str(tmp_path), target=BoxTarget(masks=segmentation is not None))
    source.prepare(None)
    check(source, masks=segmentation is not None)
    assert [item.value for item in source.spec.classes] == [1, 4]


def test_crowds_are_ignored(tmp_path):
    coco(tmp_path, crowd=True)
    source = CocoChips(root=str(tmp_path), annotations=str(tmp_path / "instances.json"))
    source.prepare(None)
    check(source, crowds=sum(1 for n in range(1, COUNT, 2) if truth_of(n)))


@pytest.mark.parametrize("beside", [True, False])
def test_pascal_voc_is_read(tmp_path, beside):
    voc(tmp_path, beside=beside)
    source = VocChips(root=str(tmp_path), classes={"a": "Palm", "b": "Pool"})
    source.prepare(None)
    check(source)


@pytest.mark.parametrize(("polygons", "names"), [(False, "data.yaml"), (True, "classes.txt")])
def test_yolo_is_read(tmp_path, polygons, names):
    yolo(tmp_path, polygons=polygons, names=names)
    source = YoloChips(root=str(tmp_path), target=BoxTarget(masks=polygons))
    source.prepare(None)
    check(source, masks=polygons)
    assert [item.value for item in source.spec.classes] == [0, 1]


def test_a_list_of_classes_may_lie_with_the_labels_of_yolo(tmp_path):
    yolo(tmp_path, names="classes.txt")
    (tmp_path / "classes.txt").rename(tmp_path / "labels" / "train" / "classes.txt")
    source = YoloChips(root=str(tmp_path))
    source.prepare(None)
    check(source)


def test_images_that_are_shown_turned_are_counted(tmp_path, caplog):
    yolo(tmp_path)
    for number in (0, 3):
        path = tmp_path / "images" / "train" / f"{number}.png"
        with Image.open(path) as image:
            tags = image.getexif()
            tags[0x0112] = 3
            image.convert("RGB").save(path.with_suffix(".jpg"), exif=tags, quality=95)
        path.unlink()
    YoloChips(root=str(tmp_path)).prepare(None)
    assert "image that its EXIF tags turn: labels are taken to be of its pixels as stored: 2" in caplog.text


def break_coco(root, change):
    data = coco(root, segmentation="rle")
    change(data["annotations"])
    (root / "instances.json").write_text(json.dumps(data))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda items: items[0].update(image_id=99), "not listed"),
        (lambda items: items[0].update(category_id=99), "category 99"),
        (lambda items: items[0]["segmentation"].update(size=[9, 9]), "mask of another size: 9 x 9"),
        (lambda items: items[0].update(segmentation=None, bbox=[1, 2, 0, 4]), "no area"),
        (lambda items: items[0].pop("image_id"), "malformed"),
        (lambda items: items[0].update(segmentation=None, bbox=[300, 2, 5, 4]), "outside of the image"),
    ],
)
def test_a_bad_annotation_is_named_and_left_out_or_refused(tmp_path, caplog, change, message):
    break_coco(tmp_path, change)
    with pytest.raises(DataError, match=message) as caught:
        CocoChips(root=str(tmp_path)).prepare(None)
    assert "\n" not in str(caught.value)
    with caplog.at_level(logging.WARNING, "geomm"):
        source = CocoChips(root=str(tmp_path), on_error="skip")
        source.prepare(None)
    assert message in caplog.text and ": 1" in caplog.text
    train, val = source.split("train"), source.split("val")
    count = sum(len(part[i].extras["objects"]) for part in (train, val) for i in range(len(part)))
    assert count == sum(len(truth_of(n)) for n in range(COUNT)) - 1


def broken_xml(root):
    (root / "3.xml").write_text("<annotation>")


def missing_image(root):
    (root / "3.png").unlink()


def corrupt_image(root):
    (root / "3.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")


def other_size(root):
    (root / "3.xml").write_text(voc_xml(truth_of(3), "3.png", (99, 48)))


def no_number(root):
    (root / "3.xml").write_text(voc_xml([("x", 1, 5, 5, "a")], "3.png", (SIZE, SIZE)))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (broken_xml, "3.xml cannot be read as PASCAL VOC"),
        (missing_image, "label without an image: .*3.xml"),
        (corrupt_image, "3.png"),
        (other_size, "labels of another size, 99 x 48"),
        (no_number, "found 'x', expected a number"),
    ],
)
def test_a_bad_chip_is_named_and_left_out_or_refused(tmp_path, caplog, spoil, message):
    voc(tmp_path, beside=True)
    spoil(tmp_path)
    with pytest.raises(DataError, match=message) as caught:
        VocChips(root=str(tmp_path)).prepare(None)
    assert "\n" not in str(caught.value)
    with caplog.at_level(logging.WARNING, "geomm"):
        source = VocChips(root=str(tmp_path), on_error="skip")
        source.prepare(None)
    assert "3." in caplog.text
    numbers = [int(Path(c.image).stem) for split in ("train", "val") for c in source.split(split).chips]
    assert sorted(numbers) == [n for n in range(COUNT) if n != 3]


def test_images_of_one_name_in_two_folders_are_two(tmp_path):
    for part in ("one", "two"):
        (tmp_path / part).mkdir()
        voc(tmp_path / part, beside=True)
    source = VocChips(root=str(tmp_path))
    source.prepare(None)
    images = {c.image for split in ("train", "val") for c in source.split(split).chips}
    assert len(images) == 2 * COUNT
    other = tmp_path / "yolo"
    for part in ("train", "val"):
        for number in range(6):
            png(other / part / f"{number}.png", number)
            (other / part / f"{number}.txt").write_text("0 0.5 0.5 0.2 0.2")
    source = YoloChips(root=str(other))
    source.prepare(None)
    assert sum(len(source.split(split)) for split in ("train", "val")) == 12


def test_one_image_is_told_to_be_divided_by_blocks(tmp_path):
    png(tmp_path / "0.png", 0)
    (tmp_path / "0.xml").write_text(voc_xml(truth_of(0), "0.png", (SIZE, SIZE)))
    with pytest.raises(DataError, match=r"or divide large images by blocks: dataset=geotiff"):
        VocChips(root=str(tmp_path)).prepare(None)


def test_only_labels_lack_an_image(tmp_path):
    yolo(tmp_path)
    other = {
        "README.roboflow.txt": "\nTrees - v1\n5 0.1 0.2 0.3 0.4\n",
        "README.dataset.txt": "# Trees > 2024-05-01\nhttps://universe.example\n",
        "labels/train/classes.txt": "0\n1\n",
        "train.txt": "images/train/0.png 1 2 3 4\nimages/train/1.png\n",
        "labels/train/empty.txt": "\n",
    }
    for name, text in other.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe\x00\x80")
    source = YoloChips(root=str(tmp_path))
    source.prepare(None)
    check(source)
    (tmp_path / "labels" / "train" / "99.txt").write_text("\n0 0.5 0.5 0.2 0.2\n")
    with pytest.raises(DataError, match=r"label without an image: .*99\.txt"):
        YoloChips(root=str(tmp_path)).prepare(None)


def test_a_yolo_line_of_another_form_is_named(tmp_path):
    yolo(tmp_path)
    (tmp_path / "labels" / "train" / "2.txt").write_text("0 0.5 0.5\n")
    with pytest.raises(DataError, match=r"line 1 has 3 columns"):
        YoloChips(root=str(tmp_path)).prepare(None)


def test_a_class_that_the_data_do_not_list_is_named(tmp_path, caplog):
    yolo(tmp_path)
    (tmp_path / "labels" / "train" / "2.txt").write_text("0 0.5 0.5 0.2 0.2\n7 0.5 0.5 0.2 0.2\n")
    with pytest.raises(DataError, match=r"class '7' is not in the list of classes .*\(Palm, Pool\)"):
        YoloChips(root=str(tmp_path)).prepare(None)
    spec = YoloChips(root=str(tmp_path), on_error="skip").prepare(None)
    assert [item.name for item in spec.classes] == ["Palm", "Pool"]
    assert "object of a class that is not listed: 1" in caplog.text
    spec = YoloChips(root=str(tmp_path), classes={0: "tree", 1: "water", 7: "tree"}).prepare(None)
    assert [(item.value, item.name) for item in spec.classes] == [(0, "tree"), (1, "water")]


@pytest.mark.parametrize("text", ["names: {a: Palm}\n", "- Palm\n", "names: [Palm\n", "names: {~: Palm}\n"])
def test_yolo_names_that_make_no_sense_are_one_line(tmp_path, text):
    yolo(tmp_path)
    (tmp_path / "data.yaml").write_text(text)
    with pytest.raises(DataError, match=r"cannot be read as YOLO's data\.yaml") as caught:
        YoloChips(root=str(tmp_path)).prepare(None)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("classes", [{1: "tree", 4: "water"}, {"Palm": "tree", "Pool": "water"}])
def test_values_and_names_of_the_data_can_be_called_otherwise(tmp_path, classes):
    coco(tmp_path)
    spec = CocoChips(root=str(tmp_path), classes=classes).prepare(None)
    assert [item.name for item in spec.classes] == ["tree", "water"]


def test_chips_of_other_sizes_make_one_batch(tmp_path):
    voc(tmp_path, beside=True)
    png(tmp_path / "0.png", 0, size=60)
    (tmp_path / "0.xml").write_text(voc_xml(truth_of(0), "0.png", (60, 60)))
    source = VocChips(root=str(tmp_path))
    source.prepare(None)
    samples = [source.split(s)[i] for s in ("train", "val") for i in range(len(source.split(s)))]
    batch = collate_objects(samples)
    assert batch["inputs"].shape == (COUNT, 3, 60, 60)
    assert sorted(batch["valid"].sum((1, 2)).tolist()) == [SIZE**2] * (COUNT - 1) + [3600]


def test_windows_are_cut_out_of_large_images(tmp_path):
    voc(tmp_path, beside=True)
    source = VocChips(root=str(tmp_path), window_px=32)
    source.prepare(None)
    train, val = source.split("train"), source.split("val")
    assert train[0].image.shape == (3, 32, 32) == val[0].image.shape and len(val) > len(val.chips)
    counted = sum(int((~val[i].extras["objects"].ignored).sum()) for i in range(len(val)))
    assert counted == sum(len(truth_of(int(Path(c.image).stem))) for c in val.chips)


def test_chips_without_objects_are_thinned_out(tmp_path):
    voc(tmp_path, beside=True)
    source = VocChips(root=str(tmp_path), empty_share=0.0, split={"val": 0.2})
    source.prepare(None)
    assert all(len(chip.labels) for chip in source.split("train").chips)


def test_segmentation_refuses_an_export_of_objects(tmp_path):
    root = export(tmp_path, "PASCAL_VOC_rectangles")
    with pytest.raises(DataError, match="PASCAL_VOC_rectangles; this task reads Classified_Tiles"):
        Chips(root=str(root)).prepare(None)


@pytest.mark.skipif(not PALMS.is_dir(), reason=f"the real export is not at {PALMS}")
def test_a_real_export_has_all_its_palms():
    source = Chips(root=str(PALMS), target=BoxTarget())
    spec = source.prepare(None)
    assert [(item.value, item.name) for item in spec.classes] == [(1, "Palm")]
    chips = [chip for split in ("train", "val") for chip in source.split(split).chips]
    assert len(chips) == 160 and sum(len(chip.labels) for chip in chips) == 526
    assert spec.window_px == 448 and 0.08 < spec.gsd < 0.09
