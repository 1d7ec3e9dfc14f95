"""The registries: names are unique, unknown ones list what there is, frameworks see ours."""

import pytest
from mmengine.registry import MODELS as MMENGINE_MODELS

from geomm.errors import ConfigError
from geomm.registry import BACKBONES, DATASETS, HEADS, LOSSES, MODELS, TRANSFORMS, build, get


def test_kinds_know_their_own():
    assert "UNetHead" in HEADS.names
    assert "TimmBackbone" in BACKBONES.names
    assert "UNetHead" not in BACKBONES.names
    assert {"CrossEntropyLoss", "DiceLoss", "FocalLoss", "LovaszLoss"} <= set(LOSSES.names)


def test_a_framework_builds_ours_by_scope():
    assert MMENGINE_MODELS.get("geomm.UNetHead") is HEADS.get("UNetHead")


def test_ours_find_a_frameworks():
    assert get(MODELS, "mmseg.PSPHead").__name__ == "PSPHead"


def test_an_unknown_name_lists_the_nearest():
    with pytest.raises(ConfigError, match=r"unknown transform 'RandomFlop'; did you mean 'RandomFlip'"):
        get(TRANSFORMS, "RandomFlop")


def test_an_unknown_name_of_a_framework_lists_that_frameworks():
    with pytest.raises(ConfigError, match=r"did you mean 'mmseg\.PSPHead'"):
        get(MODELS, "mmseg.PSPHed")


def test_a_name_is_registered_once():
    with pytest.raises(KeyError):
        HEADS.register_module("UNetHead")(type("Other", (), {}))


def test_the_config_is_left_as_it_was():
    cfg = {"type": "GeoTiffScenes", "images": "x.tif"}
    build(DATASETS, cfg, seed=3)
    assert cfg == {"type": "GeoTiffScenes", "images": "x.tif"}
