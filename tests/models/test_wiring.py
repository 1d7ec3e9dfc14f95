"""Wiring: what a head asks for is filled in from what a backbone declares."""

import logging

import pytest
import torch
from torch import nn

from geomm.errors import ConfigError
from geomm.models.wiring import FeatureInfo, build_backbone, build_head
from geomm.registry import MODELS
from tests.models.common import composed, heads_of

HEADS = heads_of("segmentation")
STAGES = {
    "from stride 1": ((8, 1), (16, 2), (24, 4), (32, 8), (48, 16), (64, 32)),
    "from stride 2": ((16, 2), (24, 4), (32, 8), (48, 16), (64, 32)),
    "from stride 4": ((24, 4), (32, 8), (48, 16), (64, 32)),
    "dilated": ((16, 2), (24, 4), (32, 8), (48, 8), (64, 8)),
    "isotropic": ((32, 16), (32, 16), (32, 16)),
    "patches of 14": ((32, 14), (32, 14)),
}


def make_features(stages):
    return tuple(FeatureInfo(channels, stride) for channels, stride in stages)


def make_maps(features, size=224):
    return tuple(torch.randn(2, f.channels, size // f.stride, size // f.stride) for f in features)


def head_config(name):
    return composed(f"head={name}")["head"]


@pytest.mark.parametrize("stages", STAGES.values(), ids=STAGES.keys())
@pytest.mark.parametrize("name", HEADS)
def test_a_head_fits_the_stages_of_any_backbone(name, stages):
    features = make_features(stages)
    head = build_head(head_config(name), features=features, num_classes=5)
    with torch.no_grad():
        scores = head(make_maps(features))
    assert scores.shape[:2] == (2, 5) and torch.isfinite(scores).all()


@pytest.mark.parametrize("name", ["unet", "pspnet", "deeplabv3", "segformer", "upernet"])
def test_one_map_is_enough_for_heads_that_need_no_finer_one(name):
    features = make_features([(32, 16)])
    head = build_head(head_config(name), features=features, num_classes=2)
    assert head(make_maps(features)).shape[:2] == (2, 2)


def test_a_backbone_that_cannot_feed_a_head_is_named_with_the_reason():
    with pytest.raises(ConfigError, match="needs a finer map"):
        build_head(head_config("deeplabv3plus"), features=make_features([(32, 16)]), num_classes=2)


def test_unknown_stages_list_the_ones_there_are():
    config = {**head_config("pspnet"), "stages": "first"}
    with pytest.raises(ConfigError, match=r"found 'first'; allowed: all, fine_and_last, last"):
        build_head(config, features=make_features(STAGES["dilated"]), num_classes=2)


def test_stages_are_the_ones_a_head_asks_for():
    features = make_features(STAGES["from stride 1"])
    pspnet = build_head(head_config("pspnet"), features=features, num_classes=2)
    assert (pspnet.in_index, pspnet.in_channels) == (5, 64)
    upernet = build_head(head_config("upernet"), features=features, num_classes=2)
    assert (upernet.in_index, upernet.in_channels) == ([2, 3, 4, 5], [24, 32, 48, 64])
    plus = build_head(head_config("deeplabv3plus"), features=features, num_classes=2)
    assert plus.head.c1_bottleneck.conv.in_channels == 24


def test_a_model_is_initialised_after_the_log_of_an_earlier_run_was_closed(tmp_path):
    from mmengine.logging import MMLogger

    logger = MMLogger.get_current_instance()
    closed = logging.FileHandler(tmp_path / "run.log", "w")
    closed.close()
    logger.handlers.append(closed)
    try:
        build_head(head_config("deeplabv3"), features=make_features(STAGES["dilated"]), num_classes=2)
        assert closed in logger.handlers
    finally:
        logger.handlers.remove(closed)


def test_a_frameworks_head_is_initialised_as_its_authors_did():
    torch.manual_seed(0)
    head = build_head(head_config("pspnet"), features=make_features(STAGES["from stride 2"]), num_classes=4)
    assert head.conv_seg.weight.std().item() == pytest.approx(0.01, rel=0.15)
    assert head.is_init


@pytest.mark.parametrize(("head", "strides"), [("unet", 32), ("deeplabv3", 16), ("pspnet", 8)])
def test_a_head_has_its_stride_from_a_backbone_that_can_dilate(head, strides):
    backbone = build_backbone(
        composed("backbone=resnet18")["backbone"],
        in_channels=3,
        output_stride=head_config(head).get("output_stride"),
    )
    assert backbone.features[-1].stride == strides


def test_the_users_stride_goes_before_the_heads():
    config = composed("backbone=resnet18", "backbone.output_stride=16")["backbone"]
    assert build_backbone(config, in_channels=3, output_stride=8).features[-1].stride == 16


class _Plain(nn.Module):
    def __init__(self, *, in_channels, width=4):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, width, 3, stride=2, padding=1)

    def forward(self, inputs):
        return (self.conv(inputs),)


class _Declared(_Plain):
    def __init__(self, *, in_channels, width=4):
        super().__init__(in_channels=in_channels, width=width)
        self.features = (FeatureInfo(width, 2),)


@pytest.fixture
def own_backbones():
    classes = {"PlainForTests": _Plain, "DeclaredForTests": _Declared}
    for name, cls in classes.items():
        MODELS.register_module(name=name, module=cls)
    yield
    for name in classes:
        MODELS.module_dict.pop(name)


def test_a_backbone_of_ones_own_needs_only_to_declare_its_features(own_backbones):
    backbone = build_backbone({"type": "DeclaredForTests", "width": 6}, in_channels=7, output_stride=8)
    head = build_head(head_config("unet"), features=backbone.features, num_classes=3)
    assert head(backbone(torch.zeros(2, 7, 32, 32))).shape == (2, 3, 32, 32)


def test_a_backbone_that_declares_nothing_is_told_how(own_backbones):
    with pytest.raises(ConfigError, match=r"PlainForTests declares no features; set self\.features"):
        build_backbone({"type": "PlainForTests"}, in_channels=3, output_stride=None)
