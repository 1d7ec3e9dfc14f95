"""What the points around each point look like: line, plane or cloud, upright or flat, how high.

From the eigenvalues of the covariance of a neighbourhood, after Weinmann et al., 2015, "Semantic point
cloud interpretation based on optimal neighborhoods, relevant features and efficient classifiers".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geomm.points import SHAPES, shape_of

#: Most neighbours of a point, the nearest within a radius.
NEAREST = 64
#: Points whose neighbours are held in memory at a time.
_PIECE = 16_384
#: Least variance along an axis, square metres: a millimetre's.
_LEAST = 1e-6


def shape_features(
    points: NDArray[np.floating[Any]], names: Sequence[str], cloud: NDArray[np.floating[Any]] | None = None
) -> NDArray[np.float32]:
    """Return features of the points' surroundings.

    Args:
      points: (n, 3) metres.
      names: ``QUANTITY_RADIUSm``, such as ``planarity_0.5m``; see ``geomm.points.SHAPES``.
      cloud: (N, 3) of all points around them, themselves included; ``points`` where not given.

    Returns:
      (n, len(names)). A point alone in its radius has 0 everywhere but for 1 ``neighbours``.
    """
    from scipy.spatial import cKDTree

    cloud = points if cloud is None else cloud
    wanted = [shape for shape in map(shape_of, names) if shape is not None]
    radii = sorted({radius for _, radius in wanted})
    result = np.zeros((len(points), len(wanted)), np.float32)
    if not (len(points) and wanted):
        return result
    tree = cKDTree(cloud)
    nearest = min(NEAREST, len(cloud))
    for start in range(0, len(points), _PIECE):
        piece = np.asarray(points[start : start + _PIECE], np.float64)
        found = tree.query(piece, k=nearest, distance_upper_bound=radii[-1])
        distances, index = (np.asarray(part).reshape(len(piece), nearest) for part in found)
        index = np.minimum(index, len(cloud) - 1)  # what is farther away has no index, and does not count
        near = cloud[index] - piece[:, None]
        for radius in radii:
            columns = [at for at, (_, other) in enumerate(wanted) if other == radius]
            values = _describe(near, distances <= radius)
            for at in columns:
                result[start : start + len(piece), at] = values[wanted[at][0]]
    return result


def _describe(near: NDArray[np.float64], inside: NDArray[np.bool_]) -> dict[str, NDArray[np.float64]]:
    """Describe neighbourhoods of points near[i, j] - those inside - around 0."""
    count = np.maximum(inside.sum(1), 1)
    held = near * inside[..., None]
    mean = held.sum(1) / count[:, None]
    centred = (near - mean[:, None]) * inside[..., None]
    covariance = centred.transpose(0, 2, 1) @ centred / count[:, None, None]
    values, vectors = np.linalg.eigh(covariance)
    small, middle, large = np.maximum(values, 0).T
    # Below three points there is no plane, and rounding alone would decide.
    seen = (large > _LEAST) & (count > 2)
    size = np.where(seen, large, 1.0)
    heights = np.where(inside, near[..., 2], 0.0)  # the point itself is at 0, so 0 changes no extreme
    described = {
        "linearity": (large - middle) / size,
        "planarity": (middle - small) / size,
        "sphericity": small / size,
        "verticality": 1 - np.abs(vectors[:, 2, 0]),
        "curvature": small / np.where(seen, small + middle + large, 1.0),
    }
    described = {name: np.where(seen, column, 0.0) for name, column in described.items()}
    described |= {
        "height_range": np.ptp(heights, 1),
        "height_std": np.sqrt(np.maximum(covariance[:, 2, 2], 0.0)),
        "height_above_lowest": -heights.min(1),
        "neighbours": count.astype(np.float64),
    }
    assert set(described) == set(SHAPES)
    return described
