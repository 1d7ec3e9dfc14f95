"""Places on a plain map, to see at a glance whether they are where they should be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from geomm.visualization.canvas import new_figure, save_figure


def draw_places(rows: Sequence[Mapping[str, Any]], path: Path, *, most_names: int = 25) -> Path:
    """Draw points by longitude and latitude, sure ones dark, those of several documents large.

    Args:
      rows: with ``latitude``, ``longitude``, ``place`` and ``place_confidence``.
      path: PNG to write.
      most_names: how many of the most frequent places are named.
    """
    places: dict[tuple[float, float], list[Mapping[str, Any]]] = {}
    for row in rows:
        places.setdefault((row["longitude"], row["latitude"]), []).append(row)
    figure = new_figure(9, 6)
    axis = figure.subplots()
    spots = sorted(places.items(), key=lambda item: -len(item[1]))
    drawn = axis.scatter(
        [lon for (lon, _), _ in spots],
        [lat for (_, lat), _ in spots],
        s=[20 + 12 * len(found) for _, found in spots],
        c=[sum(row["place_confidence"] for row in found) / len(found) for _, found in spots],
        cmap="viridis_r",
        vmin=0,
        vmax=1,
        alpha=0.8,
    )
    for (lon, lat), found in spots[:most_names]:
        text = f"{found[0]['place']} ({len(found)})" if len(found) > 1 else str(found[0]["place"])
        axis.annotate(text, (lon, lat), xytext=(4, 3), textcoords="offset points", fontsize=7)
    axis.set(xlabel="longitude", ylabel="latitude", title=f"{len(rows)} places")
    axis.grid(alpha=0.3)
    axis.margins(0.08)
    figure.colorbar(drawn, label="confidence")
    return save_figure(figure, path)
