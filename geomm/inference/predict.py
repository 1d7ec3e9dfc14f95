"""Mapping any number of scenes: each on its own, complete or not at all."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch

from geomm.errors import ConfigError, DataError, did_you_mean
from geomm.inference.acceleration import accelerate, automatic_batch
from geomm.inference.executor import Executor
from geomm.inference.job import SceneJob
from geomm.inference.memory import reused_memory
from geomm.inference.options import RasterOptions
from geomm.inference.progress import TileProgress
from geomm.inference.rows import Score
from geomm.inference.scenes import check_scene, check_target, find_scenes, output_names
from geomm.io.cog import assemble
from geomm.io.raster import read_info
from geomm.registry import EXECUTORS
from geomm.structures import RasterSpec

_LOG = logging.getLogger("geomm")


@dataclass
class PredictionReport:
    """What a call of inference did.

    Attributes:
      outputs: files written.
      failed: input and reason of each that could not be mapped.
      skipped: inputs whose map was already there.
      seconds: wall time.
      pixels: mapped.
    """

    outputs: list[Path] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    seconds: float = 0.0
    pixels: int = 0


def predict_rasters(
    inputs: str | Path | Sequence[str | Path],
    output: str | Path,
    *,
    score: Score,
    spec: RasterSpec,
    options: RasterOptions,
    model_id: str,
) -> PredictionReport:
    """Map scenes to class rasters, and to probabilities, polygons and pictures on request.

    Args:
      inputs: files, globs, folders or a list of these.
      output: folder for the results.
      score: from raw pixels (B, C, h, w) and validity (B, h, w) bool to probabilities
        (B, K, h, w) float32.
      spec: of the model.
      options: see ``RasterOptions``.
      model_id: tells models apart, so that a run is only resumed with its own.

    Raises:
      DataError: nothing matches ``inputs``; or, with ``on_error="raise"``, an input fails.
      ConfigError: an option that does not hold.
    """
    started = time.monotonic()
    if options.threads:
        torch.set_num_threads(options.threads)
    folder = Path(output)
    scenes = find_scenes(inputs, folder)
    folder.mkdir(parents=True, exist_ok=True)
    mapper = _Mapper(folder, score, spec, options, model_id)
    report = PredictionReport()
    for scene, name in zip(scenes, output_names(scenes), strict=True):
        if options.skip_existing and mapper.is_done(name):
            report.skipped.append(scene)
            continue
        try:
            with reused_memory(mapper.device):
                report.outputs += mapper.map_scene(scene, name)
            info = read_info(scene)
            report.pixels += info.width * info.height
        except DataError as error:
            if options.on_error == "raise":
                raise
            _LOG.error("%s", error)
            report.failed.append((scene, str(error)))
    report.seconds = time.monotonic() - started
    _say(report, len(scenes))
    return report


@dataclass(frozen=True)
class _Mapper:
    """What all scenes of a call have in common."""

    folder: Path
    score: Score
    spec: RasterSpec
    options: RasterOptions
    model_id: str

    @cached_property
    def device(self) -> torch.device:
        return self.options.resolve_device()

    @cached_property
    def fast_score(self) -> Score:
        return accelerate(self.score, self.spec, self.options, self.device)

    @cached_property
    def batch_size(self) -> int:
        given = self.options.batch_size
        if given != "auto":
            return int(given)
        tile, _ = self.options.tiling(self.spec)
        return automatic_batch(self.fast_score, self.spec, tile, self.device)

    @cached_property
    def executor(self) -> Executor:
        name = self.options.executor
        known = {key.removesuffix("Executor").lower(): key for key in EXECUTORS.module_dict}
        if name not in known:
            raise ConfigError(f"inference.executor: unknown {name!r}; {did_you_mean(name, known)}")
        return EXECUTORS.get(known[name])()  # type: ignore[no-any-return]

    def is_done(self, name: str) -> bool:
        """Return whether a scene's map is there and nothing of its run was left to do."""
        return (self.folder / f"{name}.tif").is_file() and not self._work(name).exists()

    def map_scene(self, scene: str, name: str) -> list[Path]:
        """Map one scene and return the files written.

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
            with TileProgress(Path(scene).name, tiles, shown=shown) as progress:
                self.executor.run(job, self.fast_score, self.device, progress.advance)
        except DataError:
            if len(job.missing_rows()) == total:  # nothing to go on from
                shutil.rmtree(job.work)
            raise
        return self._finish(job, name)

    def _work(self, name: str) -> Path:
        return self.folder / f".{name}.work"

    def _job(self, scene: str, name: str) -> SceneJob:
        options = self.options
        tile, overlap = options.tiling(self.spec)
        products = ["classes"]
        products += ["probabilities"] if options.probabilities else []
        products += ["confidence"] if options.polygons else []
        return SceneJob(
            scene,
            self.spec,
            tile,
            overlap,
            self.batch_size,
            tuple(products),
            self._work(name),
            options.predict_background,
        )

    def _prepare_work(self, job: SceneJob) -> None:
        """Make the folder of finished bands; what another run left in it is thrown away."""
        options = self.options
        mark = job.fingerprint(self.model_id, options.tta, options.precision, self.device)
        note = job.work / "fingerprint"
        same = note.is_file() and note.read_text(encoding="utf-8") == mark
        if not (same and options.resume):
            shutil.rmtree(job.work, ignore_errors=True)
            job.work.mkdir(parents=True)
            note.write_text(mark, encoding="utf-8")

    def _finish(self, job: SceneJob, name: str) -> list[Path]:
        """Join the bands into the final files."""
        options, written = self.options, []
        target = self.folder / f"{name}.tif"
        if options.probabilities:
            layout = job.layouts["probabilities"]
            path = self.folder / f"{name}_probabilities.tif"
            written.append(assemble(job.bands("probabilities"), layout, path, work=job.work))
        if options.polygons:
            written.append(self._polygonise(job, self.folder / f"{name}.gpkg"))
        assemble(job.bands("classes"), job.layouts["classes"], target, work=job.work)
        if options.preview:
            from geomm.visualization.preview import draw_preview

            picture = self.folder / f"{name}_preview.png"
            written.append(draw_preview(job.scene, target, job.spec, picture))
        shutil.rmtree(job.work)
        return [target, *written]

    def _polygonise(self, job: SceneJob, target: Path) -> Path:
        from geomm.io.polygons import polygonise

        background = None if self.options.polygons_background else job.background
        return polygonise(
            job.bands("classes"),
            job.bands("confidence"),
            job.layouts["classes"],
            target,
            work=job.work,
            leave_out=() if background is None else (background,),
            min_area_m2=self.options.min_area_m2,
        )


def _say(report: PredictionReport, scenes: int) -> None:
    rate = report.pixels / max(report.seconds, 1e-9) / 1e6
    mapped = scenes - len(report.failed) - len(report.skipped)
    said = f"{mapped} of {scenes} scenes mapped in {report.seconds:.1f} s ({rate:.1f} Mpx/s)"
    said += f", {len(report.skipped)} already there" if report.skipped else ""
    said += f", {len(report.failed)} failed" if report.failed else ""
    _LOG.info("%s", said)
    for path, _ in report.failed:
        _LOG.info("  failed: %s", path)
    for output in report.outputs:
        _LOG.info("  %s", output)
