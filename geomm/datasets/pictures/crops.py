"""Pictures to be named whole: image files, or squares around the features of a scene."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from geomm.io.ground_sizes import pixel_edge_m
from geomm.io.photos import check_whole, read_tags, upright
from geomm.io.raster import RasterReader
from geomm.io.raster_info import RasterInfo, read_info
from geomm.structures import Georeference, PixelWindow, RasterSample
from geomm.transforms.compose import Compose

#: A picture of which less is imagery cannot be judged.
LEAST_COVERED = 0.5


@dataclass(frozen=True)
class Crop:
    """A square of an image.

    Attributes:
      path: of the image.
      window: as wide as high, in pixels of the image; may reach past it.
      name: for messages, tables and figures; its own among those of a source.
      outline: shapely geometry in pixels of the image that the picture is about, None for all of it.
      orientation: EXIF's number of how the image is stored.
    """

    path: str
    window: PixelWindow
    name: str
    outline: Any = None
    orientation: int = 1


def whole_image(path: str) -> Crop:
    """Return the smallest square that holds a whole image file, around its middle.

    Raises:
      DataError: there is no such file, or it is no image.
    """
    info = read_info(path)
    check_whole(path)
    edge = max(info.width, info.height)
    window = PixelWindow(-((edge - info.width) // 2), -((edge - info.height) // 2), edge, edge)
    # A file that knows its place on the map is stored as it lies there.
    placed = info.georeference.crs is not None
    return Crop(path, window, path, None, 1 if placed else read_tags(path).orientation)


def around(outline: Any, scene: RasterInfo, *, margin: float, margin_m: float | None) -> PixelWindow:
    """Return the square around a feature.

    Args:
      outline: shapely geometry in pixels of the scene.
      scene: its pixel size counts.
      margin: ground shown around it, a share of its longer side, or
      margin_m: the same in metres on the ground (pixels of an image without a CRS).
    """
    left, top, right, bottom = outline.bounds
    longer = max(right - left, bottom - top)
    beside = longer * margin if margin_m is None else margin_m / pixel_edge_m(scene, outline)
    edge = max(math.ceil(longer + 2 * beside), 4)
    return PixelWindow(
        math.floor((left + right - edge) / 2 + 0.5), math.floor((top + bottom - edge) / 2 + 0.5), edge, edge
    )


def read_crop(crop: Crop, bands: Sequence[int], size_px: int, *, blackout: bool) -> RasterSample:
    """Read a picture at the size of the model's windows.

    Args:
      crop: what to read.
      bands: 1-based numbers.
      size_px: edge of the result; the picture is resampled to it.
      blackout: hide what lies outside of the outline: not valid, which the model sees as the mean colour.

    Returns:
      A sample whose extras hold ``covered``, the share of the outline's pixels that are imagery.

    Raises:
      DataError: the image is damaged.
    """
    reader = _reader(crop.path)
    pixels, valid = reader.read_resized(crop.window, size_px, bands)
    inside = _inside(crop, reader.info, size_px)
    covered = float(valid[inside].mean()) if inside.any() else float(valid.any())
    if blackout and crop.outline is not None:
        valid = valid & inside
    place = reader.info.georeference.shifted(crop.window.col, crop.window.row)
    a, b, c, d, e, f = place.transform
    scale = crop.window.width / size_px
    place = Georeference(place.crs, (a * scale, b * scale, c, d * scale, e * scale, f))
    if crop.orientation != 1:
        pixels, valid = upright(pixels, crop.orientation), upright(valid, crop.orientation)
    return RasterSample(pixels, valid, None, place, crop.name, {"covered": covered})


def _inside(crop: Crop, info: RasterInfo, size_px: int) -> NDArray[np.bool_]:
    """Return which pixels of the result the picture is about: the outline's, or the image file's."""
    window = crop.window
    if crop.outline is None:
        inside = np.zeros((size_px, size_px), bool)
        scale = size_px / window.width
        rows, cols = (
            slice(max(round(-start * scale), 0), max(round((length - start) * scale), 1))
            for start, length in ((window.row, info.height), (window.col, info.width))
        )
        inside[rows, cols] = True
        return inside
    from rasterio.features import rasterize
    from rasterio.transform import Affine

    scale = window.width / size_px
    grid = Affine(scale, 0, window.col, 0, scale, window.row)
    burnt = rasterize(
        [(crop.outline, 1)], out_shape=(size_px, size_px), transform=grid, all_touched=True, dtype="uint8"
    )
    return np.asarray(burnt, bool)


@lru_cache(maxsize=16)
def _reader(path: str) -> RasterReader:
    return RasterReader(path)


class CropDataset(Dataset[RasterSample]):
    """The pictures of a split; sample ``i`` is one of them, changed by draws of (seed, i) alone.

    Args:
      crops: of the split.
      labels: (N, K) float32, 1 where a picture shows a class.
      bands: 1-based numbers.
      window_px: edge of the samples.
      blackout: see ``read_crop``.
      augment: transforms.
      seed: of every random choice.
      positions: numbers of the crops in the order of an epoch, where some come more than once.
    """

    def __init__(
        self,
        crops: Sequence[Crop],
        labels: NDArray[np.float32],
        *,
        bands: Sequence[int],
        window_px: int,
        blackout: bool,
        augment: Compose,
        seed: int,
        positions: NDArray[np.intp] | None = None,
    ) -> None:
        self.crops, self.labels, self.bands = list(crops), labels, tuple(bands)
        self.window_px, self.blackout = window_px, blackout
        self.augment, self.seed = augment, seed
        self.positions = np.arange(len(self.crops)) if positions is None else positions

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, index: int) -> RasterSample:
        number = int(self.positions[index % len(self.positions)])
        sample = read_crop(self.crops[number], self.bands, self.window_px, blackout=self.blackout)
        sample.extras["labels"] = self.labels[number]
        return self.augment(sample, np.random.default_rng([self.seed, 2, index]))


def oversampled(labels: NDArray[np.float32], share: float) -> NDArray[np.intp]:
    """Return numbers of pictures, those of rare classes several times.

    Args:
      labels: (N, K) 1 where a picture shows a class.
      share: each class comes up at least this share as often as the most frequent one; 0 adds none.
    """
    counts = labels.sum(0, dtype=np.float64)  # thirds of float32 do not add up to a whole
    wanted = share * counts.max()
    times = np.where(counts > 0, np.maximum(wanted / np.maximum(counts, 1), 1), 1)
    # A picture of several classes is repeated for its rarest.
    repeats = np.maximum((labels * times).max(1), 1)
    each = np.arange(len(labels))
    whole = np.repeat(each, np.floor(repeats).astype(int))
    # What is over after whole repeats is spread evenly over the pictures of a class.
    over = np.zeros(len(labels), bool)
    for kind in np.unique(labels.argmax(1)):
        mine = np.flatnonzero(labels.argmax(1) == kind)
        carried = np.floor(np.cumsum(repeats[mine] % 1) + 1e-9)
        over[mine] = np.diff(carried, prepend=0) > 0
    return np.sort(np.concatenate([whole, each[over]]))
