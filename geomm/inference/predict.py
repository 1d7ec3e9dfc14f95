"""Mapping any number of scenes: each on its own, complete or not at all."""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path

import torch

from geomm.errors import DataError
from geomm.inference.acceleration import OnDevice, accelerate
from geomm.inference.executor import Executor, build_executor
from geomm.inference.inputs import output_names
from geomm.inference.job import SceneJob
from geomm.inference.memory import reused_memory
from geomm.inference.options import RasterOptions
from geomm.inference.products import MapProducts
from geomm.inference.progress import Progress
from geomm.inference.report import PredictionReport, predict_each
from geomm.inference.rows import Score
from geomm.inference.scenes import check_scene, check_target, find_scenes
from geomm.inference.work import open_work
from geomm.io.raster import read_info
from geomm.io.stac_output import wants_item, write_item
from geomm.structures import RasterSpec

_LOG = logging.getLogger("geomm")


def predict_rasters(
    inputs: str | Path | Sequence[str | Path],
    output: str | Path,
    *,
    score: Score,
    spec: RasterSpec,
    products: MapProducts,
    options: RasterOptions,
    model_id: str,
) -> PredictionReport:
    """Map scenes to rasters, and to what else the products make of them.

    Args:
      inputs: files, globs, folders or a list of these.
      output: folder for the results.
      score: from raw pixels (B, C, h, w) and validity (B, h, w) bool to values (B, K, h, w) float32,
        of finer pixels where the products have a scale.
      spec: of the model.
      products: what the values become on the map.
      options: see ``RasterOptions``.
      model_id: tells models apart, so that a run is only resumed with its own.

    Raises:
      DataError: nothing matches ``inputs``; or, with ``on_error="raise"``, an input fails.
      ConfigError: an option that does not hold.
    """
    if options.threads:
        torch.set_num_threads(options.threads)
    folder = Path(output)
    scenes = find_scenes(options.scenes(inputs, spec), folder)
    folder.mkdir(parents=True, exist_ok=True)
    mapper = _Mapper(folder, score, spec, products, options, model_id)
    names = output_names(scenes)
    at_once = min(mapper.executor.at_once, len(scenes))

    def predict(position: int) -> tuple[list[Path], int] | None:
        scene, name = scenes[position], names[position]
        if options.skip_existing and mapper.is_done(name):
            return None
        with reused_memory(mapper.device):
            written = mapper.map_scene(scene, name, alone=at_once == 1)
        info = read_info(scene)
        return written, info.width * info.height

    return predict_each(scenes, predict, what="scenes", unit="px", on_error=options.on_error, at_once=at_once)


@dataclass(frozen=True)
class _Mapper:
    """What all scenes of a call have in common."""

    folder: Path
    score: Score
    spec: RasterSpec
    products: MapProducts
    options: RasterOptions
    model_id: str
    #: Of scenes that are computed at once, one at a time is written.
    writing: threading.Lock = field(default_factory=threading.Lock)

    @cached_property
    def device(self) -> torch.device:
        return self.executor.device(self.options)

    @cached_property
    def fast_score(self) -> OnDevice[torch.Tensor]:
        wrap = partial(accelerate, spec=self.spec, options=self.options)
        return OnDevice(self.score, wrap, self.device)

    @cached_property
    def batch_size(self) -> int:
        given = self.options.batch_size
        if given != "auto":
            return int(given)
        tile, _ = self.options.tiling(self.spec)
        return self.executor.batch_size(self.fast_score, self.spec, tile, self.device)

    @cached_property
    def executor(self) -> Executor:
        return build_executor(self.options)

    def is_done(self, name: str) -> bool:
        """Return whether a scene's map is there and nothing of its run was left to do."""
        return (self.folder / f"{name}.tif").is_file() and not self._work(name).exists()

    def map_scene(self, scene: str, name: str, *, alone: bool = True) -> list[Path]:
        """Map one scene, ``alone`` or beside others, and return the files written.

        Raises:
          DataError: the scene cannot be read or does not suit the model.
        """
        check_target(self.folder / f"{name}.tif", scene)
        check_scene(read_info(scene), self.spec)
        job = self._job(scene, name)
        self._prepare_work(job)
        missing = job.missing_rows()
        total = len(job.grid.tops)
        if len(missing) < total:
            _LOG.info("%s: going on, %d of %d rows of tiles are left", scene, len(missing), total)
        tiles = len(missing) * len(job.grid.lefts)
        shown = self.options.progress
        try:
            with Progress(Path(scene).name, tiles, "tiles", shown=shown, live=alone) as progress:
                self.executor.run(job, self.fast_score, self.device, progress.advance)
        except DataError:
            if len(job.missing_rows()) == total:  # nothing to go on from
                shutil.rmtree(job.work)
            raise
        with self.writing:
            written = self.products.finish(job, name, self.folder)
            if wants_item(self.options.stac, [scene]):
                classes = job.layouts[next(iter(job.layouts))].classes
                written.append(write_item(name, written, [scene], classes=classes, model_id=self.model_id))
        shutil.rmtree(job.work)
        return written

    def _work(self, name: str) -> Path:
        return self.folder / f".{name}.work"

    def _job(self, scene: str, name: str) -> SceneJob:
        tile, overlap = self.options.tiling(self.spec)
        margin = self.options.margin_px
        return SceneJob(
            scene, self.spec, tile, overlap, margin, self.batch_size, self.products, self._work(name)
        )

    def _prepare_work(self, job: SceneJob) -> None:
        """Make the folder of finished bands; what another run left in it is thrown away."""
        options = self.options
        mark = job.fingerprint(self.model_id, options.tta, options.precision, self.device)
        open_work(job.work, mark, resume=options.resume)
