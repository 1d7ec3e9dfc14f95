"""The Esri model definition: the JSON that ArcGIS reads first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import geomm
from geomm.packaging.archive import FORMAT, WEIGHTS
from geomm.structures import RasterSpec
from geomm.tasks.base import Task


def model_definition(
    config: Mapping[str, Any], spec: Any, task: Task, metrics: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the keys common to all models, the task's own, and geomm's under ``geomm``."""
    head, backbone = config.get("head") or {}, config.get("backbone") or {}
    definition: dict[str, Any] = {
        "Framework": "geomm",
        "ModelConfiguration": "geomm",
        "ModelFile": WEIGHTS,
        "ModelName": str(head.get("type", "")).rpartition(".")[2],
        "ModelParameters": {"backbone": backbone.get("name") or backbone.get("type")},
        "SupportsVariableTileSize": True,
        "LearningRate": metrics.get("lr"),
        "Metrics": {k: v for k, v in metrics.get("val", {}).items() if "/" not in k},
    }
    if isinstance(spec, RasterSpec):
        definition |= _raster_keys(spec)
    if task.raster_function is not None:
        definition["InferenceFunction"] = task.raster_function.name
    definition |= task.emd_keys(spec)
    definition["geomm"] = {
        "format": FORMAT,
        "version": geomm.__version__,
        "task": task.name,
        "spec": task.spec_to_dict(spec),
    }
    return definition


def _raster_keys(spec: RasterSpec) -> dict[str, Any]:
    statistics = spec.statistics
    stats = {
        "band_min_values": list(statistics.min),
        "band_max_values": list(statistics.max),
        "band_mean_values": list(statistics.mean),
        "band_std_values": list(statistics.std),
    }
    cell = {"x": spec.gsd, "y": spec.gsd}
    return {
        "ImageHeight": spec.window_px,
        "ImageWidth": spec.window_px,
        "ExtractBands": [band - 1 for band in spec.bands],
        "ImageSpaceUsed": "MAP_SPACE" if spec.map_space else "PIXEL_SPACE",
        "MinCellSize": cell,
        "MaxCellSize": cell,
        "Classes": [
            {"Value": item.value, "Name": item.name, "Color": list(item.color)} for item in spec.classes
        ],
        "IsMultispectral": spec.in_channels != 3,
        "Bands": list(spec.band_names),
        "DoNormalize": True,
        "NormalizationStats": stats,
    }
