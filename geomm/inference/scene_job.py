"""What a scene's tiles are computed as: a job of rows, done here or elsewhere, and gone on with."""

from __future__ import annotations

import abc
import logging
import shutil
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import torch

from geomm.errors import DataError
from geomm.inference.acceleration import Model, OnDevice
from geomm.inference.executor import Done, Executor, build_executor
from geomm.inference.grid import TileGrid
from geomm.inference.options import RasterOptions
from geomm.inference.progress import Progress
from geomm.inference.work import file_stamps, fingerprint, open_work
from geomm.io.raster import RasterInfo, RasterReader, read_info
from geomm.registry import READERS, get
from geomm.structures import RasterSpec

_LOG = logging.getLogger("geomm")
Seen = TypeVar("Seen")


@dataclass(frozen=True)
class SceneJob(abc.ABC):
    """What is to be computed of a scene, row of tiles by row of tiles, each into files of its own.

    Any rows may be computed anywhere, in any order: the files are the same.

    Attributes:
      scene: path of the input.
      spec: of the model.
      tile_px: edge of a tile.
      overlap_px: least overlap.
      batch_size: tiles a batch.
      work: hidden folder for the files of rows that are done.
      reader: registered name of what reads its tiles.
      mirror: whether the model sees a scene smaller than a tile go on mirrored.
    """

    mirror: ClassVar[bool] = True

    scene: str
    spec: RasterSpec
    tile_px: int
    overlap_px: int
    batch_size: int
    work: Path
    reader: str

    def tiles(self, rows: Sequence[int], device: torch.device) -> Any:
        """Return what reads the tiles of some rows, in batches."""
        source = RasterReader(self.scene)
        given = {"bands": self.spec.bands, "batch_size": self.batch_size, "pin": device.type == "cuda"}
        return get(READERS, self.reader)(source, self.grid, rows=rows, mirror=self.mirror, **given)

    @cached_property
    def info(self) -> RasterInfo:
        return read_info(self.scene)

    @cached_property
    def grid(self) -> TileGrid:
        """The tiles on the scene."""
        return TileGrid(self.info.width, self.info.height, self.tile_px, self.overlap_px)

    @abc.abstractmethod
    def files(self, row: int) -> list[Path]:
        """Return the files of a row of tiles that is done."""

    @abc.abstractmethod
    def compute(self, rows: Sequence[int], model: Any, device: torch.device, done: Done | None) -> None:
        """Compute consecutive rows of tiles and write their files."""

    @abc.abstractmethod
    def decisive(self) -> list[Any]:
        """Return what else than scene, model and tiles decides what a row's files hold, as JSON types."""

    def missing_rows(self) -> list[int]:
        """Return the rows of tiles that are not done."""
        rows = range(len(self.grid.tops))
        return [row for row in rows if not all(file.is_file() for file in self.files(row))]

    def fingerprint(self, *extra: Any) -> str:
        """Return a text that differs whenever a finished row could differ.

        Args:
          extra: what else decides it: the model, its precision, its device.
        """
        tiles = [self.tile_px, self.overlap_px, self.batch_size, self.reader]
        return fingerprint(
            file_stamps([self.scene]),
            self.spec.to_dict(),
            [*tiles, *self.decisive()],
            torch.__version__,
            list(extra),
        )


@dataclass(frozen=True)
class ScenePredictor(abc.ABC, Generic[Seen]):
    """What all scenes of a call have in common: the model, where it runs, and how a job is completed.

    Attributes:
      run: from raw pixels (B, C, h, w) and validity (B, h, w) bool to what the model sees.
      spec: of the model.
      options: of the task.
      model_id: tells models apart, so that a run is only resumed with its own.
      writing: of scenes that are computed at once, one at a time is written.
    """

    run: Model[Seen]
    spec: RasterSpec
    options: RasterOptions
    model_id: str
    writing: threading.Lock = field(default_factory=threading.Lock, kw_only=True)

    @abc.abstractmethod
    def accelerated(self) -> Callable[..., Model[Seen]]:
        """Return what makes ``run`` fast, given it and ``device=…``."""

    @cached_property
    def executor(self) -> Executor:
        return build_executor(self.options)

    @cached_property
    def device(self) -> torch.device:
        return self.executor.device(self.options)

    @cached_property
    def fast(self) -> OnDevice[Seen]:
        return OnDevice(self.run, self.accelerated(), self.device)

    @cached_property
    def tiling(self) -> tuple[int, int]:
        """Edge and overlap of tiles, pixels."""
        return self.options.tiling(self.spec)

    @cached_property
    def batch_size(self) -> int:
        given = self.options.batch_size
        if given != "auto":
            return int(given)
        return self.executor.batch_size(self.fast, self.spec, self.tiling[0], self.device)

    def complete(self, job: SceneJob) -> None:
        """Compute the rows of a job that an earlier run of the same has not left; with a progress bar.

        Raises:
          DataError: the scene cannot be read.
        """
        options = self.options
        mark = job.fingerprint(self.model_id, options.tta, options.precision, self.device)
        open_work(job.work, mark, resume=options.resume)
        missing, total = job.missing_rows(), len(job.grid.tops)
        if len(missing) < total:
            _LOG.info("%s: going on, %d of %d rows of tiles are left", job.scene, len(missing), total)
        tiles = len(missing) * len(job.grid.lefts)
        shown, live = options.progress, self.executor.at_once == 1
        try:
            with Progress(Path(job.scene).name, tiles, "tiles", shown=shown, live=live) as progress:
                self.executor.run(job, self.fast, self.device, progress.advance)
        except DataError:
            if len(job.missing_rows()) == total:  # nothing to go on from
                shutil.rmtree(job.work)
            raise
