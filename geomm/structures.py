"""The data structures that travel between the stages, each carrying its meaning with it."""

from __future__ import annotations

import colorsys
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

#: Value of a mask pixel that is neither trained on nor counted in a metric.
IGNORE_INDEX = 255
#: Label of an object whose class nobody named.
NO_CLASS = -1
#: Most classes that a mask of bytes can tell apart, ``IGNORE_INDEX`` left out.
MAX_CLASSES = 255

Affine6 = tuple[float, float, float, float, float, float]


def class_color(index: int) -> tuple[int, int, int]:
    """Return the RGB colour, 0 to 255, of the class at ``index``: hues spread by the golden ratio."""
    red, green, blue = colorsys.hsv_to_rgb((0.08 + index * 0.618034) % 1.0, 0.72, 0.92)
    return round(red * 255), round(green * 255), round(blue * 255)


@dataclass(frozen=True)
class ClassSpec:
    """One class: the value that files store, its name and its colour."""

    value: int
    name: str
    color: tuple[int, int, int]

    def to_dict(self) -> dict[str, Any]:
        return {"value": self.value, "name": self.name, "color": list(self.color)}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> ClassSpec:
        red, green, blue = data["color"]
        return cls(int(data["value"]), str(data["name"]), (int(red), int(green), int(blue)))


@dataclass(frozen=True)
class Georeference:
    """Where a pixel grid lies on the map.

    Attributes:
      crs: WKT or authority code of the coordinate reference system, None for an image without one.
      transform: (a, b, c, d, e, f) with x = a * col + b * row + c and y = d * col + e * row + f,
        (col, row) being a pixel's upper left corner.
    """

    crs: str | None
    transform: Affine6

    def finer(self, scale: int) -> Georeference:
        """Return the georeference of a grid of ``scale`` times as many pixels along each edge."""
        a, b, c, d, e, f = self.transform
        return replace(self, transform=(a / scale, b / scale, c, d / scale, e / scale, f))

    def coarser(self, scale: int) -> Georeference:
        """Return the georeference of a grid whose pixels are ``scale`` times as long and wide."""
        a, b, c, d, e, f = self.transform
        return replace(self, transform=(a * scale, b * scale, c, d * scale, e * scale, f))

    def shifted(self, col: float, row: float) -> Georeference:
        """Return the georeference of the grid whose origin is at (col, row) of this one."""
        a, b, c, d, e, f = self.transform
        return replace(self, transform=(a, b, c + a * col + b * row, d, e, f + d * col + e * row))


#: Of an image without a place on the map: pixels, y the negative row, which is where QGIS shows it.
IN_PIXELS = Georeference(None, (1.0, 0.0, 0.0, 0.0, -1.0, 0.0))


@runtime_checkable
class FittedAtOnce(Protocol):
    """A model that is fitted by one call rather than by steps of a gradient."""

    def fit_at_once(self, rows: Any) -> None:
        """Fit to a dataset."""
        ...


@runtime_checkable
class WithFiles(Protocol):
    """A model that needs more than its weights: what it gives to its package and takes back."""

    def package_files(self) -> dict[str, bytes]:
        """Return contents by file name."""
        ...

    def load_package_files(self, files: Mapping[str, bytes]) -> None:
        """Take back what ``package_files`` returned."""
        ...


@dataclass(frozen=True)
class PixelWindow:
    """A rectangle of pixels of a raster; may reach past the raster's edges."""

    col: int
    row: int
    width: int
    height: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """Row and column slices into an array of the whole raster."""
        return slice(self.row, self.row + self.height), slice(self.col, self.col + self.width)


@dataclass(frozen=True)
class BandStatistics:
    """Statistics over valid pixels, one number a band, in the raster's own units."""

    min: tuple[float, ...]
    max: tuple[float, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    count: int

    def to_dict(self) -> dict[str, Any]:
        return {
            "min": list(self.min),
            "max": list(self.max),
            "mean": list(self.mean),
            "std": list(self.std),
            "count": self.count,
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> BandStatistics:
        low, high, mean, std = (tuple(float(x) for x in data[key]) for key in ("min", "max", "mean", "std"))
        return cls(low, high, mean, std, int(data["count"]))


@dataclass(frozen=True)
class RasterSpec:
    """What a model must know of the imagery it was trained on; kept in the model package.

    Attributes:
      bands: 1-based numbers of the bands read from each source raster, in the model's order.
      band_names: a name a band, as the files give them (or ``band_1`` …).
      dtype: numpy name of the sources' pixel type.
      nodata: the sources' nodata value, None where there is none.
      statistics: of the training pixels, used to normalise.
      classes: in the order of the model's scores; class ``i`` of a mask is ``classes[i]``.
      background: index of the class that covers what no label covers, None where such pixels are
        unlabelled.
      window_px: edge of the square training windows, pixels.
      gsd: pixel edge in units of the CRS, 0 where unknown.
      crs: CRS of the training imagery, None where unknown.
      map_space: True where imagery is seen from above, so that any flip or quarter turn is a
        plausible image; False for oblique imagery and photos.
      class_pixels: training pixels a class, None where they were not counted.
      scale: pixels of the model's output along an edge of a pixel of its input.
      object_px: edges of a small and of a large object of the training data, pixels: the square root of
        its box's area, of which 5 % and 95 % are smaller; None where there are none.
    """

    bands: tuple[int, ...]
    band_names: tuple[str, ...]
    dtype: str
    statistics: BandStatistics
    classes: tuple[ClassSpec, ...]
    window_px: int
    nodata: float | None = None
    background: int | None = None
    gsd: float = 0.0
    crs: str | None = None
    map_space: bool = True
    class_pixels: tuple[int, ...] | None = None
    scale: int = 1
    object_px: tuple[float, float] | None = None

    @property
    def in_channels(self) -> int:
        return len(self.bands)

    @property
    def num_classes(self) -> int:
        return len(self.classes)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types; ``from_dict`` reads them back."""
        return {
            "bands": list(self.bands),
            "band_names": list(self.band_names),
            "dtype": self.dtype,
            "statistics": self.statistics.to_dict(),
            "classes": [spec.to_dict() for spec in self.classes],
            "window_px": self.window_px,
            # JSON has no word for it.
            "nodata": self.nodata if self.nodata is None or math.isfinite(self.nodata) else str(self.nodata),
            "background": self.background,
            "gsd": self.gsd,
            "crs": self.crs,
            "map_space": self.map_space,
            "class_pixels": None if self.class_pixels is None else list(self.class_pixels),
            "scale": self.scale,
            "object_px": None if self.object_px is None else list(self.object_px),
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> RasterSpec:
        known = dict(data)
        nodata = data.get("nodata")
        known["nodata"] = float(nodata) if isinstance(nodata, str) else nodata
        known["bands"] = tuple(int(band) for band in data["bands"])
        known["band_names"] = tuple(data["band_names"])
        known["statistics"] = BandStatistics.from_dict(data["statistics"])
        known["classes"] = tuple(ClassSpec.from_dict(item) for item in data["classes"])
        pixels = data.get("class_pixels")
        known["class_pixels"] = None if pixels is None else tuple(int(n) for n in pixels)
        edges = data.get("object_px")
        known["object_px"] = None if edges is None else (float(edges[0]), float(edges[1]))
        return cls(**known)


@dataclass(frozen=True)
class ClassificationSpec(RasterSpec):
    """What a model that names whole pictures must know; ``class_pixels`` counts pictures here.

    Attributes:
      multi_label: True where a picture may show several classes, or none.
      margin: of features, ground shown around each: a share of its longer side, or
      margin_m: the same in metres on the ground; None where the share counts.
      blackout: of features, whether what lies outside of each is hidden from the model.
    """

    multi_label: bool = False
    margin: float = 0.0
    margin_m: float | None = None
    blackout: bool = False

    def to_dict(self) -> dict[str, Any]:
        own = {key: getattr(self, key) for key in ("multi_label", "margin", "margin_m", "blackout")}
        return {**super().to_dict(), **own}


@dataclass(frozen=True)
class Objects:
    """Things in an image: the truth, or what a model found.

    Attributes:
      boxes: (N, 4) float32 xmin, ymin, xmax, ymax in pixels; (0, 0) is the upper left corner of the
        upper left pixel, so the box of that pixel alone is 0, 0, 1, 1.
      labels: (N,) int64 index into the spec's classes; ``NO_CLASS`` of what is ignored whatever it may be.
      scores: (N,) float32 from 0 to 1, None for the truth.
      masks: (N, H, W) bool over the whole image, None where only boxes are known.
      ignored: (N,) bool, the truth's objects that are neither learnt nor counted (crowds, cut by a
        border, difficult); None where all count.
      counted: (4,) float32 xmin, ymin, xmax, ymax of the part of the image by which a model is judged, for
        the truth of a window that shows more than its own ground; None where that is all of it. What is
        found elsewhere is no mistake.
    """

    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    scores: NDArray[np.float32] | None = None
    masks: NDArray[np.bool_] | None = None
    ignored: NDArray[np.bool_] | None = None
    counted: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, chosen: Any) -> Objects:
        """Return the objects that a slice, a mask (N,) bool or indices choose."""
        given = {key: getattr(self, key) for key in ("boxes", "labels", "scores", "masks", "ignored")}
        return replace(self, **{key: None if v is None else v[chosen] for key, v in given.items()})  # type: ignore[arg-type]

    def shifted(self, col: float, row: float) -> Objects:
        """Return the boxes as seen from (col, row) to the upper left: both are added. Masks are dropped."""
        by = np.array([col, row, col, row], np.float32)
        counted = None if self.counted is None else self.counted + by
        return replace(self, boxes=self.boxes + by, masks=None, counted=counted)


@dataclass
class RasterSample:
    """One training window or chip.

    Attributes:
      image: (C, H, W) in the source's own dtype, or float32 once a transform changed it.
      valid: (H, W) bool, False where the source has nodata or the window leaves the raster.
      mask: (H, W) uint8 class indices with ``IGNORE_INDEX``; None where the task has no mask.
      georeference: of the window's upper left corner, None for images without one.
      name: source file and window, for messages and figures.
      extras: what further tasks carry, by name: ``objects`` (``Objects``), or ``coarse`` (C, H / s, W / s)
        with ``coarse_valid``, the same ground on a coarser grid.
    """

    image: NDArray[Any]
    valid: NDArray[np.bool_]
    mask: NDArray[np.uint8] | None = None
    georeference: Georeference | None = None
    name: str = ""
    extras: dict[str, Any] = field(default_factory=dict)


def make_classes(names: Sequence[str], values: Sequence[int] | None = None) -> tuple[ClassSpec, ...]:
    """Return classes with default colours; values count from 1 where none are given."""
    numbers = range(1, len(names) + 1) if values is None else values
    return tuple(
        ClassSpec(int(value), str(name), class_color(index))
        for index, (name, value) in enumerate(zip(names, numbers, strict=True))
    )
