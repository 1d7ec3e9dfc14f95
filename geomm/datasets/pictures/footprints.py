"""Scenes with features, each of a class: the pictures are cut around them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geomm.datasets.blocks import block_size
from geomm.datasets.maps.scene_files import Paths, pair
from geomm.datasets.pictures.crops import Crop, around
from geomm.datasets.pictures.source import CropSource, Picture
from geomm.errors import ConfigError, DataError, Problem
from geomm.io.object_files import labels_of_image, read_pixel_csv, read_voc
from geomm.io.paths import VECTOR_ENDINGS, expand
from geomm.io.raster_info import RasterInfo, read_info
from geomm.io.stac import place_items
from geomm.io.vector import VectorLabels, read_layer
from geomm.registry import DATASETS

#: Files of boxes in pixels of the scene.
_BOX_ENDINGS = (".xml", ".csv")


@dataclass(frozen=True)
class _Features:
    """The features of one scene, in its pixels, with the name of each one's class (None: unknown)."""

    outlines: NDArray[np.object_]
    names: Sequence[str | None]


@DATASETS.register_module()
class Footprints(CropSource):
    """Features of scenes (footprints, crowns, points, boxes), each cut out with some ground around it.

    Features of one block of a scene go to the same split, so that neighbours do not leak.

    Args:
      images: scenes: a file, glob, folder or list.
      labels: one vector layer for all scenes, or a layer, a PASCAL VOC xml or a csv of pixel boxes for
        each, named like it.
      sample: name of made-up sample data to use instead (``geomm.samples``).
      label_field: attribute (or column) that holds the class.
      margin: ground shown around each feature, a share of its longer side.
      margin_m: the same in units of the scene's CRS instead; points need it.
      blackout: hide what lies outside of each feature.
      options: of ``CropSource``; ``split`` also has ``block_px``.
    """

    groups = "blocks"

    def __init__(
        self,
        *,
        images: Paths = None,
        labels: Paths = None,
        sample: str | None = None,
        label_field: str | None = None,
        margin: float = 0.25,
        margin_m: float | None = None,
        blackout: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.images, self.labels, self.sample = images, labels, sample
        self.label_field = label_field
        self.margin, self.margin_m, self.blackout = margin, margin_m, blackout

    @property
    def where(self) -> str:
        return str(self.images if self.sample is None else self.sample)

    def find(self) -> list[Picture]:
        images, labels = self.images, self.labels
        if self.sample is not None:
            from geomm.samples import make

            made = make(self.sample)
            images, labels = made["images"], made["labels"]
        if images is None or labels is None:
            raise DataError("dataset.labels: no labels given; name a layer of features, csv or xml of boxes")
        files = expand(labels, (*VECTOR_ENDINGS, *_BOX_ENDINGS))
        pictures = []
        on_scenes = 0
        for scene in expand(place_items(images, bands=self.bands)):
            try:
                info = read_info(scene)
                features = self._features(pair(scene, files), info)
            except DataError as error:
                self.leave_out("scenes that cannot be used", str(error))
                continue
            on_scenes += len(features.outlines)
            pictures += self._cut(scene, info, features)
        self._count_off_scenes(files, on_scenes)
        return pictures

    def _features(self, file: str, scene: RasterInfo) -> _Features:
        if not file.lower().endswith(_BOX_ENDINGS):
            if self.label_field is None:
                raise ConfigError(
                    [Problem("dataset.label_field", f"give the attribute of {file} that holds the class")]
                )
            placed = VectorLabels.open(file, scene, label_field=self.label_field)
            assert placed.names is not None
            return _Features(placed.geometries, list(placed.names))
        if file.lower().endswith(".xml"):
            labels = read_voc(file)
        else:
            labels = labels_of_image(read_pixel_csv(file, label_field=self.label_field), scene.path, file)
        return _Features(labels.geometries, list(labels.names))

    def _cut(self, scene: str, info: RasterInfo, features: _Features) -> list[Picture]:
        """Return a picture a feature whose class is known."""
        window = self.window_px or 64
        size = self.split_options.get("block_px") or "auto"
        edge = block_size(info.width, info.height, window) if size == "auto" else int(size)
        found = []
        for number, (outline, name) in enumerate(zip(features.outlines, features.names, strict=True)):
            label = f"{Path(scene).name}: feature {number + 1}"
            x, y = outline.centroid.x, outline.centroid.y
            if name is None:
                self.leave_out("features without a class", f"{label} has no {self.label_field}")
                continue
            if not (0 <= x < info.width and 0 <= y < info.height):
                self.leave_out("features off the scene", f"{label}: its middle is off the scene")
                continue
            if self.margin_m is None and max(np.ptp(np.reshape(outline.bounds, (2, 2)), axis=0)) == 0:
                raise DataError(f"{label} is a point, which has no size: give dataset.margin_m=…")
            square = around(outline, info, margin=self.margin, margin_m=self.margin_m)
            crop = Crop(scene, square, label, outline)
            found.append(Picture(crop, (name,), (scene, int(y) // edge, int(x) // edge)))
        return found

    def _count_off_scenes(self, files: Sequence[str], on_scenes: int) -> None:
        """Count the features of a layer for all scenes that lie on none of them."""
        if len(files) != 1 or files[0].lower().endswith(_BOX_ENDINGS):
            return
        frame = read_layer(files[0])
        there = int((~(frame.geometry.is_empty | frame.geometry.isna())).sum())
        if there > on_scenes:
            self.leave_out(
                "features off the scenes",
                f"{files[0]}: {there - on_scenes} of {there} features lie on none of the scenes",
                there - on_scenes,
            )

    def seen_from_above(self, infos: Sequence[RasterInfo]) -> bool:
        return True
