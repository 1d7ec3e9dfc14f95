"""From fine imagery to what a coarser sensor would have seen: the inputs of super-resolution."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geomm.errors import ConfigError
from geomm.registry import TRANSFORMS
from geomm.structures import RasterSample

Array = NDArray[np.float32]
METHODS = ("area", "bicubic", "sensor")


@TRANSFORMS.register_module()
class GaussianBlur:
    """Blurs every band by the same Gaussian.

    Args:
      sigma_px: least and most standard deviation, pixels of the image as it comes in.
      probability: of blurring at all.
    """

    def __init__(self, *, sigma_px: tuple[float, float] = (0.2, 1.0), probability: float = 1.0) -> None:
        low, high = (float(value) for value in sigma_px)
        if not 0 <= low <= high:
            raise ConfigError(f"GaussianBlur: sigma_px={list(sigma_px)}; expected least and most from 0")
        self.sigma_px, self.probability = (low, high), probability

    def __call__(self, sample: RasterSample, rng: np.random.Generator) -> RasterSample:
        sigma = float(rng.uniform(*self.sigma_px))
        if rng.random() >= self.probability or sigma == 0:
            return sample
        return replace(sample, image=blur(sample.image.astype(np.float32), sigma))


@TRANSFORMS.register_module()
class Downsample:
    """Makes one pixel of every ``scale`` x ``scale``; it is valid where all of them are.

    Args:
      scale: filled in from ``head.scale``.
      method: ``area``, the mean; ``bicubic``, with a kernel widened to the coarser grid as super-
        resolution's benchmarks have it; ``sensor``, a Gaussian point spread of which ``mtf`` is left at
        the coarser grid's Nyquist frequency, then the detector's mean.
      mtf: modulation transfer at Nyquist of the whole sensor, 0 to 0.6; instruments have 0.1 to 0.3.
    """

    def __init__(self, *, scale: int, method: str = "area", mtf: float = 0.25) -> None:
        if method not in METHODS:
            raise ConfigError(f"Downsample: unknown method {method!r}; allowed: {', '.join(METHODS)}")
        if not 0 < mtf <= 0.6:
            raise ConfigError(f"Downsample: found mtf={mtf:g}, expected above 0 to 0.6")
        self.scale, self.method, self.mtf = scale, method, mtf

    def __call__(self, sample: RasterSample, rng: np.random.Generator) -> RasterSample:
        image = sample.image.astype(np.float32)
        if self.method == "bicubic":
            small = shrink_bicubic(image, self.scale)
        else:
            if self.method == "sensor":
                image = blur(image, self._sigma_px())
            small = shrink_area(image, self.scale)
        place = sample.georeference
        return replace(
            sample,
            image=small,
            valid=shrink_area(sample.valid[None].astype(np.float32), self.scale)[0] == 1,
            georeference=None if place is None else place.coarser(self.scale),
        )

    def _sigma_px(self) -> float:
        """Return the Gaussian that the detector's mean, whose variance counts too, leaves to do."""
        whole = self.scale / math.pi * math.sqrt(-2 * math.log(self.mtf))
        return math.sqrt(max(whole**2 - (self.scale**2 - 1) / 12, 0))


@TRANSFORMS.register_module()
class JpegCompression:
    """Compresses and decompresses by JPEG, for imagery of bytes in one band or three.

    Args:
      quality: least and most, 1 to 100.
      probability: of compressing at all.
    """

    def __init__(self, *, quality: tuple[int, int] = (60, 95), probability: float = 0.5) -> None:
        low, high = (int(value) for value in quality)
        if not 1 <= low <= high <= 100:
            raise ConfigError(f"JpegCompression: quality={list(quality)}; expected least and most, 1 to 100")
        self.quality, self.probability = (low, high), probability

    def __call__(self, sample: RasterSample, rng: np.random.Generator) -> RasterSample:
        quality = int(rng.integers(self.quality[0], self.quality[1] + 1))
        if rng.random() >= self.probability:
            return sample
        bands = len(sample.image)
        if bands not in (1, 3) or sample.image.min() < 0 or sample.image.max() > 255.5:
            raise ConfigError(
                f"JpegCompression takes one or three bands of 0 to 255, found {bands} bands up to "
                f"{sample.image.max():g}; switch it off with task.degrade.jpeg=null"
            )
        import cv2

        pixels = np.clip(np.rint(sample.image), 0, 255).astype(np.uint8).transpose(1, 2, 0)
        _, packed = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
        unpacked: Any = cv2.imdecode(packed, cv2.IMREAD_UNCHANGED)
        unpacked = np.atleast_3d(unpacked)[..., ::-1]
        return replace(sample, image=np.ascontiguousarray(unpacked.transpose(2, 0, 1), np.float32))


def blur(image: Array, sigma_px: float) -> Array:
    """Return (C, H, W) blurred by a Gaussian, mirrored at the edges."""
    from scipy.ndimage import gaussian_filter

    if sigma_px <= 0:
        return image
    return np.asarray(gaussian_filter(image, (0, sigma_px, sigma_px), mode="mirror", truncate=3.0))


def shrink_area(image: NDArray[Any], scale: int) -> Array:
    """Return the mean (C, H / scale, W / scale) of every ``scale`` x ``scale`` pixels of (C, H, W)."""
    bands, height, width = image.shape
    cells = image.reshape(bands, height // scale, scale, width // scale, scale)
    return np.asarray(cells.mean((2, 4), dtype=np.float32))


def shrink_bicubic(image: Array, scale: int) -> Array:
    """Return (C, H / scale, W / scale) by the bicubic kernel (a = -0.5), widened by ``scale``."""
    import torch
    import torch.nn.functional as F

    height, width = image.shape[1] // scale, image.shape[2] // scale
    pixels = torch.from_numpy(np.ascontiguousarray(image))[None]
    small = F.interpolate(pixels, (height, width), mode="bicubic", antialias=True, align_corners=False)
    return np.asarray(small[0].numpy())
