"""Scenes with features, each of a class: the pictures are cut around them."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geomm.datasets.blocks import block_size
from geomm.datasets.maps.scene_files import Paths, pair
from geomm.datasets.overlaps import placed
from geomm.datasets.pictures.crops import Crop, around
from geomm.datasets.pictures.source import CropSource, Picture
from geomm.errors import ConfigError, DataError, Problem
from geomm.io.object_files import labels_of_image, read_pixel_csv, read_voc
from geomm.io.paths import VECTOR_ENDINGS, expand
from geomm.io.raster_info import RasterInfo, read_info
from geomm.io.stac import place_items
from geomm.io.tables import to_crs
from geomm.io.vector import VectorLabels, in_scene_crs, read_layer, to_map, to_pixels
from geomm.registry import DATASETS

_LOG = logging.getLogger("geomm")
#: Files of boxes in pixels of the scene.
_BOX_ENDINGS = (".xml", ".csv")
#: What the places of two scenes that meet may lie apart by rounding, pixels.
_SEAM_PX = 1e-3


@dataclass(frozen=True)
class _Features:
    """The features of one scene, in its pixels.

    Attributes:
      outlines: (n,) shapely geometries.
      names: of each one's class, None where unknown.
      called: what each is called, no other alike: its place is known where its number in the layer is not.
    """

    outlines: NDArray[np.object_]
    names: Sequence[str | None]
    called: Sequence[str]


@DATASETS.register_module()
class Footprints(CropSource):
    """Features of scenes (footprints, crowns, points, boxes), each cut out with some ground around it.

    Features of one block go to the same split, so that neighbours do not leak. Scenes that know their
    places share their blocks, and what several of them show of one place goes to one split.

    Args:
      images: scenes: a file, glob, folder or list.
      labels: one vector layer for all scenes, or a layer, a PASCAL VOC xml or a csv of pixel boxes for
        each, named like it.
      sample: name of made-up sample data to use instead (``geomm.samples``).
      label_field: attribute (or column) that holds the class.
      margin: ground shown around each feature, a share of its longer side.
      margin_m: the same in metres on the ground instead (pixels of a scene without a CRS); points need it.
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
        pictures: list[list[Picture]] = []
        infos: list[RasterInfo] = []
        shared = len(files) == 1 and not files[0].lower().endswith(_BOX_ENDINGS)
        scenes = expand(place_items(images, bands=self.bands))
        for scene in scenes:
            try:
                info = read_info(scene)
                features = self._features(pair(scene, files, scenes), info, scenes)
            except DataError as error:
                self.leave_out("scenes that cannot be used", str(error))
                continue
            infos.append(info)
            pictures.append(self._cut(scene, info, features, shared=shared))
        if shared:
            self._count_off_scenes(files[0], infos)
        return self._in_blocks(pictures, infos)

    def _features(self, file: str, scene: RasterInfo, scenes: Sequence[str]) -> _Features:
        if not file.lower().endswith(_BOX_ENDINGS):
            if self.label_field is None:
                raise ConfigError(
                    [Problem("dataset.label_field", f"give the attribute of {file} that holds the class")]
                )
            layer = VectorLabels.open(file, scene, label_field=self.label_field)
            assert layer.names is not None
            return _Features(
                layer.geometries, list(layer.names), _called(to_map(layer.geometries, scene), "feature")
            )
        if file.lower().endswith(".xml"):
            labels = read_voc(file)
        else:
            boxes = read_pixel_csv(file, label_field=self.label_field)
            labels = labels_of_image(boxes, scene.path, file, scenes)
        labels.check_size(scene.width, scene.height, scene.path)
        if labels.ignored.any():
            _LOG.info("%s: %d objects marked as difficult are left out", file, int(labels.ignored.sum()))
            labels = labels[~labels.ignored]
        return _Features(labels.geometries, list(labels.names), _called(labels.geometries, "box"))

    def _cut(self, scene: str, info: RasterInfo, features: _Features, *, shared: bool) -> list[Picture]:
        """Return a picture a feature whose class is known, its group not.

        Args:
          scene: path.
          info: of the scene.
          features: that lie on it, at least partly.
          shared: whether a feature whose middle is off the scene may be another one's.
        """
        found = []
        for outline, name, called in zip(features.outlines, features.names, features.called, strict=True):
            label = f"{scene}: {called}"
            if not _on(outline.centroid, info):
                if not shared:
                    self.leave_out("features off the scene", f"{label}: its middle is off the scene")
                continue
            if name is None:
                field = self.label_field or "class"
                self.leave_out("features without a class", f"{label} has no {field}")
                continue
            if self.margin_m is None and max(np.ptp(np.reshape(outline.bounds, (2, 2)), axis=0)) == 0:
                self.leave_out(
                    "features without a size",
                    f"{label} is a point, which has no size: give dataset.margin_m=…",
                )
                continue
            square = around(outline, info, margin=self.margin, margin_m=self.margin_m)
            found.append(Picture(Crop(scene, square, label, outline), (name,), None))
        return found

    def _in_blocks(self, pictures: Sequence[Sequence[Picture]], infos: Sequence[RasterInfo]) -> list[Picture]:
        """Return the pictures of all scenes with their groups.

        Blocks are those of the first scene that knows its place, and go on over all others that do; a
        scene without a place has blocks of its own.
        """
        first = next((info for info in infos if info.georeference.crs is not None), None)
        if first is None and infos and placed(infos):
            first = infos[0]
        grouped: list[Picture] = []
        squares: NDArray[np.object_] = np.empty(0, object)
        blocks: NDArray[np.intp] = np.empty((0, 3), np.intp)
        for number, (mine, info) in enumerate(zip(pictures, infos, strict=True)):
            if not mine:
                continue
            own = _squares(mine)
            if first is not None and (info.georeference.crs is None) == (first.georeference.crs is None):
                own = _moved(own, info, first)
                found = _as_before(self._blocks(own, first, 0), own, blocks, squares)
                squares, blocks = np.concatenate([squares, own]), np.concatenate([blocks, found])
            else:
                found = self._blocks(own, info, number + 1)
            grouped += [replace(item, group=tuple(block)) for item, block in zip(mine, found, strict=True)]
        return grouped

    def _blocks(self, squares: NDArray[np.object_], scene: RasterInfo, grid: int) -> NDArray[np.intp]:
        """Return (n, 3) the number of the grid, row and column of the block of each square's middle."""
        import shapely

        window = self.window_px or 64
        size = self.split_options.get("block_px") or "auto"
        edge = block_size(scene.width, scene.height, window) if size == "auto" else int(size)
        middle = shapely.centroid(squares)
        cells = np.floor(np.stack([shapely.get_y(middle), shapely.get_x(middle)], axis=1) / edge)
        return np.insert(cells.astype(np.intp), 0, grid, axis=1)

    def _count_off_scenes(self, file: str, scenes: Sequence[RasterInfo]) -> None:
        """Count the features of a layer for all scenes whose middle lies on none of them."""
        frame = read_layer(file)
        frame = frame[~(frame.geometry.is_empty | frame.geometry.isna())]
        on_any = np.zeros(len(frame), bool)
        middles: dict[str | None, NDArray[np.object_]] = {}
        for scene in scenes:
            crs = scene.georeference.crs
            if crs not in middles:
                middles[crs] = _middles(in_scene_crs(frame, file, scene).geometry.to_numpy())
            on_any |= _on(to_pixels(middles[crs], scene), scene)
        off = np.flatnonzero(~on_any)
        if len(off):
            first = _called(frame.geometry.to_numpy()[off[:1]], "feature")[0]
            self.leave_out(
                "features off the scenes",
                f"{file}: the middle of {len(off)} of {len(frame)} features lies on none of the scenes, "
                f"the first is the {first}",
                len(off),
            )

    def seen_from_above(self, infos: Sequence[RasterInfo]) -> bool:
        return True


def _on(middles: Any, scene: RasterInfo) -> Any:
    """Return whether points in pixels of a scene lie on it; those on a seam are on one scene at least."""
    import shapely

    x, y = shapely.get_x(middles), shapely.get_y(middles)
    return (x >= -_SEAM_PX) & (x < scene.width) & (y >= -_SEAM_PX) & (y < scene.height)


def _middles(outlines: NDArray[np.object_]) -> NDArray[np.object_]:
    """Return the middles of outlines, repaired as ``VectorLabels`` does."""
    import shapely

    broken = ~shapely.is_valid(outlines)
    repaired = outlines.copy()
    repaired[broken] = shapely.make_valid(outlines[broken])
    return shapely.centroid(repaired)  # type: ignore[no-any-return]


def _called(outlines: NDArray[np.object_], what: str) -> list[str]:
    """Return what features are called, by the places of their middles; those of one place are numbered."""
    import shapely

    middle = shapely.centroid(outlines)
    places = zip(shapely.get_x(middle), shapely.get_y(middle), strict=True)
    times: Counter[str] = Counter()
    called = []
    for place in (f"{what} at {x:.9g}, {y:.9g}" for x, y in places):
        times[place] += 1
        called.append(place if times[place] == 1 else f"{place} ({times[place]})")
    return called


def _squares(pictures: Sequence[Picture]) -> NDArray[np.object_]:
    """Return what pictures show, in pixels of their scene."""
    import shapely

    windows = [item.crop.window for item in pictures]
    return np.array(
        [shapely.box(w.col, w.row, w.col + w.width, w.row + w.height) for w in windows], dtype=object
    )


def _moved(shapes: NDArray[np.object_], scene: RasterInfo, other: RasterInfo) -> NDArray[np.object_]:
    """Return shapes in pixels of another scene, which may go on past it."""
    if scene is other:
        return shapes
    crs, wanted = scene.georeference.crs, other.georeference.crs
    return to_pixels(to_crs(to_map(shapes, scene), crs, wanted, scene.path), other)


def _as_before(
    blocks: NDArray[np.intp],
    squares: NDArray[np.object_],
    earlier: NDArray[np.intp],
    earlier_squares: NDArray[np.object_],
) -> NDArray[np.intp]:
    """Return the blocks of a scene's pictures: of what an earlier scene showed too, the one it had there.

    Args:
      blocks: (n, 3) by the places of the pictures.
      squares: (n,) what they show.
      earlier: (m, 3) of the earlier scenes' pictures.
      earlier_squares: (m,) what those show; of several, the one with most in common counts.
    """
    import shapely

    one, two = shapely.STRtree(earlier_squares).query(squares, predicate="intersects")
    common = shapely.area(shapely.intersection(squares[one], earlier_squares[two]))
    order = np.argsort(common, kind="stable")
    order = order[common[order] > 0]
    found = blocks.copy()
    found[one[order]] = earlier[two[order]]  # of those of one picture, the last one stays
    return found
