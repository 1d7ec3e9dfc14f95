"""Figures of a table model: what it predicts beside the truth, where it errs, what it looks at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geomm.visualization.canvas import new_figure, save_figure
from geomm.visualization.confusion import draw_confusion


def draw_table_figures(run: Any) -> list[Path]:
    """Draw every figure of a finished run."""
    return []
