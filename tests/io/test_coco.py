"""COCO's json: every form of an outline, entries of one image, and what is none."""

import json

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from pycocotools import mask as rle

from geomm.errors import DataError
from geomm.io.coco import _decoded, read_coco
from geomm.io.object_labels import Problems

IMAGES = [{"id": 0, "file_name": "a/t.tif", "width": 100, "height": 100}]


def write(folder, annotations, images=None):
    items = [{"id": n, "image_id": 0, "category_id": 1, **item} for n, item in enumerate(annotations)]
    data = {
        "images": images or IMAGES,
        "categories": [{"id": 1, "name": "tree"}],
        "annotations": [{"id": 9, "image_id": 0, "category_id": 1, "bbox": [1, 1, 5, 5]}, *items],
    }
    path = folder / "a.json"
    path.write_text(json.dumps(data))
    return path


@settings(deadline=None, derandomize=True)
@given(arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=40), elements=st.integers(0, 1)))
def test_masks_are_those_that_were_encoded(mask):
    code = rle.encode(np.asfortranarray(mask))
    compressed = {"size": code["size"], "counts": code["counts"].decode()}
    flat = np.concatenate([[0], mask.ravel(order="F")])
    edges = np.flatnonzero(np.diff(flat))
    runs = np.diff(np.concatenate([[0], edges, [mask.size]])).tolist()
    height, width = mask.shape
    for form in (compressed, {"size": list(mask.shape), "counts": runs}):
        outline = _decoded(form, {"height": height, "width": width}, "x")
        assert outline.is_valid and outline.area == mask.sum()
        cols, rows = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
        np.testing.assert_array_equal(shapely.contains_xy(outline, cols, rows), mask.astype(bool))


def encoded(**changes):
    return {"segmentation": {"size": [100, 100], "counts": [0, 10000], **changes}}


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ({"segmentation": [[1, 1, float("nan"), 5, 9, 9]]}, "not finite"),
        ({"segmentation": [[1, 1, float("inf"), 5, 9, 9]]}, "not finite"),
        ({"segmentation": [[1, 1, 5, 5, 9, 9]]}, "its outline has no area"),
        ({"bbox": [float("nan"), 0, 1, 1]}, "no area"),
        ({"bbox": [0, 0, float("inf"), 1]}, "no area"),
        (encoded(counts=[-10, 10010]), "the shortest -10"),
        (encoded(counts=[5, 10]), "runs of 15 px"),
        (encoded(counts="zzzzzzzz"), "malformed"),
        (encoded(counts="04"), "runs of 4 px"),
        (encoded(counts="P"), "ends early"),
        (encoded(counts=None), "malformed"),
        (encoded(counts=[float("inf")]), "malformed"),
        (encoded(counts=[10000]), "its outline has no area"),
    ],
)
def test_what_is_no_outline_is_named_and_left_out_or_refused(tmp_path, caplog, item, message):
    path = write(tmp_path, [item])
    with pytest.raises(DataError, match=message) as caught:
        read_coco(path, Problems(False))
    assert "annotation 0" in str(caught.value) and "\n" not in str(caught.value)
    problems = Problems(True)
    assert len(read_coco(path, problems).labels["a/t.tif"]) == 1
    assert problems.counts.total() == 1 and message in caplog.text


def test_entries_of_one_image_are_one(tmp_path):
    again = [*IMAGES, {"id": 1, "file_name": "a\\t.tif"}, {"id": 2, "file_name": "b/t.tif"}]
    path = write(tmp_path, [{"image_id": 1, "bbox": [20, 20, 5, 5]}], again)
    labels = read_coco(path, Problems(False)).labels
    assert {name: len(item) for name, item in labels.items()} == {"a/t.tif": 2, "b/t.tif": 0}
    assert labels["a/t.tif"].size == (100, 100)


def test_entries_of_one_image_in_two_sizes_are_refused(tmp_path):
    path = write(tmp_path, [], [*IMAGES, {**IMAGES[0], "id": 1, "width": 50}])
    with pytest.raises(DataError, match=r"image a/t\.tif is listed as of 50 x 100 and 100 x 100 px"):
        read_coco(path, Problems(False))
    assert not read_coco(path, Problems(True)).labels
