"""Maps on the grid that their strides say."""

import pytest
import torch
from torch import nn

from geomm.models.padding import maps_on_grid
from tests.models.common import Unpadded, make_segmentor


@pytest.mark.parametrize(
    ("width", "columns"),
    [
        (8, [0, 1, 2, 3, 4, 5, 6, 7]),
        (6, [0, 0, 1, 2, 3, 4, 5, 5]),
        (5, [0, 0, 1, 2, 3, 4, 4, 4]),
        (9, [0, 1, 2, 3, 4, 5, 6, 7]),
        (10, [1, 2, 3, 4, 5, 6, 7, 8]),
    ],
)
def test_a_map_of_another_size_than_its_stride_says_lies_in_the_middle(width, columns):
    (maps,) = maps_on_grid(Unpadded(9, width), torch.zeros(1, 1, 64, 64))
    assert maps.shape == (1, 1, 8, 8)
    assert maps[0, 0, 0].tolist() == columns


class _Seen(nn.Module):
    """A head that remembers the maps it was given."""

    def forward(self, maps):
        self.sizes = [tuple(each.shape[-2:]) for each in maps]
        return torch.zeros(len(maps[0]), 3, 8, 8)


@pytest.mark.parametrize("backbone", ["inception_v3", "resnet18"])
def test_heads_of_maps_get_as_many_cells_as_strides_say(backbone):
    model = make_segmentor(backbone=backbone).eval()
    strides = [info.stride for info in model.backbone.features]
    model.head = _Seen()
    model(torch.zeros(1, 3, 192, 256))
    assert model.head.sizes == [(192 // stride, 256 // stride) for stride in strides]
