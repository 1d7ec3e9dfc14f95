"""Mapping any number of scenes: each on its own, complete or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from geomm.inference.acceleration import accelerate
from geomm.inference.inputs import check_preview, check_target, output_names, preview_of
from geomm.inference.maps.job import MapJob
from geomm.inference.maps.products import MapProducts
from geomm.inference.maps.rows import Score
from geomm.inference.memory import reused_memory
from geomm.inference.options import MapOptions
from geomm.inference.report import PredictionReport, predict_each
from geomm.inference.scene_job import ScenePredictor
from geomm.inference.scenes import check_scene, find_scenes
from geomm.io.cog import is_map
from geomm.io.raster import read_info
from geomm.io.stac_output import wants_item, write_item
from geomm.structures import RasterSpec


def predict_rasters(
    inputs: str | Path | Sequence[str | Path],
    output: str | Path,
    *,
    score: Score,
    spec: RasterSpec,
    products: MapProducts,
    options: MapOptions,
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
      options: see ``MapOptions``.
      model_id: tells models apart, so that a run is only resumed with its own.

    Raises:
      DataError: nothing matches ``inputs``; or, with ``on_error="raise"``, an input fails.
      ConfigError: an option that does not hold.
    """
    folder = Path(output)
    scenes = find_scenes(options.scenes(inputs, spec), folder)
    folder.mkdir(parents=True, exist_ok=True)
    mapper = _Mapper(score, spec, options, model_id, folder, products)
    names = output_names(scenes)
    at_once = min(mapper.executor.at_once, len(scenes))

    def predict(position: int) -> tuple[list[Path], int] | None:
        scene, name = scenes[position], names[position]
        check_target(mapper.target(name), scene, is_result=is_map, what="map")
        if options.skips(mapper.target(name), mapper.work(name)):
            return None
        if options.preview:
            check_preview(preview_of(mapper.target(name)), scene)
        with reused_memory(mapper.device):
            written = mapper.map_scene(scene, name)
        info = read_info(scene)
        return written, info.width * info.height

    return predict_each(scenes, predict, what="scenes", unit="px", on_error=options.on_error, at_once=at_once)


@dataclass(frozen=True)
class _Mapper(ScenePredictor[torch.Tensor]):
    """What all scenes of a call have in common."""

    options: MapOptions
    folder: Path
    products: MapProducts

    def accelerated(self) -> partial[Score]:
        return partial(accelerate, spec=self.spec, options=self.options)

    def target(self, name: str) -> Path:
        return self.folder / f"{name}.tif"

    def work(self, name: str) -> Path:
        return self.folder / f".{name}.work"

    def map_scene(self, scene: str, name: str) -> list[Path]:
        """Map one scene and return the files written.

        Raises:
          DataError: the scene cannot be read or does not suit the model.
        """
        check_scene(read_info(scene), self.spec)
        place = (scene, self.spec, *self.tiling, self.batch_size, self.work(name), self.options.reader)
        job = MapJob(*place, self.options, self.products)
        self.complete(job)
        with self.writing:
            written = self.products.finish(job, name, self.folder)
            if wants_item(self.options.stac, [scene]):
                classes = job.layouts[next(iter(job.layouts))].classes
                written.append(write_item(name, written, [scene], classes=classes, model_id=self.model_id))
        shutil.rmtree(job.work)
        return written
