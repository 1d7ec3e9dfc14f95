"""Rows of scenes computed by the workers of a Ray cluster; the same files as on one machine, to the bit."""

from __future__ import annotations

import logging
import math
import os
import tempfile
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from geomm.errors import DataError, GeommError
from geomm.inference.acceleration import automatic_batch
from geomm.inference.executor import Done, Executor, consecutive
from geomm.inference.memory import reused_memory
from geomm.inference.options import RayOptions
from geomm.inference.ray_cluster import connect
from geomm.inference.work import read_mark
from geomm.registry import EXECUTORS
from geomm.structures import RasterSpec

if TYPE_CHECKING:
    from geomm.inference.options import RasterOptions
    from geomm.inference.scene_job import SceneJob

_LOG = logging.getLogger("geomm")
#: Rows of a unit of work: fewer repeat too much of the rows above, of more too much is lost with a worker.
_LEAST_ROWS, _MOST_ROWS = 2, 32
#: Seconds without an answer after which it is said what is waited for.
_SILENT_S = 60.0
#: Scenes that wait for their share of the workers.
_MOST_SCENES = 32


@dataclass(frozen=True)
class _Unit:
    """What a worker is asked for.

    Attributes:
      job: of the scene.
      rows: consecutive.
      device: kind of device to compute on.
      threads: of a CPU.
      mark: of the job's folder, by which a worker knows the folder from another of its name.
      versions: of what results depend on.
    """

    job: SceneJob
    rows: tuple[int, ...]
    device: str
    threads: int
    mark: str
    versions: tuple[str, str]


@dataclass(frozen=True)
class _Answer:
    """What a worker made: nothing where it wrote into the job's own folder, files by name, or an error."""

    tiles: int = 0
    files: tuple[tuple[str, bytes], ...] = ()
    error: str | None = None
    is_data: bool = True


@EXECUTORS.register_module()
class RayExecutor(Executor):
    """Computes rows on a Ray cluster. Units of a worker that is lost are done again by another.

    Args:
      address: of a cluster, ``auto`` for this machine's; None starts one here.
      workers: of a cluster that is started here; None for one a core (or a GPU).
      cpus: cores a worker.
      gpus: GPUs a worker, parts allowed; 0 computes on the CPU.
      rows: rows of tiles a unit of work; None divides a scene evenly.
      retries: times that a unit is done again when its worker is lost.
    """

    def __init__(
        self,
        *,
        address: str | None = None,
        workers: int | None = None,
        cpus: float = 1,
        gpus: float = 0,
        rows: int | None = None,
        retries: int = 3,
        threads: int | None = None,
    ) -> None:
        self.cpus, self.gpus, self.rows = cpus, gpus, rows
        self.threads = threads or max(1, int(cpus))
        self.ray = connect(address, cpus=None if workers is None else math.ceil(workers * cpus))
        self._remote = {
            function: self.ray.remote(function).options(
                num_cpus=cpus, num_gpus=gpus, max_retries=retries, retry_exceptions=False
            )
            for function in (_compute, _largest_batch)
        }
        self.slots = self._slots()
        self.at_once = min(self.slots + 1, _MOST_SCENES)
        self._models: dict[int, tuple[Any, str, Any]] = {}
        _LOG.info("Ray: %d workers of %g cores%s", self.slots, cpus, f" and {gpus:g} GPUs" if gpus else "")

    @classmethod
    def from_options(cls, options: RasterOptions) -> RayExecutor:
        given = options.ray if isinstance(options.ray, RayOptions) else RayOptions(**options.ray)
        return cls(**asdict(given), threads=options.threads)

    def device(self, options: RasterOptions) -> torch.device:
        return torch.device("cuda" if self.gpus else "cpu")

    def batch_size(self, model: Any, spec: RasterSpec, tile_px: int, device: torch.device) -> int:
        if device.type == "cpu":
            return automatic_batch(model, spec, tile_px, device)
        key, reference = self._shared(model)
        return int(self.ray.get(self._remote[_largest_batch].remote(key, [reference], spec, tile_px)))

    def run(self, job: SceneJob, model: Any, device: torch.device, done: Done) -> None:
        """Return when every row of the job is done.

        Raises:
          DataError: the scene cannot be read by a worker.
          GeommError: a unit's workers were lost again and again.
        """
        key, reference = self._shared(model)
        mark, versions = read_mark(job.work), _versions()
        units = [
            _Unit(job, tuple(rows), device.type, self.threads, mark, versions)
            for rows in self._units(job.missing_rows())
        ]
        waiting = {self._remote[_compute].remote(key, [reference], unit): unit for unit in units}
        try:
            while waiting:
                found, _ = self.ray.wait(list(waiting), num_returns=1, timeout=_SILENT_S)
                if not found:
                    self._say_waiting(job, len(waiting))
                for first in found:
                    unit = waiting.pop(first)
                    self._take(unit, self._answer(first, unit), done)
        finally:
            for reference in waiting:
                self.ray.cancel(reference, force=True)

    def _say_waiting(self, job: SceneJob, units: int) -> None:
        there, free = self.ray.cluster_resources(), self.ray.available_resources()
        _LOG.warning(
            "%s: no answer from Ray for %.0f s; %d units wait, %g of %g cores are free",
            *(job.scene, _SILENT_S, units, free.get("CPU", 0.0), there.get("CPU", 0.0)),
        )

    def _answer(self, reference: Any, unit: _Unit) -> _Answer:
        try:
            answer: _Answer = self.ray.get(reference)
        except self.ray.exceptions.RayTaskError as error:
            raise error.as_instanceof_cause() from None  # a bug: its own traceback says most
        except self.ray.exceptions.RayError as error:
            reason = " ".join(str(error).split())[:200]
            raise GeommError(
                f"{unit.job.scene}: the workers of rows {unit.rows[0]} to {unit.rows[-1]} were lost "
                f"({reason}); run the same again to go on"
            ) from error
        if answer.error is not None:
            raise (DataError if answer.is_data else GeommError)(answer.error)
        return answer

    def _take(self, unit: _Unit, answer: _Answer, done: Done) -> None:
        for name, content in answer.files:
            target = unit.job.work / name
            temporary = target.with_name(f".{name}.part")
            temporary.write_bytes(content)
            os.replace(temporary, target)
        done(answer.tiles)

    def _units(self, missing: Sequence[int]) -> list[list[int]]:
        size = self.rows or max(_LEAST_ROWS, min(math.ceil(len(missing) / self.slots), _MOST_ROWS))
        return [
            run[start : start + size] for run in consecutive(missing) for start in range(0, len(run), size)
        ]

    def _slots(self) -> int:
        """Return how many units the cluster computes at once."""
        there = self.ray.cluster_resources()
        counts = [there.get(kind, 0) / a for kind, a in (("CPU", self.cpus), ("GPU", self.gpus)) if a]
        slots = int(min(counts, default=1))
        if slots < 1:
            raise GeommError(
                f"inference.ray: a worker takes {self.cpus:g} cores and {self.gpus:g} GPUs, the cluster has "
                f"{there.get('CPU', 0):g} and {there.get('GPU', 0):g}; set inference.ray.cpus or .gpus lower"
            )
        return slots

    def _shared(self, model: Any) -> tuple[str, Any]:
        """Send a model to the cluster once; return the name that workers keep it by, and where it is."""
        found = self._models.get(id(model))
        if found is None:
            found = self._models[id(model)] = (model, uuid.uuid4().hex, self.ray.put(model))
        return found[1], found[2]


def _versions() -> tuple[str, str]:
    import geomm

    return geomm.__version__, torch.__version__


#: Models that this worker has, by name, on their devices; the last one alone.
_KEPT: dict[str, Any] = {}


def _model(key: str, references: Sequence[Any], device: torch.device) -> Any:
    if key not in _KEPT:
        import ray

        _KEPT.clear()
        _KEPT[key] = ray.get(references[0]).on(device)
    return _KEPT[key]


def _largest_batch(key: str, references: Sequence[Any], spec: RasterSpec, tile_px: int) -> int:
    device = torch.device("cuda")
    return automatic_batch(_model(key, references, device), spec, tile_px, device)


def _compute(key: str, references: Sequence[Any], unit: _Unit) -> _Answer:
    """Compute a unit in a worker's process."""
    if _versions() != unit.versions:
        found, wanted = ("geomm {}, torch {}".format(*each) for each in (_versions(), unit.versions))
        return _Answer(error=f"a Ray worker has {found}, expected {wanted}; install the same", is_data=False)
    torch.set_num_threads(unit.threads)
    device = torch.device(unit.device)
    counted: list[int] = []
    try:
        with tempfile.TemporaryDirectory(prefix="geomm-") as folder:
            here = read_mark(unit.job.work) == unit.mark
            job = unit.job if here else replace(unit.job, work=Path(folder))
            with reused_memory(device):
                job.compute(unit.rows, _model(key, references, device), device, counted.append)
            files = [] if here else [file for row in unit.rows for file in job.files(row)]
            return _Answer(sum(counted), tuple((file.name, file.read_bytes()) for file in files))
    except GeommError as error:
        return _Answer(error=str(error), is_data=isinstance(error, DataError))
