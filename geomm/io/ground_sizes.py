"""How large on the ground what lies in the plane of a CRS is."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geomm.io.raster_info import RasterInfo
from geomm.io.vector import to_map

#: Projections that are no measure of areas: a Web Mercator's square metre at 60° N is a quarter of one.
#: Parallels and meridians are straight in all of them.
_STRETCHED = ("mercator", "equidistant cylindrical", "plate carr", "miller")
_TURNED = ("transverse", "oblique")


@lru_cache(maxsize=16)
def ground_of(crs: str | None) -> Plane | Graticule:
    """Return how sizes in a CRS, as WKT or a code, are measured; None is a plane without metres.

    Of a geographic CRS, and of the Mercator family and its like, they are those on the ellipsoid; of others
    those of the plane in metres, which differ from the ground's by the projection's scale.
    """
    if crs is None:
        return Plane()
    from pyproj import CRS

    reference: Any = CRS.from_user_input(crs)
    while reference.is_bound or reference.is_compound:
        reference = reference.source_crs if reference.is_bound else reference.sub_crs_list[0]
    unit = float(reference.axis_info[0].unit_conversion_factor) if reference.axis_info else 1.0
    if reference.is_geographic:
        return Graticule(reference, float(np.degrees(unit)))
    operation = reference.coordinate_operation
    method = operation.method_name.lower() if operation is not None else ""
    if any(name in method for name in _STRETCHED) and not any(name in method for name in _TURNED):
        return Cylinder(reference)
    return Plane(unit)


def pixel_edge_m(scene: RasterInfo, outline: Any) -> float:
    """Return metres of a pixel's edge, the mean of both axes, at a geometry in pixels; 1 without a CRS."""
    crs = scene.georeference.crs
    if crs is None:
        return 1.0
    here = to_map(np.array([outline], dtype=object), scene)
    x, y = ground_of(crs).metres_per_unit(here)[0]
    a, b, _, d, e, _ = scene.georeference.transform
    return (math.hypot(a * x, d * y) + math.hypot(b * x, e * y)) / 2


class Plane:
    """A plane whose units are a length.

    Args:
      unit_m: metres of a unit.
    """

    def __init__(self, unit_m: float = 1.0) -> None:
        self.unit_m = unit_m

    def areas_m2(self, geometries: NDArray[np.object_]) -> NDArray[np.float64]:
        """Return (N,) square metres."""
        import shapely

        return np.asarray(shapely.area(geometries), np.float64) * self.unit_m**2

    def metres_per_unit(self, geometries: NDArray[np.object_]) -> NDArray[np.float64]:
        """Return (N, 2) metres of a unit along x and y in the middle of each geometry."""
        return np.full((len(geometries), 2), self.unit_m)


class Graticule:
    """Longitudes and latitudes.

    Areas are those of the plane of an equal-area cylinder, in which lines along parallels stay straight: what
    is bounded by rows and columns of pixels is measured exactly, in one call for all.

    Args:
      crs: of pyproj, geographic or derived from such a one.
      degrees: of a unit along x.
    """

    #: Units by which the scale along y is taken.
    _step = 1e-3

    def __init__(self, crs: Any, degrees: float) -> None:
        self.degrees = degrees
        geod = crs.get_geod()
        assert geod is not None, "a CRS on the Earth has an ellipsoid"
        self.radius_m, self.square = float(geod.a), float(geod.es)

    def latitudes(self, y: NDArray[np.float64]) -> NDArray[np.float64]:
        return y * self.degrees

    def areas_m2(self, geometries: NDArray[np.object_]) -> NDArray[np.float64]:
        """Return (N,) square metres on the ellipsoid."""
        import shapely

        if not len(geometries):
            return np.zeros(0)
        flat = shapely.transform(geometries, self._equal_area)
        return np.asarray(shapely.area(flat), np.float64)

    def _equal_area(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Lambert's cylindrical projection (Snyder 1987, equations 10-14, 10-15 and 3-12)."""
        sine = np.sin(np.radians(self.latitudes(points[:, 1]).clip(-90, 90)))
        if (e := self.square**0.5) > 0:
            sine = (1 - e**2) * (sine / (1 - (e * sine) ** 2) + np.arctanh(e * sine) / e) / 2
        return self.radius_m * np.stack([np.radians(points[:, 0] * self.degrees), sine], axis=1)

    def metres_per_unit(self, geometries: NDArray[np.object_]) -> NDArray[np.float64]:
        """Return (N, 2) metres of a unit along x and y in the middle of each geometry.

        They are right for things that are small against the Earth.
        """
        import shapely

        bounds = np.asarray(shapely.bounds(geometries), np.float64).reshape(-1, 4)
        y = (bounds[:, 1] + bounds[:, 3]) / 2
        latitude = np.radians(self.latitudes(y).clip(-89.99, 89.99))
        turn = np.radians(self.latitudes(y + self._step) - self.latitudes(y - self._step)) / (2 * self._step)
        narrowing = 1 - self.square * np.sin(latitude) ** 2
        east = self.radius_m / np.sqrt(narrowing) * np.cos(latitude) * np.radians(self.degrees)
        north = self.radius_m * (1 - self.square) / narrowing**1.5 * turn
        return np.stack([east, north], axis=1)


class Cylinder(Graticule):
    """A projection in which x goes with the longitude alone and y with the latitude alone.

    Args:
      crs: of pyproj, projected.
    """

    _step = 10.0

    def __init__(self, crs: Any) -> None:
        from pyproj import Transformer

        base = crs.geodetic_crs
        self._to_base = Transformer.from_crs(crs, base, always_xy=True)
        self._unit = float(np.degrees(base.axis_info[0].unit_conversion_factor))
        # Where the map ends longitudes leap, so the longer of two steps tells nothing.
        longitudes, _ = self._to_base.transform(np.array([0.0, 1e5, 2e5]), np.zeros(3))
        super().__init__(base, float(np.abs(np.diff(longitudes)).min()) * self._unit / 1e5)

    def latitudes(self, y: NDArray[np.float64]) -> NDArray[np.float64]:
        latitudes: NDArray[np.float64] = self._to_base.transform(np.zeros_like(y), y)[1] * self._unit
        return latitudes
