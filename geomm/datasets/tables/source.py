"""Tables and feature layers as training data."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geomm.datasets.tables.columns import (
    MOST_CATEGORIES,
    choose_columns,
    fit_column,
    labelled_rows,
    numbering_columns,
    target_kind,
)
from geomm.datasets.tables.splits import (
    SPLITS,
    TRAIN,
    Parts,
    block_units,
    check_way,
    named_parts,
    random_units,
    split_rows,
)
from geomm.datasets.tables.surroundings import (
    centres,
    chosen_crs,
    list_rasters,
    place_rows,
    surrounding_columns,
)
from geomm.datasets.tables.targets import fit_classes, fit_target
from geomm.errors import ConfigError, DataError, Problem, did_you_mean
from geomm.io.tables import Table as Rows
from geomm.io.tables import find_tables, read_tables, to_crs
from geomm.registry import DATASETS
from geomm.samples import LAYER, make
from geomm.structures import ClassSpec
from geomm.transforms.columns import to_numbers
from geomm.transforms.table import Encoded, Surroundings, TableSpec, Target

_LOG = logging.getLogger("geomm")


@dataclass(frozen=True)
class TableRows:
    """The rows of one part, ready for a model; a torch dataset.

    Attributes:
      encoded: all rows of the table.
      targets: (N, T) float32 or (N,) int64, of all rows.
      rows: (n,) which of them are this part's.
    """

    encoded: Encoded
    targets: NDArray[Any]
    rows: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.__getitems__([index])

    def __getitems__(self, indices: Sequence[int]) -> dict[str, Any]:
        """Return a batch at once: row by row, a loader takes longer than the model."""
        rows = self.rows[np.asarray(indices) % len(self.rows)]
        return {
            "numbers": self.encoded.numbers[rows],
            "categories": self.encoded.categories[rows],
            "target": self.targets[rows],
            "row": rows,
        }


@DATASETS.register_module()
class Table:
    """Rows of tables or feature layers, with columns from rasters and other layers at their place.

    Args:
      path: a file, glob, folder, URL that GDAL opens, or a list of these with the same columns.
      sample: made-up data instead, with its own rasters and layers where none are given.
      layer: of files with several layers.
      target: field to predict, or several (regression).
      kind: ``auto``, ``regression`` or ``classification``.
      transform: of a regression's targets: ``none``, ``log``, ``log1p`` or ``sqrt``.
      fields: explanatory fields; None takes all that can be used.
      exclude: fields that are not taken.
      types: ``number``, ``boolean``, ``category`` or ``date`` by field, where it is not what it looks like.
      most_categories: fields of more distinct texts are left out.
      text_limit: letters of a text that count.
      rasters: explanatory rasters: files, or {name: file}.
      raster_statistic: of the pixels under a polygon.
      raster_resampling: at a point, ``nearest`` or ``bilinear``.
      distances: {name: layer}, the distance to its nearest feature.
      coordinates: whether x and y explain too.
      h3: resolution of the H3 cell that explains too.
      xy: fields with x and y, of tables without geometries.
      crs: of these, or of a layer that says none.
      split: ``by`` (``random``, ``column``, ``block``, ``time``), shares ``val`` and ``test``, ``column``,
        ``block_m``, ``seed``, ``beside``.
      folds: number of folds of a cross-validation.
      fold: which of them is tested.
      augment: none; tables are not changed at random.
      seed: of the split, where ``split`` has none.
    """

    def __init__(
        self,
        *,
        path: str | Sequence[str] | None = None,
        sample: str | None = None,
        layer: str | None = None,
        target: str | Sequence[str],
        kind: str = "auto",
        transform: str = "none",
        fields: Sequence[str] | None = None,
        exclude: Sequence[str] = (),
        types: Mapping[str, str] | None = None,
        most_categories: int = MOST_CATEGORIES,
        text_limit: int = 200,
        rasters: Any = None,
        raster_statistic: str = "mean",
        raster_resampling: str = "nearest",
        distances: Mapping[str, str] | None = None,
        coordinates: bool = False,
        h3: int | None = None,
        xy: Sequence[str] | None = None,
        crs: str | None = None,
        split: Mapping[str, Any] | None = None,
        folds: int | None = None,
        fold: int | None = None,
        augment: Mapping[str, Any] | None = None,
        seed: int = 0,
    ) -> None:
        made = make(sample) if path is None and sample else {}
        self.path = path or made.get("table")
        if self.path is None:
            raise ConfigError([Problem("dataset.path", "give a table, or dataset.sample=…")])
        self.rasters = rasters or made.get("rasters")
        self.raster_statistic, self.raster_resampling = raster_statistic, raster_resampling
        self.layer, self.kind, self.transform = layer, kind, transform
        self.targets = [target] if isinstance(target, str) else list(target)
        self.fields = None if fields is None else list(fields)
        self.exclude = list(exclude)
        self.types = dict(types or {})
        self.most_categories, self.text_limit = most_categories, text_limit
        beside = {key.removeprefix(LAYER): file for key, file in made.items() if key.startswith(LAYER)}
        self.distances = tuple((distances or beside).items())
        self.coordinates, self.h3, self.xy, self.crs = coordinates, h3, xy, crs
        self.how = {"by": "random", "val": 0.2, "test": 0.0, "column": None, "block_m": None, **(split or {})}
        self.split_seed = seed if self.how.get("seed") is None else int(self.how["seed"])
        self.folds, self.fold = folds, fold
        self._parts: dict[str, TableRows] = {}

    def prepare(self, cache: Path) -> TableSpec:
        """Read the rows, learn their columns from the training part, and encode them.

        Raises:
          DataError: there is nothing to read or to learn from, or a value cannot be used.
        """
        rows = self._read()
        self.frame = rows.frame
        self.centres = centres(rows)
        targets, classes = self._fit_kind()
        parts = self._split(rows, targets, classes)
        train = self.frame[parts == TRAIN]
        if not len(train):
            raise DataError("no row is left to train on; make dataset.split.val and test smaller")
        columns = tuple(
            fit_column(
                name,
                kind,
                train[name],
                most_categories=self.most_categories,
                text_limit=self.text_limit,
            )
            for name, kind in self._choose(train).items()
        )
        counts: tuple[int, ...] = ()
        spec = TableSpec(columns, targets, classes, counts, self.around, len(train))
        if classes:
            found = spec.encode_targets(train)
            counts = tuple(np.bincount(found, minlength=len(classes)).tolist())
            spec = replace(spec, class_rows=counts)
        else:
            fitted = tuple(fit_target(item.name, train[item.name], self.transform) for item in targets)
            spec = replace(spec, targets=fitted)
        encoded, values = spec.encode(self.frame), spec.encode_targets(self.frame)
        for name, part in SPLITS.items():
            self._parts[name] = TableRows(encoded, values, np.flatnonzero(parts == part))
        _say(spec, parts)
        return spec

    def split(self, name: str) -> TableRows:
        """Return the rows of ``train``, ``val`` or ``test``."""
        return self._parts[name]

    def known(self) -> TableRows:
        """Return the rows of training and of validation together, in the table's order."""
        train, val = self._parts["train"], self._parts["val"]
        return replace(train, rows=np.sort(np.concatenate([train.rows, val.rows])))

    @property
    def time_column(self) -> str | None:
        """The field that orders the rows, where the split is by time."""
        return self.how["column"] if self.how["by"] == "time" else None

    def _read(self) -> Rows:
        paths = find_tables(self.path)  # type: ignore[arg-type]
        text = [name for name, kind in self.types.items() if kind == "category"]
        rows = read_tables(paths, layer=self.layer, text=text)
        rows = Rows(rows.frame.reset_index(drop=True), rows.geometry, rows.crs or self.crs)
        rows = place_rows(rows, self.xy, self.crs)
        self._check_names(rows)
        self._numbering = numbering_columns(rows.frame)
        there = labelled_rows(rows.frame, self.targets)
        rows = Rows(
            rows.frame[there].copy(),
            None if rows.geometry is None else rows.geometry[there],
            rows.crs,
        )
        variables = list_rasters(
            self.rasters, statistic=self.raster_statistic, resampling=self.raster_resampling
        )
        xy = (str(self.xy[0]), str(self.xy[1])) if self.xy else None
        self.around = Surroundings(
            variables, self.distances, self.coordinates, self.h3, chosen_crs(rows), xy, self.crs
        )
        for name, values in surrounding_columns(rows, self.around).items():
            rows.frame[name] = values
        return rows

    def _check_names(self, rows: Rows) -> None:
        there = [str(name) for name in rows.frame.columns]
        wanted = {"target": self.targets, "fields": self.fields or [], "exclude": self.exclude}
        wanted["types"] = [name for name in self.types if not _comes_later(self.rasters, name)]
        wanted["split.column"] = [self.how["column"]] if self.how["column"] else []
        problems = [
            Problem(f"dataset.{key}", f"the table has no column {name!r}; {did_you_mean(name, there)}")
            for key, names in wanted.items()
            for name in names
            if name not in there
        ]
        if problems:
            raise ConfigError(problems)

    def _choose(self, train: Any) -> dict[str, str]:
        leave_out = [*self.targets, *self.exclude]
        if self.how["by"] == "column":
            leave_out.append(self.how["column"])
        leave_out += self.xy or []
        found = choose_columns(
            train,
            fields=self.fields,
            leave_out=leave_out,
            types=self.types,
            wanted_too=self.around.names,
            numbering=self._numbering,
            most_categories=self.most_categories,
            text_limit=self.text_limit,
        )
        return {**found, **{f"h3_{self.h3}": "category"}} if self.h3 is not None else found

    def _fit_kind(self) -> tuple[tuple[Target, ...], tuple[ClassSpec, ...]]:
        kinds = {name: target_kind(self.frame[name], name) for name in self.targets}
        kind = self.kind
        if kind == "auto":
            kind = next(iter(kinds.values())) if len(kinds) == 1 else "regression"
            _LOG.info("target %s: %s (dataset.kind says otherwise)", ", ".join(self.targets), kind)
        if kind == "classification":
            if len(self.targets) > 1:
                raise ConfigError([Problem("dataset.target", "a classification has one target")])
            return (Target(self.targets[0]),), fit_classes(self.frame[self.targets[0]], self.targets[0])
        return tuple(fit_target(name, self.frame[name], self.transform) for name in self.targets), ()

    def _split(self, rows: Rows, targets: tuple[Target, ...], classes: tuple[ClassSpec, ...]) -> Parts:
        way, column = self.how["by"], self.how["column"]
        check_way(way, column=column, placed=rows.geometry is not None)
        options: dict[str, Any] = {
            "val": float(self.how["val"]),
            "test": float(self.how["test"]),
            "seed": self.split_seed,
            "fold": self.fold,
            "folds": self.folds if self.fold is not None else None,
        }
        if way == "random":
            labels = None
            if classes:
                labels = TableSpec((), targets, classes).encode_targets(self.frame)
            return split_rows(random_units(len(rows), labels, self.split_seed), dealt=True, **options)
        if way == "block":
            placed = to_crs(rows.geometry, rows.crs, self.around.crs, "the table")  # type: ignore[arg-type]
            where = centres(Rows(self.frame, placed))
            units, edge = block_units(where, self.how["block_m"])  # type: ignore[arg-type]
            _LOG.info("split by blocks of %.4g on the map: %d of them", edge, len(np.unique(units)))
            return split_rows(units, **options)
        if way == "time":
            kind = "number" if self.frame[column].dtype.kind in "iuf" else "date"
            times = to_numbers(self.frame[column], kind, column)
            if np.isnan(times).any():
                raise DataError(f"split.by=time: column {column!r} is empty in {np.isnan(times).sum()} rows")
            return split_rows(np.unique(times, return_inverse=True)[1], ordered=True, **options)
        named = named_parts(self.frame[column].to_numpy(dtype=object)) if self.fold is None else None
        if named is not None:
            return named
        import pandas

        return split_rows(pandas.factorize(self.frame[column])[0].astype(np.int64), **options)


def _comes_later(rasters: Any, name: str) -> bool:
    """Return whether a column is not a field but comes from a raster."""
    if isinstance(rasters, Mapping):
        return any(name.startswith(str(key)) for key in rasters)
    return bool(rasters)


def _say(spec: TableSpec, parts: Parts) -> None:
    kinds = [column.kind for column in spec.columns]
    counted = ", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds))
    shares = ", ".join(f"{(parts == part).sum():,} {name}" for name, part in SPLITS.items())
    _LOG.info(
        "%d columns (%s) become %d numbers and %d categories; rows: %s",
        *(len(spec.columns), counted, len(spec.number_names), len(spec.category_columns), shares),
    )
