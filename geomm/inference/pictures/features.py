"""Classifying the features of layers on their scenes."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geomm.datasets.pictures.crops import Crop, around
from geomm.errors import DataError
from geomm.inference.acceleration import Score, accelerate_classes
from geomm.inference.inputs import check_preview, check_target, find_inputs, output_names, preview_of
from geomm.inference.memory import reused_memory
from geomm.inference.options import LabelOptions
from geomm.inference.pictures.boxes import PixelBoxes
from geomm.inference.pictures.steps import (
    NO_DATA,
    PictureRows,
    PictureStep,
    View,
    class_columns,
    free_prefix,
    picture_steps,
    short_names,
)
from geomm.inference.progress import Progress
from geomm.inference.report import PredictionReport, predict_each
from geomm.inference.scenes import check_scene
from geomm.inference.stream import stream
from geomm.io.paths import expand
from geomm.io.raster_info import RasterInfo, read_info
from geomm.io.stac import place_items
from geomm.io.table_stream import (
    FID_COLUMNS,
    RowReader,
    RowsLayout,
    free_name,
    geometries,
    has_columns,
    told,
    with_columns,
)
from geomm.io.table_writer import DRIVERS, RowWriter, result_ending
from geomm.io.tables import NULLS, TEXT_ENDINGS, credible_crs, find_tables, to_crs, warn_of_layers
from geomm.io.vector import to_pixels
from geomm.structures import ClassificationSpec, PixelWindow

_LOG = logging.getLogger("geomm")
#: Rows of a layer that are sorted together, so that neighbours are read together.
_ROWS = 4096
#: Edge of the blocks that features are sorted by, pixels.
_BLOCK_PX = 512
_DRAWN = 5000
OFF_SCENE, NO_GEOMETRY, NO_SIZE, NO_NUMBER = "off the scene", "no geometry", "no size", "no number"


def _is_result(path: Path) -> bool:
    """Say whether a layer has the columns that are added, which a shapefile shortens to ten letters."""
    prefixed = has_columns("pred*_clas*", "pred*_conf*", "pred*_reas*")
    return has_columns("class", "confidence", "reason")(path) or prefixed(path)


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
        is_result=_is_result,
        what="layers",
    )
    names = output_names(layers)
    folder.mkdir(parents=True, exist_ok=True)

    def predict(position: int) -> tuple[list[Path], int] | None:
        path = layers[position]
        target = folder / f"{names[position]}{result_ending(path, options.format)}"
        check_target(target, path, is_result=_is_result, what="classified layer")
        if options.skips(target):
            return None
        if options.preview:
            check_preview(preview_of(target), path)
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
            check_scene(info, spec, mapped=False)
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
    boxes: PixelBoxes | None = None

    def run(self) -> tuple[list[Path], int]:
        """Classify the layer; return the files and the number of features."""
        reader = RowReader(
            self.path,
            layer=self.options.layer,
            keep_texts=True,
            fid_column=FID_COLUMNS.get(self.target.suffix.lower()),
            batch_rows=_ROWS,
        )
        if self.options.layer is None:
            warn_of_layers(self.path)
        layout = self._layout(reader)
        total = layout.rows or 0
        shown = self.options.progress and total > 0
        with Progress(Path(self.path).name, max(total, 1), "features", shown=shown) as progress:
            with RowWriter(self.target, layout) as writer:
                stream(
                    self._read(reader),
                    self._predict,
                    self._merge,
                    self._on_map(writer, layout),
                    done=lambda step: progress.advance(len(step.positions)),
                )
                if not self.count:
                    raise DataError(f"{self.path} has no features")
                if self.reasons[NO_SIZE] == self.count:
                    raise DataError(
                        f"{self.path} holds points, which have no size: give inference.margin_m=…"
                    )
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
            cause = "both CRS" if self.boxes is None else "the names of the images"
            _LOG.warning("%s: no feature lies on the scenes; check %s", self.path, cause)
        written = [self.target]
        if self.options.preview and self.drawn:
            from geomm.visualization.labels import draw_feature_map

            picture = preview_of(self.target)
            outlines, classes = zip(*self.drawn, strict=True)
            written.append(draw_feature_map(self.scenes[0].path, outlines, classes, self.spec, picture))
        return written, self.count

    def _layout(self, reader: RowReader) -> RowsLayout:
        """Return the layout of what is written; of a table without geometries, find its boxes."""
        ending = self.target.suffix.lower()
        layout = reader.layout_for(ending)
        if layout.geometry is not None:
            return layout
        self.boxes = PixelBoxes.open(self.path, self.scenes, layer=self.options.layer)
        if ending not in DRIVERS:
            return layout
        placed = self.boxes.layout(self.target)
        name = free_name(str(placed.geometry), reader.names())
        return replace(placed, geometry=name, ids=layout.ids, gaps=True)

    def _on_map(self, writer: RowWriter, layout: RowsLayout) -> Callable[[Any], None]:
        """Return what writes rows: to a layer of boxes with their place on the map."""
        boxes = self.boxes
        if boxes is None or layout.geometry is None:
            return writer
        return lambda batch: writer(boxes.placed(batch, layout))

    def _read(self, reader: RowReader) -> Iterator[PictureStep]:
        """Yield the features' pictures, those near each other together; in the reader's thread."""
        read = 0
        for batch in reader:
            homes = None
            with told(self.path):
                shapes = geometries(batch, reader.layout)
            if shapes is None:
                assert self.boxes is not None
                shapes, homes = self.boxes.read(batch)
            elif not read:
                crs = reader.layout.crs
                self.crs = crs and credible_crs(shapes, crs, self.path)
            rows = PictureRows(
                batch,
                np.full((batch.num_rows, self.spec.num_classes), np.nan, np.float32),
                [None] * batch.num_rows,
                np.full(batch.num_rows, None, object),
                np.full(batch.num_rows, -1),
            )
            views = self._place(rows, shapes, homes)
            if self.boxes is not None:
                self._note_words(rows, self.boxes, read)
                if reader.kind == "text" and self.target.suffix.lower() not in TEXT_ENDINGS:
                    rows.batch = _with_numbers(batch, self.boxes.edges)
            read += batch.num_rows
            yield from picture_steps(
                rows, views, self.spec, self.batch, strict=self.options.on_error == "raise"
            )

    def _note_words(self, rows: PictureRows, boxes: PixelBoxes, read: int) -> None:
        """Note what stands where the edge of a box is to be.

        Raises:
          DataError: something does, with ``on_error="raise"``.
        """
        for edge in boxes.edges:
            for position, word in _words(rows.batch.column(edge)):
                if self.options.on_error == "raise":
                    raise DataError(
                        f"{self.path}: column {edge!r}, row {read + position + 1}: found {word!r}, "
                        "expected a number; correct it or leave it empty"
                    )
                rows.reasons[position] = f"{NO_NUMBER}: {edge} is {word!r}"

    def _in_pixels(
        self, shapes: NDArray[np.object_], homes: NDArray[np.intp] | None, number: int
    ) -> NDArray[np.object_]:
        """Return features in pixels of a scene; of pixel boxes, those of other scenes are None."""
        import shapely

        if homes is not None:
            own = shapes.copy()
            own[homes != number] = None
            return own
        info = self.scenes[number]
        there = to_crs(shapes, self.crs, info.georeference.crs, self.path, info.path)
        return to_pixels(shapely.force_2d(there), info)

    def _place(
        self, rows: PictureRows, shapes: NDArray[np.object_], homes: NDArray[np.intp] | None
    ) -> list[tuple[int, list[View]]]:
        """Return what to read, sorted by place: the views of each feature, those that show most of it first.

        The order in which scenes are given does not count.
        """
        import shapely

        empty = shapely.is_missing(shapes) | shapely.is_empty(shapes)
        views: dict[int, list[View]] = {}
        sized = np.ones(len(shapes), bool)
        for number, info in enumerate(self.scenes):
            placed = self._in_pixels(shapes, homes, number)
            shown = _shown(placed, info)
            for position in np.flatnonzero(~empty & (shown > 0)):
                outline = placed[position]
                square = self._square(outline, info)
                if square is None:
                    sized[position] = False
                    continue
                crop = Crop(info.path, square, "", outline)
                views.setdefault(int(position), []).append(View(crop, number, float(shown[position])))
        for position in range(len(shapes)):
            if position not in views:
                rows.reasons[position] = (
                    NO_GEOMETRY if empty[position] else OFF_SCENE if sized[position] else NO_SIZE
                )
        for mine in views.values():
            mine.sort(key=lambda view: (-view.shown, view.crop.path))
        return sorted(
            views.items(),
            key=lambda item: (
                item[1][0].crop.path,
                item[1][0].crop.window.row // _BLOCK_PX,
                item[1][0].crop.window.col,
            ),
        )

    def _square(self, outline: Any, info: RasterInfo) -> PixelWindow | None:
        """Return the square around a feature, None where nothing says how large it is."""
        given = self.options.margin is not None or self.options.margin_m is not None
        margin = self.options.margin or 0.0 if given else self.spec.margin
        margin_m = self.options.margin_m if given else self.spec.margin_m
        if margin_m is None and outline.bounds[:2] == outline.bounds[2:]:
            return None
        return around(outline, info, margin=margin, margin_m=margin_m)

    def _predict(self, step: PictureStep) -> NDArray[np.float32] | None:
        if step.inputs is None or step.valid is None:
            return None
        return self.score(step.inputs, step.valid).cpu().numpy()

    def _merge(self, step: PictureStep, found: NDArray[np.float32] | None) -> Iterator[Any]:
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
        short = self.target.suffix.lower() == ".shp"
        prefix = free_prefix(names, added, "pred" if short else "predicted")
        first = self.count == len(rows.reasons)
        if prefix and first:
            _LOG.info("%s has fields of these names: the new ones are called %sclass …", self.path, prefix)
        columns = class_columns(rows, self.spec, scores=self.options.scores, prefix=prefix)
        if short:
            called = short_names(names, list(columns))
            columns = {called[name]: values for name, values in columns.items()}
            told = ", ".join(f"{new} = {name}" for name, new in called.items() if new != name)
            if told and first:
                _LOG.info("%s: names of more than ten letters are shortened: %s", self.target, told)
        yield with_columns(rows.batch, columns)

    def _note(self, rows: PictureRows) -> None:
        """Remember the first features of the scene that the preview shows."""
        for position in np.flatnonzero((rows.scenes == 0) & ~np.isnan(rows.scores[:, 0])):
            if len(self.drawn) >= _DRAWN:
                return
            self.drawn.append((rows.outlines[position], int(rows.scores[position].argmax())))


def _shown(outlines: NDArray[np.object_], info: RasterInfo) -> NDArray[np.float64]:
    """Return the share of each outline's bounds (n,) that lies on a scene, 0 of what has none."""
    import shapely

    left, top, right, bottom = shapely.bounds(outlines).T
    with np.errstate(invalid="ignore"):
        width = np.minimum(right, info.width) - np.maximum(left, 0)
        height = np.minimum(bottom, info.height) - np.maximum(top, 0)
        # A point has no area: what counts is that it is inside.
        shown = (
            (width + 1e-9).clip(0) * (height + 1e-9).clip(0) / ((right - left + 1e-9) * (bottom - top + 1e-9))
        )
    return np.where(np.isfinite(shown), shown, 0.0)


def _words(column: Any) -> Iterator[tuple[int, str]]:
    """Yield the cells of a column that are neither numbers nor empty, with their positions."""
    import pandas

    cells = column.to_pandas()
    numbers = pandas.to_numeric(cells, errors="coerce").astype(np.float64)
    for position in np.flatnonzero(~np.isfinite(numbers)):
        cell = cells.iloc[position]
        if isinstance(cell, str) and cell.strip() not in NULLS:
            yield int(position), cell


def _with_numbers(batch: Any, names: Sequence[str]) -> Any:
    """Return a batch with numbers for texts, missing where there is none."""
    import pandas

    cells = {name: pandas.to_numeric(batch.column(name).to_pandas(), errors="coerce") for name in names}
    return with_columns(batch, {name: cell.to_numpy(np.float64) for name, cell in cells.items()})


def _kind(reason: str) -> str:
    if reason.startswith(NO_NUMBER):
        return NO_NUMBER
    return reason if reason in (OFF_SCENE, NO_DATA, NO_GEOMETRY, NO_SIZE) else "on damaged pixels"
