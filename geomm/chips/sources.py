"""Where chips are cut: tiles of scenes, row by row, or squares around features."""

from __future__ import annotations

import abc
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from geomm.chips.options import IMAGE_FORMATS, OBJECT_FORMATS, ChipOptions
from geomm.datasets.maps.geotiff import GeoTiffScenes
from geomm.datasets.maps.labels import Classes, LabelTable, choose_classes
from geomm.datasets.maps.pairs import Everywhere
from geomm.datasets.maps.scene_files import OpenScene, Paths, open_scenes
from geomm.datasets.maps.targets import MaskTarget, PixelTarget
from geomm.datasets.objects.targets import BoxTarget
from geomm.datasets.objects.windows import SceneObjects, label_indices, shown_in
from geomm.datasets.pictures.source import Picture
from geomm.errors import DataError
from geomm.io.object_files import valid_area
from geomm.io.object_labels import ObjectLabels
from geomm.io.paths import VECTOR_ENDINGS
from geomm.io.raster import RasterReader
from geomm.io.raster_info import RasterInfo, read_info
from geomm.io.vector import layer_classes
from geomm.registry import DATASETS, build
from geomm.structures import (
    IGNORE_INDEX,
    IN_PIXELS,
    NO_CLASS,
    ClassSpec,
    Georeference,
    PixelWindow,
    make_classes,
)

#: Pixels that are read at once, beside those of one tile.
_READ_BYTES = 64 * 2**20
#: Features that are one unit of work.
_FEATURES = 256
#: How far a second raster's grid may miss the first's, pixels.
_OFF_PX = 0.1


@dataclass(frozen=True)
class CutObjects:
    """The objects that a chip shows.

    Attributes:
      outlines: (N,) shapely polygons in pixels of the chip, cut at its edges.
      labels: (N,) class index of each.
      shares: (N,) of each one's area that the chip shows.
      ignored: (N,) bool, neither learnt nor counted.
    """

    outlines: NDArray[np.object_]
    labels: NDArray[np.int64]
    shares: NDArray[np.float64]
    ignored: NDArray[np.bool_]


@dataclass(frozen=True)
class Cut:
    """A chip as it was cut, not yet written.

    Attributes:
      pixels: (C, h, w) in the scene's dtype.
      valid: (h, w), False where there is no data.
      place: of its upper left corner.
      info: of its scene.
      mask: (h, w) uint8 class indices, ``IGNORE_INDEX`` where unlabelled; of scenes with pixel labels.
      objects: of scenes with objects.
      labels: class indices that it shows; of features.
      second: the same ground in a second raster: pixels, valid, place, nodata value.
    """

    pixels: NDArray[Any]
    valid: NDArray[np.bool_]
    place: Georeference
    info: RasterInfo
    mask: NDArray[np.uint8] | None = None
    objects: CutObjects | None = None
    labels: tuple[int, ...] | None = None
    second: tuple[NDArray[Any], NDArray[np.bool_], Georeference, float | None] | None = None


class Unit(abc.ABC):
    """Chips that are cut, and kept as finished, together."""

    #: How many chips it may give.
    count: int

    @abc.abstractmethod
    def cut(self) -> Iterator[Cut]:
        """Read the chips one after another."""


@dataclass
class Source:
    """All that is cut.

    Attributes:
      units: in order.
      classes: by class index.
      background: index of the class of what no label covers, None where that is unlabelled.
      scenes: headers of the scenes.
      bands: 1-based numbers.
      files: that the chips follow from.
      seconds: headers of the second rasters of the scenes' ground, where there are any.
    """

    units: list[Unit]
    classes: tuple[ClassSpec, ...]
    background: int | None
    scenes: list[RasterInfo]
    bands: tuple[int, ...]
    files: list[str] = field(default_factory=list)
    seconds: list[RasterInfo] = field(default_factory=list)


def open_source(dataset: Mapping[str, Any], options: ChipOptions, cache: Path) -> Source:
    """Open the scenes and labels that a dataset's config names.

    Args:
      dataset: of ``geotiff`` or ``footprints``.
      options: of the export.
      cache: folder for what is found in label rasters.

    Raises:
      DataError: files, labels or classes that cannot be used.
    """
    chosen = {key: value for key, value in dataset.items() if key != "tasks"}
    if dataset["type"] == "Footprints":
        return _of_features(build(DATASETS, chosen), options)
    target = _target(dataset, options.format)
    scenes, bands, table = cast(GeoTiffScenes, build(DATASETS, chosen, target=target)).open_scenes(cache)
    classes = table.classes
    if isinstance(target, BoxTarget):
        classes = classes[:-1]  # the last stands for ground without objects
    infos = [scene.reader.info for scene in scenes]
    places = apart(infos)
    units: list[Unit] = [
        unit
        for scene in scenes
        for unit in _rows(
            scene, places[scene.reader.info.path], bands, options.tile_px or 256, options.stride_px
        )
    ]
    files = [path for scene in scenes for path in (scene.reader.source.path, scene.labels.path) if path]
    seconds = [scene.labels.reader.info for scene in scenes if isinstance(scene.labels, _Second)]
    return Source(units, classes, table.background, infos, bands, files, seconds)


def _target(dataset: Mapping[str, Any], format: str) -> Any:
    if format in OBJECT_FORMATS:
        return BoxTarget.of(dataset, masks=True, tell_boxes=format == "RCNN_Masks")
    if format in IMAGE_FORMATS:
        return _ImageryTarget()
    keys = ("label_field", "classes", "background", "all_touched")
    return MaskTarget(**{key: dataset[key] for key in keys})


class _ImageryTarget(PixelTarget):
    """No labels; where labels are named, they are a second raster of the same ground."""

    labelled = False

    def open(self, images: Paths, labels: Paths, *, skip_errors: bool, role: int) -> list[OpenScene]:
        def place(scene: str, file: str) -> OpenScene:
            reader = RasterReader(scene)
            if Path(file).suffix.lower() in VECTOR_ENDINGS:
                raise DataError(
                    f"dataset.labels: {file} is a vector layer, and chips of Export_Tiles show no labels; "
                    "leave dataset.labels out, or name a raster of the same ground for images2"
                )
            return OpenScene(reader, _Second(reader.info, RasterReader(file)) if file else Everywhere(), role)

        return open_scenes(images, labels, place, skip_errors=skip_errors)

    def settle(self, scenes: Sequence[OpenScene], cache: Path, *, skip_errors: bool) -> LabelTable:
        return LabelTable(make_classes(["imagery"])[:0], None, {}, {})


class _Second(Everywhere):
    """A second raster, on a grid that is finer or coarser by a whole number, or equal.

    Args:
      first: whose windows are asked for.
      reader: of the second raster.

    Raises:
      DataError: the grids do not fit each other.
    """

    def __init__(self, first: RasterInfo, reader: RasterReader) -> None:
        super().__init__()
        self.first, self.reader = first, reader
        one, two = first.georeference, reader.info.georeference
        if one.crs is None or two.crs is None:
            self.scale = reader.info.width / first.width
            self.offset = (0.0, 0.0)
            return
        self.scale = first.gsd / reader.info.gsd
        (a, b, c, d, e, f), (_, _, x, _, _, y) = two.transform, one.transform
        away = np.linalg.solve(np.array([[a, b], [d, e]]), np.array([x - c, y - f]))
        self.offset = (float(away[0]), float(away[1]))

    @property
    def path(self) -> str:
        return self.reader.source.path

    def read(self, window: PixelWindow) -> tuple[NDArray[Any], NDArray[np.bool_], Georeference, float | None]:
        edges = [
            window.col * self.scale + self.offset[0],
            window.row * self.scale + self.offset[1],
            window.width * self.scale,
            window.height * self.scale,
        ]
        whole = [round(value) for value in edges]
        if max(abs(edge - near) for edge, near in zip(edges, whole, strict=True)) > _OFF_PX:
            raise DataError(
                f"{self.first.path} and {self.path}: a chip of {window.width} px is {edges[2]:.2f} px of the "
                "second raster, or does not begin on its grid; warp one onto the other's grid (gdalwarp "
                "-te … -tr …)"
            )
        there = PixelWindow(*whole)
        pixels, valid = self.reader.read(there)
        info = self.reader.info
        return pixels, valid, info.georeference.shifted(there.col, there.row), info.nodata


def apart(infos: Sequence[RasterInfo]) -> dict[str, Georeference]:
    """Return where each scene lies, by path: those without any place side by side, in pixels."""
    places: dict[str, Georeference] = {}
    left = 0
    for info in infos:
        places[info.path] = info.georeference
        if info.georeference == IN_PIXELS:
            places[info.path] = IN_PIXELS.shifted(left, 0)
            # Squares around features may reach past a scene.
            left += 2 * max(info.width, info.height)
    return places


def _rows(
    scene: OpenScene, place: Georeference, bands: Sequence[int], tile_px: int, stride_px: int | None
) -> Iterator[Unit]:
    info = scene.reader.info
    lefts, tops = (starts(edge, tile_px, stride_px or tile_px) for edge in (info.width, info.height))
    for top in tops:
        yield _RowOfTiles(len(lefts), scene, place, bands, lefts, top, tile_px)


def starts(length: int, tile_px: int, stride_px: int) -> list[int]:
    """Return where tiles begin along an edge: the last one ends with it, where it holds a whole tile."""
    last = max(length - tile_px, 0)
    return [*range(0, last, stride_px), last]


@dataclass
class _RowOfTiles(Unit):
    count: int
    scene: OpenScene
    place: Georeference
    bands: Sequence[int]
    lefts: Sequence[int]
    top: int
    tile_px: int

    def cut(self) -> Iterator[Cut]:
        info = self.scene.reader.info
        edge = self.tile_px
        a_column = len(self.bands) * edge * np.dtype(info.dtype).itemsize
        widest = max(edge, _READ_BYTES // a_column)
        for run in _runs(self.lefts, edge, widest):
            strip = PixelWindow(run[0], self.top, run[-1] + edge - run[0], edge)
            pixels, valid = self.scene.reader.read(strip, self.bands)
            for left in run:
                cols = slice(left - run[0], left - run[0] + edge)
                yield self._one(PixelWindow(left, self.top, edge, edge), pixels[..., cols], valid[:, cols])

    def _one(self, window: PixelWindow, pixels: NDArray[Any], valid: NDArray[np.bool_]) -> Cut:
        info, labels = self.scene.reader.info, self.scene.labels
        cut = Cut(pixels, valid, self.place.shifted(window.col, window.row), info)
        if isinstance(labels, SceneObjects):
            assert labels.objects is not None and labels.table is not None
            return replace(cut, objects=cut_outlines(labels.objects, window, labels.table.index_of))
        if isinstance(labels, _Second):
            return replace(cut, second=labels.read(window))
        if isinstance(labels, Everywhere):
            return cut
        mask = labels.mask(window)
        mask[~valid] = IGNORE_INDEX
        return replace(cut, mask=mask)


def _runs(lefts: Sequence[int], tile_px: int, widest_px: int) -> Iterator[list[int]]:
    """Divide neighbouring tiles into runs no wider than what may be read at once."""
    run: list[int] = []
    for left in lefts:
        if run and left + tile_px - run[0] > widest_px:
            yield run
            run = []
        run.append(left)
    yield run


def cut_outlines(labels: ObjectLabels, window: PixelWindow, index_of: Mapping[str, int]) -> CutObjects:
    """Return the objects of a window, in its pixels, cut at its edges."""
    import shapely

    near, seen = shown_in(labels, window)
    indices = label_indices(near, index_of)
    named = indices != NO_CLASS  # no format has objects without a class
    near, seen, indices = near[named], seen[named], indices[named]
    # Where outlines touch along an edge, lines lie beside the areas.
    areal = np.array([*(valid_area(item) for item in seen), None], object)[:-1]
    shares = np.minimum(shapely.area(areal) / np.maximum(near.areas, 1e-12), 1.0)
    moved = shapely.transform(areal, lambda points: points - [window.col, window.row])
    return CutObjects(np.asarray(moved, object), indices, shares, near.ignored)


def _of_features(source: Any, options: ChipOptions) -> Source:
    pictures: list[Picture] = source.pictures()
    found = layer_classes([np.array([name for item in pictures for name in item.names], object)])
    given: Classes = source.classes
    classes, index_of = choose_classes(found, given, "features")
    infos = [read_info(path) for path in dict.fromkeys(item.crop.path for item in pictures)]
    bands = infos[0].select_bands(source.bands)
    places = apart(infos)
    units: list[Unit] = [
        _Features(
            min(_FEATURES, len(pictures) - start),
            places,
            pictures[start : start + _FEATURES],
            bands,
            index_of,
            options.tile_px,
            source.blackout,
        )
        for start in range(0, len(pictures), _FEATURES)
    ]
    files = [*(info.path for info in infos), *(str(item) for item in (source.labels,) if item)]
    return Source(units, classes, None, infos, bands, files)


@dataclass
class _Features(Unit):
    count: int
    places: Mapping[str, Georeference]
    pictures: Sequence[Picture]
    bands: Sequence[int]
    index_of: Mapping[str, int]
    tile_px: int | None
    blackout: bool

    def cut(self) -> Iterator[Cut]:
        readers: dict[str, RasterReader] = {}
        for picture in self.pictures:
            crop = picture.crop
            if crop.path not in readers:
                readers = {crop.path: RasterReader(crop.path)}
            reader = readers[crop.path]
            window = crop.window if self.tile_px is None else _fixed(crop.outline, self.tile_px)
            pixels, valid = reader.read(window, self.bands)
            if self.blackout:
                valid = valid & _inside(crop.outline, window)
            place = self.places[crop.path].shifted(window.col, window.row)
            labels = tuple(self.index_of[name] for name in picture.names)
            yield Cut(pixels, valid, place, reader.info, labels=labels)


def _fixed(outline: Any, edge: int) -> PixelWindow:
    """Return the window of an edge around the middle of a feature."""
    left, top, right, bottom = outline.bounds
    col, row = (math.floor((low + high - edge) / 2 + 0.5) for low, high in ((left, right), (top, bottom)))
    return PixelWindow(col, row, edge, edge)


def _inside(outline: Any, window: PixelWindow) -> NDArray[np.bool_]:
    from rasterio.features import rasterize
    from rasterio.transform import Affine

    burnt = rasterize(
        [(outline, 1)],
        out_shape=(window.height, window.width),
        transform=Affine.translation(window.col, window.row),
        all_touched=True,
        dtype="uint8",
    )
    return np.asarray(burnt, bool)
