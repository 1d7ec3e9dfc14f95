"""Where the frames of a video lie on the map: their corners, or where the camera was and looked."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geomm.errors import DataError
from geomm.io.place_table import layout, read_place_table

Array = NDArray[np.float64]
_LOG = logging.getLogger("geomm")
_WGS84 = "EPSG:4326"
#: Above this the lower edge of a box is where the thing stands, below it is seen from above.
_OBLIQUE_PITCH = -45.0


@dataclass(frozen=True)
class FramePlaces:
    """What a csv says of the frames' places.

    Between rows places and times are interpolated. Before the first and after the last the place is held,
    and the clock goes on.

    Attributes:
      path: of the csv.
      by: ``frame`` or ``time_s``: what ``at`` holds.
      at: (R,) rising.
      values: (R, K) corners x1, y1, … x4, y4 clockwise from the upper left; or lat, lon, altitude above
        ground in metres, heading clockwise from north, pitch (-90 looks straight down) and horizontal field
        of view, degrees. Longitudes and headings go on past a full turn rather than jump.
      camera: whether ``values`` are the camera's.
      crs: of the corners and of the points.
      degrees: whether it is of longitudes and latitudes.
      clock_at: (T,) rising, as ``at``: where the csv has a time.
      times: (T,) seconds since 1970 there, None where the csv has no clock.
    """

    path: str
    by: str
    at: Array
    values: Array
    camera: bool
    crs: str
    degrees: bool
    clock_at: Array | None = None
    times: Array | None = None

    def points(
        self,
        boxes: Array,
        frame: int,
        time_s: float,
        width: int,
        height: int,
        *,
        pixel_aspect: float = 1.0,
    ) -> Array:
        """Return (N, 2) map coordinates of boxes (N, 4) of a frame; NaN above the horizon.

        A box is where its middle is; seen from the side, where the middle of its lower edge is.
        ``pixel_aspect`` is the width of a pixel by its height. Longitudes are in [-180, 180).
        """
        values = self._values(frame, time_s)
        x, y = (boxes[:, 0] + boxes[:, 2]) / 2, (boxes[:, 1] + boxes[:, 3]) / 2
        if not self.camera:
            placed = _through_corners(np.stack([x, y], 1), values.reshape(4, 2), width, height)
        else:
            if values[4] > _OBLIQUE_PITCH:
                y = boxes[:, 3]
            placed = _on_the_ground(np.stack([x, y], 1), values, width, height, pixel_aspect)
        if self.degrees:
            placed[:, 0] -= 360 * np.floor((placed[:, 0] + 180) / 360)
        return placed

    def clock(self, frame: int, time_s: float, rate: float) -> float | None:
        """Return seconds since 1970 of a frame, None where the csv does not tell.

        Args:
          frame: from 0.
          time_s: since frame 0.
          rate: frames a second, by which the clock goes on beyond rows that go by frame.
        """
        if self.times is None or self.clock_at is None:
            return None
        at = float(frame if self.by == "frame" else time_s)
        beyond = at - np.clip(at, self.clock_at[0], self.clock_at[-1])
        beyond_s = beyond / rate if self.by == "frame" else beyond
        return float(np.interp(at, self.clock_at, self.times) + beyond_s)

    def _values(self, frame: int, time_s: float) -> Array:
        at = float(frame if self.by == "frame" else time_s)
        return np.array([np.interp(at, self.at, column) for column in self.values.T])


def read_frame_places(path: str | Path) -> FramePlaces:
    """Read a csv of corners or camera positions of one video.

    It has a column ``frame`` (from 0) or ``time_s``, and either the corners ``x1, y1, …, x4, y4`` (or
    ``lon1, lat1, …``) clockwise from the upper left, with ``crs`` if they are not degrees; or ``lat, lon,
    altitude, heading, pitch, fov``. ``timestamp`` (ISO 8601) adds a clock. Numbers may have decimal commas
    where semicolons separate the values.

    Raises:
      DataError: a column is missing, is no numbers, or names an unknown CRS.
    """
    return frame_places(read_place_table(path), str(path))


def frame_places(table: Any, path: str) -> FramePlaces:
    """Return what a table of ``read_place_table``, or some of its rows, says of one video.

    Args:
      table: of one video.
      path: for messages.

    Raises:
      DataError: no row has numbers that can be, or the CRS or a time is none.
    """
    import pandas

    by, wanted, camera = layout(table)
    numbers = table[[by, *wanted]].apply(pandas.to_numeric, errors="coerce").to_numpy(float)
    at, values, usable = numbers[:, 0], numbers[:, 1:], np.isfinite(numbers).all(1)
    if camera:
        lat, lon, altitude, _, _, fov = values.T
        usable &= _on_the_globe(lon, lat) & (altitude > 0) & (fov >= 1) & (fov <= 179)
    if not usable.any():
        raise DataError(
            f"{path}: no row has numbers in all of {by}, {', '.join(wanted)}"
            + (" with lat up to 90, lon up to 360, altitude above 0 and fov from 1 to 179" if camera else "")
        )
    crs, degrees = _WGS84, True
    if not camera:
        values, crs, degrees = _in_one_crs(values, _row_crs(table, usable, path), path)
        usable &= np.isfinite(values).all(1)
    if not usable.all():
        _LOG.warning("%s: %d of %d rows have no usable place: left out", path, (~usable).sum(), len(usable))
    order = np.flatnonzero(usable)[np.argsort(at[usable], kind="stable")]
    at, values = at[order], _unwrapped(values[order], camera, degrees)
    clock = _clock(table.iloc[order], at, path) if "timestamp" in table.columns else ()
    return FramePlaces(path, by, at, values, camera, crs, degrees, *clock)


def _row_crs(table: Any, placed: NDArray[np.bool_], path: str) -> Any:
    """Return the reference of each row of corners: that of degrees where none names any."""
    import pandas

    if "crs" not in table.columns:
        return pandas.Series(_WGS84, table.index)
    said = table["crs"].str.strip()
    names, silent = said.dropna().unique(), placed & said.isna().to_numpy()
    if len(names) > 1 and silent.any():
        raise DataError(
            f"{path}: crs is {names[0]!r} and {names[1]!r}, and empty in {silent.sum()} rows; name it in each"
        )
    return said.fillna(names[0] if len(names) else _WGS84)


def _in_one_crs(corners: Array, named: Any, path: str) -> tuple[Array, str, bool]:
    """Return corners in the first of the references that rows name, it, and whether it is of degrees.

    Args:
      corners: (R, 8); NaN is returned where they can be none.
      named: (R,) the reference of each row.
      path: for messages.
    """
    from pyproj import Transformer

    references = {name: _crs(name, path) for name in named.unique()}
    base, placed = next(iter(references)), np.full_like(corners, np.nan)
    for name, reference in references.items():
        rows = named.to_numpy() == name
        x, y = corners[rows, ::2], corners[rows, 1::2]
        if reference.is_geographic:
            x = np.where(_on_the_globe(x, y).all(1, keepdims=True), x, np.nan)
        if name != base:
            x, y = Transformer.from_crs(reference, references[base], always_xy=True).transform(x, y)
        placed[rows, ::2], placed[rows, 1::2] = x, y
    if not np.isfinite(placed).all(1).any():
        x, y = corners[np.isfinite(corners).all(1)][0, :2]
        raise DataError(
            f"{path}: no corners are longitudes up to 360 and latitudes up to 90, as in {base} (found "
            f"{x:.10g}, {y:.10g}); if they are metres, add a column crs such as EPSG:32633"
        )
    return placed, base, references[base].is_geographic


def _crs(name: str, path: str) -> Any:
    from pyproj import CRS
    from pyproj.exceptions import CRSError

    try:
        return CRS.from_user_input(name)
    except CRSError as error:
        raise DataError(
            f"{path}: crs is {name!r}, which is not known; give one such as EPSG:32617"
        ) from error


def _on_the_globe(lon: Array, lat: Array) -> NDArray[np.bool_]:
    return np.asarray((np.abs(lon) <= 360) & (np.abs(lat) <= 90))


def _unwrapped(values: Array, camera: bool, degrees: bool) -> Array:
    """Return rows whose angles differ by less than half a turn: 359 and 1 degrees are neighbours."""
    values = values.copy()
    if degrees:
        lon, lat = (values[:, 1:2], values[:, :1]) if camera else (values[:, ::2], values[:, 1::2])
        near = np.unwrap(lon, period=360)
        width = near - near[:, :1]
        area = (width * (np.roll(lat, 1, 1) - np.roll(lat, -1, 1))).sum(1, keepdims=True)
        # Corners run clockwise: a frame of half the world or more would be turned over, or be gone.
        lon[:] = np.where(area > 0, near, lon)
        lon += (np.unwrap(lon[:, 0], period=360) - lon[:, 0])[:, None]
    if camera:
        values[:, 3] = np.unwrap(values[:, 3], period=360)
    return values


def _clock(table: Any, at: Array, path: str) -> tuple[Array, Array] | tuple[()]:
    """Return where rows have a time, as ``at``, and seconds since 1970 there; nothing where none has."""
    import pandas

    try:
        times = pandas.to_datetime(table["timestamp"], utc=True, format="ISO8601").to_numpy("datetime64[ns]")
    except ValueError as error:
        raise DataError(f"{path}: timestamp is not ISO 8601 ({str(error).splitlines()[0]})") from error
    known = ~np.isnat(times)
    if not known.any():
        return ()
    return at[known], times[known].astype("datetime64[us]").astype(np.int64) / 1e6


def _through_corners(points: Array, corners: Array, width: int, height: int) -> Array:
    """Map pixels by the projective transform that takes the frame's corners to ``corners`` (4, 2)."""
    # Relative to their middle: degrees differ in the seventh digit between corners.
    middle = corners.mean(0)
    frame = np.array([[0, 0], [width, 0], [width, height], [0, height]], float)
    rows, right = [], []
    for (x, y), (u, v) in zip(frame, corners - middle, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        right += [u, v]
    solution, *_ = np.linalg.lstsq(np.array(rows), np.array(right), rcond=None)
    matrix = np.append(solution, 1.0).reshape(3, 3)
    placed = np.column_stack([points, np.ones(len(points))]) @ matrix.T
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(placed[:, 2:] > 0, placed[:, :2] / placed[:, 2:], np.nan) + middle)


def _on_the_ground(points: Array, camera: Array, width: int, height: int, pixel_aspect: float) -> Array:
    """Return longitude and latitude where the rays of pixels meet flat ground below a pinhole camera.

    Lengths in the picture are in widths of a pixel.
    """
    import pyproj

    lat, lon, altitude, heading, pitch, fov = camera
    focal = width / 2 / np.tan(np.radians(fov) / 2)
    right, down = points[:, 0] - width / 2, (points[:, 1] - height / 2) / pixel_aspect
    tilt, turn = np.radians(pitch), np.radians(heading)
    ahead = focal * np.cos(tilt) + down * np.sin(tilt)
    up = focal * np.sin(tilt) - down * np.cos(tilt)
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = np.where(up < -1e-6 * focal, altitude / -up, np.nan)
    ahead, right = ahead * scale, right * scale
    east = right * np.cos(turn) + ahead * np.sin(turn)
    north = ahead * np.cos(turn) - right * np.sin(turn)
    geod = pyproj.Geod(ellps="WGS84")
    seen = np.isfinite(east)
    placed = np.full((len(points), 2), np.nan)
    if seen.any():
        azimuth, far = np.degrees(np.arctan2(east, north))[seen], np.hypot(east, north)[seen]
        count = int(seen.sum())
        x, y, _ = geod.fwd(np.full(count, lon), np.full(count, lat), azimuth, far)
        placed[seen] = np.column_stack([x, y])
    return placed
