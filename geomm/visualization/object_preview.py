"""A picture of scenes with what was found in them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from geomm.io.raster import RasterReader, read_info
from geomm.structures import Georeference, RasterSpec
from geomm.visualization.canvas import Stretch, add_legend, new_figure, save_figure, stretch_of, to_rgb
from geomm.visualization.on_pictures import draw_objects

#: More objects than this are not labelled, and the surest so many are drawn.
_LABELLED, _DRAWN = 60, 20_000
_DPI = 110


class Found(Protocol):
    """Objects as the preview sees them."""

    @property
    def boxes(self) -> NDArray[np.float64]: ...
    @property
    def labels(self) -> NDArray[np.int32]: ...
    @property
    def scores(self) -> NDArray[np.float32]: ...
    @property
    def shapes(self) -> NDArray[np.object_] | None: ...


def draw_object_preview(
    scenes: Sequence[str],
    found: Iterable[Found],
    spec: RasterSpec,
    path: Path,
    *,
    grid: Georeference | None = None,
    longest_px: int = 1400,
) -> Path:
    """Draw scenes with boxes or outlines in their classes' colours, read small through overviews.

    Args:
      scenes: one; or several that lie on ``grid``.
      found: chunks of objects in pixels of the scene or of the grid.
      spec: of the model.
      path: PNG to write.
      grid: the common grid of several scenes, north-up.
      longest_px: longer side of the picture.
    """
    picture, scale = (
        _scene(scenes[0], spec, longest_px) if grid is None else _mosaic(scenes, grid, spec, longest_px)
    )
    boxes, labels, scores, shapes = _surest(found)
    colors = [spec.classes[label].color for label in labels]
    texts = [f"{score:.0%}" for score in scores] if len(boxes) <= _LABELLED else None
    outlines = None
    if shapes is not None:
        import shapely

        outlines = shapely.transform(shapes, lambda points: points * scale)
    drawn = draw_objects(picture, boxes * scale, colors, texts=texts, outlines=outlines)
    height, width = drawn.shape[:2]
    figure = new_figure(max(width / _DPI, 3) + 0.2, height / _DPI + 0.9)
    axis = figure.subplots()
    axis.imshow(drawn, interpolation="antialiased")
    axis.set_axis_off()
    counts = np.bincount(labels, minlength=len(spec.classes))
    axis.set_title(
        ", ".join(f"{count} {item.name}" for count, item in zip(counts, spec.classes, strict=True))
    )
    add_legend(figure, spec.classes)
    return save_figure(figure, path)


def _surest(
    found: Iterable[Found],
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[np.object_] | None]:
    """Return boxes, labels, scores and shapes of the surest objects, in memory that does not grow."""
    boxes: NDArray[Any] = np.empty((0, 4))
    labels: NDArray[Any] = np.empty(0, np.int64)
    scores: NDArray[Any] = np.empty(0, np.float32)
    shapes: NDArray[np.object_] | None = None
    for part in found:
        boxes = np.concatenate([boxes, part.boxes])
        labels, scores = np.concatenate([labels, part.labels]), np.concatenate([scores, part.scores])
        if part.shapes is not None:
            shapes = part.shapes if shapes is None else np.concatenate([shapes, part.shapes])
        if len(boxes) > 2 * _DRAWN:
            best = np.argsort(-scores, kind="stable")[:_DRAWN]
            boxes, labels, scores = boxes[best], labels[best], scores[best]
            shapes = None if shapes is None else shapes[best]
    best = np.argsort(-scores, kind="stable")[:_DRAWN][::-1]  # the surest on top
    return boxes[best], labels[best], scores[best], None if shapes is None else shapes[best]


def _shown_bands(spec: RasterSpec) -> tuple[int, ...]:
    return spec.bands[:3] if len(spec.bands) >= 3 else spec.bands[:1]


def _enlarged(picture: NDArray[np.uint8], longest_px: int) -> tuple[NDArray[np.uint8], float]:
    """Return small pictures up to four times as large, so that lines do not hide what they show."""
    factor = min(4, longest_px // max(picture.shape[:2]))
    if factor < 2:
        return picture, 1.0
    return picture.repeat(factor, 0).repeat(factor, 1), float(factor)


def _scene(scene: str, spec: RasterSpec, longest_px: int) -> tuple[NDArray[np.uint8], float]:
    """Return a scene's picture and the length of its pixels in those of the picture."""
    info = read_info(scene)
    pixels, valid = RasterReader(scene).read_overview(longest_px, _shown_bands(spec))
    picture, factor = _enlarged(to_rgb(pixels, valid), longest_px)
    return picture, picture.shape[1] / info.width if factor == 1 else factor


def _mosaic(
    scenes: Sequence[str], grid: Georeference, spec: RasterSpec, longest_px: int
) -> tuple[NDArray[np.uint8], float]:
    """Return a picture of several scenes where they lie, those of a dtype stretched alike, and its scale.

    Of several that are valid in one place the last one shows.
    """
    infos = [read_info(scene) for scene in scenes]
    a, _, left, _, e, top = grid.transform
    places = []
    for info in infos:
        width, _, x, _, height, y = info.georeference.transform
        col, row = (x - left) / a, (y - top) / e
        places.append((col, row, col + info.width * width / a, row + info.height * height / e))
    extent = np.array(places).max(0)[2:]
    scale = min(4.0, longest_px / float(extent.max()))
    shape = np.maximum(np.ceil(extent * scale).astype(int), 1)[::-1]
    picture = np.full((*shape, 3), 255, np.uint8)
    stretches: dict[str, Stretch | None] = {}
    for scene, place in zip(scenes, places, strict=True):
        col, row, right, lower = (np.array(place) * scale).round().astype(int)
        small = RasterReader(scene).read_overview(max(right - col, lower - row, 1), _shown_bands(spec))
        kind = small[0].dtype.name
        stretches[kind] = stretches.get(kind) or stretch_of(*small)
        rgb, valid = to_rgb(*small, stretch=stretches[kind]), small[1]
        rows = np.linspace(0, rgb.shape[0] - 1, max(lower - row, 1)).round().astype(int)
        cols = np.linspace(0, rgb.shape[1] - 1, max(right - col, 1)).round().astype(int)
        part = picture[row : row + len(rows), col : col + len(cols)]
        near = np.ix_(rows[: part.shape[0]], cols[: part.shape[1]])
        part[valid[near]] = rgb[near][valid[near]]
    return picture, scale
