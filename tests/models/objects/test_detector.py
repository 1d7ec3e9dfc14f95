"""Every detector over every kind of backbone: it learns, and what it finds has the shape of objects."""

import numpy as np
import pytest
import torch

from geomm.config.arguments import check_arguments
from geomm.errors import ConfigError
from geomm.models.objects.detector import Detector
from geomm.structures import Objects
from tests.models.common import composed, make_spec

HEADS = ["faster_rcnn", "mask_rcnn", "retinanet", "ssd", "yolov3"]
BACKBONES = [
    "timm backbone.name=test_resnet",
    "timm backbone.name=test_convnext",
    "timm backbone.name=test_efficientnet",
    "timm backbone.name=test_vit",
    "darknet53",
    "ssd_vgg16",
]
BANDS = [1, 3, 7]
SIZE = (72, 90)
_PYRAMID = ["head.neck.out_channels=32"]
_REGIONS = [
    *_PYRAMID,
    "head.rpn_head.feat_channels=32",
    "head.roi_head.bbox_head.fc_out_channels=64",
    "head.train_cfg.rpn_proposal.max_per_img=60",
    "head.train_cfg.rcnn.sampler.num=48",
    "head.test_cfg.rpn.max_per_img=40",
]
#: What makes each head light, not another.
LIGHT = {
    "faster_rcnn": _REGIONS,
    "mask_rcnn": [
        *_REGIONS,
        "head.roi_head.mask_head.num_convs=1",
        "head.roi_head.mask_head.conv_out_channels=32",
    ],
    "retinanet": [*_PYRAMID, "head.bbox_head.feat_channels=32", "head.bbox_head.stacked_convs=1"],
    "ssd": ["head.neck.out_channels=[32,32,32]"],
    "yolov3": ["head.neck.out_channels=[64,32,16]", "head.bbox_head.out_channels=[64,32,16]"],
}


def task_of(head):
    return "instance_segmentation" if head == "mask_rcnn" else "detection"


def make_objects(count, *, seed=0, masks=False, ignored=False, size=SIZE):
    rng = np.random.default_rng(seed)
    corners = rng.uniform(0, np.array(size[::-1]) - 40, (count, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(14, 38, (count, 2))], 1).astype(np.float32)
    outlines = np.zeros((count, *size), bool)
    for index, (left, top, right, bottom) in enumerate(boxes.astype(int)):
        outlines[index, top:bottom, left:right] = True
    flags = rng.random(count) < 0.4 if ignored else None
    return Objects(boxes, rng.integers(0, 3, count), None, outlines if masks else None, flags)


def make_detector(head="retinanet", backbone="timm backbone.name=test_resnet", bands=3, more=(), **spec):
    config = composed(
        *(
            f"task={task_of(head)}",
            f"head={head}",
            *f"backbone={backbone}".split(),
            *LIGHT.get(head, []),
            *more,
        )
    )
    torch.manual_seed(0)
    spec.setdefault("object_px", (14.0, 38.0))
    return Detector(backbone=config["backbone"], head=config["head"], spec=make_spec(bands, **spec))


def total(losses, detector):
    return detector.parse_losses(losses)[0]


def check_objects(found, size, masked):
    assert found.boxes.dtype == np.float32 and found.labels.dtype == np.int64
    assert found.boxes.shape == (len(found), 4) and found.scores.shape == (len(found),)
    assert (found.boxes >= 0).all() and (found.boxes[:, 2:] <= size[::-1]).all()
    assert (found.boxes[:, 2:] > found.boxes[:, :2]).all()
    assert (np.diff(found.scores) <= 0).all()
    assert set(found.labels) <= {0, 1, 2}
    if masked:
        assert found.masks.dtype == bool and found.masks.shape == (len(found), *size)
    else:
        assert found.masks is None


#: The large backbones are tried with one quick head at every run, with all others where time allows.
PAIRS = [
    pytest.param(
        head,
        place,
        id=f"{head} over {name.rpartition('=')[2]}",
        marks=[pytest.mark.slow] if "timm" not in name and head != "retinanet" else [],
    )
    for head in HEADS
    for place, name in enumerate(BACKBONES)
]


@pytest.mark.parametrize(("head", "place"), PAIRS)
def test_any_head_over_any_backbone_with_any_bands(head, place):
    """Each pair meets one band count here, and each head and backbone meets all three."""
    bands = BANDS[(place + HEADS.index(head)) % 3]
    masked = head == "mask_rcnn"
    detector = make_detector(head, BACKBONES[place], bands, more=["head.max_objects=8"])
    truth = [make_objects(4, masks=masked, ignored=True), make_objects(0, masks=masked)]
    loss = total(detector(torch.randn(2, bands, *SIZE), objects=truth, mode="loss"), detector)
    loss.backward()
    assert torch.isfinite(loss) and loss > 0
    grads = [p.grad for p in detector.detector.backbone.parameters() if p.grad is not None]
    assert grads and all(torch.isfinite(g).all() for g in grads)
    detector.eval()
    found = detector.detect(torch.randn(1, bands, *SIZE), torch.ones(1, *SIZE, dtype=torch.bool))
    assert len(found) == 1 and len(found[0]) <= 8
    check_objects(found[0], SIZE, masked)


@pytest.mark.parametrize("head", HEADS)
def test_every_head_learns_in_mixed_precision(head):
    """As it does on a GPU, where torchvision's kernels know no bfloat16 either."""
    detector = make_detector(head)
    truth = [make_objects(4, masks=head == "mask_rcnn"), make_objects(3, seed=1, masks=head == "mask_rcnn")]
    pixels = torch.randn(2, 3, *SIZE)
    losses = []
    for enabled in (True, False):
        torch.manual_seed(1)  # regions are sampled
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            loss = total(detector(pixels, objects=truth, mode="loss"), detector)
        loss.backward()
        losses.append(loss.item())
    # Regions that are proposed in another order are sampled as others.
    assert losses[0] == pytest.approx(losses[1], rel=0.2 if head.endswith("rcnn") else 0.05)
    assert all(torch.isfinite(p.grad).all() for p in detector.parameters() if p.grad is not None)


@pytest.mark.parametrize("head", HEADS)
def test_a_detector_can_learn_what_it_sees(head):
    """A bright square on noise, the same every step: after some steps it is found where it is."""
    masked = head == "mask_rcnn"
    detector = make_detector(head, more=["head.max_objects=20"], object_px=(20.0, 30.0), classes=("a", "b"))
    rng = np.random.default_rng(3)
    pixels = rng.normal(0, 0.2, (2, 3, 64, 64)).astype(np.float32)
    truth = []
    for index, (left, top, label) in enumerate([(8, 30, 0), (36, 12, 1)]):
        pixels[index, :, top : top + 24, left : left + 24] += 3.0 if label else -3.0
        outline = np.zeros((1, 64, 64), bool)
        outline[0, top : top + 24, left : left + 24] = True
        box = np.array([[left, top, left + 24, top + 24]], np.float32)
        truth.append(Objects(box, np.array([label]), None, outline if masked else None))
    inputs = torch.from_numpy(pixels)
    optimizer = torch.optim.AdamW(detector.parameters(), lr=2e-3)
    detector.train()
    for _ in range(120 if head == "yolov3" else 40):
        optimizer.zero_grad()
        total(detector(inputs, objects=truth, mode="loss"), detector).backward()
        torch.nn.utils.clip_grad_norm_(detector.parameters(), 10.0)
        optimizer.step()
    found = detector(inputs, objects=truth, mode="predict")  # in training mode: the batch's own statistics
    for result in found:
        best, box = result["prediction"], result["objects"].boxes[0]
        assert len(best) and best.labels[0] == result["objects"].labels[0]
        assert np.abs(best.boxes[0] - box).max() < 6
        if masked:
            overlap = (best.masks[0] & result["objects"].masks[0]).sum()
            union = (best.masks[0] | result["objects"].masks[0]).sum()
            assert overlap / union > 0.6


def test_raw_pixels_are_normalised_as_in_training():
    detector = make_detector(more=["head.score_threshold=0.0"]).eval()
    raw = torch.rand(1, 3, *SIZE)
    normal = detector.data_preprocessor.normalise(raw)
    expected = detector(normal, mode="predict")[0]["prediction"]
    (found,) = detector.detect(raw, torch.ones(1, *SIZE, dtype=torch.bool))
    np.testing.assert_array_equal(found.boxes, expected.boxes)
    np.testing.assert_array_equal(found.scores, expected.scores)


def test_ignored_objects_teach_nothing():
    """With an ignored object the loss is not that of background there."""
    detector = make_detector("retinanet").eval()
    inputs = torch.randn(1, 3, *SIZE)
    boxes = np.array([[2, 2, 24, 24], [60, 4, 84, 26], [30, 40, 56, 66]], np.float32)  # apart from each other
    whole = Objects(boxes, np.array([0, 1, 2]))

    def loss(objects):
        with torch.no_grad():
            return {k: float(sum(v)) for k, v in detector(inputs, objects=[objects], mode="loss").items()}

    flags = np.array([False, False, True])
    ignoring = loss(Objects(whole.boxes, whole.labels, ignored=flags))
    without = loss(whole[:2])
    assert ignoring["loss_bbox"] == pytest.approx(without["loss_bbox"], rel=1e-5)
    assert ignoring["loss_cls"] < without["loss_cls"]


def test_ssd_learns_background_from_windows_without_objects():
    detector = make_detector("ssd")
    losses = detector(torch.randn(1, 3, *SIZE), objects=[make_objects(0)], mode="loss")
    assert float(sum(losses["loss_cls"])) > 0


@pytest.mark.parametrize("head", HEADS)
def test_the_shipped_configs_hold_no_unknown_argument(head):
    check_arguments(composed(f"task={task_of(head)}", f"head={head}"))


def test_an_unknown_part_or_argument_of_a_detector_is_named():
    config = composed("task=detection", "head=faster_rcnn")
    config["head"]["rpn_head"]["type"] = "RPNHaed"
    config["head"]["neck"]["out_chanels"] = 3
    with pytest.raises(ConfigError) as caught:
        check_arguments(config)
    text = str(caught.value)
    assert "head.rpn_head.type: mmdet has no part 'RPNHaed'; did you mean 'RPNHead'" in text
    assert "head.neck.out_chanels: FPN has no argument 'out_chanels'" in text


def test_the_threshold_of_the_evaluation_travels_with_the_weights():
    detector, other = make_detector(), make_detector()
    assert detector.best_threshold is None
    for chosen in (0.35, 0.9999699890613556):
        detector.keep_threshold(chosen)
        other.load_state_dict(detector.state_dict())
        assert other.best_threshold == chosen


@pytest.mark.parametrize("chosen", [0.35, None])
def test_the_threshold_of_older_weights_is_read(chosen):
    detector, other = make_detector(), make_detector()
    detector.keep_threshold(chosen)
    state = detector.state_dict()
    other.load_state_dict(state | {"kept_threshold": state["kept_threshold"].float()})
    assert other.best_threshold == chosen and other.kept_threshold.dtype == torch.float64


def test_limits_hold():
    detector = make_detector("ssd", more=["head.score_threshold=0.0", "head.max_objects=5"]).eval()
    (found,) = detector.detect(torch.randn(1, 3, *SIZE), torch.ones(1, *SIZE, dtype=torch.bool))
    assert len(found) == 5
    high = make_detector("retinanet", more=["head.score_threshold=0.9"]).eval()
    (none,) = high.detect(torch.randn(1, 3, *SIZE), torch.ones(1, *SIZE, dtype=torch.bool))
    assert len(none) == 0 and none.boxes.shape == (0, 4)


@pytest.mark.parametrize(
    ("head", "more", "closed"),
    [
        ("ssd", [], True),
        ("ssd", ["backbone.init=open"], False),
        ("retinanet", [], False),
        ("retinanet", ["backbone.init=timm"], True),
    ],
)
def test_residual_branches_start_as_the_head_likes_unless_told_otherwise(head, more, closed):
    detector = make_detector(head, "resnet18", more=more)
    last = detector.detector.backbone.backbone.body.layer1[0].bn2.weight
    assert bool((last == 0).all()) is closed
