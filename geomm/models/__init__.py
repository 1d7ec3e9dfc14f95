"""Backbones, heads, losses and the models that join them.

Importing this package registers geomm's own; a framework's are registered when a config names one.
"""

from geomm.models.adversarial import AdversarialSuperResolver
from geomm.models.backbones import FrameworkBackbone, TimmBackbone
from geomm.models.fully_connected import FullyConnected
from geomm.models.heads import UNetHead
from geomm.models.losses import CrossEntropyLoss, DiceLoss, FocalLoss, LovaszLoss
from geomm.models.preprocessor import PairPreprocessor, RasterPreprocessor
from geomm.models.segmentor import Segmentor
from geomm.models.sklearn_model import SklearnModel
from geomm.models.super_resolver import SuperResolver
from geomm.models.wiring import FeatureInfo

__all__ = [
    "AdversarialSuperResolver",
    "CrossEntropyLoss",
    "DiceLoss",
    "FeatureInfo",
    "FocalLoss",
    "FrameworkBackbone",
    "FullyConnected",
    "LovaszLoss",
    "PairPreprocessor",
    "RasterPreprocessor",
    "Segmentor",
    "SklearnModel",
    "SuperResolver",
    "TimmBackbone",
    "UNetHead",
]
