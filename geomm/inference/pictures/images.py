"""Classifying image files as wholes: chips, and photos that know where they were taken."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geomm.datasets.pictures.crops import read_crop, whole_image
from geomm.errors import ConfigError, DataError, Problem
from geomm.inference.acceleration import Score, accelerate_classes
from geomm.inference.inputs import check_preview, check_target, find_inputs
from geomm.inference.memory import reused_memory
from geomm.inference.options import LabelOptions
from geomm.inference.pictures.steps import PictureRows, PictureStep, View, class_columns, picture_steps
from geomm.inference.progress import Progress
from geomm.inference.report import PredictionReport, say
from geomm.inference.scenes import check_scene
from geomm.inference.stream import stream
from geomm.io.paths import RASTER_ENDINGS, expand
from geomm.io.photos import PhotoTags, read_tags
from geomm.io.raster_info import RasterInfo, read_info
from geomm.io.table_stream import RowsLayout, has_columns
from geomm.io.table_writer import RowWriter, result_ending
from geomm.io.tables import to_crs
from geomm.structures import ClassificationSpec

_LOG = logging.getLogger("geomm")
#: A placed picture larger than this is rather a scene whose features were forgotten.
_LARGE_PX = 4096
_SHOWN = 24
#: What a shapefile consists of.
_SHAPEFILE = (".shp", ".shx", ".dbf", ".prj", ".cpg")
PICTURE_ENDINGS = (*RASTER_ENDINGS, ".webp")
#: What is written: a table of all pictures, and layers of those that have a place.
_TABLE, _PHOTOS, _CHIPS = "predictions.csv", "photos", "chips"
_PREVIEW = "predictions_preview.png"
_is_own = has_columns("file", "class", "confidence", "reason")


@dataclass(frozen=True)
class _File:
    """A picture in a file of its own, with what is known of its place."""

    path: str
    info: RasterInfo | None
    tags: PhotoTags


def classify_images(
    inputs: str | Path | Sequence[str | Path],
    output: str | Path,
    *,
    score: Score,
    spec: ClassificationSpec,
    options: LabelOptions,
) -> PredictionReport:
    """Classify image files as wholes: ``predictions.csv``, and layers of those that have a place.

    Georeferenced ones become polygons in ``chips.gpkg``, photos with GPS tags points in ``photos.gpkg``, or
    in the format that ``options`` name.

    Args:
      inputs: files, globs, folders or a list of these.
      output: folder for the results.
      score: from pixels (B, C, h, w) and validity (B, h, w) to probabilities (B, K).
      spec: of the model.
      options: see ``LabelOptions``.

    Raises:
      DataError: nothing matches; a result would take the place of another file; or, with
        ``on_error="raise"``, a file cannot be read.
    """
    if options.margin is not None or options.margin_m is not None:
        problem = Problem(
            "inference.margin", "only features have ground around them; give inference.features"
        )
        raise ConfigError([problem])
    names = (_TABLE, *_layer_names(options.format))
    device = options.resolve_device()
    run = accelerate_classes(score, spec, precision=options.precision, tta=options.tta, device=device)
    folder = Path(output)
    files = find_inputs(
        inputs, folder, find=partial(expand, endings=PICTURE_ENDINGS), is_result=_is_preview, what="pictures"
    )
    report = PredictionReport(unit="pictures")
    started = time.monotonic()
    if options.skips(folder / _TABLE) and _is_own(folder / _TABLE):
        report.skipped = files
    else:
        for name in names:
            check_target(folder / name, files, is_result=_is_own, what="table of classes")
        if options.preview:
            check_preview(folder / _PREVIEW, files)
        folder.mkdir(parents=True, exist_ok=True)
        with reused_memory(device):
            _Pictures(files, folder, names, run, spec, options, options.batch(device), report).run()
    report.seconds = time.monotonic() - started
    say(report, "pictures", len(files))
    return report


def _layer_names(wanted: str) -> tuple[str, str]:
    """Return what the layers of photos and chips are called in a format."""
    ending = result_ending(f"{_PHOTOS}.gpkg", wanted)
    if ending in (".csv", ".tsv"):
        what = (
            f"found {wanted}, which holds no shapes; {_TABLE} is written anyway, layers as gpkg, geojson, …"
        )
        raise ConfigError([Problem("inference.format", what)])
    return f"{_PHOTOS}{ending}", f"{_CHIPS}{ending}"


def _is_preview(path: Path) -> bool:
    from geomm.visualization.canvas import is_figure

    return path.suffix.lower() == ".png" and is_figure(path)


def _remove(layer: Path) -> None:
    """Remove a layer that geomm wrote, with the other files of a shapefile."""
    endings = _SHAPEFILE if layer.suffix == ".shp" else (layer.suffix,)
    for ending in endings:
        layer.with_suffix(ending).unlink(missing_ok=True)


@dataclass
class _Pictures:
    """Image files on their way through."""

    files: Sequence[str]
    folder: Path
    names: tuple[str, str, str]
    score: Score
    spec: ClassificationSpec
    options: LabelOptions
    batch: int
    report: PredictionReport
    crs: str | None = None
    shown: list[tuple[str, NDArray[np.float32]]] = field(default_factory=list)

    def run(self) -> None:
        """Classify all files and write the table and layers."""
        placed = next((i.georeference.crs for i in self._infos() if i.georeference.crs), None)
        self.crs = placed
        layouts = (
            RowsLayout(),
            RowsLayout("wkb_geometry", "Point", "EPSG:4326"),
            RowsLayout("wkb_geometry", "Polygon", self.crs),
        )
        with ExitStack() as stack:
            shown = self.options.progress
            progress = stack.enter_context(Progress("pictures", len(self.files), "pictures", shown=shown))
            self.writers = [
                stack.enter_context(RowWriter(self.folder / name, layout))
                for name, layout in zip(self.names, layouts, strict=True)
            ]
            stream(
                self._read(),
                self._predict,
                self._merge,
                self._write,
                done=lambda step: progress.advance(len(step.rows.batch) if step.ends else 0),
            )
        for writer in self.writers:
            if writer.rows:
                self.report.outputs.append(writer.path)
            else:  # what an earlier run wrote would be of other pictures
                _remove(writer.path)
        if self.options.preview and self.shown:
            self.report.outputs.append(self._draw())

    def _infos(self) -> Iterator[RasterInfo]:
        for path in self.files:
            try:
                yield read_info(path)
            except DataError:
                continue

    def _read(self) -> Iterator[PictureStep]:
        size = max(self.batch, 16)
        for first in range(0, len(self.files), size):
            paths = self.files[first : first + size]
            rows = PictureRows(
                [], np.full((len(paths), self.spec.num_classes), np.nan, np.float32), [None] * len(paths)
            )
            views: list[tuple[int, list[View]]] = []
            for position, path in enumerate(paths):
                info, problem = None, None
                try:
                    info = read_info(path)
                    check_scene(info, self.spec, mapped=False)
                    views.append((position, [View(whole_image(path))]))
                except DataError as error:
                    if self.options.on_error == "raise":
                        raise
                    problem = str(error)
                if info is not None and info.georeference.crs and max(info.width, info.height) > _LARGE_PX:
                    _LOG.warning(
                        "%s is classified as one picture of %d x %d pixels; for the things on it give "
                        "inference.features=LAYER",
                        *(path, info.width, info.height),
                    )
                rows.reasons[position] = problem
                rows.batch.append(_File(path, info, read_tags(path)))
            yield from picture_steps(
                rows, views, self.spec, self.batch, strict=self.options.on_error == "raise"
            )

    def _predict(self, step: PictureStep) -> NDArray[np.float32] | None:
        if step.inputs is None or step.valid is None:
            return None
        return self.score(step.inputs, step.valid).cpu().numpy()

    def _merge(self, step: PictureStep, found: NDArray[np.float32] | None) -> Iterator[PictureRows]:
        if found is not None:
            step.rows.scores[step.positions] = found
        if step.ends:
            yield step.rows

    def _write(self, rows: PictureRows) -> None:
        """Write finished rows to the table, and those with a place to their layer."""
        files: list[_File] = rows.batch
        for file, reason, row in zip(files, rows.reasons, rows.scores, strict=True):
            if np.isnan(row[0]):
                named = str(reason).startswith(file.path)
                _LOG.error("%s%s", "" if named else f"{file.path}: ", reason)
                self.report.failed.append((file.path, str(reason)))
            else:
                self.report.amount += 1
                if len(self.shown) < _SHOWN:
                    self.shown.append((file.path, row))
        columns = class_columns(rows, self.spec, scores=self.options.scores)
        batch = _batch(files, columns)
        self.writers[0](batch)
        points = np.array([file.tags.placed and not _placed(file) for file in files])
        chips = np.array([_placed(file) for file in files])
        for writer, chosen, shape in (
            (self.writers[1], points, _point),
            (self.writers[2], chips, self._polygon),
        ):
            if chosen.any():
                picked = np.flatnonzero(chosen)
                writer(_with_shapes(batch.take(_indices(picked)), [shape(files[i]) for i in picked]))

    def _polygon(self, file: _File) -> Any:
        """Return a chip's outline in the CRS of the first one."""
        import shapely

        assert file.info is not None
        a, b, c, d, e, f = file.info.georeference.transform
        width, height = file.info.width, file.info.height
        corners = [(0, 0), (width, 0), (width, height), (0, height)]
        shape = shapely.Polygon([(a * x + b * y + c, d * x + e * y + f) for x, y in corners])
        return to_crs(np.array([shape], object), file.info.georeference.crs, self.crs, file.path)[0]

    def _draw(self) -> Path:
        from geomm.visualization.canvas import to_rgb
        from geomm.visualization.labels import draw_pictures
        from geomm.visualization.labels import say as say_classes

        pictures = []
        for path, row in self.shown:
            sample = read_crop(whole_image(path), self.spec.bands, self.spec.window_px, blackout=False)
            title = f"{Path(path).name[-30:]}\n{say_classes(row, self.spec, share=True)}"
            pictures.append((to_rgb(sample.image, sample.valid), title, "black"))
        return draw_pictures(pictures, self.folder / _PREVIEW)


def _placed(file: _File) -> bool:
    return file.info is not None and file.info.georeference.crs is not None


def _point(file: _File) -> Any:
    import shapely

    return shapely.Point(float(file.tags.longitude or 0), float(file.tags.latitude or 0))


def _indices(picked: NDArray[np.intp]) -> Any:
    import pyarrow

    return pyarrow.array(picked)


def _batch(files: Sequence[_File], columns: Mapping[str, Any]) -> Any:
    """Return an Arrow record batch of files with their place, time and class."""
    import datetime

    import pyarrow

    times = [file.tags.time and datetime.datetime.fromisoformat(file.tags.time) for file in files]
    arrays = {
        "file": pyarrow.array([file.path for file in files], pyarrow.string()),
        **columns,
        "longitude": pyarrow.array([file.tags.longitude for file in files], pyarrow.float64()),
        "latitude": pyarrow.array([file.tags.latitude for file in files], pyarrow.float64()),
        "time": pyarrow.array(times, pyarrow.timestamp("ms")),
    }
    return pyarrow.RecordBatch.from_arrays(list(arrays.values()), names=list(arrays))


def _with_shapes(batch: Any, shapes: Sequence[Any]) -> Any:
    import pyarrow
    import shapely

    return batch.append_column(
        "wkb_geometry", pyarrow.array([shapely.to_wkb(s) for s in shapes], pyarrow.binary())
    )
