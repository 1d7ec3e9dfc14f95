"""Backbones, heads, losses and the models that join them.

Importing this package registers geomm's own; a framework's are registered when a config names one.
"""

from geomm.models.backbones import FrameworkBackbone, TimmBackbone
from geomm.models.clouds.pointcnn import PointCNN
from geomm.models.clouds.pointnet2 import PointNet2
from geomm.models.clouds.segmentor import PointSegmentor
from geomm.models.heads import LinearHead, UNetHead
from geomm.models.losses import CrossEntropyLoss, DiceLoss, FocalLoss, LovaszLoss
from geomm.models.maps.adversarial import AdversarialSuperResolver
from geomm.models.maps.segmentor import Segmentor
from geomm.models.maps.super_resolver import SuperResolver
from geomm.models.objects.detector import Detector
from geomm.models.pictures.classifier import Classifier
from geomm.models.pictures.losses import LabelCrossEntropyLoss, LabelFocalLoss
from geomm.models.preprocessor import PairPreprocessor, RasterPreprocessor
from geomm.models.tables.fully_connected import FullyConnected
from geomm.models.tables.sklearn_model import SklearnModel
from geomm.models.texts.bilstm_crf import BiLstmCrf
from geomm.models.texts.transformer import TextTransformer
from geomm.models.wiring import FeatureInfo

__all__ = [
    "AdversarialSuperResolver",
    "BiLstmCrf",
    "Classifier",
    "CrossEntropyLoss",
    "Detector",
    "DiceLoss",
    "FeatureInfo",
    "FocalLoss",
    "FrameworkBackbone",
    "FullyConnected",
    "LabelCrossEntropyLoss",
    "LabelFocalLoss",
    "LinearHead",
    "LovaszLoss",
    "PairPreprocessor",
    "PointCNN",
    "PointNet2",
    "PointSegmentor",
    "RasterPreprocessor",
    "Segmentor",
    "SklearnModel",
    "SuperResolver",
    "TextTransformer",
    "TimmBackbone",
    "UNetHead",
]
