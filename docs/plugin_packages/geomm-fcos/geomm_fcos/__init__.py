"""torchvision's FCOS (Tian et al., 2019) as a detector of geomm."""

from torch import nn
from torchvision.models.detection import FCOS
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

import geomm


@geomm.extend("detection")
class TorchvisionFcos(nn.Module):
    """FCOS over one of torchvision's ResNets with a feature pyramid."""

    def __init__(self, *, in_channels, num_classes, body="resnet18", score_threshold=0.05, nms_iou=0.5):
        super().__init__()
        backbone = resnet_fpn_backbone(backbone_name=body, weights=None, norm_layer=nn.BatchNorm2d)
        backbone.body.conv1 = nn.Conv2d(in_channels, 64, 7, stride=2, padding=3, bias=False)
        self.network = FCOS(
            backbone,
            num_classes,
            image_mean=[0.0] * in_channels,  # pixels come normalised
            image_std=[1.0] * in_channels,
            score_thresh=score_threshold,
            nms_thresh=nms_iou,
        )
        self.network.transform.resize = lambda image, target=None: (image, target)  # pixels keep their size

    def loss(self, pixels, targets):
        return self.network(list(pixels), targets)

    def forward(self, pixels):
        return self.network(list(pixels))
