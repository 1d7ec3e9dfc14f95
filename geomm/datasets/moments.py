"""Statistics of pixels that are read in parts, merged without loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geomm.errors import DataError
from geomm.structures import BandStatistics


def moments_of(values: NDArray[Any]) -> NDArray[np.float64]:
    """Return (5, C) count, mean, sum of squared deviations, min and max of (C, N) values."""
    inside = values.astype(np.float64)
    mean = inside.mean(1)
    squares = ((inside - mean[:, None]) ** 2).sum(1)
    return np.stack([np.full(len(mean), inside.shape[1]), mean, squares, inside.min(1), inside.max(1)])


def combine_moments(parts: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Return the moments (5, C) of all values together (Chan et al., 1979)."""
    count, mean, squares, low, high = (np.asarray(x) for x in parts[0])
    for n, m, s, lo, hi in parts[1:]:
        delta, total = m - mean, count + n
        squares = squares + s + delta**2 * count * n / total
        mean = mean + delta * n / total
        count, low, high = total, np.minimum(low, lo), np.maximum(high, hi)
    return np.stack([count, mean, squares, low, high])


def merge_moments(parts: Sequence[NDArray[np.float64]]) -> BandStatistics:
    """Turn moments (5, C) of many parts into the statistics of all of them.

    Raises:
      DataError: there are none: no valid pixel.
    """
    if not parts:
        raise DataError("no valid pixel to train on: every pixel is nodata")
    count, mean, squares, low, high = combine_moments(parts)
    merged = (tuple(float(x) for x in values) for values in (low, high, mean, np.sqrt(squares / count)))
    lowest, highest, means, deviations = merged
    return BandStatistics(lowest, highest, means, deviations, int(count[0]))
