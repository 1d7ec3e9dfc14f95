"""What the columns of a table are, found from what they hold, and what is learnt of each."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geomm.errors import ConfigError, DataError
from geomm.transforms.columns import (
    DATE_PARTS,
    KINDS,
    TRUTHS,
    Column,
    date_parts,
    plain_cells,
    to_numbers,
    to_text,
)

_LOG = logging.getLogger("geomm")
_DATE = re.compile(r"^\s*(\d{4}-\d{1,2}-\d{1,2}|\d{1,2}[./]\d{1,2}[./]\d{2,4}|\d{4}/\d{1,2}/\d{1,2})\b")
#: A column with more distinct texts than this is names or remarks, not categories.
MOST_CATEGORIES = 1000
_LOOKED_AT = 2000


def detect_kind(values: Any) -> str | None:
    """Return what a column holds, None where it holds nothing that a model could use.

    Args:
      values: pandas Series.
    """
    import pandas

    series = values
    if isinstance(series.dtype, pandas.CategoricalDtype):
        return "category"
    if pandas.api.types.is_bool_dtype(series.dtype):
        return "boolean"
    if pandas.api.types.is_datetime64_any_dtype(series.dtype):
        return "date"
    if pandas.api.types.is_numeric_dtype(series.dtype):
        return "number" if series.notna().any() else None
    there = plain_cells(series.dropna())
    texts = [str(item).strip() for item in there.head(_LOOKED_AT) if str(item).strip()]
    if not texts:
        return None
    if all(text.lower() in TRUTHS for text in texts) and len({t.lower() for t in texts}) > 1:
        return "boolean"
    if pandas.to_numeric(there, errors="coerce").notna().all():
        return "number"
    if all(_DATE.match(text) for text in texts):
        return "date"
    return "category"


def choose_columns(
    table: Any,
    *,
    fields: Sequence[str] | None,
    leave_out: Sequence[str],
    types: Mapping[str, str],
    wanted_too: Sequence[str],
    numbering: Sequence[str],
    most_categories: int,
    text_limit: int,
) -> dict[str, str]:
    """Return kind by name of the explanatory columns.

    Args:
      table: DataFrame of the training rows.
      fields: columns that the user names, None for all that can be used.
      leave_out: columns that are none: targets, those that split.
      types: kind by name, where the user says it.
      wanted_too: columns that are taken whatever ``fields`` says.
      numbering: columns that only number the rows, as ``numbering_columns`` finds them.
      most_categories: a column of more distinct texts is left out, or refused where it is named.
      text_limit: letters of a text that count.

    Raises:
      ConfigError: a kind that there is not.
      DataError: a named column has more texts than a model can tell apart; or no column is left.
    """
    for name, given in types.items():
        if given not in KINDS:
            raise ConfigError(f"dataset.types.{name}: found {given!r}, expected {', '.join(KINDS)}")
    named = {*(fields or ()), *types, *wanted_too}
    names = [name for name in table.columns if fields is None or name in named]
    chosen: dict[str, str] = {}
    for name in names:
        if name in leave_out:
            continue
        kind = types.get(name) or detect_kind(table[name])
        reason = _unusable(table[name], kind, most_categories, text_limit, named=name in named)
        if reason is None and kind is not None:
            if name in named or name not in numbering:
                chosen[str(name)] = kind
            else:
                _LOG.info("column %s only numbers the rows: left out (dataset.fields names columns)", name)
        elif name in named and "distinct" in str(reason):
            raise DataError(
                f"column {name!r} {reason}, more than dataset.most_categories={most_categories}; leave it "
                f"out (dataset.exclude=[{name}]), or group its values first"
            )
        else:
            _LOG.warning("column %s %s: left out", name, reason)
    if not chosen:
        raise DataError("no explanatory column is left; name some with dataset.fields=[…], or add rasters")
    return chosen


def _unusable(series: Any, kind: str | None, most: int, limit: int, *, named: bool) -> str | None:
    if kind is None:
        return "is empty"
    if kind == "category":
        distinct = series.nunique()
        if distinct > most:
            texts = {text for text in to_text(series.drop_duplicates(), limit) if text is not None}
            distinct = len(texts)
        names_rows = distinct > 20 and distinct > 0.9 * series.notna().sum() and not named
        if distinct > most or names_rows:
            return f"has {distinct:,} distinct texts in {len(series):,} rows"
    if series.nunique(dropna=False) <= 1:
        return f"is constant ({series.iloc[0]})"
    return None


def numbering_columns(table: Any) -> list[str]:
    """Return the columns whose whole numbers only count the rows: 1, 2, 3, … in some order.

    Args:
      table: DataFrame of all rows; a part of them, as a split leaves it, has gaps.
    """
    return [name for name in table.columns if _counts_rows(table[name])]


def _counts_rows(series: Any) -> bool:
    if series.dtype.kind not in "iu" or len(series) < 20:
        return False
    low, high = int(series.min()), int(series.max())
    return low in (0, 1) and high - low + 1 == len(series) and bool(series.is_unique)


def fit_column(name: str, kind: str, values: Any, *, most_categories: int, text_limit: int) -> Column:
    """Learn a column from the training rows.

    Raises:
      DataError: values that are not of the kind, or infinite.
    """
    if kind == "category":
        texts = to_text(values, text_limit)
        present, counts = np.unique([text for text in texts if text is not None], return_counts=True)
        order = np.lexsort((present, -counts))[:most_categories]
        return Column(name, kind, categories=tuple(present[order].tolist()), text_limit=text_limit)
    raw = to_numbers(values, kind, name)
    absent = np.isnan(raw)
    fill = float(np.median(raw[~absent])) if not absent.all() else 0.0
    filled = np.where(absent, fill, raw)
    parts: tuple[str, ...] = ()
    own = filled[:, None]
    if kind == "date":
        spread = date_parts(filled, DATE_PARTS)
        vary = np.ptp(spread, axis=0) > 0
        parts = tuple(part for part, varies in zip(DATE_PARTS, vary, strict=True) if varies)
        own = spread[:, vary]
    means, stds = own.mean(0), own.std(0)
    stds = np.where(stds > 1e-12 * np.maximum(np.abs(means), 1e-300), stds, 1.0)
    return Column(
        name,
        kind,
        fill=fill,
        missing=bool(absent.any()),
        parts=parts,
        means=tuple(means.tolist()),
        stds=tuple(stds.tolist()),
    )


def target_kind(values: Any, name: str) -> str:
    """Return ``classification`` for texts, truths and up to ten whole numbers, else ``regression``."""
    kind = detect_kind(values)
    if kind is None:
        raise DataError(f"target {name!r} is empty in every row")
    if kind in ("category", "boolean"):
        return "classification"
    if kind == "date":
        raise DataError(f"target {name!r} holds dates; a target is a number or a class")
    whole = values.dropna()
    few = whole.nunique() <= 10 and bool((whole.astype(float) % 1 == 0).all())
    return "classification" if few else "regression"


def labelled_rows(table: Any, targets: Sequence[str]) -> NDArray[np.bool_]:
    """Return which rows have every target; the others are said and left out.

    Raises:
      DataError: there are none.
    """
    there: NDArray[np.bool_] = table[list(targets)].notna().all(axis=1).to_numpy(dtype=bool)
    if not there.any():
        raise DataError(f"target {targets[0]!r} is empty in every row")
    if not there.all():
        _LOG.info("%d of %d rows have no target: left out", (~there).sum(), len(there))
    return there
