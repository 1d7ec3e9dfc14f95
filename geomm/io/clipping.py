"""Outlines cut at the edges of a window."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_COLLECTION = 7  # of shapely.GeometryType


def clip_outlines(outlines: Any, areas: Any) -> NDArray[np.object_]:
    """Return the parts of polygons that lie in other polygons, such as windows.

    An outline that runs along a window's edge has lines and points in common with it too, which are no part
    of an object: they are left out, and what shares nothing else is an empty polygon.

    Args:
      outlines: (N,) polygons, or one.
      areas: (N,) polygons, or one.

    Returns:
      (N,) polygons or multipolygons.
    """
    import shapely

    clipped = np.atleast_1d(np.asarray(shapely.intersection(outlines, areas), object))
    flat = shapely.get_dimensions(clipped) < 2
    clipped[flat] = shapely.Polygon()
    mixed = shapely.get_type_id(clipped) == _COLLECTION
    clipped[mixed] = shapely.buffer(clipped[mixed], 0)
    return clipped
