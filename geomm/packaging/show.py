"""What a package is, for people: without building its model."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from geomm.errors import PackageError
from geomm.io.json_text import parse_metrics
from geomm.packaging.archive import CONFIG, WEIGHTS, Archive, open_archive
from geomm.registry import TASKS

#: Metrics that are shown a split; the rest is in metrics.json.
_SHOWN = 8


@dataclass(frozen=True)
class Tensor:
    """An array of weights, as the header of safetensors has it."""

    dtype: str
    shape: tuple[int, ...]


def read_tensors(weights: bytes) -> dict[str, Tensor]:
    """Return what weights hold by name, from their header alone.

    Raises:
      PackageError: these bytes are not safetensors.
    """
    try:
        (length,) = struct.unpack("<Q", weights[:8])
        header = json.loads(weights[8 : 8 + length])
        return {
            name: Tensor(str(item["dtype"]), tuple(int(edge) for edge in item["shape"]))
            for name, item in header.items()
            if name != "__metadata__"
        }
    except (struct.error, ValueError, KeyError, TypeError, AttributeError) as error:
        raise PackageError(f"{WEIGHTS} is not safetensors ({type(error).__name__})") from error


def show_package(path: str | Path) -> str:
    """Return lines that say what a package is: its task, model, data, results and members.

    Raises:
      PackageError: it cannot be read.
    """
    archive = open_archive(path)
    config, own = archive.config, archive.own
    head, backbone = config.get("head") or {}, config.get("backbone") or {}
    over = backbone.get("name") or backbone.get("type")
    kind = head.get("estimator") or head.get("type")
    tensors = read_tensors(archive.weights)
    count = sum(prod(item.shape) for item in tensors.values())
    metrics = _metrics(archive)
    by = f"geomm {own.get('version', 'unknown')}"
    rows: list[tuple[str, str]] = [
        ("package", f"{path} ({_size(sum(archive.sizes.values()))}, format {archive.found_format}, {by})"),
        ("task", str(own["task"])),
        ("model", f"{kind}{f' over {over}' if over else ''}, {count:,} numbers in {len(tensors)} arrays"),
        *(("", line.removeprefix("- ")) for line in _spec_lines(archive)),
        *_results(metrics),
    ]
    keys = ("epochs", "best_epoch", "lr", "batch_size", "seed", "seconds")
    said = ", ".join(f"{key} {metrics[key]}" for key in keys if metrics.get(key) is not None)
    dataset = {key: value for key, value in (config.get("dataset") or {}).items() if key not in ("tasks",)}
    where = next((dataset[key] for key in ("images", "root", "path", "sample") if dataset.get(key)), None)
    rows += [
        ("training", said),
        ("data", f"{dataset.get('type')}{f' of {where}' if where else ''}"),
        ("plugins", ", ".join([*(config.get("plugins") or []), *own.get("plugins", ())])),
        ("members", ", ".join(f"{name} {_size(size)}" for name, size in archive.sizes.items())),
        ("config", f"{CONFIG} in the package is the whole run"),
    ]
    return "\n".join(f"{name:<10}{text}".rstrip() for name, text in rows if text) + "\n"


def _spec_lines(archive: Archive) -> list[str]:
    """Return what the task says of its data; of a plugin's task that is not loaded, nothing."""
    import geomm.tasks  # noqa: F401 - registers them; ``registry.build`` would load torch

    try:
        options = dict(archive.config["task"])
        task = TASKS.module_dict[options.pop("type")](**options)
        lines: list[str] = task.describe_spec(task.spec_from_dict(archive.own["spec"]))
    except (KeyError, TypeError, ValueError):
        return []
    return lines


def _metrics(archive: Archive) -> dict[str, Any]:
    try:
        return parse_metrics(archive.read_text("metrics.json"))
    except (PackageError, ValueError):
        return {}


def _results(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    rows = []
    for split in ("val", "test"):
        found = {key: value for key, value in (metrics.get(split) or {}).items() if "/" not in key}
        shown = [f"{key} {value:.4g}" for key, value in list(found.items())[:_SHOWN]]
        rows.append((split, ", ".join(shown)))
    return rows


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"
