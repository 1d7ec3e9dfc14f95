"""The csv of the places of a video's frames, as a table."""

from __future__ import annotations

import csv
import logging
import re
from io import StringIO
from pathlib import Path
from typing import Any

from geomm.errors import DataError

_LOG = logging.getLogger("geomm")
_CORNERS = ("x1", "y1", "x2", "y2", "x3", "y3", "x4", "y4")
_CAMERA = ("lat", "lon", "altitude", "heading", "pitch", "fov")
_AT = ("frame", "time_s")
_ALIASES = {
    "latitude": "lat", "longitude": "lon", "lng": "lon", "alt": "altitude", "altitude_m": "altitude",
    "height": "altitude", "yaw": "heading", "azimuth": "heading", "hfov": "fov", "fov_deg": "fov",
    "horizontal_fov": "fov", "frame_number": "frame", "seconds": "time_s", "second": "time_s",
    "time": "timestamp", "utc": "timestamp", "datetime": "timestamp",
}  # fmt: skip


def read_place_table(path: str | Path) -> Any:
    """Read a csv of places as it is written: a table of texts, its columns by the names used here.

    Raises:
      DataError: it cannot be read, a row has more values than the header, or a column is missing.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
        head = text.lstrip().partition("\n")[0]
        separator = ";" if ";" in head and "," not in head else ","
        table = _texts(text, separator, str(path))
    except (OSError, ValueError, csv.Error) as error:
        exists = Path(path).exists()
        reason = str(error).splitlines()[0] if exists else "there is no such file"
        raise DataError(f"{path} cannot be read as a csv of frames' places ({reason})") from error
    table = _renamed(table, str(path))
    if separator == ";":
        numbers = [name for name in (*_AT, *_CORNERS, *_CAMERA) if name in table.columns]
        table[numbers] = table[numbers].replace(",", ".", regex=True)
    by, wanted, _ = layout(table)
    if by is None or not set(wanted) <= set(table.columns):
        raise DataError(
            f"{path}: found the columns {', '.join(table.columns)}; expected frame or time_s, and either "
            f"{', '.join(_CORNERS)} or {', '.join(_CAMERA)}, separated by commas or semicolons"
        )
    return table


def layout(table: Any) -> tuple[Any, list[str], bool]:
    """Return what rows go by, None without, the columns of a place, and whether these are the camera's."""
    import pandas

    there = [name for name in _AT if name in table.columns]
    filled = [name for name in there if pandas.to_numeric(table[name], errors="coerce").notna().any()]
    by = next(iter(filled or there), None)
    camera = not set(_CORNERS) <= set(table.columns)
    return by, list(_CAMERA if camera else _CORNERS), camera


def _texts(text: str, separator: str, path: str) -> Any:
    """Return a csv as a table of texts, of as many columns as its header has names."""
    import pandas

    form: dict[str, Any] = {"sep": separator, "skipinitialspace": True, "index_col": False}
    names = list(pandas.read_csv(StringIO(text), nrows=0, **form).columns)
    widest = max(map(len, csv.reader(StringIO(text), delimiter=separator, skipinitialspace=True)))
    # Values without a name would be dropped.
    surplus = list(range(len(names), widest))
    table = pandas.read_csv(StringIO(text), header=None, names=[*names, *surplus], dtype=str, **form)[1:]
    more = table[surplus].notna().any(axis=1)
    if more.any():
        raise DataError(
            f"{path}: row {more.idxmax()} has more values than the header, which has {len(names)}; name each "
            "column, and put values that hold a separator in quotes"
        )
    return table[names]


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


def _column(name: str) -> str:
    """Return the name that a column is known by: corners in words are found too."""
    plain = _plain(name)
    corner = re.fullmatch(r"(?:corner_?)?(lat|lon|x|y)[a-z_]*?_?([1-4])(?:_[a-z_]*)?", plain)
    if corner:
        return f"{'x' if corner[1] in ('lon', 'x') else 'y'}{corner[2]}"
    return _ALIASES.get(plain, plain)


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.strip().lower()).strip("_")
