"""Where the rows of a scene are computed."""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch

from geomm.errors import ConfigError, did_you_mean
from geomm.inference.acceleration import automatic_batch
from geomm.registry import EXECUTORS
from geomm.structures import RasterSpec

if TYPE_CHECKING:
    from geomm.inference.options import RasterOptions
    from geomm.inference.scene_job import SceneJob

#: Called with how many tiles were done.
Done = Callable[[int], None]


class Executor(abc.ABC):
    """Computes the rows of scenes that are not done yet.

    Attributes:
      at_once: scenes that are worth being computed at the same time.
    """

    at_once: int = 1

    @classmethod
    def from_options(cls, options: RasterOptions) -> Executor:
        """Build the executor that ``inference.executor`` names."""
        return cls()

    def device(self, options: RasterOptions) -> torch.device:
        """Return where models run."""
        return options.resolve_device()

    def batch_size(self, model: Any, spec: RasterSpec, tile_px: int, device: torch.device) -> int:
        """Return the batch size where none is asked for."""
        return automatic_batch(model, spec, tile_px, device)

    @abc.abstractmethod
    def run(self, job: SceneJob, model: Any, device: torch.device, done: Done) -> None:
        """Return when every row of the job is done.

        Args:
          job: what is computed.
          model: from raw pixels (B, C, h, w) and validity (B, h, w) bool to what the job makes rows of.
          device: of the model.
          done: called with how many tiles were done.
        """


@EXECUTORS.register_module()
class LocalExecutor(Executor):
    """Computes all rows in this process."""

    def run(self, job: SceneJob, model: Any, device: torch.device, done: Done) -> None:
        for rows in consecutive(job.missing_rows()):
            job.compute(rows, model, device, done)


def consecutive(rows: Sequence[int]) -> list[list[int]]:
    """Split row numbers into runs without a gap."""
    runs: list[list[int]] = []
    for row in rows:
        if runs and row == runs[-1][-1] + 1:
            runs[-1].append(row)
        else:
            runs.append([row])
    return runs


def build_executor(options: RasterOptions) -> Executor:
    """Build the executor that ``inference.executor`` names.

    Raises:
      ConfigError: there is none of that name.
    """
    from geomm.inference import ray_executor  # noqa: F401 - registers it

    name = options.executor
    known = {key.removesuffix("Executor").lower(): key for key in EXECUTORS.module_dict}
    if name not in known:
        raise ConfigError(f"inference.executor: unknown {name!r}; {did_you_mean(name, known)}")
    kind: type[Executor] = EXECUTORS.get(known[name])
    return kind.from_options(options)
