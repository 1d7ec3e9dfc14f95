"""segmentation_models_pytorch's networks as segmenters of geomm."""

import segmentation_models_pytorch as smp
from torch import nn

import geomm


@geomm.extend("segmentation")
class SmpSegmenter(nn.Module):
    """Any architecture over any encoder of segmentation_models_pytorch; the loss is geomm's."""

    def __init__(self, *, in_channels, num_classes, arch="unetplusplus", encoder="resnet18", weights=None):
        super().__init__()
        self.network = smp.create_model(
            arch, encoder, encoder_weights=weights, in_channels=in_channels, classes=num_classes
        )

    def forward(self, pixels):
        return self.network(pixels)
