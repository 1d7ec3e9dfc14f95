"""Which rows train, validate and test: at random, by groups, by blocks on the map, by time."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from geomm.errors import ConfigError, DataError

TRAIN, VAL, TEST = 0, 1, 2
SPLITS = {"train": TRAIN, "val": VAL, "test": TEST}

Parts = NDArray[np.int8]


def split_rows(
    units: NDArray[np.int64],
    *,
    val: float,
    test: float,
    seed: int,
    ordered: bool = False,
    dealt: bool = False,
    fold: int | None = None,
    folds: int | None = None,
) -> Parts:
    """Assign every row to a part.

    Args:
      units: (n,) number of the unit that a row belongs to; a unit is never cut. With ``ordered``, their
        order is the time.
      val: share of the rows to validate on; of those that are left, in a fold.
      test: share of the rows to test on; not used in a fold.
      seed: of the order in which units are taken.
      ordered: the latest units are tested, those before validated.
      dealt: units are numbered in a random order already, as ``random_units`` does.
      fold: which of ``folds`` is tested; with ``ordered``, only what lies before it trains.
      folds: number of folds.

    Returns:
      (n,) int8 of ``TRAIN``, ``VAL``, ``TEST``; -1 for rows that lie after an ordered fold.

    Raises:
      DataError: there are fewer units than parts.
    """
    known, unit_of = np.unique(units, return_inverse=True)
    sizes = np.bincount(unit_of)
    needed = (folds + (1 if ordered else 0)) if folds else 1 + (val > 0) + (test > 0)
    if len(known) < needed:
        if dealt:
            raise DataError(
                f"the table has {len(known)} rows, and the split needs at least {needed}; "
                "give more rows, or fewer parts (dataset.folds, dataset.split.val and test)"
            )
        raise DataError(
            f"the rows fall into {len(known)} groups, and the split needs at least {needed}; "
            "choose smaller blocks (dataset.split.block_m), another column, or split.by=random"
        )
    order = (
        np.arange(len(known))
        if ordered or dealt
        else np.random.default_rng([seed, 71]).permutation(len(known))
    )
    before = np.cumsum(sizes[order]) - sizes[order]
    part_of = np.full(len(known), TRAIN, np.int8)
    if folds:
        _fold(part_of, order, before, int(sizes.sum()), val, ordered, int(fold or 0), folds)
    else:
        _shares(part_of, order, before, sizes, val, test, ordered)
    return np.asarray(part_of[unit_of])


def _shares(
    part_of: Parts, order: Any, before: Any, sizes: Any, val: float, test: float, ordered: bool
) -> None:
    total = sizes.sum()
    middle = (before + sizes[order] / 2) / total
    if ordered:
        part_of[order[middle > 1 - test - val]] = VAL
        part_of[order[middle > 1 - test]] = TEST
    else:
        part_of[order[middle < test + val]] = VAL
        part_of[order[middle < test]] = TEST
    for share, part in ((test, TEST), (val, VAL)):  # few large groups: each part gets one at least
        if share > 0 and not (part_of == part).any():
            free = order[part_of[order] == TRAIN]
            part_of[free[-1] if ordered else free[0]] = part


def _fold(
    part_of: Parts, order: Any, before: Any, total: int, val: float, ordered: bool, fold: int, folds: int
) -> None:
    parts = folds + 1 if ordered else folds
    wanted = fold + 1 if ordered else fold
    piece = np.minimum(before * parts // max(total, 1), parts - 1)
    # Few units of unequal size: every piece gets one at least, in order.
    piece = np.minimum(np.maximum(piece, np.arange(len(piece)) - (len(piece) - parts)), np.arange(len(piece)))
    part_of[order[piece == wanted]] = TEST
    rest = order[(piece < wanted) if ordered else (piece != wanted)]
    if ordered:
        part_of[order[piece > wanted]] = -1
    count = round(val * len(rest)) if val else 0
    count = max(1, count) if val and len(rest) > 1 else count
    chosen = rest[len(rest) - count :] if ordered else np.roll(rest, -fold)[:count]
    part_of[chosen] = VAL


def named_parts(values: NDArray[np.object_]) -> Parts | None:
    """Return the parts that a column names itself (train, val, test), None where it holds groups."""
    words = {"train": TRAIN, "training": TRAIN, "val": VAL, "valid": VAL, "validation": VAL, "test": TEST}
    texts = [str(item).strip().lower() for item in values]
    if not set(texts) <= set(words):
        return None
    return np.array([words[item] for item in texts], np.int8)


def random_units(rows: int, classes: NDArray[np.int64] | None, seed: int) -> NDArray[np.int64]:
    """Return a unit of its own for each row, at random; of classes, in turns, so each part has its share.

    For ``split_rows(dealt=True)``: units are numbered in the order in which they are dealt out.
    """
    rng = np.random.default_rng([seed, 29])
    order = rng.permutation(rows)
    if classes is not None:
        # Each row's place within its class, as a share: sorted by it, any stretch holds all classes.
        place = np.empty(rows)
        for value in np.unique(classes):
            members = order[classes[order] == value]
            place[members] = (np.arange(len(members)) + rng.random()) / max(len(members), 1)
        order = np.argsort(place, kind="stable")
    units = np.empty(rows, np.int64)
    units[order] = np.arange(rows)
    return units


def block_units(
    places: NDArray[np.float64], block: float | None, *, across: int = 8
) -> tuple[NDArray[np.int64], float]:
    """Return the square block of the map that each row lies in, and the blocks' edge.

    Args:
      places: (n, 2) in a metric CRS, or in the units of a layer without a CRS.
      block: edge; None takes what puts ``across`` blocks along the root of the rows' extent.
      across: blocks along it.

    Raises:
      DataError: rows without a place.
    """
    lost = ~np.isfinite(places).all(1)
    if lost.any():
        raise DataError(
            f"split.by=block: {lost.sum()} rows have no geometry; leave them out or choose split.by=random"
        )
    low, high = places.min(0), places.max(0)
    edge = block or float(np.sqrt(max(np.prod(high - low), 1e-12))) / across
    cells = np.floor((places - low) / max(edge, 1e-9)).astype(np.int64)
    return cells[:, 0] * (cells[:, 1].max() + 1) + cells[:, 1], edge


def check_way(way: str, *, column: str | None, placed: bool) -> None:
    """Check that a way of splitting has what it needs.

    Raises:
      ConfigError: it has not.
    """
    if way in ("column", "time") and not column:
        raise ConfigError(f"dataset.split.by={way} needs dataset.split.column=FIELD")
    if way == "block" and not placed:
        raise ConfigError(
            "dataset.split.by=block needs geometries; give a feature layer, or dataset.xy=[x_field,y_field]"
        )
