"""Wiring of detectors: channels, strides, classes and anchors follow from backbone and data."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from geomm.errors import ConfigError, DependencyError
from geomm.models.objects.anchors import fill_anchors, object_range
from geomm.models.objects.pyramid import Pyramid
from geomm.models.objects.wiring import build_detector, fill
from geomm.models.wiring import FeatureInfo
from tests.models.objects.test_detector import SIZE, check_objects, make_detector, make_objects, total

_FEW = "{num_queries: 7, transformer_decoder: {num_layers: 1}}"
#: mmdet's detectors by their own type: name, config, and what makes it light.
OTHERS = {
    "mmdet.FCOS": (
        "fcos/fcos_r50-caffe_fpn_gn-head_1x_coco",
        ["++head.neck={out_channels: 32}", "++head.bbox_head={feat_channels: 64, stacked_convs: 1}"],
    ),
    "mmdet.DETR": (
        "detr/detr_r50_8xb2-150e_coco",
        ["+head.encoder={num_layers: 1}", "+head.decoder={num_layers: 1}", "+head.num_queries=10"],
    ),
    "mmdet.CascadeRCNN": (
        "cascade_rcnn/cascade-rcnn_r50_fpn_1x_coco",
        [
            "++head.neck={out_channels: 32}",
            "+head.train_cfg={rpn_proposal: {max_per_img: 40}}",
            "+head.test_cfg={rpn: {max_per_img: 30}}",
        ],
    ),
    "mmdet.RTMDet": ("rtmdet/rtmdet_tiny_8xb32-300e_coco", ["++head.neck={out_channels: 32}"]),
    "mmdet.ATSS": ("atss/atss_r50_fpn_1x_coco", ["++head.neck={out_channels: 32}"]),
    "mmdet.YOLOF": (
        "yolof/yolof_r50-c5_8xb8-1x_coco",
        ["++head.neck={out_channels: 32, block_mid_channels: 16}"],
    ),
    "mmdet.CenterNet": (
        "centernet/centernet_r18_8xb16-crop512-140e_coco",
        ["++head.neck={num_deconv_filters: [32, 32, 32]}", "++head.bbox_head={feat_channels: 32}"],
    ),
    "mmdet.SparseRCNN": (
        "sparse_rcnn/sparse-rcnn_r50_fpn_1x_coco",
        ["+head.rpn_head={num_proposals: 7}"],
    ),
    "mmdet.DINO": (
        "dino/dino-4scale_r50_8xb2-12e_coco",
        ["+head.encoder={num_layers: 1}", "+head.decoder={num_layers: 1}"],
    ),
}
#: Those that find outlines.
OUTLINING = {
    "mmdet.QueryInst": (
        "queryinst/queryinst_r50_fpn_1x_coco",
        ["+head.rpn_head={num_proposals: 7}"],
    ),
    "mmdet.RTMDet": ("rtmdet/rtmdet-ins_tiny_8xb32-300e_coco", ["++head.neck={out_channels: 32}"]),
    "mmdet.SOLO": (
        "solo/solo_r50_fpn_1x_coco",
        ["++head.neck={out_channels: 32}", "+head.mask_head={stacked_convs: 1, feat_channels: 32}"],
    ),
    "mmdet.SOLOv2": (
        "solov2/solov2_r50_fpn_1x_coco",
        ["++head.neck={out_channels: 32}", "+head.mask_head={stacked_convs: 1, feat_channels: 32}"],
    ),
    "mmdet.Mask2Former": ("mask2former/mask2former_r50_8xb2-lsj-50e_coco", [f"+head.panoptic_head={_FEW}"]),
    "mmdet.MaskFormer": ("maskformer/maskformer_r50_ms-16xb1-75e_coco", [f"+head.panoptic_head={_FEW}"]),
}


@pytest.mark.parametrize("kind", OUTLINING)
def test_mmdets_detectors_of_outlines_work_by_their_own_type(kind):
    name, light = OUTLINING[kind]
    more = [f"head.type={kind}", f"head.config={name}", "head.score_threshold=0", *light]
    detector = make_detector("mmdet", bands=4, more=more)
    truth = [make_objects(3, masks=True), make_objects(0, masks=True)]
    loss = total(detector(torch.randn(2, 4, *SIZE), objects=truth, mode="loss"), detector)
    loss.backward()
    assert torch.isfinite(loss)
    detector.eval()
    (found,) = detector.detect(torch.randn(1, 4, *SIZE), torch.ones(1, *SIZE, dtype=torch.bool))
    check_objects(found, SIZE, True)


@pytest.mark.parametrize("kind", OTHERS)
def test_mmdets_other_detectors_work_by_their_own_type(kind):
    name, light = OTHERS[kind]
    more = [f"head.type={kind}", f"head.config={name}", "head.score_threshold=0", *light]
    detector = make_detector("mmdet", bands=4, more=more)
    loss = total(
        detector(torch.randn(2, 4, *SIZE), objects=[make_objects(3), make_objects(0)], mode="loss"), detector
    )
    loss.backward()
    assert torch.isfinite(loss)
    detector.eval()
    (found,) = detector.detect(torch.randn(1, 4, *SIZE), torch.ones(1, *SIZE, dtype=torch.bool))
    check_objects(found, SIZE, False)


@pytest.mark.parametrize("kind", ["mmdet.DETR", "mmdet.SparseRCNN", "mmdet.CenterNet"])
@pytest.mark.parametrize("threshold", [0, 0.999])
def test_the_score_threshold_holds_where_the_detector_itself_has_none(kind, threshold):
    name, light = OTHERS[kind]
    more = [f"head.type={kind}", f"head.config={name}", f"head.score_threshold={threshold}", *light]
    detector = make_detector("mmdet", bands=4, more=more).eval()
    (found,) = detector.detect(torch.randn(1, 4, *SIZE), torch.ones(1, *SIZE, dtype=torch.bool))
    assert bool(len(found)) is (threshold == 0)


def test_a_detector_that_needs_a_missing_operator_is_refused_when_it_is_built():
    name = "guided_anchoring/ga-retinanet_r50-caffe_fpn_1x_coco"
    with pytest.raises(DependencyError, match=r"mmdet\.RetinaNet needs mmcv's .* 'masked_im2col_forward'"):
        make_detector("mmdet", more=["head.type=mmdet.RetinaNet", f"head.config={name}"])


def test_an_unknown_config_names_the_nearest():
    with pytest.raises(ConfigError, match=r"mmdet has no config 'fcos/fcos_r50'; did you mean 'fcos/"):
        make_detector("ssd", more=["++head.config=fcos/fcos_r50"])


class _Stub(nn.Module):
    """A backbone of given stages that says where a map came from."""

    def __init__(self, stages):
        super().__init__()
        self.features = tuple(FeatureInfo(channels, stride) for channels, stride in stages)
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, inputs):
        size = inputs.shape[-1]
        return tuple(
            torch.full((1, info.channels, inputs.shape[-2] // info.stride, size // info.stride), float(place))
            for place, info in enumerate(self.features)
        )


@given(
    strides=st.lists(st.sampled_from([1, 2, 4, 7, 8, 14, 16, 32]), min_size=1, max_size=6).map(sorted),
    wanted=st.sampled_from([(4, 8, 16, 32), (8, 16, 32), (8, 16), (32,)]),
    tiles=st.integers(1, 2),
)
def test_a_pyramid_has_the_strides_that_are_wanted(strides, wanted, tiles):
    pyramid = Pyramid(_Stub([(index + 1, stride) for index, stride in enumerate(strides)]), wanted)
    assert [info.stride for info in pyramid.features] == list(wanted)
    edge = pyramid.multiple_px * tiles
    maps = pyramid(torch.zeros(1, 1, edge, edge))
    for info, found in zip(pyramid.features, maps, strict=True):
        assert found.shape == (1, info.channels, edge // info.stride, edge // info.stride)


def test_of_maps_of_one_stride_the_deepest_is_taken():
    pyramid = Pyramid(_Stub([(3, 8), (5, 16), (7, 16)]), (8, 16))
    assert [info.channels for info in pyramid.features] == [3, 7]


#: YOLOv3's published anchors.
YOLO = [
    [(116, 90), (156, 198), (373, 326)],
    [(30, 61), (62, 45), (59, 119)],
    [(10, 13), (16, 30), (33, 23)],
]


@given(
    small=st.floats(2, 200),
    factor=st.floats(1, 30),
    kind=st.sampled_from(["octave", "single", "ssd", "yolo"]),
)
def test_anchors_reach_from_small_to_large_objects(small, factor, kind):
    sizes = (small, small * factor)
    strides = [4, 8, 16, 32, 64] if kind == "single" else [8, 16, 32, 64, 128]
    generator = {
        "octave": {"type": "AnchorGenerator", "octave_base_scale": 4, "scales_per_octave": 3},
        "single": {"type": "AnchorGenerator", "scales": [8]},
        "ssd": {"type": "SSDAnchorGenerator", "ratios": [[2], [2, 3]]},
        "yolo": {"type": "YOLOAnchorGenerator", "base_sizes": YOLO},
    }[kind]
    fill_anchors(generator, strides, sizes)
    assert generator["strides"] == strides
    if kind == "yolo":
        edges = [(w * h) ** 0.5 for level in generator["base_sizes"] for w, h in level]
        own = [(w * h) ** 0.5 for level in YOLO for w, h in level]
        scales = [edge / published for edge, published in zip(edges, own, strict=True)]
        asked = small * factor / 1.5
        # One factor but for whole pixels, which is 1 where the published ones reach from small to large.
        assert max(scales) - min(scales) <= 1.2 / min(own)
        if small * 2**0.5 >= min(own) and asked <= max(own):
            assert generator["base_sizes"] == YOLO
        assert max(scales) <= 2.1
        assert min(edges) <= max(small * 2**0.5, min(own) * asked / max(own)) + 1.5
        assert max(edges) >= min(asked, 2 * max(own)) - 1.5
        return
    if kind == "ssd":
        lows, highs = generator["min_sizes"], generator["max_sizes"]
        assert len(generator["ratios"]) == len(lows) == 5
        assert highs == pytest.approx([2 * low for low in lows], abs=0.2)
        scale, published, octave = lows[0] / strides[0], 2.5, 2**0.5
    else:
        scale = generator.get("octave_base_scale") or generator["scales"][0]
        published, octave = (4, 2 ** (2 / 3)) if kind == "octave" else (8, 1)
    assert 1.0 <= scale <= 2 * published
    # The finest anchor covers a small object by half or more, unless large ones ask for coarser levels.
    asked = small * factor * strides[0] / (1.5 * octave * strides[-1])
    assert scale * strides[0] <= max(small * 2**0.5, strides[0], asked) * 1.01
    # It is no finer than that takes, so that objects lie on maps of which they cover several pixels.
    assert scale * strides[0] >= min(small * 2**0.5, published * strides[0]) * 0.99 - 0.1


def test_without_sizes_anchors_are_those_published():
    ssd = {"type": "SSDAnchorGenerator", "ratios": [[2], [2, 3]]}
    fill_anchors(ssd, [8, 16], None)
    assert ssd["min_sizes"] == [20.0, 40.0] and ssd["max_sizes"] == [40.0, 80.0]


@pytest.mark.parametrize("wrong", [[0, 5], [9, 5], "small", [3]])
def test_sizes_that_are_none_are_refused(wrong):
    with pytest.raises(
        ConfigError, match=r"head\.object_px: found .* expected auto, null or \[small, large\]"
    ):
        object_range({"object_px": wrong}, None)


def test_sizes_are_those_of_the_data_unless_given():
    assert object_range({"object_px": "auto"}, (9, 40)) == (9.0, 40.0)
    assert object_range({"object_px": None}, (9, 40)) is None
    assert object_range({"object_px": [5, 6]}, (9, 40)) == (5.0, 6.0)


@pytest.mark.parametrize("strides", ["[8]", "[16,32]", "[4,8,16,32]"])
def test_yolov3_has_a_grid_for_each_of_three_strides(strides):
    with pytest.raises(ConfigError, match=r"head\.strides: found \d of them, expected 3: YOLOv3 has a grid"):
        make_detector("yolov3", more=[f"head.strides={strides}"])


@pytest.mark.parametrize("head", ["retinanet", "ssd", "yolov3", "faster_rcnn"])
def test_without_a_limit_all_objects_stay(head):
    """-1, mmdet's own word for no limit, would drop the last of them."""
    counts = []
    for limit in ("null", "1000000"):
        detector = make_detector(head, more=[f"head.max_objects={limit}", "head.score_threshold=0"]).eval()
        valid = torch.ones(1, *SIZE, dtype=torch.bool)
        (found,) = detector.detect(torch.rand(1, 3, *SIZE, generator=torch.manual_seed(1)) * 255, valid)
        counts.append(len(found))
    assert counts[0] == counts[1] > 0


def test_a_part_that_does_not_fit_is_named():
    head = {"type": "mmdet.RetinaNet", "neck": {"type": "FPN", "out_channels": 8, "num_outs": 3}}
    with pytest.raises(ConfigError, match=r"head: mmdet\.RetinaNet cannot be built from its config"):
        build_detector(head, backbone=_Stub([(3, 8), (4, 16), (5, 32)]), num_classes=2)


def test_every_number_of_a_two_stage_detector_is_filled_in():
    from geomm.models.frameworks import load_framework

    load_framework("mmdet")
    cfg = {
        "neck": {"type": "FPN", "out_channels": 24, "num_outs": 3},
        "rpn_head": {"type": "RPNHead", "anchor_generator": {"type": "AnchorGenerator", "scales": [8]}},
        "roi_head": {
            "type": "CascadeRoIHead",
            "bbox_roi_extractor": {"type": "SingleRoIExtractor", "roi_layer": {"type": "RoIAlign"}},
            "bbox_head": [{"type": "Shared2FCBBoxHead", "num_classes": 80}] * 1
            + [{"type": "Shared2FCBBoxHead"}],
        },
    }
    features = (FeatureInfo(5, 8), FeatureInfo(6, 16))
    fill(cfg, features=features, num_classes=7, sizes=None)
    assert cfg["neck"]["in_channels"] == [5, 6]
    assert cfg["rpn_head"]["in_channels"] == 24 and "num_classes" not in cfg["rpn_head"]
    assert cfg["rpn_head"]["anchor_generator"]["strides"] == [8, 16, 32]
    assert cfg["roi_head"]["bbox_roi_extractor"]["featmap_strides"] == [8, 16]
    assert [head["num_classes"] for head in cfg["roi_head"]["bbox_head"]] == [7, 7]
    assert [head["in_channels"] for head in cfg["roi_head"]["bbox_head"]] == [24, 24]
