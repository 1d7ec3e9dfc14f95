"""Random changes to samples of point clouds; heights are along z, metres."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from geomm.points import PointSample, is_length
from geomm.registry import TRANSFORMS


def _replaced(sample: PointSample, xyz: NDArray[Any] | None, features: NDArray[Any] | None) -> PointSample:
    return PointSample(
        sample.xyz if xyz is None else xyz.astype(np.float32),
        sample.features if features is None else features.astype(np.float32),
        sample.labels,
        sample.numbers,
        sample.name,
        sample.feature_names,
        sample.extras,
    )


@TRANSFORMS.register_module()
class RandomTurn:
    """Turns about the vertical by any angle, and tilts a little.

    Args:
      degrees: largest turn about the vertical, either way.
      tilt_degrees: largest tilt about x and about y.
    """

    def __init__(self, *, degrees: float = 180.0, tilt_degrees: float = 2.5) -> None:
        self.degrees, self.tilt_degrees = degrees, tilt_degrees

    def __call__(self, sample: PointSample, rng: np.random.Generator) -> PointSample:
        tilt = self.tilt_degrees
        limits = np.deg2rad([tilt, tilt, self.degrees])
        return _replaced(sample, sample.xyz @ rotation(*rng.uniform(-limits, limits)).T, None)


def rotation(about_x: float, about_y: float, about_z: float) -> NDArray[np.float64]:
    """Return the (3, 3) matrix that turns about x, then y, then z, by angles in radians."""
    (cx, cy, cz), (sx, sy, sz) = np.cos([about_x, about_y, about_z]), np.sin([about_x, about_y, about_z])
    x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return z @ y @ x  # type: ignore[no-any-return]


@TRANSFORMS.register_module()
class RandomScale:
    """Stretches all three axes alike, features that are lengths with them; mirrors x half of the time.

    Args:
      share: largest change of size.
      mirror: whether to mirror.
    """

    def __init__(self, *, share: float = 0.05, mirror: bool = True) -> None:
        self.share, self.mirror = share, mirror

    def __call__(self, sample: PointSample, rng: np.random.Generator) -> PointSample:
        factor = 1 + rng.uniform(-self.share, self.share)
        side = -1.0 if self.mirror and rng.random() < 0.5 else 1.0
        features = sample.features.copy()
        features[:, [is_length(name) for name in sample.feature_names]] *= factor
        return _replaced(sample, sample.xyz * (factor * np.array([side, 1, 1])), features)


@TRANSFORMS.register_module()
class PointJitter:
    """Moves every point by normal noise, as a scanner does.

    Args:
      std_m: its standard deviation, metres; no point moves further than three of them.
    """

    def __init__(self, *, std_m: float = 0.01) -> None:
        self.std_m = std_m

    def __call__(self, sample: PointSample, rng: np.random.Generator) -> PointSample:
        noise = np.clip(rng.standard_normal(sample.xyz.shape, np.float32), -3, 3)
        return _replaced(sample, sample.xyz + noise * self.std_m, None)


@TRANSFORMS.register_module()
class PointDropout:
    """Leaves out a random share of the points; one stays at least.

    Args:
      most: largest share that is left out.
    """

    def __init__(self, *, most: float = 0.3) -> None:
        self.most = most

    def __call__(self, sample: PointSample, rng: np.random.Generator) -> PointSample:
        if len(sample) < 2:
            return sample
        kept = rng.random(len(sample)) >= rng.uniform(0, self.most)
        kept[rng.integers(len(sample))] = True
        return sample.take(kept)


@TRANSFORMS.register_module()
class IntensityNoise:
    """Changes intensity by a factor for all points and by noise a point.

    Args:
      factor: largest change of all.
      noise: standard deviation a point, as a share of its value.
    """

    def __init__(self, *, factor: float = 0.15, noise: float = 0.03) -> None:
        self.factor, self.noise = factor, noise

    def __call__(self, sample: PointSample, rng: np.random.Generator) -> PointSample:
        if "intensity" not in sample.feature_names:
            return sample
        features = sample.features.copy()
        column = sample.feature_names.index("intensity")
        each = rng.normal(1, self.noise, len(sample))
        features[:, column] *= (1 + rng.uniform(-self.factor, self.factor)) * each
        return _replaced(sample, None, features)
