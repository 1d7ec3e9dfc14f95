"""The model card: what a person reads first in a package."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import geomm
from geomm.points import PointSpec
from geomm.structures import RasterSpec
from geomm.tasks.base import Task
from geomm.text import TextSpec


def model_card(config: Mapping[str, Any], spec: Any, task: Task, metrics: Mapping[str, Any]) -> str:
    """Return the card as Markdown (Mitchell et al., "Model Cards for Model Reporting", 2019)."""
    head, backbone = config.get("head") or {}, config.get("backbone") or {}
    over = backbone.get("name") or backbone.get("type")
    text = isinstance(spec, TextSpec)
    lines = [
        f"# {task.name}: {str(head.get('type', '')).rpartition('.')[2]}{f' over {over}' if over else ''}",
        "",
        f"Written by geomm {geomm.__version__}. Map with it:",
        "",
        f"    geomm-infer model=model.dlpk input={'reports/' if text else 'scene.tif'} output=out/",
        "",
        "## What it reads and writes",
        "",
        *(_raster_lines(spec) if isinstance(spec, RasterSpec) else []),
        *(_text_lines(spec) if isinstance(spec, TextSpec) else []),
        "## Training",
        "",
        f"- {metrics.get('epochs')} epochs (best: {metrics.get('best_epoch')}), batches of "
        f"{metrics.get('batch_size')}, learning rate {metrics.get('lr')}, seed {metrics.get('seed')}",
        f"- {metrics.get('parameters', 0):,} parameters, {metrics.get('seconds', 0):.0f} s",
        "- `config.yaml` is the whole run",
        "",
    ]
    for split in ("val", "test"):
        if split in metrics:
            lines += [f"## Results on the {split} split", "", "| metric | value |", "|---|---|"]
            lines += [f"| {key} | {value:.4f} |" for key, value in metrics[split].items()]
            lines.append("")
    limits = (
        "It was judged on imagery of the same scenes or export as it was trained on. On another sensor, "
        "season, ground resolution or region, check its results against samples of your own first."
    )
    if text:
        limits = (
            "It was judged on documents of the same collection as it was trained on. On texts of another "
            "writer, form or language, check its results against documents of your own first."
        )
    lines += ["## Limits", "", limits, ""]
    return "\n".join(lines)


def _text_lines(spec: TextSpec) -> list[str]:
    placed = f"; {spec.address_tag} is placed on the map" if spec.address_tag else ""
    return [
        f"- texts in the language {spec.language}, {spec.window_tokens} tokens at once",
        f"- entities {', '.join(spec.labels)}{placed}",
        "",
    ]


def _point_lines(spec: PointSpec) -> list[str]:
    classes = ", ".join(f"{item.value} {item.name}" for item in spec.classes)
    return [
        f"- points with {', '.join(spec.features) or 'coordinates alone'}; about {spec.points_per_m2:.3g} "
        f"points a square metre, blocks of {spec.block_m:g} m",
        f"- classification codes: {classes}",
        "",
    ]


def _raster_lines(spec: RasterSpec) -> list[str]:
    gsd = f", pixels of {spec.gsd:g} CRS units" if spec.gsd else ""
    lines = [
        f"- {spec.in_channels} bands ({', '.join(spec.band_names)}), {spec.dtype}{gsd}, windows of "
        f"{spec.window_px} px",
    ]
    if spec.classes:
        names = ", ".join(f"{item.value} {item.name}" for item in spec.classes)
        lines.append(f"- classes: {names}")
    return [*lines, ""]
