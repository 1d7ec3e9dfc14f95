"""Where the rows of a scene are computed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch

from geomm.inference.job import SceneJob
from geomm.inference.rows import Score, consecutive, map_rows
from geomm.inference.tiles import TileBatch
from geomm.registry import EXECUTORS


class Executor(Protocol):
    """Computes the rows of a scene that are not written yet."""

    def run(
        self, job: SceneJob, score: Score, device: torch.device, done: Callable[[TileBatch], None]
    ) -> None:
        """Return when every band of rows of the job is written."""
        ...


@EXECUTORS.register_module()
class LocalExecutor:
    """Computes all rows in this process."""

    def run(
        self, job: SceneJob, score: Score, device: torch.device, done: Callable[[TileBatch], None]
    ) -> None:
        for rows in consecutive(job.missing_rows()):
            map_rows(job, rows, score, device=device, done=done)
