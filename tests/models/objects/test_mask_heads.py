"""Heads of outlines in words of their own."""

import numpy as np
import pytest
import torch

from geomm.errors import ConfigError
from geomm.models.objects.levels import Levels
from geomm.models.objects.mask_heads import fill_mask_head
from geomm.models.wiring import FeatureInfo
from tests.models.objects.test_detector import SIZE, check_objects, make_detector, make_objects

SOLO = ["head.type=mmdet.SOLO", "head.config=solo/solo_r50_fpn_1x_coco", "++head.neck={out_channels: 32}"]


def levels(*strides):
    return Levels(tuple(FeatureInfo(8 + index, stride) for index, stride in enumerate(strides)), 4)


@pytest.mark.parametrize("kind", ["SOLOHead", "DecoupledSOLOHead", "SOLOV2Head"])
def test_the_strides_of_solo_are_those_after_its_resampling(kind):
    node = {"type": kind, "mask_feature_head": {}}
    fill_mask_head(node, kind, levels(4, 8, 16, 32, 64), 3)
    assert node["strides"] == [8, 8, 16, 32, 32]  # those of mmdet's own config
    assert node["mask_feature_head"]["mask_stride"] == 4


def test_solo_reads_a_finest_map_of_stride_4():
    with pytest.raises(ConfigError, match=r"head\.strides: found 8 for the finest map, expected 4: SOLO"):
        make_detector("mmdet", more=[*SOLO, "head.strides=[8,16,32]"])


def test_mask2former_has_objects_only():
    node = {"pixel_decoder": {}, "loss_cls": {"class_weight": [1.0] * 133 + [0.1]}}
    fill_mask_head(node, "Mask2FormerHead", levels(4, 8, 16, 32), 3)
    assert node["in_channels"] == [8, 9, 10, 11] and node["pixel_decoder"]["strides"] == [4, 8, 16, 32]
    assert (node["num_things_classes"], node["num_stuff_classes"]) == (3, 0)
    assert node["loss_cls"]["class_weight"] == [1.0, 1.0, 1.0, 0.1]


def test_boxes_of_outlines_alone_are_around_them(monkeypatch):
    from mmdet.structures import DetDataSample
    from mmengine.structures import InstanceData

    detector = make_detector("mmdet", more=SOLO).eval()
    truth = make_objects(2, masks=True)
    found = InstanceData(
        bboxes=torch.zeros(2, 4),
        labels=torch.tensor([0, 1]),
        scores=torch.tensor([0.9, 0.8]),
        masks=torch.from_numpy(truth.masks),
    )
    sample = DetDataSample(pred_instances=found)
    monkeypatch.setattr(detector.detector, "predict", lambda *_, **__: [sample])
    (objects,) = detector.detect(torch.rand(1, 3, *SIZE), torch.ones(1, *SIZE, dtype=torch.bool))
    check_objects(objects, SIZE, True)
    np.testing.assert_array_equal(objects.boxes, np.floor(truth.boxes))


@pytest.mark.parametrize(
    ("more", "masks", "said"),
    [
        (SOLO, False, r"mmdet\.SOLO finds outlines, .* task=detection .* use task=instance_segmentation"),
        (
            ["head.type=mmdet.ATSS", "head.config=atss/atss_r50_fpn_1x_coco"],
            True,
            r"mmdet\.ATSS finds boxes, which task=instance_segmentation does not learn; use task=detection",
        ),
    ],
)
def test_a_head_of_the_other_task_is_named_at_the_first_step(more, masks, said):
    detector = make_detector("mmdet", more=more)
    with pytest.raises(ConfigError, match=said):
        detector(torch.randn(1, 3, *SIZE), objects=[make_objects(2, masks=masks)], mode="loss")
