"""Predictions of rows as points on a map."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geomm.transforms.table import TableSpec
from geomm.visualization.canvas import add_legend, new_figure, save_figure


def draw_row_map(places: NDArray[Any], values: NDArray[Any], spec: TableSpec, path: Path) -> Path:
    """Draw a point a row, coloured by its prediction.

    Args:
      places: (n, 2) x and y.
      values: (n,) values, or names of classes.
      spec: of the model.
      path: PNG to write.
    """
    figure = new_figure(7, 6)
    axis = figure.subplots()
    x, y = places.T
    size = float(np.clip(4000 / max(len(values), 1), 2, 30))
    if spec.classes:
        colors = {item.name: np.array(item.color) / 255 for item in spec.classes}
        axis.scatter(x, y, s=size, c=[colors[name] for name in values], linewidths=0)
        add_legend(figure, spec.classes)
    else:
        drawn = axis.scatter(x, y, s=size, c=values.astype(float), cmap="viridis", linewidths=0)
        figure.colorbar(drawn, ax=axis, label=f"predicted {spec.targets[0].name}")
    axis.set_aspect("equal", adjustable="datalim")
    axis.ticklabel_format(useOffset=False, style="plain")
    axis.tick_params(labelsize=7)
    return save_figure(figure, path)


def draw_value_map(path: Path, picture: Path) -> Path:
    """Draw the first band of a map of values, small.

    Args:
      path: of the map.
      picture: PNG to write.
    """
    from geomm.io.raster import RasterReader

    reader = RasterReader(path)
    pixels, valid = reader.read_overview(900, [1])
    figure = new_figure(7, 6)
    axis = figure.subplots()
    shown = axis.imshow(np.where(valid, pixels[0], np.nan), cmap="viridis")
    figure.colorbar(shown, ax=axis, label=f"predicted {reader.info.band_names[0]}")
    axis.set_axis_off()
    return save_figure(figure, picture)
