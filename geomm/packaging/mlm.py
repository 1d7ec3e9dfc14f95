"""The model as a STAC Item with the Machine Learning Model extension.

https://github.com/stac-extensions/mlm, version 1.5.0.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

import geomm
from geomm.structures import RasterSpec
from geomm.tasks.base import Task

_SCHEMA = "https://stac-extensions.github.io/mlm/v1.5.0/schema.json"
_TASKS = {
    "segmentation": "semantic-segmentation",
    "point_cloud": "semantic-segmentation",
    "detection": "object-detection",
    "instance_segmentation": "instance-segmentation",
    "classification": "classification",
    "super_resolution": "super-resolution",
    "ner": "named-entity-recognition",
}


def model_item(
    config: Mapping[str, Any], spec: Any, task: Task, metrics: Mapping[str, Any]
) -> dict[str, Any]:
    """Return a STAC Item that describes the model; it is about no place, so its geometry is null."""
    import torch

    head, backbone = config.get("head") or {}, config.get("backbone") or {}
    architecture = str(head.get("type", task.name)).rpartition(".")[2]
    over = backbone.get("name") or backbone.get("type")
    now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    properties: dict[str, Any] = {
        "datetime": now,
        "mlm:name": f"{architecture} over {over}" if over else architecture,
        "mlm:architecture": architecture,
        "mlm:tasks": [_kind(spec, task)],
        "mlm:framework": "pytorch",
        "mlm:framework_version": torch.__version__,
        "mlm:total_parameters": metrics.get("parameters"),
        "mlm:pretrained": bool(backbone.get("pretrained")),
        "mlm:batch_size_suggestion": metrics.get("batch_size"),
    }
    if isinstance(spec, RasterSpec):
        properties |= {
            "mlm:input": [_raster_input(spec)],
            "mlm:output": [_raster_output(spec, task)],
        }
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": [_SCHEMA],
        "id": f"geomm-{task.name}-{architecture.lower()}",
        "geometry": None,
        "properties": {key: value for key, value in properties.items() if value is not None},
        "links": [],
        "assets": {
            "model": {
                "href": "./weights.safetensors",
                "type": "application/vnd.safetensors",
                "title": f"Weights, built by geomm {geomm.__version__} from config.yaml",
                "roles": ["mlm:model", "mlm:weights"],
                "mlm:artifact_type": "safetensors",
            }
        },
    }


def _kind(spec: Any, task: Task) -> str:
    if task.name == "tabular":
        return str(spec.kind)
    return _TASKS.get(task.name, task.name.replace("_", "-"))


def _raster_input(spec: RasterSpec) -> dict[str, Any]:
    return {
        "name": "imagery",
        "bands": list(spec.band_names),
        "input": {
            "shape": [-1, spec.in_channels, spec.window_px, spec.window_px],
            "dim_order": ["batch", "bands", "height", "width"],
            "data_type": "float32",
        },
        "value_scaling": [
            {"type": "z-score", "mean": mean, "stddev": std}
            for mean, std in zip(spec.statistics.mean, spec.statistics.std, strict=True)
        ],
        "resize_type": None,
    }


def _raster_output(spec: RasterSpec, task: Task) -> dict[str, Any]:
    finds_objects = task.name in ("detection", "instance_segmentation")
    shape, order = [-1, spec.num_classes], ["batch", "class"]
    if task.name != "classification":
        shape, order = [*shape, spec.window_px, spec.window_px], [*order, "height", "width"]
    scores = {"shape": shape, "dim_order": order, "data_type": "float32"}
    return {
        "name": "objects" if finds_objects else "scores",
        "tasks": [_TASKS.get(task.name, task.name.replace("_", "-"))],
        "result": _objects() if finds_objects else scores,
        "classification:classes": [
            {
                "value": item.value,
                "name": item.name.replace(" ", "_"),
                "title": item.name,
                "color_hint": "{:02X}{:02X}{:02X}".format(*item.color),
            }
            for item in spec.classes
        ],
    }


def _objects() -> dict[str, Any]:
    """Describe a window's objects: corners in pixels, score, index of the class."""
    return {
        "shape": [-1, -1, 6],
        "dim_order": ["batch", "object", "xmin_ymin_xmax_ymax_score_class"],
        "data_type": "float32",
    }
