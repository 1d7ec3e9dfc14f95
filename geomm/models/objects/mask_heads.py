"""Heads of outlines that mmdet writes in other words than those of boxes: SOLO's and Mask2Former's."""

from __future__ import annotations

from typing import Any

from geomm.errors import ConfigError
from geomm.models.objects.levels import Levels

_SOLO = ("SOLOHead", "DecoupledSOLOHead", "DecoupledSOLOLightHead")


def fill_mask_head(node: dict[str, Any], kind: str, levels: Levels, num_classes: int) -> None:
    """Fill in what such a head takes beside the numbers of any head, in place; leave others alone.

    Args:
      node: its config.
      kind: its type.
      levels: what the neck gives.
      num_classes: classes without background.

    Raises:
      ConfigError: SOLO reads a finest map of another stride than 4.
    """
    strides = levels.strides
    if kind in (*_SOLO, "SOLOV2Head"):
        if kind in _SOLO and strides[0] != 4:
            raise ConfigError(
                f"head.strides: found {strides[0]} for the finest map, expected 4: SOLO draws its masks at "
                "four times the edges of that map; take SOLOv2 for others"
            )
        # It halves the finest map and enlarges the coarsest to the one below before it reads them.
        node["strides"] = [2 * strides[0], *strides[1:-1], strides[-2]]
        if "mask_feature_head" in node:
            node["mask_feature_head"]["mask_stride"] = strides[0]
    elif kind in ("Mask2FormerHead", "MaskFormerHead", "MaskFormerFusionHead"):
        # All classes are of objects, none of regions.
        node["num_things_classes"], node["num_stuff_classes"] = num_classes, 0
        if kind == "MaskFormerFusionHead":
            return
        node["in_channels"] = levels.channels
        if kind == "Mask2FormerHead":
            node["strides"] = node["pixel_decoder"]["strides"] = strides
        weights = node.get("loss_cls", {}).get("class_weight")
        if weights:
            node["loss_cls"]["class_weight"] = [weights[0]] * num_classes + [weights[-1]]
