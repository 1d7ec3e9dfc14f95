"""Tables and feature layers written batch by batch."""

from __future__ import annotations

import json
import logging
import os
import queue
import shutil
import threading
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from geomm.errors import ConfigError, Problem, did_you_mean
from geomm.io.table_stream import RowsLayout, free_name, told
from geomm.io.tables import kind_of, separator

_LOG = logging.getLogger("geomm")
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
#: Endings of layers that say a geometry type and hold others badly or not at all.
_TYPED = (".gpkg", ".fgb")
#: How GDAL knows feature ids, but in a GeoPackage.
_GDAL_IDS = "OGC_FID"


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
        self._ending = path.suffix.lower()
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
            own = batch.schema.names
            self._names = _layer_names(own, self.layout, self.path)
            self._geometry = self.layout.geometry and self._names[own.index(self.layout.geometry)]
            self._schema = batch.rename_columns(self._names).schema
            self._thread = threading.Thread(target=self._pull, name="geomm-features", daemon=True)
            self._thread.start()
        batch = batch.rename_columns(self._names)
        if self._geometry and self.layout.geometry_type.startswith("Multi") and self._ending in _TYPED:
            batch = _with_parts(batch, self._geometry)
        self._put(batch.cast(self._schema))

    def _options(self) -> dict[str, str]:
        """Return how a layer is made: a GeoPackage's ids and geometries are called as no field is."""
        if self._ending == ".gpkg":
            ids = self.layout.ids if self.layout.ids in self._names else None
            fields = [name for name in self._names if name not in (ids, self._geometry)]
            return {"FID": ids or free_name("fid", fields), "GEOMETRY_NAME": free_name("geom", fields)}
        # A FlatGeobuf's index takes no missing geometry.
        return {"SPATIAL_INDEX": "NO"} if self._ending == ".fgb" and self.layout.gaps else {}

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
                driver=DRIVERS[self._ending],
                geometry_name=self._geometry,
                geometry_type=layout.geometry_type if layout.geometry else "Unknown",
                crs=layout.crs,
                layer_options=self._options(),
            )
        except BaseException as error:  # raised again by the next write or at the end
            self._error = error


class _Stop:
    """Tells the writing thread to give up."""


def _layer_names(names: Sequence[str], layout: RowsLayout, path: Path) -> list[str]:
    """Return what GDAL is to call columns: they differ in more than case, and no field is taken for ids."""
    found: list[str] = []
    fields = [name for name in names if name != layout.ids]
    for name in names:
        wanted = name
        if path.suffix.lower() != ".gpkg":
            wanted = _GDAL_IDS if name == layout.ids else "ogc_fid" if name == _GDAL_IDS else name
        known = {item.lower() for item in found}
        found.append(free_name(wanted, [*found, *fields]) if wanted.lower() in known else wanted)
    changed = [
        f"{new} = {name}"
        for name, new in zip(names, found, strict=True)
        if new != name and name not in (layout.ids, layout.geometry)
    ]
    if changed:
        _LOG.warning("%s: fields are called otherwise, as its format needs: %s", path, ", ".join(changed))
    return found


def _with_parts(batch: Any, name: str) -> Any:
    """Return a batch whose single shapes are such of several parts, with one."""
    import pyarrow

    number = batch.schema.names.index(name)
    field = batch.schema.field(number)
    shapes = [_in_parts(item) for item in batch.column(number).to_pylist()]
    return batch.set_column(number, field, pyarrow.array(shapes, field.type))


def _in_parts(wkb: bytes | None) -> bytes | None:
    if wkb is None:
        return None
    order: Literal["little", "big"] = "little" if wkb[0] else "big"
    code = int.from_bytes(wkb[1:5], order)
    kind = (code & 0xFFFF) % 1000  # thousands and high bits say Z and M
    if kind not in (1, 2, 3):
        return wkb
    return wkb[:1] + (code + 3).to_bytes(4, order) + (1).to_bytes(4, order) + wkb


def _with_text_geometry(batch: Any, name: str) -> Any:
    """Return a batch whose geometries are well-known text, as text tables can hold them."""
    import pyarrow
    import shapely

    shapes = shapely.from_wkb(batch.column(name).to_numpy(zero_copy_only=False))
    texts = pyarrow.array(shapely.to_wkt(shapes, rounding_precision=-1), pyarrow.string(), from_pandas=True)
    fields = [item for item in batch.schema.names if item != name]
    return batch.set_column(batch.schema.names.index(name), free_name("geometry", fields), texts)


def _geo(layout: RowsLayout) -> dict[str, Any]:
    """Return GeoParquet's metadata (version 1.1.0): the source's own, or made anew."""
    if layout.geo is not None:
        return layout.geo
    import pyproj

    crs = None if layout.crs is None else json.loads(pyproj.CRS.from_user_input(layout.crs).to_json())
    # A layer of several parts may hold single ones.
    types = [] if layout.geometry_type.startswith(("Unknown", "Multi")) else [layout.geometry_type]
    column = {"encoding": "WKB", "geometry_types": types, "crs": crs}
    name = str(layout.geometry)
    return {"version": "1.1.0", "primary_column": name, "columns": {name: column}}
