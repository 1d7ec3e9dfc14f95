"""Columns of a table as numbers: what was learnt of each in training, and how it is applied again.

A ``Column`` is plain JSON in the package, so the same preparation holds at inference, in any order of
columns and for any format that the table came from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geomm.errors import DataError

Floats = NDArray[np.float64]

#: What the words of a column of truths mean.
TRUTHS = {"true": 1.0, "yes": 1.0, "y": 1.0, "t": 1.0, "false": 0.0, "no": 0.0, "n": 0.0, "f": 0.0}
#: Index of a missing category, and of one that training did not see.
MISSING, UNSEEN = 0, 1
_FIRST = 2

_EDGES = ("month_start", "month_end", "quarter_start", "quarter_end", "year_start", "year_end")
#: What a date is spread to; ``elapsed`` is in seconds since 1970.
DATE_PARTS = (
    *("year", "month", "week", "day", "dayofweek", "dayofyear"),
    *(f"is_{edge}" for edge in _EDGES),
    *("hour", "minute", "second", "elapsed"),
)  # fmt: skip
KINDS = ("number", "boolean", "category", "date")


@dataclass(frozen=True)
class Column:
    """One explanatory column, as the training rows had it.

    Attributes:
      name: of the field.
      kind: ``number``, ``boolean``, ``category`` or ``date``.
      fill: what stands for a missing number: the median; seconds since 1970 of a date.
      missing: whether training rows lacked it; then a feature says so.
      parts: of a date, those that vary.
      means: of each number made of it, to normalise.
      stds: likewise; a constant has 1.
      categories: known ones, by frequency.
      text_limit: letters of a category that count.
    """

    name: str
    kind: str
    fill: float = 0.0
    missing: bool = False
    parts: tuple[str, ...] = ()
    means: tuple[float, ...] = ()
    stds: tuple[float, ...] = ()
    categories: tuple[str, ...] = ()
    text_limit: int = 200

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the numbers made of it; a category has none."""
        if self.kind == "category":
            return ()
        own = tuple(f"{self.name}_{part}" for part in self.parts) or (self.name,)
        return (*own, f"{self.name}_missing") if self.missing else own

    @property
    def size(self) -> int:
        """Number of indices that a category can have."""
        return _FIRST + len(self.categories)

    def numbers(self, values: Any) -> NDArray[np.float32]:
        """Return (n, features) float32, normalised, from any values of the column.

        Raises:
          DataError: a value that is no such number, truth or date, or is infinite.
        """
        raw = to_numbers(values, self.kind, self.name)
        absent = np.isnan(raw)
        filled = np.where(absent, self.fill, raw)
        own = date_parts(filled, self.parts) if self.kind == "date" else filled[:, None]
        normal = (own - np.asarray(self.means)) / np.asarray(self.stds)
        if self.missing:
            normal = np.concatenate([normal, absent[:, None]], axis=1)
        return np.asarray(normal, dtype=np.float32)

    def indices(self, values: Any) -> NDArray[np.int64]:
        """Return (n,) int64: ``MISSING``, ``UNSEEN``, or the category's place from 2."""
        import pandas

        text = to_text(values, self.text_limit)
        codes = pandas.Index(self.categories, dtype=object).get_indexer(pandas.Index(text))
        found = np.where(codes < 0, UNSEEN, codes + _FIRST)
        return np.where(pandas.isna(text), MISSING, found).astype(np.int64)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Column:
        known = dict(data)
        for key in ("parts", "means", "stds", "categories"):
            known[key] = tuple(known[key])
        return cls(**known)


def to_numbers(values: Any, kind: str, name: str) -> Floats:
    """Return float64 with NaN where a value is missing: numbers, truths as 0 and 1, dates as seconds.

    Args:
      values: of a column; the index of a Series says which rows of the table they are, from 0.
      kind: one of ``KINDS`` but ``category``.
      name: of the column, for messages.

    Raises:
      DataError: a value that is none of the kind, or is infinite.
    """
    import pandas

    given = pandas.Series(values)
    series = plain_cells(given.reset_index(drop=True))
    if kind == "date":
        return _dates(series, name)
    if kind == "boolean" and series.dtype == object:
        words = series.map(lambda item: TRUTHS.get(item.strip().lower(), item) if _is_text(item) else item)
        series = words.map(lambda item: float(item) if isinstance(item, bool | np.bool_) else item)
        series = plain_cells(series)
    numbers = pandas.to_numeric(series, errors="coerce").astype("float64").to_numpy(na_value=np.nan)
    # What is a number already cannot be something else.
    wrong = np.isnan(numbers) & ~_absent(series) if series.dtype == object else np.zeros(1, bool)
    if wrong.any():
        found = series[wrong].iloc[0]
        raise DataError(
            f"column {name!r}: found {found!r} in {wrong.sum()} rows, expected a {kind}; "
            f"correct it, or train with dataset.types.{name}=category"
        )
    infinite = np.isinf(numbers)
    if infinite.any():
        raise DataError(
            f"column {name!r} has infinite values in {infinite.sum()} rows (the first is row "
            f"{given.index[int(np.argmax(infinite))] + 1} of the table); correct them or leave them empty"
        )
    return np.asarray(numbers, dtype=np.float64)


def plain_cells(series: Any) -> Any:
    """Return a Series with its texts as Python's strings, whichever of pandas' types of text it has."""
    import pandas

    categorical = isinstance(series.dtype, pandas.CategoricalDtype)
    dtype = series.dtype.categories.dtype if categorical else series.dtype
    return series.astype(object) if pandas.api.types.is_string_dtype(dtype) else series


def _dates(series: Any, name: str) -> Floats:
    import pandas

    try:
        times = pandas.to_datetime(series, errors="coerce", utc=True, format="mixed")
    except (ValueError, TypeError) as error:
        raise DataError(f"column {name!r} holds no dates ({error})") from error
    absent = times.isna().to_numpy()
    wrong = absent & ~_absent(series)
    if wrong.any():
        raise DataError(f"column {name!r}: {series[wrong].iloc[0]!r} is no date; write dates as 2024-05-31")
    seconds = times.dt.as_unit("ms").astype("int64").to_numpy() / 1e3
    return np.where(absent, np.nan, seconds)


def _is_text(item: Any) -> bool:
    return isinstance(item, str)


def _absent(series: Any) -> NDArray[np.bool_]:
    blank = series.map(lambda item: _is_text(item) and not item.strip()) if series.dtype == object else False
    return np.asarray(series.isna() | blank, dtype=bool)


def to_text(values: Any, limit: int) -> NDArray[np.object_]:
    """Return texts as categories are compared: trimmed, whole numbers without a point, None if missing."""
    import pandas

    series = pandas.Series(values)
    if series.dtype.kind == "f":
        whole = series.notna() & (series == np.floor(series)) & (series.abs() < 2**53)
        texts = series.map(str).to_numpy(dtype=object)
        texts[whole.to_numpy()] = [str(int(item)) for item in series[whole]]
    else:
        texts = series.map(_text, na_action="ignore").to_numpy(dtype=object)
    cut = np.array([item[:limit].strip() if _is_text(item) else "" for item in texts], dtype=object)
    cut[series.isna().to_numpy() | (cut == "")] = None
    return cut


def _text(item: Any) -> str:
    if isinstance(item, float | np.floating) and float(item).is_integer():
        return str(int(item))
    return str(item).strip()


def date_parts(seconds: Floats, parts: Sequence[str]) -> Floats:
    """Spread times to (n, parts) float64.

    Args:
      seconds: (n,) since 1970, UTC.
      parts: names of ``DATE_PARTS``.
    """
    import pandas

    # Whole milliseconds: as nanoseconds, a float of today's seconds is off by hundreds of them.
    moments = np.rint(np.asarray(seconds, np.float64) * 1e3).astype("datetime64[ms]")
    times = pandas.DatetimeIndex(moments)
    columns = []
    for part in parts:
        if part == "elapsed":
            columns.append(np.asarray(seconds, dtype=np.float64))
        elif part == "week":
            columns.append(times.isocalendar().week.to_numpy(dtype=np.float64))
        else:
            columns.append(np.asarray(getattr(times, part), dtype=np.float64))
    return np.stack(columns, axis=1) if columns else np.empty((len(seconds), 0))
