"""Backbones, heads, losses and the models that join them.

Importing this package registers geomm's own; a framework's are registered when a config names one.
"""

from geomm.models.backbones import FrameworkBackbone, TimmBackbone
from geomm.models.heads import UNetHead
from geomm.models.losses import CrossEntropyLoss, DiceLoss, FocalLoss, LovaszLoss
from geomm.models.point_segmentor import PointSegmentor
from geomm.models.pointcnn import PointCNN
from geomm.models.pointnet2 import PointNet2
from geomm.models.preprocessor import RasterPreprocessor
from geomm.models.segmentor import Segmentor
from geomm.models.wiring import FeatureInfo

__all__ = [
    "CrossEntropyLoss",
    "DiceLoss",
    "FeatureInfo",
    "FocalLoss",
    "FrameworkBackbone",
    "LovaszLoss",
    "PointCNN",
    "PointNet2",
    "PointSegmentor",
    "RasterPreprocessor",
    "Segmentor",
    "TimmBackbone",
    "UNetHead",
]
