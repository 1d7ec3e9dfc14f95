"""Backbones, heads, losses and the models that join them.

Importing this package registers geomm's own; a framework's are registered when a config names one.
"""

from geomm.models.adversarial import AdversarialSuperResolver
from geomm.models.backbones import FrameworkBackbone, TimmBackbone
from geomm.models.bilstm_crf import BiLstmCrf
from geomm.models.classifier import Classifier
from geomm.models.detector import Detector
from geomm.models.fully_connected import FullyConnected
from geomm.models.heads import LinearHead, UNetHead
from geomm.models.label_losses import LabelCrossEntropyLoss, LabelFocalLoss
from geomm.models.losses import CrossEntropyLoss, DiceLoss, FocalLoss, LovaszLoss
from geomm.models.point_segmentor import PointSegmentor
from geomm.models.pointcnn import PointCNN
from geomm.models.pointnet2 import PointNet2
from geomm.models.preprocessor import PairPreprocessor, RasterPreprocessor
from geomm.models.segmentor import Segmentor
from geomm.models.sklearn_model import SklearnModel
from geomm.models.super_resolver import SuperResolver
from geomm.models.text_transformer import TextTransformer
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
