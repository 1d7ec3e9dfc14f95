"""A picture of scenes with what was found in them."""

from __future__ import annotations

from collections.abc import Sequence
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
#: Boxes, labels, scores and shapes.
_Drawn = tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[np.object_] | None]


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


class SurestObjects:
    """The surest of any number of objects, and how many there were, in memory that does not grow.

    Args:
      num_classes: of the labels.

    Attributes:
      counts: (num_classes,) objects of each class.
    """

    def __init__(self, num_classes: int) -> None:
        self.counts = np.zeros(num_classes, np.int64)
        self._boxes: NDArray[Any] = np.empty((0, 4))
        self._labels: NDArray[Any] = np.empty(0, np.int64)
        self._scores: NDArray[Any] = np.empty(0, np.float32)
        self._shapes: NDArray[np.object_] | None = None

    def add(self, part: Found) -> None:
        """Count some objects, and keep those that are among the surest."""
        self.counts += np.bincount(part.labels, minlength=len(self.counts))
        self._boxes = np.concatenate([self._boxes, part.boxes])
        self._labels = np.concatenate([self._labels, part.labels])
        self._scores = np.concatenate([self._scores, part.scores])
        if part.shapes is not None:
            shapes = self._shapes
            self._shapes = part.shapes if shapes is None else np.concatenate([shapes, part.shapes])
        if len(self._boxes) > 2 * _DRAWN:
            self._boxes, self._labels, self._scores, self._shapes = self._chosen(self._order())

    def best(self) -> _Drawn:
        """Return boxes, labels, scores and shapes of those to draw, the surest last, which is on top."""
        return self._chosen(self._order()[::-1])

    def _order(self) -> NDArray[np.intp]:
        return np.argsort(-self._scores, kind="stable")[:_DRAWN]

    def _chosen(self, which: NDArray[np.intp]) -> _Drawn:
        shapes = None if self._shapes is None else self._shapes[which]
        return self._boxes[which], self._labels[which], self._scores[which], shapes


def draw_object_preview(
    scenes: Sequence[str],
    found: SurestObjects,
    spec: RasterSpec,
    path: Path,
    *,
    grid: Georeference | None = None,
    longest_px: int = 1400,
) -> Path:
    """Draw scenes with boxes or outlines in their classes' colours, read small through overviews.

    Args:
      scenes: one; or several that lie on ``grid``.
      found: objects in pixels of the scene or of the grid.
      spec: of the model.
      path: PNG to write.
      grid: the common grid of several scenes, north-up.
      longest_px: longer side of the picture.
    """
    picture, scale = (
        _scene(scenes[0], spec, longest_px) if grid is None else _mosaic(scenes, grid, spec, longest_px)
    )
    boxes, labels, scores, shapes = found.best()
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
    axis.set_title(
        ", ".join(f"{count} {item.name}" for count, item in zip(found.counts, spec.classes, strict=True))
    )
    add_legend(figure, spec.classes)
    return save_figure(figure, path)


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
