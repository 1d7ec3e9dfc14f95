"""What windows of scenes are to teach: one class a kind of truth."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from geomm.datasets.maps.labels import Classes, LabelTable, make_table, open_labels
from geomm.datasets.maps.pairs import Everywhere, PairLabels, align, finish_pair
from geomm.datasets.maps.scene_files import OpenScene, Paths, label_values, open_scenes
from geomm.datasets.maps.windows import Change, RandomWindows
from geomm.errors import ConfigError, DataError
from geomm.io.raster import RasterReader
from geomm.structures import RasterSample, RasterSpec, make_classes
from geomm.transforms.compose import Compose


class SceneTarget(Protocol):
    """What ``GeoTiffScenes`` asks of a kind of truth.

    Attributes:
      labelled: whether sample data is taken with its labels.
      unit: what a class is counted in.
    """

    labelled: bool
    unit: str

    def open(self, images: Paths, labels: Paths, *, skip_errors: bool, role: int) -> list[OpenScene]:
        """Open scenes and what belongs to each; ``role`` is an index into ``SPLITS``."""

    def settle(self, scenes: Sequence[OpenScene], cache: Path, *, skip_errors: bool) -> LabelTable:
        """Settle the classes of all scenes."""

    def describe(self, spec: RasterSpec) -> RasterSpec:
        """Return the spec as the model is to know it."""

    def finish(self, augment: Compose, *, training: bool) -> Change:
        """Return what is done to each window that was read: ``augment``, and what makes a sample of it."""

    @property
    def train_windows(self) -> Callable[..., RandomWindows]:
        """How windows are drawn to train on."""

    def cell_px(self, window_px: int) -> int:
        """Return the most ground, pixels along an edge, that a window of that edge is judged by."""

    def check_window(self, window_px: int) -> None:
        """Check the edge of windows.

        Raises:
          ConfigError: the target has no use for windows of that edge.
        """


class PixelTarget:
    """What targets of one value a pixel have in common."""

    unit = "px"
    train_windows = RandomWindows

    def cell_px(self, window_px: int) -> int:
        return window_px

    def check_window(self, window_px: int) -> None:
        """Any edge will do."""


class MaskTarget(PixelTarget):
    """A class for every pixel, from a vector layer or a raster.

    Args:
      label_field: attribute with the class; without it all features are one class.
      classes: None for what the labels hold; names; or {value: name}.
      background: true, false or ``auto``, see ``GeoTiffScenes``.
      all_touched: burn every pixel that a feature touches.
    """

    labelled = True

    def __init__(
        self, *, label_field: str | None, classes: Classes, background: bool | str, all_touched: bool
    ) -> None:
        self.label_field, self.classes = label_field, classes
        self.background, self.all_touched = background, all_touched

    def open(self, images: Paths, labels: Paths, *, skip_errors: bool, role: int) -> list[OpenScene]:
        if labels is None:
            raise DataError("dataset.labels: no labels given; name a vector layer or label rasters")

        def place(scene: str, file: str) -> OpenScene:
            reader = RasterReader(scene)
            placed = open_labels(
                file, reader.info, label_field=self.label_field, all_touched=self.all_touched
            )
            return OpenScene(reader, placed, role)

        return open_scenes(images, labels, place, skip_errors=skip_errors)

    def settle(self, scenes: Sequence[OpenScene], cache: Path, *, skip_errors: bool) -> LabelTable:
        values = label_values(scenes, cache, skip_errors=skip_errors)
        found = [scene.labels for scene in scenes]
        return make_table(found, values, classes=self.classes, background=self.background)

    def describe(self, spec: RasterSpec) -> RasterSpec:
        return spec

    def finish(self, augment: Compose, *, training: bool) -> Change:
        return augment


class FinerTarget(PixelTarget):
    """The same ground on a finer grid, for super-resolution.

    Without labels the scenes are the finer imagery, and what a coarser sensor would have seen is made
    of them; with labels these are the finer imagery of the scenes.

    Args:
      scale: pixels of the finer grid along an edge of a pixel of the coarser.
      degrade: transforms that make the coarser imagery, by name.
    """

    labelled = False

    def __init__(self, *, scale: int, degrade: Mapping[str, Mapping[str, Any] | None]) -> None:
        self.scale = scale
        self.degrade = Compose(degrade, scale=scale)

    def check_window(self, window_px: int) -> None:
        if window_px % self.scale:
            near = max(window_px // self.scale, 1) * self.scale
            raise ConfigError(
                f"dataset.window_px: found {window_px}, expected a multiple of head.scale={self.scale}; "
                f"use {near}"
            )

    def open(self, images: Paths, labels: Paths, *, skip_errors: bool, role: int) -> list[OpenScene]:
        if labels is None:
            return open_scenes(
                images,
                None,
                lambda scene, _: OpenScene(RasterReader(scene), Everywhere(), role),
                skip_errors=skip_errors,
            )

        def place(scene: str, file: str) -> OpenScene:
            fine, coarse = RasterReader(file), RasterReader(scene)
            offset = align(fine.info, coarse.info, self.scale)
            return OpenScene(fine, PairLabels(coarse, self.scale, offset), role)

        return open_scenes(images, labels, place, skip_errors=skip_errors)

    def settle(self, scenes: Sequence[OpenScene], cache: Path, *, skip_errors: bool) -> LabelTable:
        table = LabelTable(make_classes(["imagery"]), None, {}, {})
        for scene in scenes:
            scene.labels.table = table
        return table

    def describe(self, spec: RasterSpec) -> RasterSpec:
        return replace(
            spec,
            classes=(),
            class_pixels=None,
            window_px=spec.window_px // self.scale,
            gsd=spec.gsd * self.scale,
            scale=self.scale,
        )

    def finish(self, augment: Compose, *, training: bool) -> Change:
        return _MakePair(augment, self.degrade, self.scale)


@dataclass(frozen=True)
class _MakePair:
    """Change a fine window, then make the pair of it."""

    augment: Compose
    degrade: Compose
    scale: int

    def __call__(self, sample: RasterSample, rng: np.random.Generator) -> RasterSample:
        return finish_pair(self.augment(sample, rng), self.degrade, self.scale, rng)
