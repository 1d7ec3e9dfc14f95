"""Heads written here; mmseg's decode heads and mmpretrain's are wired in geomm.models."""

from geomm.models.heads.linear import LinearHead
from geomm.models.heads.unet import UNetHead

__all__ = ["LinearHead", "UNetHead"]
