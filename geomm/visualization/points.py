"""Pictures of point clouds, from above and obliquely, without a display."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geomm.points import PointSample, PointSpec
from geomm.structures import IGNORE_INDEX, ClassSpec
from geomm.visualization.canvas import add_legend, new_figure, save_figure, short_name

#: What no class is painted with.
_GREY = (150, 150, 150)
#: How far the oblique view looks down, degrees, and from which side.
_DOWN_DEG, _SIDE_DEG = 28.0, 35.0


def render(
    xyz: NDArray[Any],
    colors: NDArray[np.uint8],
    *,
    width_px: int = 520,
    height_px: int = 520,
    oblique: bool = False,
) -> NDArray[np.uint8]:
    """Draw points into a picture, the nearest to the eye in front, shaded by height.

    Args:
      xyz: (n, 3) metres.
      colors: (n, 3) RGB.
      width_px: of the picture.
      height_px: of the picture.
      oblique: look slantwise from one side instead of from above.

    Returns:
      (height_px, width_px, 3) uint8, white where there is no point.
    """
    picture = np.full((height_px, width_px, 3), 255, np.uint8)
    if not len(xyz):
        return picture
    points = np.asarray(xyz, np.float64) - np.median(xyz, axis=0)
    right, up, near = points[:, 0], points[:, 1], points[:, 2]
    if oblique:
        turn, down = np.deg2rad([_SIDE_DEG, _DOWN_DEG])
        right = points[:, 0] * np.cos(turn) + points[:, 1] * np.sin(turn)
        away = -points[:, 0] * np.sin(turn) + points[:, 1] * np.cos(turn)
        up = points[:, 2] * np.cos(down) + away * np.sin(down)
        near = points[:, 2] * np.sin(down) - away * np.cos(down)
    extent = max(np.ptp(right) / width_px, np.ptp(up) / height_px, 1e-6) * 1.04
    col = (right - (right.min() + right.max()) / 2) / extent + width_px / 2
    row = height_px / 2 - (up - (up.min() + up.max()) / 2) / extent
    shade = 0.72 + 0.28 * _ranked(points[:, 2])
    shaded = (colors * shade[:, None]).astype(np.uint8)
    # Large where points are far apart, so that the picture is no dust.
    spread = float(np.sqrt(width_px * height_px / len(points)))
    reach = int(np.clip(round(spread / 2), 0, 2))
    order = np.argsort(near, kind="stable")  # later ones cover earlier ones
    for down_px in range(-reach, reach + 1):
        for right_px in range(-reach, reach + 1):
            rows = np.clip(row[order].astype(int) + down_px, 0, height_px - 1)
            cols = np.clip(col[order].astype(int) + right_px, 0, width_px - 1)
            picture[rows, cols] = shaded[order]
    return picture


def _ranked(values: NDArray[Any]) -> NDArray[Any]:
    low, high = np.percentile(values, [2, 98])
    return np.clip((values - low) / max(high - low, 1e-6), 0, 1)  # type: ignore[no-any-return]


def paint_labels(labels: NDArray[Any], classes: Sequence[ClassSpec]) -> NDArray[np.uint8]:
    """Return (n, 3) colours of class indices; grey for what is no class's."""
    table = np.full((256, 3), _GREY, np.uint8)
    for index, item in enumerate(classes):
        table[index] = item.color
    painted: NDArray[np.uint8] = table[labels]
    return painted


def draw_point_panels(
    predict: Callable[[PointSample], NDArray[Any]] | None,
    dataset: Any,
    spec: PointSpec,
    path: Path,
    *,
    rows: int = 4,
) -> Path:
    """Draw truth and prediction of some samples from above and obliquely.

    Args:
      predict: from a sample to class indices (n,); None to draw the truth alone.
      dataset: a split; evenly spread samples of it are looked at.
      spec: of the data.
      path: PNG to write.
      rows: how many samples to show.
    """
    count = len(dataset)
    looked = np.unique(np.linspace(0, count - 1, min(count, 3 * rows)).round().astype(int))
    samples = [dataset[int(position)] for position in looked]
    samples.sort(key=lambda sample: -len(np.unique(sample.labels)))
    samples = samples[:rows]
    titles = ["truth"] if predict is None else ["truth", "prediction"]
    columns = 2 * len(titles)
    figure = new_figure(3.0 * columns, 3.0 * len(samples) + 0.6)
    axes = figure.subplots(len(samples), columns, squeeze=False)
    for line, sample in zip(axes, samples, strict=True):
        truth = sample.labels if sample.labels is not None else np.full(len(sample), IGNORE_INDEX)
        shown = [truth] if predict is None else [truth, predict(sample)]
        views = [(labels, slant) for slant in (False, True) for labels in shown]
        for axis, (labels, slant) in zip(line, views, strict=True):
            colors = paint_labels(labels, spec.classes)
            axis.imshow(render(sample.xyz, colors, height_px=400, oblique=slant))
            axis.set_axis_off()
        line[0].text(0, -0.02, short_name(sample.name), fontsize=7, va="top", transform=line[0].transAxes)
    for axis, title in zip(axes[0], [*titles, *titles], strict=True):
        axis.set_title(title, fontsize=9)
    add_legend(figure, spec.classes, {"no class": "#969696"})
    return save_figure(figure, path)


def draw_cloud_preview(
    xyz: NDArray[Any],
    before: NDArray[Any],
    after: NDArray[Any],
    spec: PointSpec,
    path: Path,
) -> Path:
    """Draw a cloud's classes before and after, from above and obliquely.

    Args:
      xyz: (n, 3) metres, a part of the cloud's points.
      before: (n,) class indices as the file had them.
      after: (n,) class indices as they are now.
      spec: of the model.
      path: PNG to write.
    """
    figure = new_figure(11, 9.5)
    axes = figure.subplots(2, 2)
    for column, (labels, title) in enumerate(((before, "before"), (after, "after"))):
        colors = paint_labels(labels, spec.classes)
        for line, oblique in enumerate((False, True)):
            axis = axes[line][column]
            axis.imshow(render(xyz, colors, width_px=800, height_px=640, oblique=oblique))
            axis.set_axis_off()
        axes[0][column].set_title(title, fontsize=10)
    add_legend(figure, spec.classes, {"other codes": "#969696"})
    return save_figure(figure, path)
