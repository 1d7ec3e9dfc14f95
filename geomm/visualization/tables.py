"""Figures of a table model: what it predicts beside the truth, where it errs, what it looks at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geomm.transforms.table import TableSpec
from geomm.visualization.canvas import new_figure, save_figure

_BLUE, _RED = "#2b6cb0", "#c53030"
#: Points of a scatter beyond this are drawn as a random part.
_MOST_POINTS = 20_000


def draw_columns(frame: Any, path: Path, *, most: int = 12) -> Path:
    """Draw how the values of a data frame's first columns are distributed.

    Args:
      frame: of pandas.
      path: PNG to write.
      most: columns that are drawn.
    """
    names = list(frame.columns)[:most]
    lines = max(-(-len(names) // 4), 1)
    figure = new_figure(11, 2.3 * lines)
    axes = figure.subplots(lines, 4, squeeze=False).ravel()
    for axis in axes[len(names) :]:
        axis.set_axis_off()
    for axis, name in zip(axes, names, strict=False):
        values = frame[name].dropna()
        axis.set_title(str(name), fontsize=9)
        axis.tick_params(labelsize=7)
        if values.dtype.kind in "iufM":
            axis.hist(values, bins=30, color=_BLUE)
            axis.tick_params(axis="x", rotation=20)
        else:
            counts = values.astype(str).value_counts()[:8]
            axis.barh([text[:18] for text in counts.index], counts.to_numpy(), color=_BLUE)
    return save_figure(figure, path)


def draw_actual_predicted(
    rows: Mapping[str, NDArray[Any]], spec: TableSpec, scores: Mapping[str, float], path: Path
) -> Path:
    """Draw predicted over actual values, and the residuals' distribution, a row a target.

    Args:
      rows: ``prediction`` and ``target``, (n, T).
      spec: of the model.
      scores: written into the figure.
      path: PNG to write.
    """
    count = len(spec.targets)
    figure = new_figure(9, 4.2 * count)
    axes = figure.subplots(count, 2, squeeze=False)
    chosen = _some(len(rows["target"]))
    for index, target in enumerate(spec.targets):
        truth, found = rows["target"][chosen, index], rows["prediction"][chosen, index]
        left, right = axes[index]
        left.scatter(truth, found, s=9, alpha=0.5, color=_BLUE, linewidths=0)
        ends = [min(truth.min(), found.min()), max(truth.max(), found.max())]
        left.plot(ends, ends, color="grey", linewidth=0.8)
        left.set(xlabel=f"actual {target.name}", ylabel=f"predicted {target.name}")
        right.hist(found - truth, bins=int(np.clip(len(truth) // 5, 8, 40)), color=_BLUE)
        right.axvline(0, color="grey", linewidth=0.8)
        right.locator_params(axis="x", nbins=5)
        right.set(xlabel=f"predicted minus actual {target.name}", ylabel="rows")
    text = ", ".join(f"{name} {value:.4g}" for name, value in scores.items() if "/" not in name)
    figure.suptitle(text, fontsize=9)
    return save_figure(figure, path)


def draw_residual_map(
    places: NDArray[np.float64], residuals: NDArray[np.float64], label: str, path: Path
) -> Path:
    """Draw where a model predicts too much (red) and too little (blue); only red where nothing is below 0.

    Args:
      places: (n, 2) x and y.
      residuals: (n,) predicted minus actual.
      label: of the colour bar.
      path: PNG to write.
    """
    chosen = _some(len(residuals))
    limit = float(np.quantile(np.abs(residuals), 0.98)) or 1.0
    figure = new_figure(7, 6)
    axis = figure.subplots()
    x, y = places[chosen].T
    low, colors = (-limit, "RdBu_r") if (residuals < 0).any() else (0.0, "Reds")
    drawn: Any = axis.scatter(
        x, y, s=18, c=residuals[chosen], cmap=colors, vmin=low, vmax=limit, linewidths=0.3,
        edgecolors="grey",
    )  # fmt: skip
    figure.colorbar(drawn, ax=axis, label=label)
    axis.set_aspect("equal", adjustable="datalim")
    axis.ticklabel_format(useOffset=False, style="plain")
    axis.tick_params(labelsize=7)
    return save_figure(figure, path)


def draw_over_time(
    times: NDArray[Any], truth: NDArray[np.float64], found: NDArray[np.float64], label: str, path: Path
) -> Path:
    """Draw actual and predicted values over time, the mean of rows of one time.

    Args:
      times: (n,) numbers or datetime64.
      truth: (n,).
      found: (n,).
      label: of the axis.
      path: PNG to write.
    """
    moments, group = np.unique(times, return_inverse=True)
    counts = np.bincount(group)
    figure = new_figure(11, 4)
    axis = figure.subplots()
    for values, name, color in ((truth, "actual", "black"), (found, "predicted", _RED)):
        axis.plot(moments, np.bincount(group, values) / counts, label=name, color=color, linewidth=1)
    axis.set_ylabel(label)
    axis.legend(frameon=False)
    return save_figure(figure, path)


def draw_importance(names: Sequence[str], gains: NDArray[np.float64], what: str, path: Path) -> Path:
    """Draw by how much the error grows when a column is shuffled.

    Args:
      names: of the columns.
      gains: (columns, repeats).
      what: error it is.
      path: PNG to write.
    """
    order = np.argsort(gains.mean(1))[-25:]
    figure = new_figure(7, 1 + 0.28 * len(order))
    axis = figure.subplots()
    spread = gains[order].std(1)
    axis.barh([names[i] for i in order], gains[order].mean(1), xerr=spread, color=_BLUE)
    axis.set_xlabel(f"growth of {what} when the column is shuffled")
    axis.tick_params(axis="y", labelsize=8)
    return save_figure(figure, path)


def draw_calibration(
    scores: NDArray[np.float64], target: NDArray[np.int64], names: Sequence[str], path: Path
) -> Path:
    """Draw how often a class is true where the model says so much, and the ROC curves.

    Args:
      scores: (n, K) probabilities.
      target: (n,) class indices.
      names: of the classes.
      path: PNG to write.
    """
    from sklearn.metrics import roc_curve

    figure = new_figure(10, 4.6)
    left, right = figure.subplots(1, 2)
    left.plot([0, 1], [0, 1], color="grey", linewidth=0.8)
    right.plot([0, 1], [0, 1], color="grey", linewidth=0.8)
    for index in [1] if len(names) == 2 else range(min(len(names), 8)):
        true = target == index
        if not 0 < true.sum() < len(true):
            continue
        edges = np.quantile(scores[:, index], np.linspace(0, 1, 11))
        place = np.clip(np.searchsorted(edges[1:-1], scores[:, index], side="right"), 0, 9)
        counts = np.bincount(place, minlength=10)
        there = counts > 0
        said = np.bincount(place, scores[:, index], minlength=10)[there] / counts[there]
        seen = np.bincount(place, true, minlength=10)[there] / counts[there]
        left.plot(said, seen, marker="o", markersize=3, label=names[index])
        right.plot(*roc_curve(true, scores[:, index])[:2], label=names[index])
    left.set(xlabel="predicted probability", ylabel="share that is true", xlim=(0, 1), ylim=(0, 1))
    right.set(xlabel="false positive rate", ylabel="true positive rate", xlim=(0, 1), ylim=(0, 1))
    left.legend(frameon=False)
    return save_figure(figure, path)


def _some(count: int) -> NDArray[np.int64]:
    if count <= _MOST_POINTS:
        return np.arange(count)
    return np.random.default_rng(0).choice(count, _MOST_POINTS, replace=False)
