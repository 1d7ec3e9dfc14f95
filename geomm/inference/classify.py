"""Classifying whole pictures: the features of a layer on its scenes, chips, and photos."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from geomm.datasets.crops import LEAST_COVERED, Crop, around, read_crop, whole_image
from geomm.errors import ConfigError, DataError, Problem
from geomm.inference.acceleration import Score, accelerate_classes
from geomm.inference.inputs import find_inputs, output_names
from geomm.inference.memory import reused_memory
from geomm.inference.options import LabelOptions
from geomm.inference.progress import Progress
from geomm.inference.report import PredictionReport, predict_each, say
from geomm.inference.scenes import check_scene
from geomm.inference.stream import stream
from geomm.io.paths import RASTER_ENDINGS, expand
from geomm.io.photos import PhotoTags, read_tags
from geomm.io.raster_info import RasterInfo, read_info
from geomm.io.stac import place_items
from geomm.io.table_stream import RowReader, RowsLayout, geometries, has_columns, with_columns
from geomm.io.table_writer import DRIVERS, RowWriter, result_ending
from geomm.io.tables import credible_crs, find_tables, to_crs
from geomm.io.vector import to_pixels
from geomm.metrics.labels import THRESHOLD
from geomm.structures import ClassificationSpec

_LOG = logging.getLogger("geomm")
#: Rows of a layer that are sorted together, so that neighbours are read together.
_ROWS = 4096
#: Edge of the blocks that features are sorted by, pixels.
_BLOCK_PX = 512
#: A placed picture larger than this is rather a scene whose features were forgotten.
_LARGE_PX = 4096
_DRAWN, _SHOWN = 5000, 24
_SIDES = ("xmin", "ymin", "xmax", "ymax")
OFF_SCENE, NO_DATA, NO_GEOMETRY = "off the scene", "no data", "no geometry"
PICTURE_ENDINGS = (*RASTER_ENDINGS, ".webp")


@dataclass
class _Rows:
    """Rows that are finished together.

    Attributes:
      batch: what they are: an Arrow record batch, or a list of files.
      scores: (n, K), NaN where there is none.
      reasons: why a row has none.
      outlines: geometries in pixels of their scene.
    """

    batch: Any
    scores: NDArray[np.float32]
    reasons: list[str | None]
    outlines: Any = None


@dataclass
class _Step:
    """What the model takes at a time: pictures of some rows; ``ends`` where the rows are complete."""

    rows: _Rows
    positions: list[int] = field(default_factory=list)
    inputs: torch.Tensor | None = None
    valid: torch.Tensor | None = None
    ends: bool = False


def _steps(
    rows: _Rows, crops: Sequence[tuple[int, Crop]], spec: ClassificationSpec, batch: int, *, strict: bool
) -> Iterator[_Step]:
    """Read pictures in the order given and yield them by batches; the last step ends the rows."""
    samples, positions = [], []
    for position, crop in crops:
        try:
            sample = read_crop(crop, spec.bands, spec.window_px, blackout=spec.blackout)
        except DataError as error:
            if strict:
                raise
            rows.reasons[position] = str(error)
            continue
        if sample.extras["covered"] < LEAST_COVERED or not sample.valid.any():
            rows.reasons[position] = NO_DATA
            continue
        samples.append(sample)
        positions.append(position)
        if len(samples) == batch:
            yield _step(rows, positions, samples)
            samples, positions = [], []
    last = _step(rows, positions, samples) if samples else _Step(rows)
    last.ends = True
    yield last


def _step(rows: _Rows, positions: list[int], samples: Sequence[Any]) -> _Step:
    inputs = torch.from_numpy(np.stack([item.image for item in samples]))
    return _Step(rows, positions, inputs, torch.from_numpy(np.stack([item.valid for item in samples])))


def class_columns(rows: _Rows, spec: ClassificationSpec, *, scores: bool, prefix: str = "") -> dict[str, Any]:
    """Return the columns that are added: ``class``, ``confidence``, ``reason`` and ``score_NAME`` …."""
    import pyarrow

    known = ~np.isnan(rows.scores[:, 0])
    best = np.where(known[:, None], rows.scores, 0).argmax(1)
    names = [item.name for item in spec.classes]
    if spec.multi_label:
        shown = [
            ", ".join(names[k] for k in np.flatnonzero(row >= THRESHOLD)) if there else None
            for row, there in zip(rows.scores, known, strict=True)
        ]
    else:
        shown = [names[k] if there else None for k, there in zip(best, known, strict=True)]
    numbers = {"confidence": rows.scores[np.arange(len(best)), best]}
    if scores:
        numbers |= {f"score_{name}": rows.scores[:, k] for k, name in enumerate(names)}
    columns: dict[str, Any] = {f"{prefix}class": pyarrow.array(shown, pyarrow.string())}
    columns |= {
        f"{prefix}{key}": pyarrow.array(value, pyarrow.float32(), mask=~known)
        for key, value in numbers.items()
    }
    columns[f"{prefix}reason"] = pyarrow.array(rows.reasons, pyarrow.string())
    return columns


def free_prefix(taken: Sequence[str], added: Sequence[str]) -> str:
    """Return what goes before the added columns' names so that none of the layer's own is replaced."""
    known = {name.lower() for name in taken}
    for prefix in ("", "predicted_", *(f"predicted{number}_" for number in range(2, 1000))):
        if not any(f"{prefix}{name}".lower() in known for name in added):
            return prefix
    raise DataError(f"the layer has a field for every name that could be added, such as {added[0]}")


def classify_features(
    inputs: str | Path | Sequence[str | Path],
    output: str | Path,
    *,
    score: Score,
    spec: ClassificationSpec,
    options: LabelOptions,
) -> PredictionReport:
    """Classify the features of layers on scenes; write the layers with columns added.

    Args:
      inputs: the scenes.
      output: folder for the results.
      score: from pixels (B, C, h, w) and validity (B, h, w) to probabilities (B, K).
      spec: of the model.
      options: ``features`` names the layers.

    Raises:
      DataError: nothing can be read; or, with ``on_error="raise"``, something cannot.
    """
    assert options.features is not None
    device = options.resolve_device()
    run = accelerate_classes(score, spec, precision=options.precision, tta=options.tta, device=device)
    scenes = _open_scenes(inputs, spec, options)
    folder = Path(output)
    layers = find_inputs(
        options.features,
        folder,
        find=find_tables,
        is_result=has_columns("class", "confidence"),
        what="layers",
    )
    names = output_names(layers)
    folder.mkdir(parents=True, exist_ok=True)

    def predict(position: int) -> tuple[list[Path], int] | None:
        path = layers[position]
        target = folder / f"{names[position]}{result_ending(path, options.format)}"
        if target.exists() and Path(path).exists() and target.samefile(path):
            raise DataError(f"{path}: its result would take its own place; give another output folder")
        if options.skips(target):
            return None
        with reused_memory(device):
            return _Layer(path, target, scenes, run, spec, options, options.batch(device)).run()

    return predict_each(layers, predict, what="layers", unit="features", on_error=options.on_error)


def _open_scenes(
    inputs: str | Path | Sequence[str | Path], spec: ClassificationSpec, options: LabelOptions
) -> list[RasterInfo]:
    found, first = [], ""
    for path in expand(place_items(inputs, bands=spec.band_names, numbers=spec.bands)):
        try:
            info = read_info(path)
            check_scene(info, spec)
            found.append(info)
        except DataError as error:
            if options.on_error == "raise":
                raise
            _LOG.error("%s", error)
            first = first or str(error)
    if not found:
        raise DataError(f"none of the scenes can be used: {first}")
    return found


@dataclass
class _Layer:
    """One layer on its way through."""

    path: str
    target: Path
    scenes: Sequence[RasterInfo]
    score: Score
    spec: ClassificationSpec
    options: LabelOptions
    batch: int
    count: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    drawn: list[tuple[Any, int]] = field(default_factory=list)
    crs: str | None = None

    def run(self) -> tuple[list[Path], int]:
        """Classify the layer; return the files and the number of features."""
        numbers = _SIDES if self.path.lower().endswith((".csv", ".tsv")) else ()
        reader = RowReader(self.path, layer=self.options.layer, numbers=numbers, batch_rows=_ROWS)
        layout = reader.layout
        if layout.geometry is None and self.target.suffix in DRIVERS:
            raise DataError(
                f"{self.path} has no geometries, which {self.target.suffix} needs; take inference.format=csv"
            )
        total = layout.rows or 0
        shown = self.options.progress and total > 0
        with Progress(Path(self.path).name, max(total, 1), "features", shown=shown) as progress:
            with RowWriter(self.target, layout) as writer:
                stream(
                    self._read(reader, layout),
                    self._predict,
                    self._merge,
                    writer,
                    done=lambda step: progress.advance(len(step.positions)),
                )
                if not self.count:
                    raise DataError(f"{self.path} has no features")
        if sum(self.reasons.values()):
            told = ", ".join(f"{count} {reason}" for reason, count in self.reasons.most_common(6))
            _LOG.warning(
                "%s: %d of %d features have no class (%s)",
                self.path,
                sum(self.reasons.values()),
                self.count,
                told,
            )
        if sum(self.reasons.values()) == self.count:
            _LOG.warning("%s: no feature lies on the scenes; check both CRS", self.path)
        written = [self.target]
        if self.options.preview and self.drawn:
            from geomm.visualization.labels import draw_feature_map

            picture = self.target.with_name(f"{self.target.stem}_preview.png")
            outlines, classes = zip(*self.drawn, strict=True)
            written.append(draw_feature_map(self.scenes[0].path, outlines, classes, self.spec, picture))
        return written, self.count

    def _read(self, reader: RowReader, layout: RowsLayout) -> Iterator[_Step]:
        """Yield the features' pictures, those near each other together; in the reader's thread."""
        for number, batch in enumerate(reader):
            shapes = geometries(batch, layout)
            if shapes is None:
                shapes = self._boxes(batch)
            elif number == 0:
                self.crs = layout.crs and credible_crs(shapes, layout.crs, self.path)
            rows = _Rows(
                batch,
                np.full((batch.num_rows, self.spec.num_classes), np.nan, np.float32),
                [None] * batch.num_rows,
                np.full(batch.num_rows, None, object),
            )
            crops = self._place(rows, shapes)
            yield from _steps(rows, crops, self.spec, self.batch, strict=self.options.on_error == "raise")

    def _boxes(self, batch: Any) -> NDArray[np.object_]:
        """Return the boxes of a table of pixel boxes."""
        import shapely

        lacking = [side for side in _SIDES if side not in batch.schema.names]
        if lacking:
            raise DataError(
                f"{self.path} has no geometries and no column {lacking[0]!r}; expected a layer of features, "
                f"or a csv of pixel boxes with columns {', '.join(_SIDES)}"
            )
        sides = np.stack([batch.column(side).to_numpy(zero_copy_only=False) for side in _SIDES], 1)
        boxes = np.full(len(sides), None, object)
        whole = np.isfinite(sides.astype(float)).all(1)
        boxes[whole] = shapely.box(*sides[whole].astype(float).T)
        return boxes

    def _place(self, rows: _Rows, shapes: NDArray[np.object_]) -> list[tuple[int, Crop]]:
        """Choose for each feature the scene that shows most of it; return what to read, sorted by place."""
        import shapely

        empty = shapely.is_missing(shapes) | shapely.is_empty(shapes)
        share, chosen = np.zeros(len(shapes)), np.zeros(len(shapes), int)
        for number, info in enumerate(self.scenes):
            crs = info.georeference.crs
            there = to_crs(shapes, self.crs, crs, f"{self.path} and {info.path}")
            placed = to_pixels(shapely.force_2d(there), info)
            left, top, right, bottom = shapely.bounds(placed).T
            with np.errstate(invalid="ignore"):
                width = np.minimum(right, info.width) - np.maximum(left, 0)
                height = np.minimum(bottom, info.height) - np.maximum(top, 0)
                # A point has no area: what counts is that it is inside.
                shown = (
                    (width + 1e-9).clip(0)
                    * (height + 1e-9).clip(0)
                    / ((right - left + 1e-9) * (bottom - top + 1e-9))
                )
            better = ~empty & np.isfinite(shown) & (shown > share)
            share[better], chosen[better] = shown[better], number
            rows.outlines[better] = placed[better]
        found = []
        for position in np.flatnonzero(share > 0):
            info, outline = self.scenes[chosen[position]], rows.outlines[position]
            found.append((int(position), Crop(info.path, self._square(outline, info), "", outline)))
        for position in np.flatnonzero(share == 0):
            rows.reasons[position] = NO_GEOMETRY if empty[position] else OFF_SCENE
        return sorted(
            found, key=lambda item: (item[1].path, item[1].window.row // _BLOCK_PX, item[1].window.col)
        )

    def _square(self, outline: Any, info: RasterInfo) -> Any:
        given = self.options.margin is not None or self.options.margin_m is not None
        margin = self.options.margin or 0.0 if given else self.spec.margin
        margin_m = self.options.margin_m if given else self.spec.margin_m
        if margin_m is None and outline.bounds[:2] == outline.bounds[2:]:
            raise DataError(f"{self.path} holds points, which have no size: give inference.margin_m=…")
        return around(outline, info, margin=margin, margin_m=margin_m)

    def _predict(self, step: _Step) -> NDArray[np.float32] | None:
        if step.inputs is None or step.valid is None:
            return None
        return self.score(step.inputs, step.valid).cpu().numpy()

    def _merge(self, step: _Step, found: NDArray[np.float32] | None) -> Iterator[Any]:
        """Note scores; yield the rows with their columns when complete."""
        rows = step.rows
        if found is not None:
            rows.scores[step.positions] = found
        if not step.ends:
            return
        self.count += len(rows.reasons)
        self.reasons.update(_kind(reason) for reason in rows.reasons if reason is not None)
        self._note(rows)
        names = rows.batch.schema.names
        added = list(class_columns(rows, self.spec, scores=self.options.scores))
        prefix = free_prefix(names, added)
        if prefix and self.count == len(rows.reasons):
            _LOG.info("%s has fields of these names: the new ones are called %sclass …", self.path, prefix)
        yield with_columns(
            rows.batch, class_columns(rows, self.spec, scores=self.options.scores, prefix=prefix)
        )

    def _note(self, rows: _Rows) -> None:
        """Remember the first features, for the preview."""
        for outline, row in zip(rows.outlines, rows.scores, strict=True):
            if len(self.drawn) >= _DRAWN:
                return
            if outline is not None and not np.isnan(row[0]):
                self.drawn.append((outline, int(row.argmax())))


def _kind(reason: str) -> str:
    return reason if reason in (OFF_SCENE, NO_DATA, NO_GEOMETRY) else "on damaged pixels"


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

    Georeferenced ones become polygons in ``chips.gpkg``, photos with GPS tags points in ``photos.gpkg``.

    Args:
      inputs: files, globs, folders or a list of these.
      output: folder for the results.
      score: from pixels (B, C, h, w) and validity (B, h, w) to probabilities (B, K).
      spec: of the model.
      options: see ``LabelOptions``.

    Raises:
      DataError: nothing matches; or, with ``on_error="raise"``, a file cannot be read.
    """
    if options.margin is not None or options.margin_m is not None:
        problem = Problem(
            "inference.margin", "only features have ground around them; give inference.features"
        )
        raise ConfigError([problem])
    device = options.resolve_device()
    run = accelerate_classes(score, spec, precision=options.precision, tta=options.tta, device=device)
    folder = Path(output)
    files = find_inputs(
        inputs, folder, find=partial(expand, endings=PICTURE_ENDINGS), is_result=_is_preview, what="pictures"
    )
    report = PredictionReport(unit="pictures")
    started = time.monotonic()
    table = folder / "predictions.csv"
    if options.skips(table):
        report.skipped = files
    else:
        folder.mkdir(parents=True, exist_ok=True)
        with reused_memory(device):
            _Pictures(files, folder, run, spec, options, options.batch(device), report).run()
    report.seconds = time.monotonic() - started
    say(report, "pictures", len(files))
    return report


def _is_preview(path: Path) -> bool:
    return path.name == "predictions_preview.png"


@dataclass
class _Pictures:
    """Image files on their way through."""

    files: Sequence[str]
    folder: Path
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
        paths = {name: self.folder / name for name in ("predictions.csv", "photos.gpkg", "chips.gpkg")}
        layouts = (
            RowsLayout(),
            RowsLayout("wkb_geometry", "Point", "EPSG:4326"),
            RowsLayout("wkb_geometry", "Polygon", self.crs),
        )
        with ExitStack() as stack:
            shown = self.options.progress
            progress = stack.enter_context(Progress("pictures", len(self.files), "pictures", shown=shown))
            self.writers = [
                stack.enter_context(RowWriter(path, layout))
                for path, layout in zip(paths.values(), layouts, strict=True)
            ]
            stream(
                self._read(),
                self._predict,
                self._merge,
                self._write,
                done=lambda step: progress.advance(len(step.rows.batch) if step.ends else 0),
            )
        self.report.outputs += [path for path in paths.values() if path.is_file()]
        if self.options.preview and self.shown:
            self.report.outputs.append(self._draw())

    def _infos(self) -> Iterator[RasterInfo]:
        for path in self.files:
            try:
                yield read_info(path)
            except DataError:
                continue

    def _read(self) -> Iterator[_Step]:
        size = max(self.batch, 16)
        for first in range(0, len(self.files), size):
            paths = self.files[first : first + size]
            rows = _Rows(
                [], np.full((len(paths), self.spec.num_classes), np.nan, np.float32), [None] * len(paths)
            )
            crops = []
            for position, path in enumerate(paths):
                info, problem = None, None
                try:
                    info = read_info(path)
                    check_scene(info, self.spec)
                    crops.append((position, whole_image(path)))
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
            yield from _steps(rows, crops, self.spec, self.batch, strict=self.options.on_error == "raise")

    def _predict(self, step: _Step) -> NDArray[np.float32] | None:
        if step.inputs is None or step.valid is None:
            return None
        return self.score(step.inputs, step.valid).cpu().numpy()

    def _merge(self, step: _Step, found: NDArray[np.float32] | None) -> Iterator[_Rows]:
        if found is not None:
            step.rows.scores[step.positions] = found
        if step.ends:
            yield step.rows

    def _write(self, rows: _Rows) -> None:
        """Write finished rows to the table, and those with a place to their layer."""
        files: list[_File] = rows.batch
        for file, reason, row in zip(files, rows.reasons, rows.scores, strict=True):
            if np.isnan(row[0]):
                _LOG.error("%s: %s", file.path, reason)
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
        return draw_pictures(pictures, self.folder / "predictions_preview.png")


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
