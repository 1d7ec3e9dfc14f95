"""SSD's head; imported with mmdet, never before."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from mmdet.models.dense_heads import SSDHead as MmdetSSDHead
from mmdet.models.losses import smooth_l1_loss
from torch import Tensor

from geomm.registry import HEADS

#: Anchors of background that a window without objects teaches.
_LEAST_NEGATIVES = 32


@HEADS.register_module()
class SSDHead(MmdetSSDHead):
    """mmdet's SSDHead, which predicts, and which learns from windows without objects.

    mmdet's own never sets ``loss_cls``, which its base class reads to predict; and it draws its examples of
    background in proportion to a window's objects, so that a window without any teaches it nothing.
    """

    #: Softmax over the classes and background; nothing of a loss module is needed.
    loss_cls: Any = None

    def loss_by_feat_single(
        self,
        cls_score: Tensor,
        bbox_pred: Tensor,
        anchor: Tensor,
        labels: Tensor,
        label_weights: Tensor,
        bbox_targets: Tensor,
        bbox_weights: Tensor,
        avg_factor: int,
    ) -> tuple[Tensor, Tensor]:
        """Return one window's loss of classes (1,) and of boxes (), the hardest background taken.

        Args:
          cls_score: (A, K + 1) logits.
          bbox_pred: (A, 4) deltas.
          anchor: (A, 4), not used.
          labels: (A,) classes, K for background.
          label_weights: (A,), 0 where an anchor neither teaches an object nor background.
          bbox_targets: (A, 4) deltas.
          bbox_weights: (A, 4).
          avg_factor: objects' anchors of the batch.
        """
        every = F.cross_entropy(cls_score, labels, reduction="none") * label_weights
        positive = (labels >= 0) & (labels < self.num_classes)
        background = every[(labels == self.num_classes) & (label_weights > 0)]
        wanted = max(int(self.train_cfg["neg_pos_ratio"]) * int(positive.sum()), _LEAST_NEGATIVES)
        hardest = background.topk(min(wanted, len(background)))[0]
        loss_cls = (every[positive].sum() + hardest.sum()) / avg_factor
        loss_bbox = smooth_l1_loss(
            bbox_pred,
            bbox_targets,
            bbox_weights,
            beta=self.train_cfg["smoothl1_beta"],
            avg_factor=avg_factor,
        )
        return loss_cls[None], loss_bbox
