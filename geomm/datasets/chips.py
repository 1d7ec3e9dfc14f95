"""Ready-made chips of any kind of export, as ``dataset=chips`` names them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch.utils.data import Dataset

from geomm.datasets.maps.chips import PixelChips
from geomm.datasets.maps.export_tiles import tiles_as_scenes
from geomm.datasets.maps.geotiff import GeoTiffScenes
from geomm.datasets.maps.labels import Classes
from geomm.datasets.maps.targets import FinerTarget
from geomm.datasets.objects.exported import ExportedObjects
from geomm.datasets.objects.targets import BoxTarget
from geomm.datasets.pictures.chips import NamedChips
from geomm.datasets.pictures.source import LabelTarget
from geomm.registry import DATASETS
from geomm.structures import RasterSample, RasterSpec


@DATASETS.register_module()
class Chips:
    """Chips of an ArcGIS export, read as the task's target wants to know them.

    Chips that overlap on the map go to the same split; where a chain of overlaps runs all through the
    export it is cut, and ground on both sides of a cut counts for the later split alone.

    Args:
      root: folder of the export.
      classes: None for those of the export (or what the labels hold); names; or {value: name}.
      background: of pixels: whether value 0 is a class of its own: true, false, or ``auto`` for no.
      bands: 1-based numbers or names, None for all but alpha.
      window_px: edge that chips are cropped or padded to, None for their own size.
      split: ``val`` and ``test`` shares and ``seed`` (the run's).
      on_error: ``raise``, or ``skip`` to leave out chips that cannot be used, with a warning.
      augment: transforms of training chips, filled in from the task.
      seed: of every random choice.
      min_visible: of objects, for the task's target: the share of its area that a training chip must show
        of an object that it teaches.
      empty_share: of objects: the largest share of training chips without one, None for all there are.
      target: what to teach, filled in from the task: objects, the class of a chip, or finer pixels; None
        for a class for every pixel.

    Raises:
      DataError: of Export_Tiles: another kind of export, or too few chips to divide.
    """

    def __init__(
        self,
        *,
        root: str,
        classes: Classes = None,
        background: bool | str = "auto",
        bands: Sequence[int | str] | None = None,
        window_px: int | None = None,
        split: Mapping[str, Any] | None = None,
        on_error: str = "raise",
        augment: Mapping[str, Mapping[str, Any] | None] | None = None,
        seed: int = 0,
        min_visible: float = 0.5,
        empty_share: float | None = None,
        target: BoxTarget | LabelTarget | FinerTarget | None = None,
    ) -> None:
        chips: dict[str, Any] = {
            "root": root, "bands": bands, "window_px": window_px, "split": split, "on_error": on_error,
        }  # fmt: skip
        run: dict[str, Any] = {"augment": augment, "seed": seed}
        self._source: PixelChips | ExportedObjects | NamedChips | GeoTiffScenes
        if isinstance(target, BoxTarget):
            self._source = ExportedObjects(**chips, **run, empty_share=empty_share, target=target)
        elif isinstance(target, LabelTarget):
            self._source = NamedChips(**chips, **run, classes=classes, target=target)
        elif isinstance(target, FinerTarget):
            scenes = tiles_as_scenes(chips, scale=target.scale, seed=seed)
            self._source = GeoTiffScenes(**scenes, **run, target=target)
        else:
            self._source = PixelChips(**chips, **run, classes=classes, background=background)

    def prepare(self, cache: Path) -> RasterSpec:
        """Read the export's description and every chip once; settle classes and splits.

        Args:
          cache: folder for what was found.

        Raises:
          DataError: no such folder, another kind of export, chips that cannot be used.
        """
        self.spec = self._source.prepare(cache)
        return self.spec

    def split(self, name: str) -> Dataset[RasterSample]:
        """Return the chips of ``train``, ``val`` or ``test``."""
        return self._source.split(name)
