"""Writing a new cloud."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geomm.errors import DependencyError


def create_las(
    path: Path,
    xyz: NDArray[np.float64],
    values: Mapping[str, NDArray[Any]],
    *,
    crs: str,
    point_format: int = 6,
    scale: float = 0.001,
) -> str:
    """Write points as LAS 1.4, compressed where the name ends in ``.laz``; return the path.

    Args:
      path: file to write; appears only when complete.
      xyz: (n, 3) in the CRS.
      values: (n,) arrays by the point format's names of dimensions.
      crs: of the coordinates.
      point_format: 6 to 8.
      scale: steps of the coordinates.
    """
    try:
        import laspy
    except ImportError as error:
        raise DependencyError("writing point clouds needs laspy: pip install 'laspy[lazrs]'") from error
    from pyproj import CRS

    header = laspy.LasHeader(point_format=point_format, version="1.4")
    header.scales, header.offsets = np.full(3, scale), np.floor(xyz.min(0))
    header.add_crs(CRS.from_user_input(crs))
    cloud = laspy.LasData(header)
    cloud.x, cloud.y, cloud.z = xyz.T
    for name, column in values.items():
        cloud[name] = column
    temporary = path.with_name(f".part_{path.name}")
    cloud.write(str(temporary))
    os.replace(temporary, path)
    return str(path)
