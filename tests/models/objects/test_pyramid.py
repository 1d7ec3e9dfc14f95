"""Maps of a backbone at given strides: each cell lies where it looks."""

import pytest
import torch

from geomm.models.objects.pyramid import Pyramid
from geomm.models.wiring import build_backbone
from tests.models.common import Unpadded, composed, group

QUICK = ("inception_v3", "mobilenetv3_large", "regnety_004", "resnet18")


def shipped():
    for name in group("backbone"):
        # Each map of HRNet gathers from much coarser ones beside it, so that one has no centre to speak of.
        if name not in ("timm", "hrnet_w18"):
            yield pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow])


def looks_at(maps, inputs, index):
    """Return the column in the middle of what a cell of the middle row depends on, pixels."""
    energy = torch.zeros(inputs.shape[-1])
    for _ in range(3):
        weights = torch.randn(maps.shape[1])
        score = (maps[0, :, maps.shape[2] // 2, index] * weights).sum()
        (gradient,) = torch.autograd.grad(score, inputs, retain_graph=True)
        energy += gradient.square().sum((0, 1, 2))
    return int((energy.cumsum(0) < energy.sum() / 2).sum()) + 0.5


@pytest.mark.parametrize("name", shipped())
def test_the_cells_of_every_backbone_lie_where_they_look(name):
    """Padded convolutions look at i * stride, those of patches at (i + 0.5) * stride."""
    torch.manual_seed(0)
    config = composed("task=detection", "head=retinanet", f"backbone={name}")["backbone"]
    pyramid = Pyramid(build_backbone(config, in_channels=3, output_stride=None), (8, 16, 32)).eval()
    inputs = torch.randn(1, 3, 128, 768, requires_grad=True)
    for info, maps in zip(pyramid.features, pyramid(inputs), strict=True):
        assert maps.shape[-2:] == (128 // info.stride, 768 // info.stride)
        cell = maps.shape[-1] // 2
        assert looks_at(maps, inputs, cell) / info.stride == pytest.approx(cell + 0.25, abs=0.6)


def test_a_missing_stride_is_made_from_a_map_in_its_place():
    (maps,) = Pyramid(Unpadded(6, 6), (16,))(torch.zeros(1, 1, 64, 64))
    assert maps[0, 0, 0].tolist() == [0, 2, 4, 5]
