"""Where the frames of a video lie on the map: their corners, or where the camera was and looked."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geomm.errors import DataError

Array = NDArray[np.float64]
_LOG = logging.getLogger("geomm")
_WGS84 = "EPSG:4326"
_CORNERS = ("x1", "y1", "x2", "y2", "x3", "y3", "x4", "y4")
_CAMERA = ("lat", "lon", "altitude", "heading", "pitch", "fov")
#: Above this the lower edge of a box is where the thing stands, below it is seen from above.
_OBLIQUE_PITCH = -45.0
_ALIASES = {
    "latitude": "lat", "longitude": "lon", "lng": "lon", "alt": "altitude", "altitude_m": "altitude",
    "height": "altitude", "yaw": "heading", "azimuth": "heading", "hfov": "fov", "fov_deg": "fov",
    "horizontal_fov": "fov", "frame_number": "frame", "seconds": "time_s", "second": "time_s",
    "time": "timestamp", "utc": "timestamp", "datetime": "timestamp",
}  # fmt: skip


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
        of view, degrees.
      camera: whether ``values`` are the camera's.
      crs: of the corners and of the points.
      clock_at: (T,) rising, as ``at``: where the csv has a time.
      times: (T,) seconds since 1970 there, None where the csv has no clock.
    """

    path: str
    by: str
    at: Array
    values: Array
    camera: bool
    crs: str
    clock_at: Array | None = None
    times: Array | None = None

    def points(self, boxes: Array, frame: int, time_s: float, width: int, height: int) -> Array:
        """Return (N, 2) map coordinates of boxes (N, 4) of a frame; NaN above the horizon.

        A box is where its middle is; seen from the side, where the middle of its lower edge is.
        """
        values = self._values(frame, time_s)
        x, y = (boxes[:, 0] + boxes[:, 2]) / 2, (boxes[:, 1] + boxes[:, 3]) / 2
        if not self.camera:
            return _through_corners(np.stack([x, y], 1), values.reshape(4, 2), width, height)
        if values[4] > _OBLIQUE_PITCH:
            y = boxes[:, 3]
        return _on_the_ground(np.stack([x, y], 1), values, width, height)

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
        row = np.array([np.interp(at, self.at, column) for column in self.values.T])
        if self.camera:  # 359 and 1 degrees are neighbours
            row[3] = np.interp(at, self.at, np.unwrap(self.values[:, 3], period=360))
        return row


def read_frame_places(path: str | Path) -> FramePlaces:
    """Read a csv of corners or camera positions of one video.

    It has a column ``frame`` (from 0) or ``time_s``, and either the corners ``x1, y1, …, x4, y4`` (or
    ``lon1, lat1, …``) clockwise from the upper left, with ``crs`` if they are not degrees; or ``lat, lon,
    altitude, heading, pitch, fov``. ``timestamp`` (ISO 8601) adds a clock.

    Raises:
      DataError: a column is missing, is no numbers, or names an unknown CRS.
    """
    return frame_places(read_place_table(path), str(path))


def read_place_table(path: str | Path) -> Any:
    """Read a csv of places as it is written: a table of texts, its columns by the names used here.

    Raises:
      DataError: it cannot be read, or a column is missing.
    """
    import pandas

    try:
        table = pandas.read_csv(path, skipinitialspace=True, dtype=str)
    except (OSError, ValueError) as error:
        exists = Path(path).exists()
        reason = str(error).splitlines()[0] if exists else "there is no such file"
        raise DataError(f"{path} cannot be read as a csv of frames' places ({reason})") from error
    table = _renamed(table, str(path))
    by, wanted, _ = _layout(table)
    if by is None or not set(wanted) <= set(table.columns):
        raise DataError(
            f"{path}: found the columns {', '.join(table.columns)}; expected frame or time_s, and either "
            f"{', '.join(_CORNERS)} or {', '.join(_CAMERA)}"
        )
    return table


def frame_places(table: Any, path: str) -> FramePlaces:
    """Return what a table of ``read_place_table``, or some of its rows, says of one video.

    Args:
      table: of one video.
      path: for messages.

    Raises:
      DataError: no row has numbers that can be, or the CRS or a time is none.
    """
    import pandas

    by, wanted, camera = _layout(table)
    numbers = table[[by, *wanted]].apply(pandas.to_numeric, errors="coerce")
    usable = np.isfinite(numbers.to_numpy(float)).all(1)
    if camera:
        usable &= (numbers["lat"].abs() <= 90) & (numbers["altitude"] > 0) & numbers["fov"].between(1, 179)
    if not usable.any():
        raise DataError(
            f"{path}: no row has numbers in all of {by}, {', '.join(wanted)}"
            + (" with lat up to 90, altitude above 0 and fov from 1 to 179" if camera else "")
        )
    if not usable.all():
        _LOG.warning("%s: %d of %d rows have no usable place: left out", path, (~usable).sum(), len(usable))
    order = np.argsort(numbers[by].to_numpy(float)[usable], kind="stable")
    rows = numbers.to_numpy(float)[usable][order]
    crs = _WGS84 if camera else _crs(table, path)
    clock = _clock(table[usable].iloc[order], rows[:, 0], path) if "timestamp" in table.columns else ()
    return FramePlaces(path, by, rows[:, 0], rows[:, 1:], camera, crs, *clock)


def _layout(table: Any) -> tuple[Any, list[str], bool]:
    """Return what rows go by, None without, the columns of a place, and whether these are the camera's."""
    by = next((name for name in ("frame", "time_s") if name in table.columns), None)
    camera = not set(_CORNERS) <= set(table.columns)
    return by, list(_CAMERA if camera else _CORNERS), camera


def _renamed(table: Any, path: str) -> Any:
    """Return the table with columns by the names used here; of several that mean one, the exact one wins."""
    meaning: dict[str, list[str]] = {}
    for column in map(str, table.columns):
        meaning.setdefault(_column(column), []).append(column)
    taken = {}
    for name, columns in meaning.items():
        taken[name] = next((column for column in columns if _plain(column) == name), columns[0])
        if len(columns) > 1:
            said = " and ".join(columns)
            _LOG.warning("%s: the columns %s both mean %s: %s is taken", path, said, name, taken[name])
    table.columns = table.columns.map(str)
    return table[list(taken.values())].set_axis(list(taken), axis=1)


def _crs(table: Any, path: str) -> str:
    """Return the reference that a table of corners names, or that of degrees."""
    from pyproj import CRS
    from pyproj.exceptions import CRSError

    named = table["crs"].dropna().tolist() if "crs" in table.columns else []
    crs = str(named[0]) if named else _WGS84
    try:
        CRS.from_user_input(crs)
    except CRSError as error:
        raise DataError(f"{path}: crs is {crs!r}, which is not known; give one such as EPSG:32617") from error
    return crs


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


def _column(name: str) -> str:
    """Return the name that a column is known by: corners in words are found too."""
    plain = _plain(name)
    corner = re.fullmatch(r"(?:corner_?)?(lat|lon|x|y)[a-z_]*?_?([1-4])(?:_[a-z_]*)?", plain)
    if corner:
        return f"{'x' if corner[1] in ('lon', 'x') else 'y'}{corner[2]}"
    return _ALIASES.get(plain, plain)


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.strip().lower()).strip("_")


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


def _on_the_ground(points: Array, camera: Array, width: int, height: int) -> Array:
    """Return longitude and latitude where the rays of pixels meet flat ground below a pinhole camera."""
    import pyproj

    lat, lon, altitude, heading, pitch, fov = camera
    focal = width / 2 / np.tan(np.radians(fov) / 2)
    right, down = points[:, 0] - width / 2, points[:, 1] - height / 2
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
