"""Limits of what leaves a detector, and of the queries that it asks with."""

import logging

import pytest
import torch

from geomm.models.objects.limits import cap_queries, least_edge, limit
from tests.models.objects.test_detector import SIZE, make_detector

STRIDES = (8, 16, 32, 64)


@pytest.mark.parametrize(
    ("cfg", "most", "kept"),
    [
        ({}, 300, {"max_per_img": 300}),
        ({}, None, {"max_per_img": 1_000_000}),
        ({"test_cfg": {"max_per_img": 100}}, None, {"max_per_img": 100}),
        ({"num_queries": 10}, 300, {"max_per_img": 10}),
        ({"rpn_head": {"num_proposals": 20}, "test_cfg": {"rcnn": {}}}, 300, {"max_per_img": 20}),
        (
            {"rpn_head": {"num_proposals": 20}, "test_cfg": {"rcnn": {"max_per_img": 50}}},
            None,
            {"max_per_img": 20},
        ),
        (
            {"panoptic_head": {"num_queries": 30}, "test_cfg": {"max_per_image": 100}},
            300,
            {"max_per_image": 30},
        ),
    ],
)
def test_a_query_finds_one_object_at_most(cfg, most, kept):
    limit(cfg, {"max_objects": most})
    assert cfg["test_cfg"].get("rcnn", cfg["test_cfg"]) == kept


def test_queries_that_are_cells_are_no_more_than_these(caplog):
    cfg = {"type": "DINO", "num_queries": 900}
    with caplog.at_level(logging.INFO, logger="geomm"):
        cap_queries(cfg, STRIDES, 128)
    assert cfg["num_queries"] == 16**2 + 8**2 + 4**2 + 2**2
    assert "DINO asks with 340 queries instead of 900: windows of 128 px have no more cells" in caplog.text
    # Smaller pictures are padded until there is a cell for each.
    assert least_edge(cfg, STRIDES) == 128
    large = {"type": "DINO", "num_queries": 900}
    cap_queries(large, STRIDES, 512)
    assert large["num_queries"] == 900 and least_edge(large, STRIDES) == 256


def test_queries_that_are_learnt_have_no_such_limit():
    cfg = {"type": "DETR", "num_queries": 900}
    cap_queries(cfg, STRIDES, 64)
    assert cfg["num_queries"] == 900 and least_edge(cfg, STRIDES) == 0


def test_dino_finds_in_pictures_smaller_than_its_windows():
    name = "dino/dino-4scale_r50_8xb2-12e_coco"
    light = ["+head.encoder={num_layers: 1}", "+head.decoder={num_layers: 1}"]
    more = ["head.type=mmdet.DINO", f"head.config={name}", *light]
    detector = make_detector("mmdet", more=more, window_px=96).eval()
    assert detector.least_px > max(SIZE)
    (found,) = detector.detect(torch.rand(1, 3, *SIZE), torch.ones(1, *SIZE, dtype=torch.bool))
    assert found.boxes.shape == (len(found), 4)
