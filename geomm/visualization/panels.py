"""Panels of image, truth and prediction, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from geomm.structures import IGNORE_INDEX, RasterSample, RasterSpec
from geomm.visualization.canvas import (
    add_legend,
    most_telling,
    new_figure,
    paint_classes,
    save_figure,
    short_name,
    to_rgb,
)


def draw_segmentation_panels(
    model: Any, dataset: Sequence[RasterSample], spec: RasterSpec, path: Path, *, rows: int = 6
) -> Path:
    """Draw image, truth and prediction of some samples, those with the most classes first.

    Args:
      model: a Segmentor in eval mode; None to draw the truth alone.
      dataset: a split; evenly spread samples of it are looked at.
      spec: of the data.
      path: PNG to write.
      rows: how many samples to show.
    """
    samples = most_telling(dataset, rows, worth=_worth)
    titles = ["truth"] if model is None else ["truth", "prediction"]
    figure = new_figure(3.0 * (1 + len(titles)), 3.0 * len(samples) + 0.5)
    axes = figure.subplots(len(samples), 1 + len(titles), squeeze=False)
    for line, sample in zip(axes, samples, strict=True):
        masks = [
            sample.mask if sample.mask is not None else np.full_like(sample.valid, IGNORE_INDEX, np.uint8)
        ]
        masks += [] if model is None else [_predicted(model, sample)]
        pictures = [
            to_rgb(sample.image, sample.valid),
            *(paint_classes(mask, spec.classes) for mask in masks),
        ]
        for axis, picture in zip(line, pictures, strict=True):
            axis.imshow(picture, interpolation="nearest")
            axis.set_axis_off()
        line[0].set_title(short_name(sample.name), fontsize=7, loc="left")
    for axis, title in zip(axes[0][1:], titles, strict=True):
        axis.set_title(title, fontsize=9)
    add_legend(figure, spec.classes, {"unlabelled or nodata": "white"})
    return save_figure(figure, path)


def _predicted(model: Any, sample: RasterSample) -> NDArray[np.uint8]:
    device = next(model.parameters()).device
    image = torch.from_numpy(sample.image.astype(np.float32))[None].to(device)
    valid = torch.from_numpy(sample.valid)[None].to(device)
    prediction: NDArray[np.uint8] = (
        model.predict_scores(image, valid)[0].argmax(0).cpu().numpy().astype(np.uint8)
    )
    prediction[~sample.valid] = IGNORE_INDEX
    return prediction


def _worth(sample: RasterSample) -> tuple[int, int]:
    if sample.mask is None:
        return 0, 0
    labelled = sample.mask[sample.mask != IGNORE_INDEX]
    return len(np.unique(labelled)), int(labelled.size)
