"""Tables and feature layers in batches of rows, read in bounded memory."""

from __future__ import annotations

import fnmatch
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, count
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geomm.errors import DataError
from geomm.io.paths import is_connection
from geomm.io.tables import NULLS, check_driver, check_layer, geo_metadata, kind_of, separator

#: Name of the column of feature ids, of the formats that keep them.
FID_COLUMNS = {".gpkg": "fid", ".geojson": "OGC_FID", ".json": "OGC_FID"}
#: Characters of a GeoJSON in which its first feature is looked for.
_HEAD = 2**22
#: How a time that says its zone ends.
_ZONE = re.compile(r"(Z|[+-]\d\d(:?\d\d)?)$")
#: What a shapefile calls its layers whose shapes may have several parts.
_SINGLE = re.compile(r"(?<!Multi)(LineString|Polygon)")
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
      ids: name of the column of feature ids, None without.
      gaps: whether geometries may be missing or empty.
    """

    geometry: str | None = None
    geometry_type: str = "Unknown"
    crs: str | None = None
    geo: dict[str, Any] | None = None
    rows: int | None = None
    ids: str | None = None
    gaps: bool = False


class RowReader:
    """Iterates over a table as Arrow record batches.

    Args:
      path: a file, or a data source that GDAL opens.
      layer: of a file with several; None takes its first.
      numbers: columns of a CSV to read as numbers; all others are text.
      keep_texts: whether such text stays as it is, ``NA`` and ``null`` too; else they are missing values.
      fid_column: name to give the column of feature ids, with a number where a field is called so; None, or a
        source without ids, has no such column.
      batch_rows: at most so many rows a batch.

    Raises:
      DataError: it cannot be read.
      DependencyError: a database that this GDAL has no driver for.
    """

    def __init__(
        self,
        path: str,
        *,
        layer: str | None = None,
        numbers: Sequence[str] = (),
        keep_texts: bool = False,
        fid_column: str | None = None,
        batch_rows: int = 65536,
    ) -> None:
        self.path, self.layer, self.batch_rows = path, layer, batch_rows
        self.numbers, self.keep_texts, self.fid_column = set(numbers), keep_texts, fid_column
        self.kind = kind_of(path)
        if not is_connection(path) and not Path(path).exists():
            raise DataError(f"{path}: there is no such file")
        check_driver(path)
        check_layer(path, layer)
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

    def layout_for(self, ending: str) -> RowsLayout:
        """Return the layout, for a FlatGeobuf after a look for missing geometries at the whole source."""
        layout: RowsLayout = self.layout
        if ending.lower() == ".fgb" and layout.geometry is not None:
            return replace(layout, gaps=self._has_gaps())
        return layout

    def _has_gaps(self) -> bool:
        """Return whether geometries are missing or empty."""
        import shapely

        for batch in self:
            with told(self.path):
                shapes = geometries(batch, self.layout)
            if shapes is None or (shapely.is_missing(shapes) | shapely.is_empty(shapes)).any():
                return True
        return False

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
                    column_types=types, null_values=NULLS, strings_can_be_null=not self.keep_texts
                ),
            )
            for batch in reader:
                yield from _cut(_without_empty(batch) if self.keep_texts else batch, self.batch_rows)
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
        if column.get("encoding", "WKB") != "WKB":
            raise DataError(
                f"{self.path} holds its geometries as {column['encoding']}, expected WKB; write it again "
                "(to_parquet(…, geometry_encoding='WKB') of geopandas)"
            )
        types = column.get("geometry_types") or []
        crs = column.get("crs", "OGC:CRS84")  # what GeoParquet says of a missing one
        found = json.dumps(crs) if isinstance(crs, dict) else crs
        kind = types[0] if len(types) == 1 else "Unknown"
        return RowsLayout(name, kind, _short_crs(found), geo, rows, gaps=True)

    def _parquet_batches(self) -> Iterator[Any]:
        import pyarrow.parquet

        # A buffer, else the reader holds whole row groups, which may be the whole file.
        with pyarrow.parquet.ParquetFile(self.path, buffer_size=2**20, pre_buffer=False) as file:
            yield from file.iter_batches(batch_size=self.batch_rows)

    def _features_info(self) -> dict[str, Any]:
        import pyogrio

        return dict(pyogrio.read_info(self.path, layer=self.layer, force_feature_count=False))

    def _features_layout(self) -> RowsLayout:
        info = self._features_info()
        kind, rows = info["geometry_type"], _known(info["features"])
        ids = self._ids(info)
        if kind is None:
            return RowsLayout(rows=rows, ids=ids)
        if info["driver"] == "ESRI Shapefile":
            kind = _SINGLE.sub(r"Multi\1", kind)  # shapefiles do not tell them apart
        name = free_name("wkb_geometry", info["fields"])
        return RowsLayout(name, kind, info["crs"], None, rows, ids, gaps=True)

    def _features_batches(self) -> Iterator[Any]:
        import pyogrio

        info, ids = self._features_info(), self.layout.ids
        times = self._zones_of_texts(info)
        if info["driver"] == "FlatGeobuf":
            # GDAL's reader by columns goes astray after a missing geometry.
            pyogrio.set_gdal_config_options({"OGR_FLATGEOBUF_STREAM_BASE_IMPL": True})
        with pyogrio.open_arrow(
            self.path,
            layer=self.layer,
            batch_size=self.batch_rows,
            use_pyarrow=True,
            return_fids=ids is not None,
            datetime_as_string=bool(times),
        ) as (_, reader):
            # By their place: fields may be called as GDAL calls ids and geometries.
            names = list(reader.schema.names)
            if ids is not None:
                names[0] = ids
            if self.layout.geometry is not None:
                names[len(info["fields"]) + (ids is not None)] = self.layout.geometry
            zoneless = self._zoneless(reader.schema, info)
            for batch in reader:
                for field in zoneless:
                    number = batch.schema.get_field_index(field.name)
                    batch = batch.set_column(number, field, batch.column(number).cast(field.type))
                batch = batch.rename_columns(names)
                yield with_columns(
                    batch, {name: _times(batch.column(name), zone) for name, zone in times.items()}
                )

    def _ids(self, info: Mapping[str, Any]) -> str | None:
        """Return how to call the ids that features have of their own, None where those are mere numbers."""
        if self.fid_column is None:
            return None
        # GDAL also takes a field id of a GeoJSON for ids.
        own = _first_has_id(self.path) if info["driver"] == "GeoJSON" else info["fid_column"]
        return free_name(self.fid_column, info["fields"]) if own else None

    def _zones_of_texts(self, info: Mapping[str, Any]) -> dict[str, str | None]:
        """Return the zones of times to read as texts: those of a FlatGeobuf, as GDAL else loses them."""
        if info["driver"] != "FlatGeobuf":
            return {}
        kinds = zip(info["fields"], info["ogr_types"], strict=True)
        names = [str(name) for name, kind in kinds if kind == "OFTDateTime"]
        zones = {name: "UTC" if self._says_zone(name, info) else None for name in names}
        return zones if any(zones.values()) else {}

    def _zoneless(self, schema: Any, info: Mapping[str, Any]) -> list[Any]:
        """Return as fields without a zone the times of a GeoPackage that have none: GDAL says UTC of all."""
        import pyarrow

        found = []
        for field in schema if info["driver"] == "GPKG" else ():
            if not pyarrow.types.is_timestamp(field.type) or field.type.tz is None:
                continue
            if not self._says_zone(field.name, info):
                found.append(field.with_type(pyarrow.timestamp(field.type.unit)))
        return found

    def _says_zone(self, name: str, info: Mapping[str, Any]) -> bool:
        """Return whether the first time in a field says its zone."""
        import pyogrio

        quoted = name.replace('"', '""')
        *_, (texts,) = pyogrio.raw.read(
            self.path,
            layer=info["layer_name"],
            columns=[name],
            where=f'"{quoted}" IS NOT NULL',
            max_features=1,
            read_geometry=False,
            datetime_as_string=True,
        )
        return any(_ZONE.search(str(text)) for text in texts)


def free_name(wanted: str, taken: Iterable[str]) -> str:
    """Return a name, with a number where another one differs from it in case at most."""
    known = {name.lower() for name in taken}
    names = chain([wanted], (f"{wanted}_{number}" for number in count(2)))
    return next(name for name in names if name.lower() not in known)


def csv_row(file: Any, delimiter: str) -> Iterator[list[str]]:
    """Iterate over a CSV's rows as lists of texts."""
    import csv

    return iter(csv.reader(file, delimiter=delimiter))


def _known(count: int) -> int | None:
    return int(count) if count >= 0 else None


def _cut(batch: Any, rows: int) -> Iterator[Any]:
    for first in range(0, batch.num_rows, rows):
        yield batch.slice(first, rows)


def _times(texts: Any, zone: str | None) -> Any:
    """Return times in UTC, or as they are where they have no zone."""
    import pandas
    import pyarrow

    times = pandas.to_datetime(texts.to_pandas(), format="ISO8601", utc=True)
    return pyarrow.array(times, from_pandas=True).cast(pyarrow.timestamp("ms", zone), safe=False)


def _without_empty(batch: Any) -> Any:
    """Return a batch whose empty texts are missing values."""
    import pyarrow
    from pyarrow import compute

    for number, field in enumerate(batch.schema):
        if pyarrow.types.is_string(field.type):
            column = batch.column(number)
            filled = compute.if_else(compute.equal(column, ""), pyarrow.scalar(None, field.type), column)
            batch = batch.set_column(number, field, filled)
    return batch


def _first_has_id(path: str) -> bool:
    """Return whether the first feature of a GeoJSON has a number for its id."""
    if not Path(path).is_file():
        return False
    with open(path, encoding="utf-8-sig", errors="replace") as file:
        text = file.read(_HEAD)
    try:
        feature, _ = json.JSONDecoder().raw_decode(text, text.index("{", text.index('"features"')))
    except ValueError:
        return False
    return isinstance(feature.get("id"), int)


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
    """Return a batch's shapely geometries, None of a table without.

    Curves are lines of short pieces. What is damaged, or of a kind that shapely has not, is missing.
    """
    if layout.geometry is None:
        return None
    import shapely

    values = batch.column(layout.geometry).to_numpy(zero_copy_only=False)
    try:
        return np.asarray(shapely.from_wkb(values, on_invalid="ignore"), dtype=object)
    except NotImplementedError:  # a curve among them
        return np.array([_shape(item) for item in _without_curves(values)] + [None], object)[:-1]


def _shape(wkb: bytes | None) -> Any:
    import shapely

    try:
        return shapely.from_wkb(wkb, on_invalid="ignore")
    except NotImplementedError:
        return None


def _without_curves(values: NDArray[np.object_]) -> NDArray[np.object_]:
    """Return WKB with lines in place of curves, as GDAL makes them where it reads a layer without Arrow."""
    import pyarrow
    import pyogrio

    batch = pyarrow.record_batch({"wkb_geometry": pyarrow.array(values, pyarrow.binary())})
    layer = io.BytesIO()
    pyogrio.write_arrow(
        pyarrow.Table.from_batches([batch]),
        layer,
        driver="FlatGeobuf",
        geometry_name="wkb_geometry",
        geometry_type="Unknown",
        crs="EPSG:4326",
        layer_options={"SPATIAL_INDEX": "NO"},  # with it rows are sorted
    )
    _, _, shapes, _ = pyogrio.raw.read(layer.getvalue(), columns=[])
    return np.asarray(shapes, object)
