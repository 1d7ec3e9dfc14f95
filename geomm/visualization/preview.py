"""A picture of a scene beside its map."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from geomm.io.raster import RasterReader
from geomm.structures import IGNORE_INDEX, RasterSpec
from geomm.visualization.canvas import add_legend, new_figure, paint_classes, save_figure, to_rgb


def draw_preview(scene: str, class_map: Path, spec: RasterSpec, path: Path, *, longest_px: int = 900) -> Path:
    """Draw a scene, and its classes over it, read small through overviews.

    Args:
      scene: the input raster.
      class_map: its map, of class values.
      spec: of the model.
      path: PNG to write.
      longest_px: longer side of each picture.
    """
    shown = spec.bands[:3] if len(spec.bands) >= 3 else spec.bands[:1]
    pixels, valid = RasterReader(scene).read_overview(longest_px, shown)
    values, _ = RasterReader(class_map).read_overview(longest_px, [1])
    mask = np.full(values[0].shape, IGNORE_INDEX, np.uint8)
    for index, item in enumerate(spec.classes):
        mask[values[0] == item.value] = index
    picture = to_rgb(pixels, valid)
    covered = (mask != IGNORE_INDEX) & (mask != (-1 if spec.background is None else spec.background))
    painted = picture.astype(np.float32)
    painted[covered] = 0.45 * painted[covered] + 0.55 * paint_classes(mask, spec.classes)[covered]
    height, width = picture.shape[:2]
    beside = width <= height * 1.6
    scale = 6.5 / max(height, width)
    figure = new_figure(
        max(width * scale * (2 if beside else 1) + 0.3, 4),
        height * scale * (1 if beside else 2) + 0.8,
    )
    axes = figure.subplots(1, 2) if beside else figure.subplots(2, 1)
    for axis, image in zip(axes, (picture, painted.astype(np.uint8)), strict=True):
        axis.imshow(image, interpolation="nearest")
        axis.set_axis_off()
    painted_classes = [item for index, item in enumerate(spec.classes) if index != spec.background]
    add_legend(figure, painted_classes)
    return save_figure(figure, path)
