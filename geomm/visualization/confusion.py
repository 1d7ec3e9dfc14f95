"""The confusion matrix as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from geomm.visualization.canvas import new_figure, save_figure


def draw_confusion(matrix: ArrayLike, names: Sequence[str], path: Path) -> Path:
    """Draw a confusion matrix, its rows normalised to the truth's share, with counts.

    Args:
      matrix: (K, K) counts, rows truth, columns prediction.
      names: K class names.
      path: PNG to write.
    """
    counts: Any = np.asarray(matrix, dtype=np.float64)
    totals = counts.sum(1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros_like(counts), where=totals > 0)
    size = min(3.2 + 0.7 * len(names), 16)
    figure = new_figure(size + 0.8, size)
    axis = figure.subplots()
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    if len(names) <= 16:
        for row in range(len(names)):
            for col in range(len(names)):
                text = f"{shares[row, col]:.1%}\n{_short(counts[row, col])}"
                color = "white" if shares[row, col] > 0.55 else "black"
                axis.text(col, row, text, ha="center", va="center", fontsize=8, color=color)
    ticks = range(len(names))
    axis.set_xticks(ticks, names, rotation=45, ha="right")
    axis.set_yticks(ticks, names)
    axis.set(xlabel="predicted", ylabel="true")
    return save_figure(figure, path)


def _short(count: float) -> str:
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count:.0f}"
