"""Predicting tables and feature layers: rows in, the same rows with predictions out, batch by batch."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geomm.datasets.tables.surroundings import list_rasters, surrounding_columns
from geomm.errors import ConfigError, DataError, Problem
from geomm.inference.inputs import check_preview, check_target, find_inputs, output_names, preview_of
from geomm.inference.memory import reused_memory
from geomm.inference.progress import Progress
from geomm.inference.report import PredictionReport, predict_each
from geomm.inference.stream import stream
from geomm.inference.tables.options import TabularOptions
from geomm.io.paths import is_connection
from geomm.io.table_stream import RowReader, RowsLayout, geometries, has_columns, with_columns
from geomm.io.table_writer import DRIVERS, RowWriter, result_ending
from geomm.io.tables import Table, credible_crs, find_tables, points_of, warn_of_layers
from geomm.transforms.columns import to_numbers
from geomm.transforms.table import Encoded, Surroundings, TableSpec

_LOG = logging.getLogger("geomm")
#: Rows whose prediction is drawn at most.
_DRAWN = 20_000


def predict_tables(
    inputs: str | Path | Sequence[str | Path],
    output: str | Path,
    *,
    model: Any,
    spec: TableSpec,
    options: TabularOptions,
) -> PredictionReport:
    """Predict every row of tables and write them with columns added.

    Args:
      inputs: files, globs, folders, data sources of GDAL, or a list of these.
      output: folder for the results.
      model: a ``TableModel``.
      spec: of the model.
      options: see ``TabularOptions``.

    Raises:
      DataError: nothing matches ``inputs``; or, with ``on_error="raise"``, an input fails.
      ConfigError: an option that does not hold.
    """
    options.check_interval(spec.kind)
    if options.unseen not in ("warn", "raise"):
        raise ConfigError([Problem("inference.unseen", f"found {options.unseen!r}, expected warn or raise")])
    folder = Path(output)
    is_result = has_columns("predicti*")  # a shapefile keeps ten letters, and numbers what is alike
    found = find_inputs(inputs, folder, find=find_tables, is_result=is_result, what="tables")
    names = output_names([f"table_{i}" if is_connection(p) else p for i, p in enumerate(found)])
    folder.mkdir(parents=True, exist_ok=True)

    def predict(position: int) -> tuple[list[Path], int] | None:
        path = found[position]
        target = folder / f"{names[position]}{result_ending(path, options.format)}"
        check_target(target, path, is_result=is_result, what="table of predictions")
        if options.skips(target):
            return None
        if options.preview:
            check_preview(preview_of(target), path)
        with reused_memory(options.resolve_device()):
            return _Prediction(path, target, model, spec, options).run()

    return predict_each(found, predict, what="tables", unit="rows", on_error=options.on_error)


@dataclass
class _Prediction:
    """One table on its way through."""

    path: str
    target: Path
    model: Any
    spec: TableSpec
    options: TabularOptions
    read: int = 0
    rows: int = 0
    unseen: dict[str, set[str]] = field(default_factory=dict)
    drawn: list[tuple[NDArray[Any], NDArray[Any]]] = field(default_factory=list)

    def run(self) -> tuple[list[Path], int]:
        """Predict the table; return the files and the number of rows."""
        numbers = [c.name for c in self.spec.columns if c.kind == "number"] + list(self.spec.around.xy or ())
        reader = RowReader(
            self.path,
            layer=self.options.layer,
            numbers=numbers,
            batch_rows=self.options.rows_a_batch(),
        )
        if self.options.layer is None:
            warn_of_layers(self.path)
        layout = self._layout(reader.layout_for(self.target.suffix))
        total = reader.layout.rows or 0
        shown = self.options.progress and total > 0
        with Progress(Path(self.path).name, max(total, 1), "rows", shown=shown) as progress:
            with RowWriter(self.target, layout) as writer:
                stream(
                    (self._prepared(batch, reader.layout) for batch in reader),
                    lambda item: self.model.predict_learnt(item[1]),
                    self._merge,
                    writer,
                    done=lambda item: progress.advance(item[0].num_rows),
                )
                if not self.rows:
                    raise DataError(f"{self.path} has no rows")
        self._tell_unseen()
        written = [self.target]
        if self.options.preview and self.drawn:
            from geomm.visualization.table_map import draw_row_map

            places = np.concatenate([place for place, _ in self.drawn])
            values = np.concatenate([value for _, value in self.drawn])
            written.append(draw_row_map(places, values, self.spec, preview_of(self.target)))
        return written, self.rows

    def _layout(self, own: RowsLayout) -> RowsLayout:
        if own.geometry is None and self.target.suffix in DRIVERS and self.target.suffix != ".gpkg":
            raise DataError(
                f"{self.path} has no geometries, which {self.target.suffix} needs; "
                "take inference.format=csv, parquet or gpkg"
            )
        return own

    def _prepared(self, batch: Any, layout: RowsLayout) -> tuple[Any, Encoded, Any]:
        """Turn a batch into what the model takes, in the reader's thread."""
        where = str(self.path)
        names = batch.schema.names
        around = self._around(names)
        fields = [column.name for column in self.spec.columns if column.name not in around.names]
        self.spec.check_fields(names, fields, where)
        frame = batch.select(fields).to_pandas()
        frame.index = range(self.read, self.read + batch.num_rows)  # messages name rows of the table
        self.read += batch.num_rows
        table: dict[str, Any] = frame.to_dict("series")
        geometry = geometries(batch, layout)
        crs = layout.crs
        if geometry is not None and self.spec.around.crs is None and self.spec.around.needs_place:
            crs = credible_crs(geometry, crs, where)
        if geometry is None and around.xy is not None:
            self.spec.check_fields(names, around.xy, where)
            x, y = (to_numbers(batch.column(name).to_pandas(), "number", name) for name in around.xy)
            geometry, crs = points_of(x, y), around.xy_crs
        if around.needs_place:
            table |= surrounding_columns(Table(frame, geometry, crs), around)
        try:
            encoded = self.spec.encode(table)
        except DataError as error:
            raise DataError(f"{where}: {error}") from error
        self._note_unseen(table, encoded)
        return batch, encoded, geometry

    def _around(self, names: Sequence[str]) -> Surroundings:
        """Return what must be looked up: the files given, or of training, that the table has no column of."""
        around, there = self.spec.around, set(names)
        rasters = around.rasters
        if self.options.rasters is not None:
            given = {item.name: item for item in list_rasters(self.options.rasters)}
            self.spec.check_fields(given, [item.name for item in rasters], "inference.rasters")
            rasters = tuple(
                replace(item, path=given[item.name].path, band=given[item.name].band) for item in rasters
            )
        else:
            rasters = tuple(item for item in rasters if item.name not in there)
        distances = around.distances
        if self.options.distances is not None:
            layers: Mapping[str, str] = self.options.distances
            self.spec.check_fields(layers, [name for name, _ in distances], "inference.distances")
            distances = tuple((name, str(layers[name])) for name, _ in distances)
        else:
            distances = tuple(item for item in distances if item[0] not in there)
        for name, path, option in [
            *((item.name, item.path, "rasters") for item in rasters),
            *((name, path, "distances") for name, path in distances),
        ]:
            if not is_connection(path) and not Path(path).exists():
                raise DataError(
                    f"{self.path} has no column {name!r}, and the file it came from in training "
                    f"({path}) is not there; give inference.{option}={{{name}: FILE}}"
                )
        return replace(around, rasters=rasters, distances=distances)

    def _merge(self, item: tuple[Any, Encoded, Any], learnt: NDArray[Any]) -> Iterator[Any]:
        """Yield the batch with its predictions added."""
        batch, _, geometry = item
        columns = prediction_columns(self.model, self.spec, learnt, self.options)
        self.rows += batch.num_rows
        if self.options.preview and geometry is not None:
            self._note_places(geometry, columns)
        yield with_columns(batch, columns)

    def _note_places(self, geometry: Any, columns: Mapping[str, NDArray[Any]]) -> None:
        import shapely

        room = _DRAWN - sum(len(value) for _, value in self.drawn)
        if room <= 0:
            return
        middle = shapely.centroid(geometry[:room])
        places = np.stack([shapely.get_x(middle), shapely.get_y(middle)], axis=1)
        self.drawn.append((places, next(iter(columns.values()))[:room]))

    def _note_unseen(self, table: Mapping[str, Any], encoded: Encoded) -> None:
        for name, values in self.spec.unseen(table, encoded).items():
            if self.options.unseen == "raise":
                raise DataError(
                    f"{self.path}: column {name!r} holds {values[0]!r}, which training did not see; "
                    "correct it, or let inference.unseen=warn take it for an unknown one"
                )
            self.unseen.setdefault(name, set()).update(values)

    def _tell_unseen(self) -> None:
        for name, values in self.unseen.items():
            shown = ", ".join(repr(value) for value in sorted(values)[:5])
            _LOG.warning(
                "%s: column %s holds categories that training did not see (%s): taken for unknown ones",
                *(self.path, name, shown),
            )


def prediction_columns(
    model: Any, spec: TableSpec, learnt: NDArray[Any], options: TabularOptions
) -> dict[str, NDArray[Any]]:
    """Return the columns that are added: the prediction first."""
    if spec.classes:
        names = np.array([item.name for item in spec.classes], dtype=object)
        columns: dict[str, NDArray[Any]] = {"prediction": names[learnt.argmax(1)]}
        if options.probabilities and model.gives_probabilities:
            for index, name in enumerate(names):
                columns[f"probability_{name}"] = learnt[:, index].astype(np.float32)
        return columns
    values = spec.decode(learnt)
    several = len(spec.targets) > 1
    columns = {}
    share = options.check_interval(spec.kind)
    bounds = None if share is None else model.interval(learnt, share)
    for index, target in enumerate(spec.targets):
        tail = f"_{target.name}" if several else ""
        columns[f"prediction{tail}"] = values[:, index]
        if bounds is not None:
            columns[f"lower{tail}"], columns[f"upper{tail}"] = bounds[0][:, index], bounds[1][:, index]
    return columns
