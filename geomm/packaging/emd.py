"""The Esri model definition: the JSON that ArcGIS reads first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import geomm
from geomm.packaging.archive import FORMAT, WEIGHTS
from geomm.structures import RasterSpec
from geomm.tasks.base import Task

#: Keys that every definition has; null where they say nothing about a model.
COMMON = (
    "Framework", "ModelConfiguration", "ModelType", "InferenceFunction", "ModelFile", "ModelName",
    "ImageHeight", "ImageWidth", "ExtractBands", "ImageSpaceUsed", "Classes", "MinCellSize", "MaxCellSize",
    "SupportsVariableTileSize", "ModelParameters",
)  # fmt: skip


def model_definition(
    config: Mapping[str, Any], spec: Any, task: Task, metrics: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the keys common to all models, the task's own, and geomm's under ``geomm``."""
    head, backbone = config.get("head") or {}, config.get("backbone") or {}
    name = str(head.get("estimator") or head.get("type", "")).rpartition(".")[2]
    definition: dict[str, Any] = dict.fromkeys(COMMON) | {
        "Framework": "geomm",
        "ModelConfiguration": "geomm",
        "InferenceFunction": None if task.raster_function is None else task.raster_function.name,
        "ModelFile": WEIGHTS,
        "ModelName": name,
        "ModelParameters": {"backbone": backbone.get("name") or backbone.get("type"), "head": name},
        "SupportsVariableTileSize": isinstance(spec, RasterSpec),
        "LearningRate": metrics.get("lr"),
        "Metrics": {k: v for k, v in metrics.get("val", {}).items() if "/" not in k},
    }
    classes = getattr(spec, "classes", None)
    if classes is not None:
        definition["Classes"] = [
            {"Value": item.value, "Name": item.name, "Color": list(item.color)} for item in classes
        ]
    if isinstance(spec, RasterSpec):
        definition |= _raster_keys(spec)
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
    cell = _cell_size(spec)
    several = spec.in_channels != 3
    return {
        "ImageHeight": spec.window_px,
        "ImageWidth": spec.window_px,
        "ExtractBands": [band - 1 for band in spec.bands],
        "ImageSpaceUsed": "MAP_SPACE" if spec.map_space else "PIXEL_SPACE",
        "MinCellSize": cell,
        "MaxCellSize": cell,
        "IsMultispectral": several,
        "Bands": list(spec.band_names),
        "ImageryType": "ms" if several else "rgb",
        "DoNormalize": True,
        "NormalizationStats": stats,
    }


def _cell_size(spec: RasterSpec) -> dict[str, Any]:
    size: dict[str, Any] = {"x": spec.gsd, "y": spec.gsd}
    if spec.crs:
        from pyproj import CRS

        code = CRS.from_user_input(spec.crs).to_epsg()
        if code:
            size["spatialReference"] = {"wkid": code, "latestWkid": code}
    return size
