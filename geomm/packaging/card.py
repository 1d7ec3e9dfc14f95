"""The model card: what a person reads first in a package."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import geomm
from geomm.tasks.base import Task


def model_card(config: Mapping[str, Any], spec: Any, task: Task, metrics: Mapping[str, Any]) -> str:
    """Return the card as Markdown (Mitchell et al., "Model Cards for Model Reporting", 2019)."""
    head, backbone = config.get("head") or {}, config.get("backbone") or {}
    over = backbone.get("name") or backbone.get("type")
    lines = [
        f"# {task.name}: {str(head.get('estimator') or head.get('type', '')).rpartition('.')[2]}"
        + (f" over {over}" if over else ""),
        "",
        f"Written by geomm {geomm.__version__}. Map with it:",
        "",
        f"    geomm-infer model=model.dlpk input={task.example_input} output=out/",
        "",
        "## What it reads and writes",
        "",
        *task.describe_spec(spec),
        "",
        "## Training",
        "",
        f"- {metrics.get('epochs')} epochs (best: {metrics.get('best_epoch')}), batches of "
        f"{metrics.get('batch_size')}, learning rate {metrics.get('lr')}, seed {metrics.get('seed')}",
        *_refit_lines(metrics),
        f"- {metrics.get('parameters', 0):,} parameters, {metrics.get('seconds', 0):.0f} s",
        "- `config.yaml` is the whole run",
        "",
    ]
    for split in ("val", "test"):
        if split in metrics:
            lines += [f"## Results on the {split} split", "", "| metric | value |", "|---|---|"]
            # A threshold in full: a rounded one may let nothing through.
            lines += [
                f"| {key} | {value:{'.7g' if key == 'threshold' else '.4f'}} |"
                for key, value in metrics[split].items()
            ]
            lines.append("")
    lines += _round_lines(metrics)
    lines += ["## Limits", "", task.limits, ""]
    return "\n".join(lines)


def _refit_lines(metrics: Mapping[str, Any]) -> list[str]:
    """Say that the model that is kept is not the one that validation judged, where it is so."""
    if "refit" not in metrics:
        return []
    again = metrics["refit"]
    epochs = f"{again['epochs']} epoch{'s' if again['epochs'] != 1 else ''}"
    return [
        f"- then trained again from the start, for {epochs} on all {again['samples']} samples of training "
        "and validation; the results on the val split are of the model before"
    ]


def _round_lines(metrics: Mapping[str, Any]) -> list[str]:
    """Say what a cross-validation, or another way of splitting, found."""
    lines: list[str] = []
    for key in ("folds", "beside"):
        if key in metrics:
            found = metrics[key]
            count = len(found["each"])
            times = f"{count} folds" if count > 1 else "once"
            lines += [
                f"## Split by {found['by']}, {times}",
                "",
                "| metric | mean | spread |",
                "|---|---|---|",
            ]
            for name, value in found["mean"].items():
                spread = found["std"].get(name)
                lines.append(f"| {name} | {value:.4f} | {'' if spread is None else f'{spread:.4f}'} |")
            lines.append("")
    return lines
