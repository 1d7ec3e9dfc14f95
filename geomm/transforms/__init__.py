"""Random changes to training samples, each a pure function of a sample and a generator."""

from geomm.transforms.compose import Compose
from geomm.transforms.degrade import Downsample, GaussianBlur, JpegCompression
from geomm.transforms.points import IntensityNoise, PointDropout, PointJitter, RandomScale, RandomTurn
from geomm.transforms.raster import GaussianNoise, RandomFlip, RandomQuarterTurn, RandomRadiometry, RandomZoom

__all__ = [
    "Compose",
    "Downsample",
    "GaussianBlur",
    "GaussianNoise",
    "IntensityNoise",
    "JpegCompression",
    "PointDropout",
    "PointJitter",
    "RandomFlip",
    "RandomQuarterTurn",
    "RandomRadiometry",
    "RandomScale",
    "RandomTurn",
    "RandomZoom",
]
