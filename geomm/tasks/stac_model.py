"""What goes into a model and what comes out, in the terms of STAC's Machine Learning Model extension.

https://github.com/stac-extensions/mlm
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from geomm.structures import BandStatistics, ClassSpec, RasterSpec


def tensor(shape: Sequence[int], order: Sequence[str], data_type: str = "float32") -> dict[str, Any]:
    """Describe an array: -1 is any length; ``order`` names its dimensions."""
    return {"shape": list(shape), "dim_order": list(order), "data_type": data_type}


def model_classes(classes: Sequence[ClassSpec]) -> list[dict[str, Any]]:
    """Return classes as STAC's classification extension has them."""
    return [
        {
            "value": item.value,
            "name": re.sub(r"[^0-9A-Za-z_-]+", "_", item.name) or f"class_{item.value}",
            "title": item.name,
            "description": item.name,
            "color_hint": "{:02X}{:02X}{:02X}".format(*item.color),
        }
        for item in classes
    ]


def scaling(statistics: BandStatistics) -> list[dict[str, Any]]:
    """Return how each value is normalised before it goes in."""
    pairs = zip(statistics.mean, statistics.std, strict=True)
    return [{"type": "z-score", "mean": mean, "stddev": std} for mean, std in pairs]


def raster_input(spec: RasterSpec) -> dict[str, Any]:
    """Describe a window of imagery."""
    edge = spec.window_px
    return {
        "name": "imagery",
        "bands": list(spec.band_names),
        "input": tensor([-1, spec.in_channels, edge, edge], ["batch", "bands", "height", "width"]),
        "value_scaling": scaling(spec.statistics),
        "resize_type": None,
    }


def output(
    name: str,
    task: str,
    result: dict[str, Any],
    *,
    classes: Sequence[ClassSpec] = (),
    bands: Sequence[str] = (),
    description: str = "",
) -> dict[str, Any]:
    """Describe what comes out.

    Args:
      name: of it.
      task: one of the extension's words, such as ``semantic-segmentation``.
      result: from ``tensor``.
      classes: of a dimension ``class``.
      bands: of a dimension ``bands``.
      description: what the numbers are.
    """
    found: dict[str, Any] = {"name": name, "tasks": [task], "result": result}
    found["classification:classes"] = model_classes(classes)
    if bands:
        found["bands"] = list(bands)
    if description:
        found["description"] = description
    return found
