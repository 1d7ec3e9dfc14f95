"""Published weights of detectors: mmdet's layout, read as it is, equal to mmdet's own results."""

import logging

import numpy as np
import pytest
import torch

from geomm.datasets.no_data import COCO_CLASSES, NoData
from geomm.errors import DataError, DependencyError
from geomm.models.frameworks import load_framework
from geomm.models.objects.detector import Detector
from geomm.models.objects.wiring import published_folder
from tests.models.common import composed, make_spec


def config(*more):
    return composed("task=detection", "head=yolov3", "backbone=darknet53", *more)


def spec_of_coco():
    return NoData().prepare("cache")


def published_model(name, path):
    """mmdet's detector from its own config, with weights that find something, and its file."""
    load_framework("mmdet")
    from mmdet.registry import MODELS
    from mmengine.config import Config
    from mmengine.registry import DefaultScope

    cfg = Config.fromfile(str(published_folder() / f"{name}.py")).model
    cfg.backbone.init_cfg = None
    torch.manual_seed(5)
    with DefaultScope.overwrite_default_scope("mmdet"):
        model = MODELS.build(cfg).eval()
    generator = torch.Generator().manual_seed(2)
    for name, values in model.named_parameters():
        if any(part in name for part in LAST_LAYERS):
            torch.nn.init.normal_(values, std=0.5, generator=generator)
    torch.save({"meta": {"epoch": 273}, "state_dict": model.state_dict()}, path)
    return model, path


#: The layers whose start from chance finds nothing.
LAST_LAYERS = ("convs_pred", "retina_cls", "rpn_cls", "fc_cls")


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """mmdet's YOLOv3."""
    return published_model(
        "yolo/yolov3_d53_8xb8-ms-608-273e_coco", tmp_path_factory.mktemp("weights") / "yolov3_d53.pth"
    )


def finds_the_same(theirs, ours):
    """Check that both find the same objects in the same pixels."""
    pixels = torch.randint(0, 256, (1, 3, 96, 128), generator=torch.Generator().manual_seed(1)).float()
    from mmdet.structures import DetDataSample

    meta = {"img_shape": (96, 128), "ori_shape": (96, 128), "scale_factor": (1.0, 1.0)}
    with torch.no_grad():
        expected = theirs.predict(pixels / 255, [DetDataSample(metainfo=meta)], rescale=False)[
            0
        ].pred_instances
    (found,) = ours.detect(pixels, torch.ones(1, 96, 128, dtype=torch.bool))
    assert 0 < len(expected) <= len(found)  # mmdet's keeps 100, geomm's 300
    count = len(expected)
    np.testing.assert_allclose(found.scores[:count], expected.scores.numpy(), rtol=1e-4)
    np.testing.assert_array_equal(found.labels[:count], expected.labels.numpy())
    inside = expected.bboxes.numpy()
    inside[:, 0::2], inside[:, 1::2] = inside[:, 0::2].clip(0, 128), inside[:, 1::2].clip(0, 96)
    np.testing.assert_allclose(found.boxes[:count], inside, atol=0.01)


def test_yolov3_finds_what_mmdets_own_finds(published):
    theirs, path = published
    ours = Detector(
        **{key: config(f"head.checkpoint={path}")[key] for key in ("backbone", "head")}, spec=spec_of_coco()
    ).eval()
    finds_the_same(theirs, ours)


@pytest.mark.parametrize(
    ("task", "head", "name"),
    [
        ("detection", "retinanet", "retinanet/retinanet_r50_fpn_1x_coco"),
        ("detection", "faster_rcnn", "faster_rcnn/faster-rcnn_r50_fpn_1x_coco"),
        ("instance_segmentation", "mask_rcnn", "mask_rcnn/mask-rcnn_r50_fpn_1x_coco"),
    ],
)
def test_every_head_finds_what_mmdets_own_finds(task, head, name, tmp_path, caplog):
    theirs, path = published_model(name, tmp_path / "published.pth")
    parts = composed(
        f"task={task}",
        f"head={head}",
        "backbone=resnet50",
        "head.object_px=null",
        f"head.checkpoint={path}",
    )
    with caplog.at_level(logging.INFO, logger="geomm"):
        ours = Detector(backbone=parts["backbone"], head=parts["head"], spec=spec_of_coco()).eval()
    count = len(theirs.state_dict())
    assert f"{count} of the detector's {count} tensors loaded" in caplog.text
    finds_the_same(theirs, ours)


def test_other_classes_and_bands_keep_what_fits(published, caplog):
    _, path = published
    parts = config(f"head.checkpoint={path}")
    with caplog.at_level(logging.WARNING, logger="geomm"):
        detector = Detector(backbone=parts["backbone"], head=parts["head"], spec=make_spec(5))
    assert "from chance: bbox_head.convs_pred.0.weight" in caplog.text
    first = next(detector.detector.backbone.parameters())
    assert first.shape[1] == 5
    own = detector.detector.state_dict()["neck.detect1.conv1.conv.weight"]
    torch.testing.assert_close(own, published[0].state_dict()["neck.detect1.conv1.conv.weight"])


def test_tensors_that_are_too_many_to_name_are_counted(published, tmp_path, caplog):
    state = dict(published[0].state_dict())
    lost = [name for name in state if name.startswith("neck.detect1.") and name.endswith("weight")]
    for name in lost:
        del state[name]
    path = tmp_path / "part.pth"
    torch.save({"state_dict": state}, path)
    parts = config(f"head.checkpoint={path}")
    with caplog.at_level(logging.WARNING, logger="geomm"):
        Detector(backbone=parts["backbone"], head=parts["head"], spec=spec_of_coco())
    said = caplog.text.partition("from chance: ")[2].strip()
    assert said.endswith(f" and {len(lost) - 6} more") and said.count("neck.detect1.") == 6


def test_a_missing_file_is_named():
    parts = config()
    head = {**parts["head"], "checkpoint": "no/such/yolov3.pth"}
    with pytest.raises(DataError, match=r"head\.checkpoint: no/such/yolov3\.pth cannot be read"):
        Detector(backbone=parts["backbone"], head=head, spec=spec_of_coco())


def test_weights_of_another_detector_are_refused(tmp_path):
    path = tmp_path / "other.pth"
    torch.save({"state_dict": {"backbone.conv1.conv.bias": torch.zeros(3)}}, path)
    parts = config()
    head = {**parts["head"], "checkpoint": str(path)}
    with pytest.raises(
        DataError, match=r"other\.pth is of another detector or backbone: it has no backbone\."
    ):
        Detector(backbone=parts["backbone"], head=head, spec=spec_of_coco())


def test_a_file_with_code_is_not_run(tmp_path):
    path = tmp_path / "evil.pth"
    torch.save({"state_dict": {"a": torch.zeros(1)}, "code": _Evil(str(tmp_path / "ran"))}, path)
    parts = config()
    head = {**parts["head"], "checkpoint": str(path)}
    with pytest.raises(DataError, match=r"evil\.pth cannot be read as weights"):
        Detector(backbone=parts["backbone"], head=head, spec=spec_of_coco())
    assert not (tmp_path / "ran").exists()


class _Evil:
    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        import pathlib

        return pathlib.Path.touch, (pathlib.Path(self.file),)


def test_an_address_that_cannot_be_reached_says_what_to_fetch(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    parts = config()
    head = {**parts["head"], "checkpoint": "http://127.0.0.1:9/yolov3_d53.pth"}
    with pytest.raises(
        DependencyError, match=r"yolov3_d53\.pth cannot be fetched .* give head\.checkpoint=FILE"
    ):
        Detector(backbone=parts["backbone"], head=head, spec=spec_of_coco())


def test_coco_has_its_80_classes():
    assert len(COCO_CLASSES) == 80 and len(set(COCO_CLASSES)) == 80
    assert spec_of_coco().classes[9].name == "traffic light"
