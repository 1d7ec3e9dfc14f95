"""Transforms in a row."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np

from geomm.registry import TRANSFORMS, build, get
from geomm.structures import RasterSample


class Compose:
    """The transforms of a config, one after the other.

    Args:
      configs: name -> ``{type: …}`` in order; None switches one off.
      map_space: whether imagery is seen from above; transforms that assume so are left out if not.
      wired: arguments that no config holds, for the transforms that take them.
    """

    def __init__(
        self, configs: Mapping[str, Mapping[str, Any] | None], *, map_space: bool = True, **wired: Any
    ) -> None:
        transforms = [_build(dict(cfg), wired) for cfg in configs.values() if cfg]
        for transform in transforms:
            if not map_space and hasattr(transform, "vertical"):
                transform.vertical = False  # nothing stands on its head in a photo
        self.transforms = [t for t in transforms if map_space or not getattr(t, "map_space_only", False)]

    def __call__(self, sample: RasterSample, rng: np.random.Generator) -> RasterSample:
        for transform in self.transforms:
            sample = transform(sample, rng)
        return sample


def _build(cfg: dict[str, Any], wired: Mapping[str, Any]) -> Any:
    taken = inspect.signature(get(TRANSFORMS, str(cfg["type"]))).parameters
    return build(TRANSFORMS, cfg, **{key: value for key, value in wired.items() if key in taken})
