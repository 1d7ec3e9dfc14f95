"""Images of a COCO json are found in their folders."""

import json
from pathlib import Path

import pytest

from geomm.datasets import CocoChips
from geomm.errors import DataError
from tests.datasets.objects.test_chips import SIZE, png


def coco(root, names):
    """One object an image, that begins at the column of its number."""
    images = [{"id": n, "file_name": name, "width": SIZE, "height": SIZE} for n, name in enumerate(names)]
    items = [
        {"id": n, "image_id": n, "category_id": 1, "bbox": [n + 1, 2, 5, 5]} for n, _ in enumerate(names)
    ]
    data = {"images": images, "annotations": items, "categories": [{"id": 1, "name": "tree"}]}
    (root / "a.json").write_text(json.dumps(data))


def pairs(root, **options):
    source = CocoChips(root=str(root), **options)
    source.prepare(None)
    chips = [chip for name in ("train", "val") for chip in source.split(name).chips]
    return {str(Path(chip.image).relative_to(root)): int(chip.labels.boxes[0, 0]) - 1 for chip in chips}


@pytest.mark.parametrize("below", ["", "images"])
def test_images_of_one_name_go_by_their_folders(tmp_path, below):
    names = ["t.png", "a/t.png", "b/t.png"]
    for number, name in enumerate(names):
        png(tmp_path / below / name, number)
    coco(tmp_path, names)
    assert pairs(tmp_path) == {str(Path(below) / name): number for number, name in enumerate(names)}


def test_what_stays_unclear_is_refused_or_left_out(tmp_path, caplog):
    for name in ("x/t.png", "y/t.png", "1.png", "2.png", "3.png"):
        png(tmp_path / "images" / name, 1)
    coco(tmp_path, ["t.png", "1.png", "2.png", "a/3.png", "b/3.png"])
    with pytest.raises(DataError, match=r"t\.png may be of .*x/t\.png or .*y/t\.png"):
        pairs(tmp_path)
    assert pairs(tmp_path, on_error="skip") == {"images/1.png": 1, "images/2.png": 2}
    assert "labels of one of several images: 1" in caplog.text and "image of several labels: 1" in caplog.text


def test_labels_of_an_image_that_is_gone_are_not_given_to_another(tmp_path):
    for name in ("a/t.png", "1.png", "2.png"):
        png(tmp_path / name, 1)
    coco(tmp_path, ["b/t.png", "1.png", "2.png", "a/t.png"])
    with pytest.raises(DataError, match=r"image b/t\.png is not below"):
        pairs(tmp_path)
    assert pairs(tmp_path, on_error="skip") == {"1.png": 1, "2.png": 2, "a/t.png": 3}
