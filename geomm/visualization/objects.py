"""Objects over images, and their precision-recall curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from geomm.structures import ClassSpec, Objects, RasterSample, RasterSpec
from geomm.visualization.canvas import add_legend, most_telling, new_figure, save_figure, short_name, to_rgb


class Curve(Protocol):
    """Precision and recall of a class as the score needed falls."""

    @property
    def scores(self) -> NDArray[np.float64]: ...
    @property
    def precision(self) -> NDArray[np.float64]: ...
    @property
    def recall(self) -> NDArray[np.float64]: ...
    @property
    def average_precision(self) -> float: ...
    def at(self, threshold: float) -> tuple[float, float]: ...


def draw_precision_recall(
    curves: Mapping[str, Curve], classes: Sequence[ClassSpec], threshold: float, path: Path
) -> Path:
    """Draw precision over recall, a line a class, with the working threshold as a dot.

    Args:
      curves: by class name.
      classes: their colours.
      threshold: score that the dots mark.
      path: PNG to write.
    """
    figure = new_figure(5.5, 4.6)
    axis = figure.subplots()
    colors = {item.name: tuple(part / 255 for part in item.color) for item in classes}
    for name, curve in curves.items():
        if not len(curve.scores) or np.isnan(curve.recall).any():
            continue
        color = colors.get(name)
        label = f"{name}: AP {curve.average_precision:.3f}"
        recall, precision = np.append(0.0, curve.recall), np.append(curve.precision[0], curve.precision)
        axis.step(recall, precision, where="post", color=color, label=label, linewidth=1.2)
        at = curve.at(threshold)
        axis.plot([at[1]], [at[0]], marker="o", color=color, markeredgecolor="black", markersize=6)
    axis.set(xlabel="recall", ylabel="precision", xlim=(0, 1.02), ylim=(0, 1.02))
    axis.set_title(f"dots: score ≥ {threshold:.7g}", fontsize=9)
    axis.grid(alpha=0.3)
    if axis.get_legend_handles_labels()[0]:
        axis.legend(fontsize=8, frameon=False, loc="lower left")
    return save_figure(figure, path)


def draw_object_panels(
    model: Any,
    dataset: Sequence[RasterSample],
    spec: RasterSpec,
    path: Path,
    *,
    threshold: float = 0.5,
    rows: int = 4,
) -> Path:
    """Draw image, truth and prediction of some samples, those with the most objects first.

    Args:
      model: in eval mode, with ``detect``; None to draw the truth alone.
      dataset: a split; evenly spread samples of it are looked at.
      spec: of the data.
      path: PNG to write.
      threshold: score from which objects found are shown.
      rows: how many samples to show.
    """
    samples = most_telling(dataset, rows, worth=_count)
    titles = ["truth"] if model is None else ["truth", f"prediction, score ≥ {threshold:.7g}"]
    figure = new_figure(3.4 * (1 + len(titles)), 3.4 * len(samples) + 0.5)
    axes = figure.subplots(len(samples), 1 + len(titles), squeeze=False)
    for line, sample in zip(axes, samples, strict=True):
        shown = [None, sample.extras["objects"]]
        shown += [] if model is None else [_sure(_detected(model, sample), threshold)]
        picture = to_rgb(sample.image, sample.valid)
        for axis, objects in zip(line, shown, strict=True):
            axis.imshow(picture, interpolation="nearest")
            axis.set_axis_off()
            if objects is not None:
                _draw_onto(axis, objects, spec.classes)
        line[0].set_title(short_name(sample.name), fontsize=7, loc="left")
    for axis, title in zip(axes[0][1:], titles, strict=True):
        axis.set_title(title, fontsize=9)
    add_legend(figure, spec.classes, {"ignored": "lightgrey"})
    return save_figure(figure, path)


def _detected(model: Any, sample: RasterSample) -> Objects:
    device = next(model.parameters()).device
    image = torch.from_numpy(sample.image.astype(np.float32))[None].to(device)
    found: Objects = model.detect(image, torch.from_numpy(sample.valid)[None].to(device))[0]
    return found


def _draw_onto(axis: Any, objects: Objects, classes: Sequence[ClassSpec]) -> None:
    """Draw boxes, masks and scores onto axes that show the image; what is ignored is grey and dashed."""
    from matplotlib.patches import Rectangle

    ignored = np.zeros(len(objects), bool) if objects.ignored is None else objects.ignored
    if objects.masks is not None and len(objects):
        axis.imshow(_tint(objects, classes, ignored), interpolation="nearest")
    for number, (left, top, right, bottom) in enumerate(objects.boxes):
        shown = (211, 211, 211) if ignored[number] else classes[int(objects.labels[number])].color
        red, green, blue = (part / 255 for part in shown)
        color = (red, green, blue)
        # Pixel edges lie half a pixel before matplotlib's pixel middles.
        axis.add_patch(
            Rectangle(
                (left - 0.5, top - 0.5),
                right - left,
                bottom - top,
                fill=False,
                edgecolor=color,
                linewidth=1.2,
                linestyle="--" if ignored[number] else "-",
            )
        )
        if objects.scores is not None and len(objects) <= 40:
            score = f"{objects.scores[number]:.2f}"
            axis.text(left, top - 1, score, fontsize=5, color=color, verticalalignment="bottom", clip_on=True)


def _tint(objects: Objects, classes: Sequence[ClassSpec], ignored: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return (H, W, 4) the masks in their classes' colours, half transparent."""
    assert objects.masks is not None
    out = np.zeros((*objects.masks.shape[1:], 4), np.uint8)
    for mask, label in zip(objects.masks[~ignored], objects.labels[~ignored], strict=True):
        out[mask] = (*classes[int(label)].color, 110)
    return out


def _sure(found: Objects, threshold: float) -> Objects:
    return found if found.scores is None else found[found.scores >= threshold]


def _count(sample: RasterSample) -> int:
    objects: Objects = sample.extras["objects"]
    return len(objects) if objects.ignored is None else int((~objects.ignored).sum())
