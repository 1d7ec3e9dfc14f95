"""What the tasks on imagery have in common."""

from __future__ import annotations

import abc
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

    def stac_keys(self, spec: RasterSpec) -> dict[str, Any]:
        from geomm.tasks.stac_model import raster_input

        result = self.stac_output(spec)
        return {"mlm:tasks": result["tasks"], "mlm:input": [raster_input(spec)], "mlm:output": [result]}

    @abc.abstractmethod
    def stac_output(self, spec: RasterSpec) -> dict[str, Any]:
        """Return what comes out of the model, from ``geomm.tasks.stac_model.output``."""

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
