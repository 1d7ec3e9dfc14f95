"""Finding objects in any number of scenes, and writing them as layers."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from geomm.errors import ConfigError, DataError
from geomm.inference.inputs import check_preview, check_target, output_names, preview_of
from geomm.inference.memory import reused_memory
from geomm.inference.objects.candidates import Candidates
from geomm.inference.objects.job import ObjectJob
from geomm.inference.objects.mosaic import Mosaic, fits_together
from geomm.inference.objects.options import LAYER_ENDINGS, ObjectOptions
from geomm.inference.objects.views import Detect, accelerate_detect
from geomm.inference.report import PredictionReport, predict_each
from geomm.inference.scene_job import ScenePredictor
from geomm.inference.scenes import check_scene, find_scenes
from geomm.io.object_layer import ObjectLayerWriter, is_object_layer
from geomm.io.paths import VECTOR_ENDINGS
from geomm.io.qml import is_object_style
from geomm.io.raster import read_info
from geomm.io.stac_output import wants_item, write_item
from geomm.structures import Georeference, Objects, RasterSpec

if TYPE_CHECKING:
    from geomm.visualization.object_preview import SurestObjects

_LOG = logging.getLogger("geomm")


def predict_objects(
    inputs: str | Path | Sequence[str | Path],
    output: str | Path,
    *,
    detect: Detect,
    spec: RasterSpec,
    options: ObjectOptions,
    model_id: str,
) -> PredictionReport:
    """Find objects in scenes and write them as layers in map coordinates.

    Each scene gets a layer of its own; scenes in one CRS get a common one, in which what several show is
    there once (``options.one_layer``).

    Args:
      inputs: files, globs, folders or a list of these.
      output: folder for the results, or the file of the one layer, whose ending says the format.
      detect: from raw pixels (B, C, h, w) and validity (B, h, w) bool to the objects of each.
      spec: of the model.
      options: see ``ObjectOptions``.
      model_id: tells models apart, so that a run is only resumed with its own.

    Raises:
      DataError: nothing matches ``inputs``; or, with ``on_error="raise"``, an input fails.
      ConfigError: an option that does not hold.
    """
    target = _Target.of(Path(output), options)
    scenes = find_scenes(options.scenes(inputs, spec), target.folder)
    target.folder.mkdir(parents=True, exist_ok=True)
    finder = _Finder(detect, spec, options, model_id, target)
    if _in_one_layer(scenes, target, options):
        return _predict_together(finder, scenes, target.name or _common_name(inputs))
    names = [target.name] if target.name else output_names(scenes)

    def predict(position: int) -> tuple[list[Path], int] | None:
        scene, name = scenes[position], names[position]
        if finder.skips(name, scene):
            return None
        return finder.map_scene(scene, name), _pixels(scene)

    at_once = min(finder.executor.at_once, len(scenes))
    return predict_each(scenes, predict, what="scenes", unit="px", on_error=options.on_error, at_once=at_once)


@dataclass(frozen=True)
class _Target:
    """Where results go: the folder, the name of the one layer if it has one, and layers' ending."""

    folder: Path
    name: str | None
    ending: str

    @classmethod
    def of(cls, output: Path, options: ObjectOptions) -> _Target:
        ending = output.suffix.lower()
        if ending in LAYER_ENDINGS.values() and not output.is_dir():
            if options.format != "auto" and LAYER_ENDINGS[options.format] != ending:
                raise ConfigError(
                    f"inference.format: found {options.format!r}, but the output {output.name} ends in "
                    f"{ending}; leave one of them out"
                )
            return cls(output.parent, output.stem, ending)
        if ending in VECTOR_ENDINGS and not output.is_dir():
            known = ", ".join(sorted(LAYER_ENDINGS.values()))
            raise ConfigError(
                f"output={output}: objects are written as {known}; give one of these, or a folder"
            )
        return cls(output, None, LAYER_ENDINGS["gpkg" if options.format == "auto" else options.format])

    def layer(self, name: str) -> Path:
        return self.folder / f"{name}{self.ending}"

    def preview(self, name: str) -> Path:
        return preview_of(self.layer(name))

    def work(self, name: str) -> Path:
        return self.folder / f".{name}.work"


def _in_one_layer(scenes: Sequence[str], target: _Target, options: ObjectOptions) -> bool:
    """Return whether all scenes get one layer.

    Raises:
      ConfigError: a layer each is asked for, and one file named.
      DataError: one layer is asked for, and the scenes' grids do not allow it.
    """
    if options.one_layer is False and target.name is not None and len(scenes) > 1:
        raise ConfigError(
            f"inference.one_layer=false: found the one file {target.name}{target.ending} for {len(scenes)} "
            "scenes, expected a folder as output"
        )
    if len(scenes) == 1 or options.one_layer is False:
        return False
    asked = options.one_layer is True or target.name is not None
    reason = fits_together(scenes)
    if reason is None:
        return True
    if asked:
        cure = "inference.one_layer=auto" if target.name is None else "a folder as output"
        raise DataError(f"the scenes do not go into one layer: {reason}; give {cure}")
    _LOG.info("a layer for each scene: %s", reason)
    return False


def _common_name(inputs: str | Path | Sequence[str | Path]) -> str:
    """Return what the one layer is called: as the folder that was given, or whose files were."""
    given = [inputs] if isinstance(inputs, str | Path) else list(inputs)
    if len(given) == 1:
        path = Path(given[0])
        folder = path if path.is_dir() else path.parent
        name = folder.resolve().name
        if name and "*" not in name:
            return name
    return "objects"


def _pixels(scene: str) -> int:
    info = read_info(scene)
    return info.width * info.height


@dataclass(frozen=True)
class _Finder(ScenePredictor[list[Objects]]):
    """What all scenes of a call have in common."""

    options: ObjectOptions
    target: _Target

    def accelerated(self) -> partial[Detect]:
        return partial(accelerate_detect, spec=self.spec, options=self.options)

    def skips(self, name: str, scenes: str | Sequence[str]) -> bool:
        """Return whether a layer is there and left as it is.

        Raises:
          DataError: what is there is no layer of objects, or no style or preview of one.
        """
        layer = self.target.layer(name)
        if self.options.skips(layer, self.target.work(name)) and is_object_layer(layer):
            return True
        check_target(layer, scenes, is_result=is_object_layer, what="layer of objects")
        style = layer.with_suffix(".qml")
        check_target(style, scenes, is_result=is_object_style, what="style of objects")
        if self.options.preview:
            check_preview(self.target.preview(name), scenes)
        return False

    def map_scene(self, scene: str, name: str) -> list[Path]:
        """Find the objects of one scene and return the files written.

        Raises:
          DataError: the scene cannot be read or does not suit the model.
        """
        layer = self.target.layer(name)
        job = self.find(scene, self.target.work(name))
        with self.writing:
            place, outlines = job.info.georeference, job.has_outlines()
            written, found = self.write(layer, job.merged(), place, [scene], outlines)
            written += self.draw(name, found, [scene])
            self.describe(name, written, [scene])
        shutil.rmtree(job.work)
        return written

    def describe(self, name: str, written: list[Path], scenes: Sequence[str]) -> None:
        """Write the STAC item of results, where one is wanted, and add it to them."""
        if wants_item(self.options.stac, scenes):
            written.append(write_item(name, written, scenes, model_id=self.model_id))

    def find(self, scene: str, work: Path, source: int = 0) -> ObjectJob:
        """Find what a scene's tiles show; return the job, which has it in its folder."""
        check_scene(read_info(scene), self.spec)
        place = (scene, self.spec, *self.tiling, self.batch_size, work, self.options.reader)
        job = ObjectJob(*place, self.options, source)
        with reused_memory(self.device):
            self.complete(job)
        return job

    def write(
        self,
        layer: Path,
        chunks: Iterable[Candidates],
        georeference: Georeference,
        scenes: Sequence[str],
        outlines: bool,
    ) -> tuple[list[Path], SurestObjects | None]:
        """Write objects as a layer with its style; return both files, and what of it a preview shows."""
        writer = ObjectLayerWriter(
            layer,
            georeference=georeference,
            classes=self.spec.classes,
            scenes=[Path(scene).name for scene in scenes],
            outlines=outlines,
            min_area_m2=self.options.min_area_m2,
        )
        surest = self._to_draw()
        with writer:
            for found in chunks:
                kept = writer.add(found.boxes, found.labels, found.scores, found.sources, found.shapes)
                if surest is not None:
                    surest.add(found[kept])
        _LOG.info("%s: %d objects", layer.name, writer.written)
        return [layer, writer.style], surest

    def _to_draw(self) -> SurestObjects | None:
        """Return what collects objects for a preview, where one is wanted."""
        if not self.options.preview:
            return None
        from geomm.visualization.object_preview import SurestObjects

        return SurestObjects(len(self.spec.classes))

    def draw(
        self,
        name: str,
        found: SurestObjects | None,
        scenes: Sequence[str],
        *,
        grid: Georeference | None = None,
    ) -> list[Path]:
        """Draw the preview, where one is wanted; return its file."""
        if found is None:
            return []
        from geomm.visualization.object_preview import draw_object_preview

        return [draw_object_preview(scenes, found, self.spec, self.target.preview(name), grid=grid)]


def _predict_together(finder: _Finder, scenes: Sequence[str], name: str) -> PredictionReport:
    """Find the objects of scenes that share a CRS and write one layer, each object once."""
    options, layer = finder.options, finder.target.layer(name)
    if finder.skips(name, scenes):
        report = predict_each(scenes, lambda _: None, what="scenes", unit="px", on_error=options.on_error)
        return report
    mosaic = Mosaic(scenes, finder.target.work(name), options)

    def predict(position: int) -> tuple[list[Path], int]:
        if not mosaic.has(position, finder.model_id, finder.device):
            job = finder.find(scenes[position], mosaic.rows_folder(position), position)
            mosaic.keep(position, job)
        return [], _pixels(scenes[position])

    found = predict_each(
        scenes,
        predict,
        what="scenes",
        unit="px",
        on_error=options.on_error,
        finish=lambda report: _write_mosaic(finder, mosaic, layer, report),
        at_once=min(finder.executor.at_once, len(scenes)),
    )
    return found


def _write_mosaic(finder: _Finder, mosaic: Mosaic, layer: Path, report: PredictionReport) -> None:
    if not mosaic.done():
        return
    grid, outlines = mosaic.georeference, mosaic.has_outlines()
    written, found = finder.write(layer, mosaic.merged(), grid, mosaic.scenes, outlines)
    shown = [mosaic.scenes[position] for position in mosaic.done()]
    written += finder.draw(layer.stem, found, shown, grid=grid)
    finder.describe(layer.stem, written, shown)
    shutil.rmtree(mosaic.work)
    report.outputs += written
