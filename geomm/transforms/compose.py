"""Transforms in a row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from geomm.registry import TRANSFORMS, build
from geomm.structures import RasterSample


class Compose:
    """The transforms of a config, one after the other.

    Args:
      configs: name -> ``{type: …}`` in order; None switches one off.
      map_space: whether imagery is seen from above; transforms that assume so are left out if not.
    """

    def __init__(self, configs: Mapping[str, Mapping[str, Any] | None], *, map_space: bool = True) -> None:
        transforms = [build(TRANSFORMS, dict(cfg)) for cfg in configs.values() if cfg]
        self.transforms = [t for t in transforms if map_space or not getattr(t, "map_space_only", False)]

    def __call__(self, sample: RasterSample, rng: np.random.Generator) -> RasterSample:
        for transform in self.transforms:
            sample = transform(sample, rng)
        return sample
