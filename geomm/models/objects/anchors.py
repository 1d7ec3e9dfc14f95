"""Anchor boxes that fit the objects of the training data."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from geomm.config.rules import RULES
from geomm.errors import ConfigError, Problem

#: Smallest and largest scale of an anchor relative to its level's stride; mmdet's own for COCO is 4 to 8.
_LEAST_SCALE = 1.0
#: How large a level's largest anchor is relative to its smallest, in RetinaNet and in SSD.
_OCTAVE, _SSD_OCTAVE = 2 ** (2 / 3), 2**0.5
#: The finest anchor of SSD in strides, as published for 300 pixels.
_SSD_SCALE = 2.5
#: Edges of two squares, the small to the large one, of which the small covers half of the large.
_HALF = 0.5**0.5


def object_range(head: Mapping[str, Any], known: Sequence[float] | None) -> tuple[float, float] | None:
    """Return the edges of a small and of a large object, pixels; None for the published anchors.

    Args:
      head: config; ``object_px`` is ``auto``, null, or [small, large].
      known: those of the training objects, None where nobody measured them.

    Raises:
      ConfigError: not two positive numbers, the smaller first.
    """
    wanted = head.get("object_px", "auto")
    problem = RULES["train"]["head.object_px"].problem(wanted)
    if problem is not None:
        raise ConfigError([Problem("head.object_px", problem)])
    if wanted is None:
        return None
    if wanted == "auto":
        return None if known is None else (float(known[0]), float(known[-1]))
    small, large = wanted
    return float(small), float(large)


def fill_anchors(
    generator: dict[str, Any], strides: Sequence[int], sizes: tuple[float, float] | None
) -> None:
    """Fill in an anchor or point generator's strides, and its sizes where these are known.

    Args:
      generator: its config, changed in place.
      strides: of the levels in the head's order.
      sizes: edges of a small and a large object, pixels.
    """
    kind = str(generator["type"]).rpartition(".")[2]
    generator["strides"] = list(strides)
    if kind == "SSDAnchorGenerator":
        _fill_ssd(generator, strides, sizes)
    elif kind == "YOLOAnchorGenerator":
        if sizes is not None:
            generator["base_sizes"] = _yolo_sizes(generator["base_sizes"], sizes)
    elif kind == "AnchorGenerator" and sizes is not None:
        if "octave_base_scale" in generator:
            generator["octave_base_scale"] = _base_scale(
                strides, sizes, float(generator["octave_base_scale"]), _OCTAVE
            )
        elif len(generator.get("scales") or ()) == 1:
            generator["scales"] = [_base_scale(strides, sizes, float(generator["scales"][0]), 1.0)]


def _base_scale(strides: Sequence[int], sizes: tuple[float, float], published: float, octave: float) -> float:
    """Return the finest anchor's edge in strides: as published, or less where small objects need it.

    An object is found best on a map of which it covers several pixels, so anchors are no finer than it takes
    for the small objects to overlap by half with the finest; they are coarser where the large ones allow it.
    """
    small, large = sizes
    wanted = min(max(small / _HALF / strides[0], _LEAST_SCALE), published)
    reached = large / (1.5 * octave * strides[-1])
    return round(min(max(wanted, reached), max(published, 1.0) * 2), 2)


def _fill_ssd(generator: dict[str, Any], strides: Sequence[int], sizes: tuple[float, float] | None) -> None:
    scale = _SSD_SCALE if sizes is None else _base_scale(strides, sizes, _SSD_SCALE, _SSD_OCTAVE)
    edges = [round(scale * stride, 1) for stride in (*strides, 2 * strides[-1])]
    generator["min_sizes"], generator["max_sizes"] = edges[:-1], edges[1:]
    ratios = list(generator.get("ratios") or [[2]])
    generator["ratios"] = [ratios[min(index, len(ratios) - 1)] for index in range(len(strides))]


def _yolo_sizes(
    published: Sequence[Sequence[Sequence[float]]], sizes: tuple[float, float]
) -> list[list[tuple[int, int]]]:
    """Return the published (width, height) of every level, all by one factor, by the rule of the others.

    Their spread stays: levels whose anchors are nearly alike learn little of which is to find an object.
    """
    small, large = sizes
    edges = [math.sqrt(width * height) for level in published for width, height in level]
    wanted = min(small / _HALF / min(edges), 1.0)
    factor = min(max(wanted, large / (1.5 * max(edges))), 2.0)
    return [
        [(max(round(width * factor), 1), max(round(height * factor), 1)) for width, height in level]
        for level in published
    ]
