"""Tables and feature layers written batch by batch."""

from __future__ import annotations

import json
import os
import queue
import shutil
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from geomm.errors import ConfigError, Problem, did_you_mean
from geomm.io.table_stream import RowsLayout, told
from geomm.io.tables import kind_of, separator

#: What is written for an ending, by GDAL.
DRIVERS = {
    ".gpkg": "GPKG",
    ".geojson": "GeoJSON",
    ".json": "GeoJSON",
    ".shp": "ESRI Shapefile",
    ".fgb": "FlatGeobuf",
}
#: Endings of tables and layers, by the name that ``inference.format`` has.
TABLE_FORMATS = {
    "csv": ".csv",
    "parquet": ".parquet",
    "gpkg": ".gpkg",
    "geojson": ".geojson",
    "fgb": ".fgb",
    "shp": ".shp",
}
#: Rows a group of a Parquet file, at least.
_ROW_GROUP = 65536


def result_ending(source: str, wanted: str) -> str:
    """Return the ending of a result: the one asked for, that of the source, or GeoPackage's.

    Args:
      source: file or connection that was read.
      wanted: a key of ``TABLE_FORMATS``, or ``auto``.

    Raises:
      ConfigError: there is no such format.
    """
    if wanted != "auto":
        if wanted not in TABLE_FORMATS:
            known = did_you_mean(wanted, ["auto", *TABLE_FORMATS])
            raise ConfigError([Problem("inference.format", f"found {wanted!r}; {known}")])
        return TABLE_FORMATS[wanted]
    own = Path(source).suffix.lower()
    return own if own in (*DRIVERS, ".csv", ".tsv", ".parquet", ".geoparquet") else ".gpkg"


class RowWriter:
    """Writes record batches to a new table, which appears under its name when complete.

    Use as a context manager: an exception leaves nothing behind.

    Args:
      path: its ending says the format.
      layout: of the rows.

    Attributes:
      rows: written so far; without any, there is no file.
    """

    def __init__(self, path: Path, layout: RowsLayout) -> None:
        self.path, self.layout, self.rows = path, layout, 0
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
        self.rows += batch.num_rows
        with told(self.path, "written"):
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
            with told(self.path, "written"):
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
            if layout.crs is None:  # whoever gave an input without a CRS has been told so
                warnings.filterwarnings("ignore", "'crs' was not provided", UserWarning)
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
