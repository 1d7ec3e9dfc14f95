"""Heads written here; mmseg's decode heads are wired in geomm.models.wiring."""

from geomm.models.heads.unet import UNetHead

__all__ = ["UNetHead"]
