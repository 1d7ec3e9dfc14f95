"""Tables and feature layers in batches of rows, read and written in bounded memory."""

from __future__ import annotations

import json
import os
import queue
import shutil
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geomm.errors import DataError
from geomm.io.tables import geo_metadata, is_connection, kind_of, separator

#: What is written for an ending, by GDAL.
DRIVERS = {
    ".gpkg": "GPKG",
    ".geojson": "GeoJSON",
    ".json": "GeoJSON",
    ".shp": "ESRI Shapefile",
    ".fgb": "FlatGeobuf",
}
#: Rows a group of a Parquet file, at least.
_ROW_GROUP = 65536
_NULLS = ("", "NA", "N/A", "NaN", "nan", "null", "NULL", "None")


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
    """

    def __init__(
        self, path: str, *, layer: str | None = None, numbers: Sequence[str] = (), batch_rows: int = 65536
    ) -> None:
        self.path, self.layer, self.batch_rows = path, layer, batch_rows
        self.numbers = set(numbers)
        self.kind = kind_of(path)
        if not is_connection(path) and not Path(path).exists():
            raise DataError(f"{path}: there is no such file")
        with _told(path):
            self.layout = getattr(self, f"_{self.kind}_layout")()

    def __iter__(self) -> Iterator[Any]:
        with _told(self.path):
            for batch in getattr(self, f"_{self.kind}_batches")():
                if batch.num_rows:
                    yield batch

    def _text_layout(self) -> RowsLayout:
        if not is_connection(self.path) and not Path(self.path).stat().st_size:
            raise DataError(f"{self.path} is empty; expected a line of column names and rows below it")
        return RowsLayout()

    def _text_batches(self) -> Iterator[Any]:
        import pyarrow
        from pyarrow import csv

        with open(self.path, encoding="utf-8-sig") as file:
            names = next(csv_row(file, separator(self.path)), [])
        types = {n: pyarrow.float64() if n in self.numbers else pyarrow.string() for n in names}
        reader = csv.open_csv(
            self.path,
            # About as many bytes as the rows wanted have; batches are cut to size below.
            read_options=csv.ReadOptions(block_size=max(64 * self.batch_rows, 2**20)),
            parse_options=csv.ParseOptions(delimiter=separator(self.path), newlines_in_values=True),
            convert_options=csv.ConvertOptions(
                column_types=types, null_values=_NULLS, strings_can_be_null=True
            ),
        )
        for batch in reader:
            yield from _cut(batch, self.batch_rows)

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


class _told:
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


class RowWriter:
    """Writes record batches to a new table, which appears under its name when complete.

    Use as a context manager: an exception leaves nothing behind.

    Args:
      path: its ending says the format.
      layout: of the rows.
    """

    def __init__(self, path: Path, layout: RowsLayout) -> None:
        self.path, self.layout = path, layout
        self._work = path.with_name(f".{path.name}.part")
        self._target = self._work / path.name
        self._sink: Any = None
        self._waiting: list[Any] = []
        self._queue: queue.Queue[Any] = queue.Queue(2)
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def __enter__(self) -> RowWriter:
        shutil.rmtree(self._work, ignore_errors=True)
        self._work.mkdir(parents=True)
        return self

    def __call__(self, batch: Any) -> None:
        """Write a batch; all have the first one's columns."""
        kind = kind_of(str(self.path))
        with _told(self.path, "written"):
            if kind == "features":
                self._feed(batch)
            else:
                self._append(batch, kind)

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        try:
            if self._thread is not None:
                self._put(None if kind is None else _Stop())
                self._thread.join()
            elif self._sink is not None:
                if kind is None:
                    self._write_group()
                self._sink.close()
            if kind is None:
                self._raise()
                # The file that names the table comes last: its parts are there before it is.
                for file in sorted(self._work.iterdir(), key=lambda item: item.name == self.path.name):
                    os.replace(file, self.path.with_name(file.name))
        finally:
            shutil.rmtree(self._work, ignore_errors=True)

    def _append(self, batch: Any, kind: str) -> None:
        import pyarrow.parquet
        from pyarrow import csv

        if kind == "text" and self.layout.geometry is not None:
            batch = _with_text_geometry(batch, self.layout.geometry)
        if self._sink is None:
            schema = batch.schema
            if kind == "text":
                options = csv.WriteOptions(delimiter=separator(str(self.path)), quoting_style="needed")
                self._sink = csv.CSVWriter(str(self._target), schema, write_options=options)
            else:
                if self.layout.geometry is not None:
                    extra = {b"geo": json.dumps(_geo(self.layout)).encode()}
                    schema = schema.with_metadata({**(schema.metadata or {}), **extra})
                self._sink = pyarrow.parquet.ParquetWriter(self._target, schema)
            self._schema = schema
        if kind == "text":
            self._sink.write_batch(batch)
            return
        self._waiting.append(batch.cast(self._schema))
        if sum(item.num_rows for item in self._waiting) >= _ROW_GROUP:
            self._write_group()

    def _write_group(self) -> None:
        """Write what waits as a row group: the writer's own buffer would hold a million rows."""
        import pyarrow

        if self._waiting:
            self._sink.write_table(pyarrow.Table.from_batches(self._waiting))
            self._waiting = []

    def _feed(self, batch: Any) -> None:
        """Hand a batch to GDAL, which pulls batches in a thread of its own."""
        if self._thread is None:
            self._schema = batch.schema
            self._thread = threading.Thread(target=self._pull, name="geomm-features", daemon=True)
            self._thread.start()
        self._put(batch.cast(self._schema))

    def _put(self, item: Any) -> None:
        while self._thread is not None and self._thread.is_alive():
            try:
                self._queue.put(item, timeout=0.2)
                return
            except queue.Full:
                continue
        self._raise()

    def _raise(self) -> None:
        if self._error is not None:
            error, self._error = self._error, None
            with _told(self.path, "written"):
                raise error

    def _pull(self) -> None:
        import pyarrow
        import pyogrio

        def batches() -> Iterator[Any]:
            while (item := self._queue.get()) is not None:
                if isinstance(item, _Stop):
                    raise RuntimeError("stopped")
                yield item

        layout = self.layout
        try:
            pyogrio.write_arrow(
                pyarrow.RecordBatchReader.from_batches(self._schema, batches()),
                self._target,
                driver=DRIVERS[self.path.suffix.lower()],
                geometry_name=layout.geometry,
                geometry_type=layout.geometry_type if layout.geometry else "Unknown",
                crs=layout.crs,
            )
        except BaseException as error:  # raised again by the next write or at the end
            self._error = error


class _Stop:
    """Tells the writing thread to give up."""


def _with_text_geometry(batch: Any, name: str) -> Any:
    """Return a batch whose geometries are well-known text, as text tables can hold them."""
    import pyarrow
    import shapely

    shapes = shapely.from_wkb(batch.column(name).to_numpy(zero_copy_only=False))
    texts = pyarrow.array(shapely.to_wkt(shapes, rounding_precision=-1), pyarrow.string(), from_pandas=True)
    return batch.set_column(batch.schema.names.index(name), "geometry", texts)


def _geo(layout: RowsLayout) -> dict[str, Any]:
    """Return GeoParquet's metadata (version 1.1.0): the source's own, or made anew."""
    if layout.geo is not None:
        return layout.geo
    import pyproj

    crs = None if layout.crs is None else json.loads(pyproj.CRS.from_user_input(layout.crs).to_json())
    types = [] if layout.geometry_type == "Unknown" else [layout.geometry_type]
    column = {"encoding": "WKB", "geometry_types": types, "crs": crs}
    name = str(layout.geometry)
    return {"version": "1.1.0", "primary_column": name, "columns": {name: column}}


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
