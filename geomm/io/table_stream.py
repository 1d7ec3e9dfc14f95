"""Tables and feature layers in batches of rows, read in bounded memory."""

from __future__ import annotations

import fnmatch
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geomm.errors import DataError
from geomm.io.paths import is_connection
from geomm.io.tables import NULLS, check_driver, geo_metadata, kind_of, separator

#: What Arrow says of a text where a number is to be, with the column from 0.
_NO_NUMBER = re.compile(r"CSV column #(\d+): (?:Row #(\d+): )?CSV conversion error to double: .*?'(.*)'")


@dataclass(frozen=True)
class RowsLayout:
    """What rows look like beside their fields.

    Attributes:
      geometry: name of the column of WKB, None of a table without.
      geometry_type: ``Point``, ``Polygon``, …, ``Unknown`` where mixed.
      crs: of the geometries, None where unknown.
      geo: GeoParquet's own metadata, None of others.
      rows: how many there are, None where only reading tells.
    """

    geometry: str | None = None
    geometry_type: str = "Unknown"
    crs: str | None = None
    geo: dict[str, Any] | None = None
    rows: int | None = None


class RowReader:
    """Iterates over a table as Arrow record batches.

    Args:
      path: a file, or a data source that GDAL opens.
      layer: of a file with several; None takes its first.
      numbers: columns of a CSV to read as numbers; all others are text and stay as they are.
      batch_rows: at most so many rows a batch.

    Raises:
      DataError: it cannot be read.
      DependencyError: a database that this GDAL has no driver for.
    """

    def __init__(
        self, path: str, *, layer: str | None = None, numbers: Sequence[str] = (), batch_rows: int = 65536
    ) -> None:
        self.path, self.layer, self.batch_rows = path, layer, batch_rows
        self.numbers = set(numbers)
        self.kind = kind_of(path)
        if not is_connection(path) and not Path(path).exists():
            raise DataError(f"{path}: there is no such file")
        check_driver(path)
        with told(path):
            self.layout = getattr(self, f"_{self.kind}_layout")()

    def __iter__(self) -> Iterator[Any]:
        with told(self.path):
            for batch in getattr(self, f"_{self.kind}_batches")():
                if batch.num_rows:
                    yield batch

    def names(self) -> list[str]:
        """Return the names of the columns, of a table without rows too."""
        import pyarrow.parquet
        import pyogrio

        with told(self.path):
            if self.kind == "parquet":
                return list(pyarrow.parquet.read_schema(self.path).names)
            if self.kind == "features":
                info = pyogrio.read_info(self.path, layer=self.layer, force_feature_count=False)
                return list(info["fields"])
            return self._text_names()

    def _text_names(self) -> list[str]:
        with open(self.path, encoding="utf-8-sig") as file:
            return next(csv_row(file, separator(self.path)), [])

    def _text_layout(self) -> RowsLayout:
        if not is_connection(self.path) and not Path(self.path).stat().st_size:
            raise DataError(f"{self.path} is empty; expected a line of column names and rows below it")
        return RowsLayout()

    def _text_batches(self) -> Iterator[Any]:
        import pyarrow
        from pyarrow import csv

        names = self._text_names()
        types = {n: pyarrow.float64() if n in self.numbers else pyarrow.string() for n in names}
        try:
            reader = csv.open_csv(
                self.path,
                # About as many bytes as the rows wanted have; batches are cut to size below.
                read_options=csv.ReadOptions(block_size=max(64 * self.batch_rows, 2**20)),
                parse_options=csv.ParseOptions(delimiter=separator(self.path), newlines_in_values=True),
                convert_options=csv.ConvertOptions(
                    column_types=types, null_values=NULLS, strings_can_be_null=True
                ),
            )
            for batch in reader:
                yield from _cut(batch, self.batch_rows)
        except pyarrow.ArrowInvalid as error:
            found = _NO_NUMBER.search(str(error))
            if found is None:
                raise
            column, line, value = found.groups()
            raise DataError(
                f"{self.path}: column {names[int(column)]!r}{f', line {line}' if line else ''}: "
                f"found {value!r}, expected a number; correct it or leave it empty"
            ) from error

    def _parquet_layout(self) -> RowsLayout:
        import pyarrow.parquet

        rows = pyarrow.parquet.read_metadata(self.path).num_rows
        geo = geo_metadata(self.path)
        if geo is None:
            return RowsLayout(rows=rows)
        name = geo["primary_column"]
        column = geo["columns"][name]
        types = column.get("geometry_types") or []
        crs = column.get("crs", "OGC:CRS84")  # what GeoParquet says of a missing one
        found = json.dumps(crs) if isinstance(crs, dict) else crs
        return RowsLayout(name, types[0] if len(types) == 1 else "Unknown", _short_crs(found), geo, rows)

    def _parquet_batches(self) -> Iterator[Any]:
        import pyarrow.parquet

        # A buffer, else the reader holds whole row groups, which may be the whole file.
        with pyarrow.parquet.ParquetFile(self.path, buffer_size=2**20, pre_buffer=False) as file:
            yield from file.iter_batches(batch_size=self.batch_rows)

    def _features_layout(self) -> RowsLayout:
        import pyogrio

        info = pyogrio.read_info(self.path, layer=self.layer, force_feature_count=False)
        kind = info["geometry_type"]
        if kind is None:
            return RowsLayout(rows=_known(info["features"]))
        return RowsLayout("wkb_geometry", kind, info["crs"], None, _known(info["features"]))

    def _features_batches(self) -> Iterator[Any]:
        import pyogrio

        with pyogrio.open_arrow(
            self.path, layer=self.layer, batch_size=self.batch_rows, use_pyarrow=True
        ) as (meta, reader):
            name = meta["geometry_name"] or "wkb_geometry"
            for batch in reader:
                names = ["wkb_geometry" if item == name else item for item in batch.schema.names]
                yield batch.rename_columns(names)


def csv_row(file: Any, delimiter: str) -> Iterator[list[str]]:
    """Iterate over a CSV's rows as lists of texts."""
    import csv

    return iter(csv.reader(file, delimiter=delimiter))


def _known(count: int) -> int | None:
    return int(count) if count >= 0 else None


def _cut(batch: Any, rows: int) -> Iterator[Any]:
    for first in range(0, batch.num_rows, rows):
        yield batch.slice(first, rows)


def _short_crs(text: str | None) -> str | None:
    if text is None:
        return None
    import pyproj

    return str(pyproj.CRS.from_user_input(text).to_string())


def has_columns(*patterns: str) -> Callable[[Path], bool]:
    """Return what says of a file whether it is a table with columns of such names (``prediction*``)."""

    def holds(path: Path) -> bool:
        try:
            names = RowReader(str(path)).names()
        except DataError:
            return False
        return all(fnmatch.filter(names, pattern) for pattern in patterns)

    return holds


class told:
    """Turns what readers and writers of tables raise into a ``DataError`` that names the file."""

    def __init__(self, path: str | Path, doing: str = "read") -> None:
        self.path, self.doing = path, doing

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        import pyarrow

        if isinstance(error, DataError) or not isinstance(
            error, ValueError | RuntimeError | OSError | pyarrow.ArrowException
        ):
            return
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise DataError(f"{self.path} cannot be {self.doing} as a table ({reason[0]})") from error


def with_columns(batch: Any, columns: Mapping[str, NDArray[Any]]) -> Any:
    """Return a record batch with columns added, or put in the place of those of the same name."""
    import pyarrow

    for name, values in columns.items():
        array = pyarrow.array(values, from_pandas=True)
        if name in batch.schema.names:
            batch = batch.set_column(batch.schema.names.index(name), name, array)
        else:
            batch = batch.append_column(name, array)
    return batch


def geometries(batch: Any, layout: RowsLayout) -> NDArray[np.object_] | None:
    """Return a batch's shapely geometries, None of a table without."""
    if layout.geometry is None:
        return None
    import shapely

    values = batch.column(layout.geometry).to_numpy(zero_copy_only=False)
    return np.asarray(shapely.from_wkb(values), dtype=object)
