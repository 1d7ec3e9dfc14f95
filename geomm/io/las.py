"""Reading LAS, LAZ and COPC clouds of any point format, in chunks of bounded memory."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from geomm.errors import DataError, DependencyError, did_you_mean
from geomm.points import NO_FEATURES

if TYPE_CHECKING:
    import laspy

_LOG = logging.getLogger("geomm")
LAS_ENDINGS = (".las", ".laz")
CHUNK_POINTS = 500_000
#: No survey reaches further, in units of its CRS; coordinates beyond are damage.
_WIDEST = 5e6
#: Square units of the CRS that a point may have to itself, before the header's bounds are doubted.
_MOST_GROUND = 1e4
#: A feature's name, and what the point formats call it.
_ALIASES = {"scan_angle": ("scan_angle", "scan_angle_rank")}
#: LAS 1.4 counts scan angles in steps of this many degrees.
_ANGLE_STEP_DEG = 0.006


@dataclass(frozen=True)
class LasInfo:
    """What a cloud's header says.

    Attributes:
      points: how many.
      point_format: 0 to 10.
      version: such as ``1.4``.
      mins, maxs: bounds of x, y and z in CRS units.
      crs: WKT, None where the file has none that is understood.
      dimensions: names of the point dimensions, extra ones included.
      extra_dimensions: those that the point format does not have.
    """

    path: str
    points: int
    point_format: int
    version: str
    mins: tuple[float, float, float]
    maxs: tuple[float, float, float]
    crs: str | None
    dimensions: tuple[str, ...]
    extra_dimensions: tuple[str, ...]

    @property
    def units_m(self) -> tuple[float, float, float]:
        """Metres a unit along x, y and z; 1 where there is no CRS. Heights may have a unit of their own.

        Raises:
          DataError: the CRS counts in degrees.
        """
        if self.crs is None:
            return 1.0, 1.0, 1.0
        from pyproj import CRS

        crs = CRS.from_wkt(self.crs)
        if crs.is_geographic:
            raise DataError(
                f"{self.path} is in degrees ({crs.name}); blocks are in metres: reproject it, for example to "
                "the UTM zone it lies in"
            )
        units = [float(axis.unit_conversion_factor) for axis in crs.axis_info] or [1.0]
        return units[0], units[0], units[2] if len(units) > 2 else units[0]


@dataclass(frozen=True)
class PointChunk:
    """Consecutive points of a file.

    Attributes:
      start: number of the first one.
      xyz: (n, 3) float64, CRS units.
      values: (n,) arrays of the dimensions asked for, by name.
    """

    start: int
    xyz: NDArray[np.float64]
    values: dict[str, NDArray[Any]]

    def __len__(self) -> int:
        return len(self.xyz)


def same_plane(first: str | None, second: str | None) -> bool:
    """Say whether two clouds' coordinates lie on one map, whatever their heights count from.

    A cloud without a CRS is taken for one of the others'.

    Args:
      first: WKT of its CRS, None where it has none.
      second: that of the other one.
    """
    if first is None or second is None or first == second:
        return True
    return bool(_plane(first).equals(_plane(second), ignore_axis_order=True))


def crs_name(wkt: str) -> str:
    """Return what people call a CRS."""
    return str(_plane(wkt).name)


@cache
def _plane(wkt: str) -> Any:
    from pyproj import CRS

    return CRS.from_wkt(wkt).to_2d()


def read_las_info(path: str | Path) -> LasInfo:
    """Return what a cloud's header says.

    Raises:
      DataError: no cloud, a point format that is unknown, or coordinates that cannot be.
    """
    with _opened(path) as reader:
        header = reader.header
        _check_grid(path, header)
        return LasInfo(
            path=str(path),
            points=int(header.point_count),
            point_format=int(header.point_format.id),
            version=f"{header.version.major}.{header.version.minor}",
            mins=_triple(header.mins),
            maxs=_triple(header.maxs),
            crs=_crs(header),
            dimensions=tuple(header.point_format.dimension_names),
            extra_dimensions=tuple(header.point_format.extra_dimension_names),
        )


def read_placed_info(path: str | Path) -> LasInfo:
    """Return what a cloud's header says, with bounds that can be.

    Some programs write bounds of zero, or of the whole survey; then the points themselves are asked.

    Raises:
      DataError: as ``read_las_info`` and ``read_chunks``.
    """
    info = read_las_info(path)
    size = np.subtract(info.maxs, info.mins)
    if not info.points or ((size >= 0).all() and float(size[0] * size[1]) <= info.points * _MOST_GROUND):
        return info
    return measure_bounds(info)


def measure_bounds(info: LasInfo) -> LasInfo:
    """Return a cloud's header with the bounds of its points, whatever it says itself.

    Raises:
      DataError: the file is damaged.
    """
    chunks = [(chunk.xyz.min(0), chunk.xyz.max(0)) for chunk in read_chunks(info.path)]
    low, high = np.min([c[0] for c in chunks], axis=0), np.max([c[1] for c in chunks], axis=0)
    found = replace(info, mins=_triple(low), maxs=_triple(high))
    if not (np.allclose(found.mins, info.mins, atol=1) and np.allclose(found.maxs, info.maxs, atol=1)):
        _LOG.warning(
            "%s: its header's bounds, %s to %s, are not those of its points, %s to %s; these are used",
            info.path,
            *(np.round(bounds, 1).tolist() for bounds in (info.mins, info.maxs, found.mins, found.maxs)),
        )
    return found


def read_chunks(
    path: str | Path, dimensions: Sequence[str] = (), *, chunk_points: int = CHUNK_POINTS
) -> Iterator[PointChunk]:
    """Read a cloud from its first point to its last.

    Args:
      path: LAS, LAZ or COPC.
      dimensions: what to read beside coordinates; ``scan_angle`` is in degrees whatever the format.
      chunk_points: most points a chunk.

    Raises:
      DataError: a dimension that is not there, a damaged or cut file, coordinates that cannot be.
    """
    with _opened(path) as reader:
        header = reader.header
        _check_grid(path, header)
        there = header.point_format
        names = {name: find_dimension(path, name, there.dimension_names) for name in dimensions}
        for name, own in names.items():
            _check_single(path, name, there.dimension_by_name(own))
        done = 0
        while done < header.point_count:
            wanted = min(chunk_points, header.point_count - done)
            points = _read_points(path, reader, wanted, done)
            xyz = np.stack([points.x, points.y, points.z], axis=1).astype(np.float64, copy=False)
            _check_coordinates(path, xyz)
            yield PointChunk(done, xyz, {name: _values(points, own) for name, own in names.items()})
            done += wanted


def find_dimension(path: str | Path, name: str, available: Any, *, also: Sequence[str] = ()) -> str:
    """Return what a file calls a dimension.

    Args:
      path: of the file, for the message.
      name: as features are named.
      available: the file's own names.
      also: further names that the message may propose.

    Raises:
      DataError: it has none of that name; lists those there are.
    """
    there = list(available)
    for candidate in _ALIASES.get(name, (name,)):
        if candidate in there:
            return candidate
    proposed = [*(item for item in there if item not in NO_FEATURES), *also]
    raise DataError(
        f"{path} has no dimension {name!r}; {did_you_mean(name, proposed, limit=60)}. Give clouds that have "
        "it, or train without it (dataset.features)"
    )


def _triple(values: Any) -> tuple[float, float, float]:
    x, y, z = (float(value) for value in values)
    return x, y, z


@contextmanager
def _opened(path: str | Path) -> Iterator[laspy.LasReader]:
    try:
        import laspy
    except ImportError as error:
        raise DependencyError("reading point clouds needs laspy: pip install 'laspy[lazrs]'") from error
    if not Path(path).is_file():
        raise DataError(f"{path}: there is no such file")
    try:
        reader = laspy.open(str(path))
    except Exception as error:  # laspy raises struct errors, its own, lazrs's and plain ones
        raise DataError(
            f"{path} cannot be opened as LAS or LAZ ({_first_line(error)}); expected LAS 1.0 to 1.4 with "
            "point format 0 to 10: export it again"
        ) from error
    try:
        yield reader
    finally:
        reader.close()


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0]}" if text else type(error).__name__


def _read_points(path: str | Path, reader: Any, wanted: int, done: int) -> Any:
    try:
        points = reader.read_points(wanted)
    except Exception as error:
        raise DataError(
            f"{path} is damaged or cut short after {done:,} of {reader.header.point_count:,} points "
            f"({_first_line(error)}); copy or export it again"
        ) from error
    if len(points) != wanted:
        raise DataError(
            f"{path} is cut short: its header says {reader.header.point_count:,} points, "
            f"{done + len(points):,} are there; copy or export it again"
        )
    return points


def _check_single(path: str | Path, name: str, dimension: Any) -> None:
    if dimension.num_elements > 1:
        raise DataError(
            f"{path}: dimension {name!r} holds {dimension.num_elements} numbers a point, expected one; "
            "write them as dimensions of their own"
        )


def _check_grid(path: str | Path, header: Any) -> None:
    scales, offsets = np.asarray(header.scales), np.asarray(header.offsets)
    if not (np.isfinite(scales).all() and np.isfinite(offsets).all() and (scales > 0).all()):
        raise DataError(
            f"{path}: scales {scales.tolist()} and offsets {offsets.tolist()} place no point; "
            "expected finite numbers and scales above 0: export it again"
        )


def _check_coordinates(path: str | Path, xyz: NDArray[np.float64]) -> None:
    if not len(xyz):
        return
    low, high = xyz.min(0), xyz.max(0)
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        raise DataError(f"{path} has coordinates that are no numbers; export it again")
    if (high - low).max() > _WIDEST:
        raise DataError(
            f"{path}: coordinates reach from {low.round(1).tolist()} to {high.round(1).tolist()}, further "
            f"than {_WIDEST:g} units; drop the stray points, or give the file its true scales and offsets"
        )


def _crs(header: Any) -> str | None:
    try:
        crs = header.parse_crs()
    except Exception:  # whatever a foreign VLR makes pyproj say, the cloud itself can be used
        return None
    return None if crs is None else str(crs.to_wkt())


def _values(points: Any, name: str) -> NDArray[Any]:
    values = np.asarray(points[name])
    if name == "scan_angle":
        return values.astype(np.float32) * np.float32(_ANGLE_STEP_DEG)
    return values
