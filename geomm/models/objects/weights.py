"""Starting a detector from published weights: mmdet's own layout, read without running code."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from geomm.errors import DataError
from geomm.models.weights import adapt_bands, fetch_weights, read_named_tensors
from geomm.structures import RasterSpec

_LOG = logging.getLogger("geomm")
KEY = "head.checkpoint"
#: Tensors that a message names at most.
_NAMED = 6


def start_from(detector: nn.Module, path: str, spec: RasterSpec) -> None:
    """Load a detector's published weights: all of them, but for what depends on classes and bands.

    Args:
      detector: built by ``build_detector``.
      path: a file, or the address of one.
      spec: what the data is.

    Raises:
      DataError: the file is missing, damaged, or of another detector or backbone.
      DependencyError: the address cannot be reached.
    """
    file = fetch_weights(path, key=KEY)
    state = _renamed(read_named_tensors(file, key=KEY))
    own = detector.state_dict()
    fitting, other = _fitting(own, state, spec.in_channels)
    missing = sorted(set(own) - set(state) - _counters(own))
    backbone = [name for name in missing if name.startswith("backbone.")]
    if not fitting or backbone:
        example = backbone[0] if backbone else next(iter(own))
        raise DataError(
            f"{KEY}: {path} is of another detector or backbone: it has no {example} of "
            f"{len(own)} tensors; expected mmdet's weights of the same head and backbone"
        )
    detector.load_state_dict(fitting, strict=False)
    level = logging.WARNING if other or missing else logging.INFO
    chance = [*other, *missing]
    more = f" and {len(chance) - _NAMED} more" if len(chance) > _NAMED else ""
    note = f"; from chance: {', '.join(chance[:_NAMED])}{more}" if chance else ""
    _LOG.log(level, "%s: %d of the detector's %d tensors loaded%s", path, len(fitting), len(own), note)


def _counters(own: Mapping[str, Tensor]) -> set[str]:
    """Return the names that files of old torch lack: how many batches a normalisation has seen."""
    return {name for name in own if name.endswith("num_batches_tracked")}


def _renamed(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return mmdet's names as they are here, where the backbone is wrapped twice."""
    return {re.sub(r"^backbone\.", "backbone.backbone.body.", name): value for name, value in state.items()}


def _fitting(
    own: Mapping[str, Tensor], state: Mapping[str, Tensor], bands: int
) -> tuple[dict[str, Tensor], list[str]]:
    """Return the tensors that fit, and the names of those of another shape."""
    fitting, other = {}, []
    for name, value in state.items():
        target: Any = own.get(name)
        if target is None:
            continue
        first = value.ndim == target.ndim == 4 and value.shape[::2] == target.shape[::2]
        if first and name.startswith("backbone.") and target.shape[1] == bands != value.shape[1]:
            value = adapt_bands(value, bands)
        if value.shape == target.shape:
            fitting[name] = value
        else:
            other.append(name)
    return fitting, other
