"""What the tasks on imagery have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from geomm.structures import RasterSpec
from geomm.tasks.base import Task


class RasterTask(Task):
    """A task whose samples are windows of scenes, ``RasterSample``, and whose spec is a ``RasterSpec``."""

    spec_type = RasterSpec

    def collate(self, samples: Sequence[Any]) -> dict[str, Any]:
        from geomm.datasets.collate import collate_raster

        return collate_raster(samples)

    def describe_spec(self, spec: RasterSpec) -> list[str]:
        gsd = f", pixels of {spec.gsd:g} CRS units" if spec.gsd else ""
        lines = [
            f"- {spec.in_channels} bands ({', '.join(spec.band_names)}), {spec.dtype}{gsd}, windows of "
            f"{spec.window_px} px",
        ]
        if spec.scale > 1:
            lines.append(f"- writes the same bands on a grid {spec.scale} times as fine")
        if spec.classes:
            names = ", ".join(f"{item.value} {item.name}" for item in spec.classes)
            lines.append(f"- classes: {names}")
        return lines
