"""What every backbone promises, whoever wrote it; timm's own matters are in test_timm_models."""

import pytest
import torch
from torch import nn

from geomm.errors import ConfigError, DataError
from geomm.models.backbones import FrameworkBackbone, TimmBackbone
from geomm.models.weights import adapt_bands
from geomm.models.wiring import build_backbone
from tests.models.common import composed, group

QUICK = ("mit_b0", "mobilenetv3_large", "regnety_004", "resnet18")
DARKNET = {"type": "mmdet.Darknet", "depth": 53, "out_indices": (1, 2, 3, 4, 5)}
RESNET = {"type": "mmdet.ResNet", "depth": 18}


def shipped():
    for name in group("backbone"):
        if name in QUICK:
            yield name, 1
            yield name, 5
        elif name != "timm":
            yield pytest.param(name, 5, marks=pytest.mark.slow)


def build(name, bands):
    return build_backbone(composed(f"backbone={name}")["backbone"], in_channels=bands, output_stride=None)


@pytest.mark.parametrize(("name", "bands"), shipped())
def test_it_returns_the_maps_that_it_declares(name, bands):
    backbone = build(name, bands)
    assert backbone.training
    maps = backbone.eval()(torch.zeros(2, bands, 128, 160))
    assert [m.shape[:2] for m in maps] == [(2, info.channels) for info in backbone.features]
    strides = [info.stride for info in backbone.features]
    assert strides == sorted(strides)
    if name != "inception_v3":  # its convolutions do not pad
        assert [m.shape[2:] for m in maps] == [(128 // stride, 160 // stride) for stride in strides]


@pytest.mark.parametrize("name", QUICK)
def test_a_map_depends_on_every_band(name):
    backbone = build(name, 4).eval()
    inputs = torch.randn(1, 4, 64, 64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    backbone(inputs)[-1].square().sum().backward()
    assert (inputs.grad.abs().sum((0, 2, 3)) > 0).all()


@pytest.fixture(scope="module")
def darknet():
    torch.manual_seed(0)
    return FrameworkBackbone(in_channels=5, **DARKNET)


def test_a_frameworks_backbone_learns_its_normalisation(darknet):
    """mmdet freezes it by default, which from scratch means to do without."""
    darknet.train()
    norms = [m for m in darknet.modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms and all(norm.training for norm in norms)


def test_a_frameworks_normalisation_is_frozen_on_request():
    frozen = FrameworkBackbone(in_channels=3, norm_eval=True, **RESNET).train()
    assert not any(m.training for m in frozen.modules() if isinstance(m, nn.BatchNorm2d))


def test_a_frameworks_backbone_is_initialised_as_its_authors_did(capfd):
    backbone = build("mit_b0", 3)
    linear = next(m for m in backbone.modules() if isinstance(m, nn.Linear))
    assert linear.weight.std().item() == pytest.approx(0.02, rel=0.1)
    assert not linear.bias.any()
    assert "patch_embed" not in "".join(capfd.readouterr())


def test_a_frameworks_first_layer_takes_any_bands_with_its_weights_repeated(tmp_path, darknet):
    torch.manual_seed(1)
    source = FrameworkBackbone(in_channels=3, **DARKNET)
    path = str(tmp_path / "darknet.pth")
    torch.save({"state_dict": {f"backbone.{k}": v for k, v in source.body.state_dict().items()}}, path)
    loaded = FrameworkBackbone(in_channels=5, checkpoint=path, **DARKNET)
    first = source.body.conv1.conv.weight
    torch.testing.assert_close(loaded.body.conv1.conv.weight, adapt_bands(first, 5))
    last = [list(net.body.parameters())[-2] for net in (source, loaded)]
    assert torch.equal(*last)


def test_a_frameworks_backbone_refuses_another_ones_weights(tmp_path):
    path = str(tmp_path / "other.pth")
    torch.save({"layer.weight": torch.zeros(2)}, path)
    with pytest.raises(DataError, match="none of the"):
        FrameworkBackbone(in_channels=3, checkpoint=path, **RESNET)


def test_a_classifier_without_maps_is_refused_with_the_cure():
    with pytest.raises(ConfigError, match=r"returns no maps.*backbone\.out_type=featmap"):
        FrameworkBackbone(in_channels=3, type="mmpretrain.VisionTransformer", arch="deit-tiny", img_size=128)


def test_probing_leaves_the_statistics_of_a_backbone_alone(darknet):
    norm = next(m for m in darknet.modules() if isinstance(m, nn.BatchNorm2d))
    assert norm.num_batches_tracked == 0 and not norm.running_mean.any()
    timm = TimmBackbone(in_channels=3, name="test_resnet")
    assert timm.training
    assert all(m.num_batches_tracked == 0 for m in timm.modules() if isinstance(m, nn.BatchNorm2d))


@pytest.mark.parametrize("name", ["test_resnet", "test_vit"])
def test_the_band_count_changes_the_first_layer_only(name):
    few, many = (TimmBackbone(in_channels=bands, name=name).state_dict() for bands in (3, 8))
    changed = [key for key in few if few[key].shape != many[key].shape]
    assert len(changed) == 1
