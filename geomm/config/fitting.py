"""What fits a task."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from geomm.config.compose import config_dir


def task_name(cfg: Mapping[str, Any] | DictConfig) -> str:
    """Return the task's name as heads and datasets list it: ``PointCloud`` is ``point_cloud``."""
    kind = str(cfg.get("task", {}).get("type", ""))
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", kind).lower()


def fitting_options(group: str, task: str) -> list[str]:
    """Return geomm's own files of a group that name ``task`` among their tasks."""
    found = []
    for file in sorted((config_dir() / group).glob("*.yaml")):
        node = OmegaConf.load(file)
        if isinstance(node, DictConfig) and task in (node.get("tasks") or [task]):
            found.append(file.stem)
    return found
