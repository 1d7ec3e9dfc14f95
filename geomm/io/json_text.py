"""JSON that every reader takes (RFC 8259): it has no word for what is not a number."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any


def json_text(data: Any) -> str:
    """Return JSON of several lines; numbers that are not finite are null, what can be listed is a list."""
    return json.dumps(_finite(data), indent=2, ensure_ascii=False, default=list, allow_nan=False)


def _finite(data: Any) -> Any:
    if isinstance(data, float):
        return data if math.isfinite(data) else None
    if isinstance(data, Mapping):
        return {key: _finite(value) for key, value in data.items()}
    return [_finite(value) for value in data] if isinstance(data, list | tuple) else data


def parse_metrics(text: str) -> dict[str, Any]:
    """Return the metrics of a run, as ``json_text`` wrote them; a value that is null is NaN again.

    Raises:
      ValueError: the text is no JSON, or no object.
    """
    found = json.loads(text)
    if not isinstance(found, dict):
        raise ValueError(f"found a {type(found).__name__}, expected an object")
    return {key: _known(value) if isinstance(value, dict) else value for key, value in found.items()}


def _known(values: dict[str, Any]) -> dict[str, Any]:
    return {key: math.nan if value is None else value for key, value in values.items()}
