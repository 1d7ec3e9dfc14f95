"""Making timm's models: families, sizes, strides, and published weights without a network."""

import logging
import socket

import pytest
import torch
from safetensors.torch import save_file

from geomm.errors import ConfigError, DependencyError
from geomm.models import timm_models
from geomm.models.backbones import TimmBackbone

FAMILIES = [
    "test_resnet",
    "test_convnext",
    "test_efficientnet",
    "test_vit",
    "eva02_tiny_patch14_224",
    "mobilevit_xxs",
    "pvt_v2_b0",
    "tiny_vit_5m_224",
    "repvit_m0_9",
]
RIGID = ["levit_128s", "maxvit_pico_rw_256", "mvitv2_tiny"]


def check_maps(backbone, bands):
    step = backbone.multiple_px
    height = -(-max(backbone.least_px, step) // step) * step
    maps = backbone.eval()(torch.zeros(1, bands, height, height + step))
    assert [m.shape[1] for m in maps] == [info.channels for info in backbone.features]
    for part, info in zip(maps, backbone.features, strict=True):
        cells = -(-step // info.stride)
        assert part.shape[2:] == (height // step * cells, (height // step + 1) * cells)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_maps_are_as_declared(name):
    backbone = TimmBackbone(in_channels=2, name=name)
    assert backbone.block_px is None
    check_maps(backbone, 2)


@pytest.mark.slow
@pytest.mark.parametrize("name", RIGID)
def test_a_model_of_one_input_size_takes_any(name):
    backbone = TimmBackbone(in_channels=2, name=name)
    assert backbone.block_px == backbone.multiple_px
    check_maps(backbone, 2)


def test_a_rigid_model_segments_any_size():
    from geomm.models.maps.segmentor import Segmentor
    from tests.models.common import composed, make_batch, make_spec

    config = composed("backbone=timm", "backbone.name=levit_128s")
    model = Segmentor(backbone=config["backbone"], head=config["head"], loss=None, spec=make_spec(2)).eval()
    inputs, _ = make_batch(2, count=1, height=65, width=230)
    assert model(inputs).shape == (1, 3, 65, 230)


@pytest.mark.parametrize(("stride", "wanted"), [(8, [2, 4, 8, 8, 8]), (16, [2, 4, 8, 16, 16])])
def test_strides_are_traded_for_dilation(stride, wanted):
    backbone = TimmBackbone(in_channels=3, name="resnet18", output_stride=stride)
    assert [info.stride for info in backbone.features] == wanted
    check_maps(backbone, 3)


def test_a_model_without_a_dilated_form_keeps_its_stride_and_says_so(caplog):
    with caplog.at_level(logging.INFO, "geomm"):
        backbone = TimmBackbone(in_channels=3, name="test_vit", output_stride=8)
    assert backbone.features[-1].stride == 16
    assert "test_vit keeps its own stride" in caplog.text


@pytest.mark.parametrize("pretrained", [False, True])
def test_an_unknown_name_brings_the_nearest(pretrained):
    with pytest.raises(ConfigError, match=r"no model 'resnet19'; did you mean 'resnet18'"):
        TimmBackbone(in_channels=3, name="resnet19", pretrained=pretrained)


@pytest.fixture
def offline(monkeypatch, tmp_path):
    def refuse(*_, **__):
        raise OSError("no network here")

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(timm_models.urllib.request, "getproxies", dict)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    return tmp_path


def test_without_a_network_the_error_names_the_file_and_the_key(offline):
    with pytest.raises(DependencyError) as caught:
        TimmBackbone(in_channels=4, name="resnet18", pretrained=True)
    message = str(caught.value)
    assert "https://huggingface.co/timm/resnet18.a1_in1k/resolve/main/model.safetensors" in message
    assert "backbone.checkpoint=FILE" in message and "\n" not in message


def test_a_mirror_is_named_where_one_is_set(offline, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.example")
    with pytest.raises(DependencyError, match=r"https://mirror\.example/timm/resnet18\.a1_in1k/"):
        TimmBackbone(in_channels=4, name="resnet18", pretrained=True)


def test_a_model_without_published_weights_says_so(offline):
    with pytest.raises(ConfigError, match="publishes no weights of seresnet18"):
        TimmBackbone(in_channels=4, name="seresnet18", pretrained=True)


def test_weights_in_the_cache_need_no_network(offline, monkeypatch):
    import timm

    torch.manual_seed(3)
    theirs = timm.create_model("test_resnet", num_classes=1000)
    path = offline / "model.safetensors"
    save_file(theirs.state_dict(), path)
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_, **__: str(path))
    body = TimmBackbone(in_channels=3, name="test_resnet", pretrained=True).body
    assert torch.equal(body.layer1[0].conv1.weight, theirs.layer1[0].conv1.weight)
    assert "state_dict" not in (getattr(body, "pretrained_cfg", None) or {})


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_residual_branches_count_from_the_first_step_on(name):
    """timm would start the last normalisation of each at 0."""
    model = timm_models.create_features(name, {"pretrained": False, "in_chans": 3}, None, None)
    norms = [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert norms and all((m.weight == 1).all() for m in norms)


def test_weights_start_as_timm_has_them_where_that_is_asked_for():
    options = {"pretrained": False, "in_chans": 3}
    model = timm_models.create_features("resnet18", options, None, None, init="timm")
    assert not model.layer1[0].bn2.weight.any() and (model.layer1[0].bn1.weight == 1).all()
    assert model.conv1.weight.std().item() == pytest.approx((2 / (64 * 7 * 7)) ** 0.5, rel=0.1)


@pytest.mark.parametrize("bands", [1, 3, 7])
def test_the_first_convolution_starts_by_its_inputs(bands):
    options = {"pretrained": False, "in_chans": bands}
    stem = timm_models.create_features("resnet18", options, None, None).conv1
    fan_in = bands * 7 * 7
    assert stem.weight.std().item() == pytest.approx((1 / (3 * fan_in)) ** 0.5, rel=0.1)
