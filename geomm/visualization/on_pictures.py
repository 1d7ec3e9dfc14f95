"""Boxes and outlines with labels, drawn into pictures and video frames."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Color = tuple[int, int, int]


def draw_objects(
    picture: NDArray[np.uint8],
    boxes: NDArray[Any],
    colors: Sequence[Color],
    *,
    texts: Sequence[str] | None = None,
    outlines: Sequence[Any] | None = None,
    line_px: int | None = None,
) -> NDArray[np.uint8]:
    """Return a picture with boxes, or outlines, drawn in.

    Args:
      picture: (H, W, 3) uint8 RGB; it stays as it is.
      boxes: (N, 4) xmin, ymin, xmax, ymax, pixels of the picture.
      colors: of each.
      texts: written above each; an empty one is left out.
      outlines: a shapely geometry each, in pixels, drawn instead of the box.
      line_px: width of lines, that of the picture's size where None.
    """
    from PIL import Image, ImageDraw

    image = Image.fromarray(np.ascontiguousarray(picture))
    canvas = ImageDraw.Draw(image)
    line = line_px or usual_line_px(picture.shape)
    for index, (box, color) in enumerate(zip(boxes.tolist(), colors, strict=True)):
        if outlines is None:
            xmin, ymin, xmax, ymax = box
            right, lower = max(xmax - 1, xmin), max(ymax - 1, ymin)  # the last pixel inside
            canvas.rectangle((xmin, ymin, right, lower), outline=color, width=line)
        else:
            for ring in _rings(outlines[index]):
                canvas.line(ring, fill=color, width=line)
        if texts is not None and texts[index]:
            _write(canvas, texts[index], box, color, picture.shape, line)
    return np.asarray(image)


def usual_line_px(shape: Sequence[int]) -> int:
    """Return the width of lines that suits a picture (H, W, …)."""
    return max(1, round(max(shape[:2]) / 500))


def _rings(shape: Any) -> list[list[tuple[float, float]]]:
    import shapely

    rings = []
    for polygon in shapely.get_parts(shape):
        if polygon.geom_type == "Polygon":
            rings += [[(x, y) for x, y in ring.coords] for ring in (polygon.exterior, *polygon.interiors)]
    return rings


def _write(
    canvas: Any, text: str, box: Sequence[float], color: Color, shape: Sequence[int], line: int
) -> None:
    """Write on a ground of the box's colour above the box, or in it at the picture's upper edge."""
    font = _font(max(10, round(max(shape[:2]) / 70)))
    left, top, right, bottom = canvas.textbbox((0, 0), text, font=font)
    width, height = right - left + 4, bottom - top + 4
    x = min(max(box[0], 0), max(shape[1] - width, 0))
    y = box[1] - height if box[1] >= height else box[1] + line
    canvas.rectangle((x, y, x + width, y + height), fill=color)
    bright = 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2] > 140
    canvas.text((x + 2 - left, y + 2 - top), text, font=font, fill=(0, 0, 0) if bright else (255, 255, 255))


@cache
def _font(size_px: int) -> Any:
    """Return DejaVu Sans, which matplotlib brings: it knows most scripts' letters."""
    import matplotlib
    from PIL import ImageFont

    return ImageFont.truetype(str(Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf")), size_px)
