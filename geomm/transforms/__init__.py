"""Random changes to training samples, each a pure function of a sample and a generator."""

from geomm.transforms.compose import Compose
from geomm.transforms.degrade import Downsample, GaussianBlur, JpegCompression
from geomm.transforms.raster import (
    GaussianNoise,
    RandomFlip,
    RandomQuarterTurn,
    RandomRadiometry,
    RandomZoom,
)

__all__ = [
    "Compose",
    "Downsample",
    "GaussianBlur",
    "GaussianNoise",
    "JpegCompression",
    "RandomFlip",
    "RandomQuarterTurn",
    "RandomRadiometry",
    "RandomZoom",
]
