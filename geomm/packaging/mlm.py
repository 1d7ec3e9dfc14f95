"""The model as a STAC Item with the Machine Learning Model extension.

https://github.com/stac-extensions/mlm, version 1.5.2.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from typing import Any

import geomm
from geomm.structures import RasterSpec
from geomm.tasks.base import Task

_MLM = "https://stac-extensions.github.io/mlm/v1.5.2/schema.json"
_CLASSIFICATION = "https://stac-extensions.github.io/classification/v1.1.0/schema.json"


def model_item(
    config: Mapping[str, Any], spec: Any, task: Task, metrics: Mapping[str, Any]
) -> dict[str, Any]:
    """Return a STAC Item that describes the model; it is about no place, so its geometry is null."""
    head, backbone = config.get("head") or {}, config.get("backbone") or {}
    architecture = str(head.get("estimator") or head.get("type") or task.name).rpartition(".")[2]
    over = backbone.get("name") or backbone.get("type")
    pretrained = bool(backbone.get("pretrained") or head.get("checkpoint"))
    now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    properties: dict[str, Any] = {
        "datetime": now,
        "description": f"{task.name} by {architecture}{f' over {over}' if over else ''}, trained by geomm",
        "mlm:name": f"{architecture} over {over}" if over else architecture,
        "mlm:architecture": architecture,
        **_framework(head),
        "mlm:pretrained": pretrained,
        **task.stac_keys(spec),
    }
    if not pretrained:
        properties["mlm:pretrained_source"] = None
    for key, name in (("mlm:total_parameters", "parameters"), ("mlm:batch_size_suggestion", "batch_size")):
        if isinstance(metrics.get(name), int):
            properties[key] = metrics[name]
    learnt = {key: metrics[key] for key in ("lr", "epochs", "seed") if metrics.get(key) is not None}
    if learnt:
        properties["mlm:hyperparameters"] = learnt
    # STAC allows bands of an item where an asset has some, and the extension asks the item for them.
    bands: dict[str, Any] = {}
    if isinstance(spec, RasterSpec):
        bands["bands"] = [{"name": name, "data_type": spec.dtype} for name in spec.band_names]
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": [_MLM, _CLASSIFICATION],
        "id": re.sub(r"[^a-z0-9_-]+", "-", f"geomm-{task.name}-{architecture}".lower()),
        "geometry": None,
        "properties": {**properties, **bands},
        "links": [],
        "assets": {
            "model": {
                "href": "./weights.safetensors",
                "type": "application/vnd.safetensors",
                "title": f"Weights, built by geomm {geomm.__version__} from config.yaml",
                "roles": ["mlm:model", "mlm:weights"],
                "mlm:artifact_type": "safetensors.torch.save_file",
                **bands,
            }
        },
    }


def _framework(head: Mapping[str, Any]) -> dict[str, str]:
    if head.get("estimator"):
        from importlib.metadata import version

        return {"mlm:framework": "scikit-learn", "mlm:framework_version": version("scikit-learn")}
    import torch

    return {"mlm:framework": "PyTorch", "mlm:framework_version": torch.__version__}
