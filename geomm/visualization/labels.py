"""Pictures with their names: the hardest of an evaluation, and what was predicted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.colors import to_hex
from numpy.typing import NDArray

from geomm.datasets.pictures.crops import CropDataset, read_crop
from geomm.io.raster import RasterReader
from geomm.metrics.labels import THRESHOLD, LabelMetric
from geomm.structures import ClassificationSpec
from geomm.visualization.canvas import add_legend, new_figure, save_figure, to_rgb

#: A picture beside its title and the title's colour.
Titled = tuple[NDArray[np.uint8], str, str]
#: Features drawn on a preview at most.
_DRAWN = 5000


def draw_hardest(
    metric: LabelMetric, dataset: CropDataset, spec: ClassificationSpec, path: Path, *, count: int = 24
) -> Path:
    """Draw the pictures of an evaluation with the highest loss, truth and prediction above each.

    Args:
      metric: after its evaluation.
      dataset: the split that was evaluated.
      spec: of the data.
      path: PNG to write.
      count: how many to show.
    """
    crops = {crop.name: crop for crop in dataset.crops}
    shown: list[Titled] = []
    for name, truth, found, loss in metric.hardest[:count]:
        sample = read_crop(crops[name], spec.bands, spec.window_px, blackout=spec.blackout)
        told = f"{Path(name).name[-30:]}\ntrue: {say(truth, spec)}\nfound: {say(found, spec, share=True)}"
        right = np.array_equal(_shown(truth, spec), _shown(found, spec))
        color = "black" if right else "firebrick"
        shown.append((to_rgb(sample.image, sample.valid), f"{told}\nloss {loss:.2f}", color))
    return draw_pictures(shown, path)


def draw_labelled(dataset: CropDataset, spec: ClassificationSpec, path: Path, *, count: int = 12) -> Path:
    """Draw evenly spread pictures of a split, their classes above each."""
    positions = np.unique(np.linspace(0, len(dataset) - 1, min(len(dataset), count)).round().astype(int))
    samples = [dataset[int(position)] for position in positions]
    return draw_pictures(
        [(to_rgb(s.image, s.valid), say(s.extras["labels"], spec), "black") for s in samples], path
    )


def say(scores: NDArray[np.float32], spec: ClassificationSpec, *, share: bool = False) -> str:
    """Return the names of what scores (K,) say, with their probability on request."""
    chosen = np.flatnonzero(_shown(scores, spec))
    names = [spec.classes[k].name + (f" {scores[k]:.0%}" if share else "") for k in chosen]
    return ", ".join(names) or "none"


def _shown(scores: NDArray[np.float32], spec: ClassificationSpec) -> NDArray[np.bool_]:
    if spec.multi_label:
        return scores >= THRESHOLD
    best = np.zeros(len(scores), bool)
    best[scores.argmax()] = True
    return best


def draw_pictures(pictures: Sequence[Titled], path: Path) -> Path:
    """Draw pictures in rows of six, a title above each."""
    columns = min(max(len(pictures), 1), 6)
    rows = max(-(-len(pictures) // columns), 1)
    figure = new_figure(2.1 * columns, 2.7 * rows)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis in axes:
        axis.set_axis_off()
    for axis, (picture, title, color) in zip(axes, pictures, strict=False):
        axis.imshow(picture, interpolation="nearest")
        axis.set_title(title, fontsize=6.5, color=color, loc="left")
    return save_figure(figure, path)


def draw_feature_map(
    scene: str, outlines: Sequence[Any], classes: Sequence[int], spec: ClassificationSpec, path: Path
) -> Path:
    """Draw features on their scene in the colours of their classes.

    Args:
      scene: path of the raster.
      outlines: shapely geometries in its pixels.
      classes: index of each one's class.
      spec: of the model.
      path: PNG to write.
    """
    from matplotlib.collections import LineCollection

    bands = spec.bands[:3] if len(spec.bands) >= 3 else spec.bands[:1]
    reader = RasterReader(scene)
    pixels, valid = reader.read_overview(1400, bands)
    height, width = valid.shape
    scale = width / reader.info.width
    long = 9 / max(width, height)
    figure = new_figure(max(width * long, 4), height * long + 0.6)
    axis = figure.subplots()
    axis.imshow(to_rgb(pixels, valid), extent=(0, reader.info.width, reader.info.height, 0))
    lines, colors = [], []
    for outline, index in list(zip(outlines, classes, strict=True))[:_DRAWN]:
        color = to_hex([channel / 255 for channel in spec.classes[index].color])  # type: ignore[arg-type]
        for part in _simple_parts(outline):
            if part.geom_type == "Point":
                axis.plot(part.x, part.y, "o", color=color, markersize=4)
                continue
            lines.append(np.asarray((part.exterior if part.geom_type == "Polygon" else part).coords)[:, :2])
            colors.append(color)
    axis.add_collection(
        LineCollection(lines, colors=colors, linewidths=max(0.8, min(1.6, 1200 * scale / 900)))
    )
    axis.set_axis_off()
    add_legend(figure, spec.classes)
    return save_figure(figure, path)


def _simple_parts(shape: Any) -> list[Any]:
    """Return the points, lines and polygons of a geometry, however deep they lie; empty ones are left out."""
    import shapely

    if shape.is_empty:
        return []
    if not hasattr(shape, "geoms"):
        return [shape]
    return [part for item in shapely.get_parts(shape) for part in _simple_parts(item)]
