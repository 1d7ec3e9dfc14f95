"""Chips that ArcGIS exported find their own labels."""

import json
from pathlib import Path

import numpy as np
import pytest

from geomm.datasets.objects.exported import ExportedObjects
from geomm.errors import DataError
from geomm.io.object_labels import Problems
from geomm.io.raster_info import read_info
from tests.datasets.common import write
from tests.datasets.objects.test_targets import voc_xml

SIZE = 32


def export(root, kind, names, classes=("1",)):
    """An export of chips of one object a class, each further right than that of the chip before."""
    for left, name in enumerate(names):
        (root / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        write(root / "images" / f"{name}.tif", np.ones((3, SIZE, SIZE), np.uint8))
        if kind == "RCNN_Masks":
            mask = np.zeros((SIZE, SIZE), np.uint8)
            mask[4:9, left : left + 5] = 1
            for value in classes:
                (root / "labels" / value / name).parent.mkdir(parents=True, exist_ok=True)
                write(root / "labels" / value / f"{name}.tif", mask)
        else:
            file = root / "labels" / f"{name}.xml"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(voc_xml([(left, 4, left + 5, 9, 1)], f"{name}.tif", (SIZE, SIZE)))
    (root / "esri_model_definition.emd").write_text(json.dumps({"MetaDataMode": kind}))
    return root


def objects(root, problems=None):
    """Return class and left edge of the objects of each chip, by its name below images/."""
    found = {}
    for image, read in ExportedObjects(root=str(root)).read_folder(problems or Problems(False)).chips:
        labels = read(read_info(image))
        name = str(Path(image).relative_to(root / "images").with_suffix(""))
        found[name] = [(n, int(b[0])) for n, b in zip(labels.names, labels.boxes, strict=True)]
    return found


@pytest.mark.parametrize("kind", ["PASCAL_VOC_rectangles", "RCNN_Masks"])
@pytest.mark.parametrize(
    "names",
    [[f"{folder}/{number}" for folder in "abc" for number in range(6)], ["t0", "t0.z", "t[0]", "t*"]],
)
def test_each_chip_has_its_own_objects_whatever_its_name(tmp_path, kind, names):
    root = export(tmp_path, kind, names)
    assert objects(root) == {name: [("1", left)] for left, name in enumerate(names)}


def test_a_chip_has_the_masks_of_all_its_classes(tmp_path):
    root = export(tmp_path, "RCNN_Masks", ["a/0", "b/0"], classes=("1", "roof"))
    (root / "labels" / "1" / "b" / "0.tif").unlink()
    (root / "labels" / "1" / "a" / "0.tif.aux.xml").write_text("<PAMDataset/>")
    assert objects(root) == {"a/0": [("1", 0), ("roof", 0)], "b/0": [("roof", 1)]}


def test_a_mask_of_one_of_several_chips_is_told(tmp_path):
    root = export(tmp_path, "RCNN_Masks", ["a/0", "b/0"])
    (root / "labels" / "1" / "a" / "0.tif").rename(root / "labels" / "1" / "0.tif")
    (root / "labels" / "1" / "b" / "0.tif").unlink()
    with pytest.raises(DataError, match=r"label without an image: .*labels/1/0\.tif"):
        objects(root)
    with pytest.raises(
        DataError, match=r"chip without a label: no labels/CLASS/0\.tif for .*images/a/0\.tif"
    ):
        objects(root, Problems(True))


def test_without_masks_the_chip_is_named(tmp_path):
    (tmp_path / "images").mkdir()
    write(tmp_path / "images" / "0.tif", np.ones((3, SIZE, SIZE), np.uint8))
    (tmp_path / "esri_model_definition.emd").write_text(json.dumps({"MetaDataMode": "RCNN_Masks"}))
    with pytest.raises(DataError, match="chip without a label"):
        objects(tmp_path)
