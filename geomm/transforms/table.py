"""The preparation of a table as a whole: what a model must know of its rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geomm.errors import DataError, did_you_mean
from geomm.structures import ClassSpec
from geomm.transforms.columns import UNSEEN, Column, Floats, to_numbers, to_text

#: Names of the columns that coordinates and cells become.
X, Y = "x_coordinate", "y_coordinate"
TARGET_TRANSFORMS = ("none", "log", "log1p", "sqrt")


#: Training rows up to which a table is small.
_SMALL = 20_000


@dataclass(frozen=True)
class RasterVariable:
    """A raster as an explanatory column: sampled at points, summarised over polygons.

    Attributes:
      name: of the column.
      path: of the file in training; inference may name another.
      band: 1-based.
      statistic: over a polygon: ``mean``, ``min``, ``max``, ``stdev``, ``median``, ``majority``, ….
      resampling: at a point: ``nearest`` or ``bilinear``.
    """

    name: str
    path: str
    band: int = 1
    statistic: str = "mean"
    resampling: str = "nearest"


@dataclass(frozen=True)
class Surroundings:
    """Columns that come from the place of a row rather than from its fields.

    Attributes:
      rasters: explanatory rasters.
      distances: column name -> layer to whose nearest feature the distance is taken.
      coordinates: whether x and y are columns.
      h3: resolution of the H3 cell that is a column, None for none.
      crs: coordinates and distances are in this CRS; None where the layer has none.
      xy: fields with a place's x and y, of tables without geometries.
      xy_crs: CRS of these.
    """

    rasters: tuple[RasterVariable, ...] = ()
    distances: tuple[tuple[str, str], ...] = ()
    coordinates: bool = False
    h3: int | None = None
    crs: str | None = None
    xy: tuple[str, str] | None = None
    xy_crs: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Columns that they give."""
        own = [*(item.name for item in self.rasters), *(name for name, _ in self.distances)]
        own += [X, Y] if self.coordinates else []
        return (*own, *([f"h3_{self.h3}"] if self.h3 is not None else []))

    @property
    def needs_place(self) -> bool:
        return bool(self.names)


@dataclass(frozen=True)
class Target:
    """A quantity to predict, as the training rows had it.

    Attributes:
      name: of the field.
      transform: applied first: ``none``, ``log``, ``log1p`` or ``sqrt``.
      mean: after the transform.
      std: after the transform.
    """

    name: str
    transform: str = "none"
    mean: float = 0.0
    std: float = 1.0

    def forth(self, values: Floats) -> Floats:
        """Return values as a model learns them: transformed, of mean 0 and deviation 1."""
        if self.transform == "log":
            values = np.log(values)
        elif self.transform == "log1p":
            values = np.log1p(values)
        elif self.transform == "sqrt":
            values = np.sqrt(values)
        return (values - self.mean) / self.std

    def back(self, values: NDArray[Any]) -> Floats:
        """Return learnt values in the target's own units."""
        own: Floats = np.asarray(values, dtype=np.float64) * self.std + self.mean
        if self.transform == "log":
            return np.exp(own)
        if self.transform == "log1p":
            return np.expm1(own)
        return np.maximum(own, 0) ** 2 if self.transform == "sqrt" else own


@dataclass(frozen=True)
class Encoded:
    """Rows as a model takes them.

    Attributes:
      numbers: (n, F) float32, normalised.
      categories: (n, C) int64 indices.
    """

    numbers: NDArray[np.float32]
    categories: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.numbers)


@dataclass(frozen=True)
class TableSpec:
    """What a model must know of its table; kept in the model package.

    Attributes:
      columns: explanatory ones, in the model's order.
      targets: of a regression, one or more; of a classification, one.
      classes: of a classification, in the order of the model's scores; () of a regression.
      class_rows: training rows a class.
      around: columns from the place of a row.
      rows: training rows of all; 0 where they are not known.
    """

    columns: tuple[Column, ...]
    targets: tuple[Target, ...]
    classes: tuple[ClassSpec, ...] = ()
    class_rows: tuple[int, ...] = ()
    around: Surroundings = Surroundings()
    rows: int = 0

    @property
    def is_small(self) -> bool:
        """Whether so few rows are known that chance says much, and training several times costs little."""
        return 0 < self.rows <= _SMALL

    @property
    def kind(self) -> str:
        return "classification" if self.classes else "regression"

    @property
    def outputs(self) -> int:
        """Numbers that a model gives a row: a score a class, or a value a target."""
        return len(self.classes) or len(self.targets)

    @property
    def number_names(self) -> tuple[str, ...]:
        return tuple(name for column in self.columns for name in column.features)

    @property
    def category_columns(self) -> tuple[Column, ...]:
        return tuple(column for column in self.columns if column.kind == "category")

    def encode(self, table: Mapping[str, Any]) -> Encoded:
        """Prepare rows.

        Args:
          table: values by column name, a DataFrame say; other columns do not matter.

        Raises:
          DataError: a column is missing, or a value is not of its kind.
        """
        self.check_fields(table, [column.name for column in self.columns])
        numbers = [c.numbers(table[c.name]) for c in self.columns if c.kind != "category"]
        indices = [c.indices(table[c.name]) for c in self.category_columns]
        rows = len(table[self.columns[0].name])
        return Encoded(
            np.concatenate(numbers, axis=1) if numbers else np.empty((rows, 0), np.float32),
            np.stack(indices, axis=1) if indices else np.empty((rows, 0), np.int64),
        )

    def check_fields(self, table: Any, names: Sequence[str], where: str = "the table") -> None:
        """Check that columns are there.

        Raises:
          DataError: those that are not, with the nearest of those there are.
        """
        there = [str(name) for name in (table.keys() if hasattr(table, "keys") else table)]
        lacking = [name for name in names if name not in there]
        if lacking:
            rest = f" and {len(lacking) - 1} more ({', '.join(lacking[1:])})" if len(lacking) > 1 else ""
            raise DataError(
                f"{where} has no column {lacking[0]!r}{rest}, which the model was trained on; "
                f"{did_you_mean(lacking[0], there)}"
            )

    def unseen(self, table: Mapping[str, Any], encoded: Encoded) -> dict[str, list[str]]:
        """Return examples of categories that training did not see, by column."""
        found = {}
        for position, column in enumerate(self.category_columns):
            rows = np.flatnonzero(encoded.categories[:, position] == UNSEEN)
            if len(rows):
                values = np.asarray(table[column.name], dtype=object)[rows]
                found[column.name] = sorted(set(to_text(values, column.text_limit)))[:5]
        return found

    def encode_targets(self, table: Mapping[str, Any]) -> NDArray[Any]:
        """Return (n, T) float32 of a regression, (n,) int64 class indices of a classification."""
        if self.classes:
            import pandas

            names = [item.name for item in self.classes]
            text = to_text(table[self.targets[0].name], 200)
            return pandas.Index(names, dtype=object).get_indexer(pandas.Index(text)).astype(np.int64)
        columns = [item.forth(to_numbers(table[item.name], "number", item.name)) for item in self.targets]
        return np.stack(columns, axis=1).astype(np.float32)

    def decode(self, values: NDArray[Any]) -> Floats:
        """Return a regression's (n, T) outputs in the targets' own units."""
        return np.stack([item.back(values[:, i]) for i, item in enumerate(self.targets)], axis=1)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types; ``from_dict`` reads them back."""
        return {
            "columns": [column.to_dict() for column in self.columns],
            "targets": [asdict(item) for item in self.targets],
            "classes": [item.to_dict() for item in self.classes],
            "class_rows": list(self.class_rows),
            "around": asdict(self.around),
            "rows": self.rows,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> TableSpec:
        around = dict(data["around"])
        around["rasters"] = tuple(RasterVariable(**item) for item in around["rasters"])
        around["distances"] = tuple((str(name), str(path)) for name, path in around["distances"])
        around["xy"] = None if around["xy"] is None else (str(around["xy"][0]), str(around["xy"][1]))
        return cls(
            columns=tuple(Column.from_dict(item) for item in data["columns"]),
            targets=tuple(Target(**item) for item in data["targets"]),
            classes=tuple(ClassSpec.from_dict(item) for item in data["classes"]),
            class_rows=tuple(int(count) for count in data["class_rows"]),
            around=Surroundings(**around),
            rows=int(data.get("rows", 0)),
        )
