"""The U-Net decoder: its widths, its skips, and its likeness to segmentation_models_pytorch's."""

import pytest
import torch
from torch import nn

from geomm.errors import ConfigError
from geomm.models.heads.unet import DecoderBlock, UNetHead
from geomm.models.wiring import FeatureInfo

FIVE = ((64, 2), (64, 4), (128, 8), (256, 16), (512, 32))


def make_features(stages=FIVE):
    return tuple(FeatureInfo(channels, stride) for channels, stride in stages)


def make_maps(features, size=64):
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(2, f.channels, size // f.stride, size // f.stride, generator=generator) for f in features
    ]


def parameters(module):
    return sum(p.numel() for p in module.parameters())


def test_it_is_the_decoder_of_segmentation_models_pytorch():
    smp = pytest.importorskip("segmentation_models_pytorch")
    theirs = smp.Unet("resnet18", encoder_weights=None, classes=4)
    ours = UNetHead(features=make_features(), num_classes=4)
    assert parameters(ours) == parameters(theirs.decoder) + parameters(theirs.segmentation_head)


def test_with_the_same_weights_it_gives_the_same_scores_as_segmentation_models_pytorch():
    smp = pytest.importorskip("segmentation_models_pytorch")
    torch.manual_seed(0)
    theirs = smp.Unet("resnet18", encoder_weights=None, classes=4).eval()
    ours = UNetHead(features=make_features(), num_classes=4).eval()
    pairs = zip(
        [*theirs.decoder.state_dict().values(), *theirs.segmentation_head.state_dict().values()],
        ours.state_dict().values(),
        strict=True,
    )
    for value, own in pairs:
        own.copy_(value)
    inputs = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        stages = theirs.encoder(inputs)
        torch.testing.assert_close(ours(stages[1:]), theirs(inputs))


@pytest.mark.parametrize(
    ("stages", "blocks", "edge"),
    [
        (FIVE, 5, 64),
        (((8, 1), *FIVE), 5, 64),
        (FIVE[1:], 5, 64),
        (((64, 2), (64, 4), (128, 8), (256, 8), (512, 8)), 5, 64),
        (((64, 16),), 4, 64),
        (((8, 1),), 0, 64),
    ],
)
def test_it_climbs_to_the_inputs_resolution_from_any_stages(stages, blocks, edge):
    features = make_features(stages)
    head = UNetHead(features=features, num_classes=3)
    assert len(head.blocks) == blocks
    assert head(make_maps(features)).shape == (2, 3, edge, edge)


@pytest.mark.parametrize("channels", [(32, 16, 16, 8, 8), (32, 16), (64, 64, 64, 64, 64, 64, 64)])
def test_widths_are_as_asked_the_last_repeated(channels):
    head = UNetHead(features=make_features(), num_classes=3, channels=channels)
    widths = [block.conv2[0].out_channels for block in head.blocks]
    assert widths == [channels[min(i, len(channels) - 1)] for i in range(5)]


@pytest.mark.parametrize("stage", range(5))
def test_every_stage_reaches_the_scores(stage):
    features = make_features()
    head = UNetHead(features=features, num_classes=3).eval()
    maps = make_maps(features)
    before = head(maps)
    maps[stage] = maps[stage] + 1
    assert not torch.allclose(head(maps), before)


def test_a_skip_of_another_size_is_met():
    """Some backbones do not pad, so that their maps are smaller than the stride says."""
    head = UNetHead(features=make_features(), num_classes=3)
    sizes = (45, 21, 10, 5, 2)
    maps = [
        torch.randn(2, info.channels, size, size) for info, size in zip(make_features(), sizes, strict=True)
    ]
    assert head(maps).shape == (2, 3, 90, 90)


def test_a_block_is_two_convolutions_of_the_enlarged_map_and_the_skip():
    block = DecoderBlock(4, 2, 3, "batch").eval()
    coarse, skip = torch.randn(1, 4, 3, 3), torch.randn(1, 2, 6, 6)
    enlarged = coarse.repeat_interleave(2, 2).repeat_interleave(2, 3)
    expected = block.conv2(block.conv1(torch.cat([enlarged, skip], 1)))
    torch.testing.assert_close(block(coarse, skip, (6, 6)), expected)


@pytest.mark.parametrize(("norm", "cls"), [("batch", nn.BatchNorm2d), ("group", nn.GroupNorm)])
def test_the_norm_is_the_one_asked_for(norm, cls):
    head = UNetHead(features=make_features(), num_classes=3, channels=(48, 24, 7), norm=norm)
    norms = [m for m in head.modules() if isinstance(m, nn.BatchNorm2d | nn.GroupNorm)]
    assert len(norms) == 10 and all(isinstance(m, cls) for m in norms)


def test_with_group_norm_a_sample_is_trained_on_alike_alone_and_in_a_batch():
    head = UNetHead(features=make_features(), num_classes=3, norm="group").train()
    maps = make_maps(make_features())
    torch.testing.assert_close(head([m[:1] for m in maps]), head(maps)[:1], rtol=1e-4, atol=1e-4)


def test_an_unknown_norm_brings_the_ones_there_are():
    with pytest.raises(ConfigError, match=r"head\.norm: found 'bach'; did you mean 'batch'"):
        UNetHead(features=make_features(), num_classes=3, norm="bach")


def test_dropout_drops_in_training_only():
    head = UNetHead(features=make_features(), num_classes=3, dropout=0.9)
    maps = make_maps(make_features())
    head.eval()
    torch.testing.assert_close(head(maps), head(maps))
    head.train()
    assert not torch.allclose(head(maps), head(maps))
