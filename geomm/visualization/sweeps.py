"""What a sweep's values did to its metrics."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter

from geomm.visualization.canvas import new_figure

#: Values this many times apart are drawn on a logarithmic axis.
_LOG_FROM = 30.0


def draw_choices(
    choices: Mapping[str, Sequence[Any]],
    metrics: Mapping[str, Sequence[float]],
    *,
    links: Sequence[str],
    greater: bool = True,
) -> str:
    """Draw each metric over each value that was chosen, a point a run, as an SVG picture.

    Numbers are an axis; names stand beside each other, each with the mean of its runs.

    Args:
      choices: N values a choice, by name, those of the runs in order.
      metrics: N numbers a metric, NaN where a run has none; the first is the one that ranks.
      links: N targets that a click on a point opens.
      greater: whether more of the first metric is better; the best run is marked.

    Returns:
      The text of the ``svg`` element.
    """
    figure = new_figure(3.6 * max(len(choices), 1), 2.7 * max(len(metrics), 1))
    axes = figure.subplots(len(metrics), len(choices), squeeze=False)
    first = np.asarray(next(iter(metrics.values())), float)
    best = int(np.nanargmax(first if greater else -first)) if np.isfinite(first).any() else None
    for row, (metric, values) in zip(axes, metrics.items(), strict=True):
        for axis, (choice, given) in zip(row, choices.items(), strict=True):
            _draw(axis, given, np.asarray(values, float), best, links)
            axis.set_xlabel(choice, fontsize=8)
            axis.tick_params(labelsize=7)
            axis.grid(alpha=0.3)
        row[0].set_ylabel(metric, fontsize=8)
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg")
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def _draw(axis: Any, given: Sequence[Any], values: Any, best: int | None, links: Sequence[str]) -> None:
    numbers = all(isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v) for v in given)
    if numbers:
        places = np.asarray(given, float)
        low, high = places.min(), places.max()
        if low > 0 and high / low >= _LOG_FROM:
            axis.set_xscale("log")
            axis.xaxis.set_major_locator(LogLocator(subs=(1, 3) if high / low < 1e4 else (1,)))
            axis.xaxis.set_major_formatter(FormatStrFormatter("%g"))
            axis.xaxis.set_minor_formatter(NullFormatter())
    else:
        labels = sorted({str(value) for value in given})
        places = np.array([labels.index(str(value)) for value in given], float)
        means = [values[places == index] for index in range(len(labels))]
        for index, mine in enumerate(means):
            if np.isfinite(mine).any():
                axis.hlines(np.nanmean(mine), index - 0.25, index + 0.25, color="tab:grey", linewidth=1)
        axis.set_xticks(range(len(labels)), labels, rotation=20 if max(map(len, labels)) > 8 else 0)
        axis.set_xlim(-0.6, len(labels) - 0.4)
    shown = np.isfinite(values)
    colors = ["tab:red" if index == best else "tab:blue" for index in np.flatnonzero(shown)]
    points = axis.scatter(places[shown], values[shown], s=22, c=colors, alpha=0.8, linewidths=0, zorder=3)
    points.set_urls([link for link, keep in zip(links, shown, strict=True) if keep])
