"""Windows of scenes with the objects in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geomm.datasets.maps.labels import SceneLabels
from geomm.datasets.maps.windows import Change, RandomWindows, Scene
from geomm.io.clipping import clip_outlines
from geomm.io.object_labels import ObjectLabels
from geomm.structures import IGNORE_INDEX, NO_CLASS, Objects, PixelWindow, RasterSample
from geomm.transforms.compose import Compose
from geomm.transforms.raster import box_of_pixels

#: Windows that are looked at before one without objects is given up.
_TRIES = 12


@dataclass(frozen=True)
class CutObjects:
    """The objects that a window shows, beside what the window cut off.

    Attributes:
      objects: in pixels of the window, cut at its edges.
      whole: (N, 4) float64 their boxes before they were cut.
      share: (N,) of each one's area that is inside.
    """

    objects: Objects
    whole: NDArray[np.float64]
    share: NDArray[np.float64]


def cut_objects(
    labels: ObjectLabels, window: PixelWindow, index_of: Mapping[str, int], *, masks: bool
) -> CutObjects:
    """Return the objects of a window.

    Args:
      labels: of the whole image; every name is in ``index_of``.
      window: pixels of the image.
      index_of: class index by name.
      masks: also rasterise outlines.
    """
    import shapely

    near, seen = shown_in(labels, window)
    area = shapely.area(seen)
    offset = np.array([window.col, window.row, window.col, window.row], np.float64)
    objects = Objects(
        boxes=(np.asarray(shapely.bounds(seen)).reshape(-1, 4) - offset).astype(np.float32),
        labels=label_indices(near, index_of),
        masks=_rasterise(seen, window) if masks else None,
        ignored=near.ignored.copy(),
    )
    return CutObjects(objects, near.boxes - offset, area / np.maximum(near.areas, 1e-9))


def label_indices(labels: ObjectLabels, index_of: Mapping[str, int]) -> NDArray[np.int64]:
    """Return the class (N,) of each object, ``NO_CLASS`` of what has none."""
    return np.array([NO_CLASS if n is None else index_of[str(n)] for n in labels.names], np.int64)


def shown_in(labels: ObjectLabels, window: PixelWindow) -> tuple[ObjectLabels, NDArray[np.object_]]:
    """Return the objects that show in a window, and (N,) the part of each outline that does."""
    import shapely

    near = labels[labels.inside(window)]
    right, bottom = window.col + window.width, window.row + window.height
    seen = clip_outlines(near.geometries, shapely.box(window.col, window.row, right, bottom))
    kept = np.flatnonzero(shapely.area(seen) > 0) if len(near) else np.zeros(0, np.intp)
    return near[kept], seen[kept]


def _rasterise(geometries: NDArray[np.object_], window: PixelWindow) -> NDArray[np.bool_]:
    """Return (N, h, w) the pixels whose centre each outline covers, or all it touches where that is none."""
    from rasterio.features import rasterize
    from rasterio.transform import Affine

    shape = (window.height, window.width)
    out = np.zeros((len(geometries), *shape), bool)
    for number, geometry in enumerate(geometries):
        for touched in (False, True):
            out[number] = rasterize(
                [(geometry, 1)],
                out_shape=shape,
                transform=Affine.translation(window.col, window.row),
                all_touched=touched,
                dtype="uint8",
            ).astype(bool)
            if out[number].any():
                break
    return out


@dataclass
class SceneObjects(SceneLabels):
    """The objects of a scene as its labels.

    The mask of a window, from which blocks are counted and divided, has an object's class in the one pixel
    of its middle, and the index after the last class everywhere else.

    Attributes:
      objects: in pixels of the scene, of names that the table knows.
      masks: whether samples carry masks.
    """

    objects: ObjectLabels | None = None
    masks: bool = False

    @property
    def path(self) -> str:
        return "" if self.objects is None else self.objects.path

    def mask(self, window: PixelWindow) -> NDArray[np.uint8]:
        assert self.table is not None and self.objects is not None
        out = np.full((window.height, window.width), len(self.table.classes) - 1, np.uint8)
        near = self.objects[self.objects.inside(window)]
        near = near[~near.ignored]
        cols, rows = _middles(near.boxes).T
        cols, rows = cols - window.col, rows - window.row
        inside = (cols >= 0) & (rows >= 0) & (cols < window.width) & (rows < window.height)
        kinds = [self.table.index_of[str(name)] for name in near.names[inside]]
        out[rows[inside], cols[inside]] = kinds
        return out

    def extend(self, sample: RasterSample, window: PixelWindow, bands: Sequence[int]) -> RasterSample:
        assert self.table is not None and self.objects is not None
        found = cut_objects(self.objects, window, self.table.index_of, masks=self.masks)
        return replace(sample, extras={**sample.extras, "cut": found})

    def is_empty(self, window: PixelWindow) -> bool:
        """Return whether no object shows in a window."""
        assert self.objects is not None
        return not len(self.objects.inside(window))


def _middles(boxes: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return column and row (N, 2) of the pixels in the middle of boxes."""
    return np.floor((boxes[:, :2] + boxes[:, 2:]) / 2).astype(np.int64).reshape(-1, 2)


@dataclass(frozen=True)
class LearnObjects:
    """Make a training sample of a window: what belongs to another split is hidden, then all is changed.

    The ground of other splits becomes invalid, so that nothing of it is learnt, not even that it is empty.

    Attributes:
      augment: changes the sample.
      min_visible: an object of which less shows is ignored.
    """

    augment: Compose
    min_visible: float

    def __call__(self, sample: RasterSample, rng: np.random.Generator) -> RasterSample:
        cut: CutObjects = sample.extras["cut"]
        assert sample.mask is not None
        seen = sample.mask != IGNORE_INDEX
        objects, share = hide(cut.objects, cut.share, seen)
        ignored = share < self.min_visible
        ignored |= _elsewhere(cut.whole, seen)
        if objects.ignored is not None:
            ignored |= objects.ignored
        extras = {key: value for key, value in sample.extras.items() if key != "cut"}
        extras |= {"objects": replace(objects, ignored=ignored)[share > 0], "min_visible": self.min_visible}
        return self.augment(replace(sample, valid=seen, mask=None, extras=extras), rng)


def hide(
    objects: Objects, share: NDArray[np.float64], seen: NDArray[np.bool_]
) -> tuple[Objects, NDArray[np.float64]]:
    """Cut objects to the pixels (H, W) that are seen; return them with what is left of their share."""
    if seen.all():
        return objects, share
    boxes, share = objects.boxes.copy(), share.copy()
    masks = None if objects.masks is None else objects.masks & seen
    for number, (left, top, right, bottom) in enumerate(objects.boxes):
        rows = slice(int(np.floor(top)), max(int(np.ceil(bottom)), int(np.floor(top)) + 1))
        cols = slice(int(np.floor(left)), max(int(np.ceil(right)), int(np.floor(left)) + 1))
        part = seen[rows, cols]
        if part.all():
            continue
        whole = np.ones_like(part) if objects.masks is None else objects.masks[number, rows, cols]
        part = whole & part
        share[number] *= part.sum() / max(whole.sum(), 1)
        boxes[number] = box_of_pixels(part, (cols.start, rows.start), objects.boxes[number])
    return replace(objects, boxes=boxes, masks=masks), share


def _elsewhere(whole: NDArray[np.float64], seen: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which boxes (N, 4) have their middle in the window, but on a pixel that does not count."""
    cols, rows = _middles(whole).T
    inside = (cols >= 0) & (rows >= 0) & (cols < seen.shape[1]) & (rows < seen.shape[0])
    out = np.zeros(len(whole), bool)
    out[inside] = ~seen[rows[inside], cols[inside]]
    return out


@dataclass(frozen=True)
class JudgeObjects:
    """Make a sample to judge by: of the objects around a cell, those whose middle is in it count."""

    def __call__(self, sample: RasterSample, rng: np.random.Generator) -> RasterSample:
        assert sample.mask is not None
        counted = _bounds(sample.mask != IGNORE_INDEX)
        cut: CutObjects = sample.extras["cut"]
        objects = judged(cut, counted)
        # Nor do those count whose middle lies on ground that is hidden, or without data.
        hidden = _elsewhere(cut.whole, sample.mask != IGNORE_INDEX)
        objects = replace(objects, ignored=hidden | (False if objects.ignored is None else objects.ignored))
        extras = {key: value for key, value in sample.extras.items() if key != "cut"}
        return replace(sample, mask=None, extras={**extras, "objects": objects})


def judged(cut: CutObjects, counted: NDArray[np.float32]) -> Objects:
    """Return a window's objects, those ignored whose middle lies outside of the part that counts."""
    middles = (cut.whole[:, :2] + cut.whole[:, 2:]) / 2
    inside = np.asarray(((middles >= counted[:2]) & (middles < counted[2:])).all(axis=1), np.bool_)
    ignored = ~inside if cut.objects.ignored is None else cut.objects.ignored | ~inside
    return replace(cut.objects, ignored=ignored, counted=counted)


def _bounds(counts: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return xmin, ymin, xmax, ymax of the pixels that are true; an empty box where none is."""
    if not counts.any():
        return np.zeros(4, np.float32)
    rows, cols = np.flatnonzero(counts.any(1)), np.flatnonzero(counts.any(0))
    return np.array([cols[0], rows[0], cols[-1] + 1, rows[-1] + 1], np.float32)


class ObjectWindows(RandomWindows):
    """Training windows around objects, and a share of them where there are none.

    Args:
      empty_share: of the windows without an object, as far as the scenes have room for such.
      balance: of the other windows, the share around an object of a class drawn evenly rather than around
        any object.
    """

    def __init__(
        self,
        scenes: Sequence[Scene],
        *,
        bands: Sequence[int],
        window_px: int,
        count: int,
        balance: float,
        finish: Change,
        seed: int,
        empty_share: float,
    ) -> None:
        super().__init__(
            scenes,
            bands=bands,
            window_px=window_px,
            count=count,
            balance=balance,
            finish=finish,
            seed=seed,
        )
        self.empty_share = empty_share
        # The last class is the ground without objects.
        self._nothing = self._by_class.shape[1] - 1
        self._present = self._present[self._present != self._nothing]
        objects = np.array([scenes[s].scan.classes[b, :-1] for s, b in self._blocks], np.float64)
        self._per_class = objects.sum(0)

    def choose(self, rng: np.random.Generator) -> tuple[Scene, PixelWindow]:
        if rng.random() < self.empty_share and self._by_class[:, self._nothing].any():
            for _ in range(_TRIES):
                scene, window = self.around(*self._around(self._nothing, rng), rng)
                assert isinstance(scene.labels, SceneObjects)
                if scene.labels.is_empty(window):
                    return scene, window
            return scene, window
        if rng.random() < self.balance:
            kind = int(rng.choice(self._present))
        else:
            kind = int(rng.choice(len(self._per_class), p=self._per_class / self._per_class.sum()))
        return self.around(*self._around(kind, rng), rng)


def margin_px(sizes: NDArray[np.float64], window_px: int) -> int:
    """Return how far windows reach beyond their cell so that most objects are seen whole.

    Args:
      sizes: (N,) longer edges of objects, pixels.
      window_px: edge of a window.
    """
    if not len(sizes):
        return 0
    return int(min(np.ceil(np.percentile(sizes, 95) / 2), window_px // 4))


def counts_by_class(labels: Sequence[ObjectLabels], index_of: Mapping[str, int], classes: int) -> Any:
    """Return the objects that count (N, K) of each image and class."""
    counts = np.zeros((len(labels), classes), np.int64)
    for number, item in enumerate(labels):
        for name in item.names[~item.ignored]:
            counts[number, index_of[str(name)]] += 1
    return counts
