"""What a model's values become on the map."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geomm.errors import DataError
from geomm.inference.inputs import preview_of
from geomm.io.cog import MapLayout
from geomm.io.raster import RasterInfo
from geomm.structures import RasterSpec

if TYPE_CHECKING:
    from geomm.inference.maps.job import MapJob
    from geomm.inference.options import ClassMapOptions


class MapProducts(abc.ABC):
    """The rasters that a task makes of its model's values, and the files that follow from them.

    Attributes:
      planes: K, values a pixel that the model gives and that are blended.
      scale: pixels of the map along an edge of a pixel of the scene.
    """

    planes: int
    scale: int = 1

    @abc.abstractmethod
    def layouts(self, info: RasterInfo) -> dict[str, MapLayout]:
        """Return the layout of each raster by its product's name, the map itself first."""

    @abc.abstractmethod
    def render(self, values: Tensor) -> dict[str, Tensor]:
        """Turn values (K, h, w) into pixels (C, h, w) a product, beside the model on its device."""

    def encode(self, product: str, pixels: NDArray[Any], layout: MapLayout) -> NDArray[Any]:
        """Turn rendered pixels into what the file of that layout holds, beside the writer."""
        return pixels

    @abc.abstractmethod
    def finish(self, job: MapJob, name: str, folder: Path) -> list[Path]:
        """Join the finished bands of rows into the final files, the map last; return them, the map first."""

    @abc.abstractmethod
    def describe(self) -> Any:
        """Return JSON types that differ whenever a finished band could differ."""


class ClassMap(MapProducts):
    """Class values, and probabilities, polygons and a picture on request.

    Args:
      spec: of the model.
      options: which products are wanted.
    """

    def __init__(self, spec: RasterSpec, options: ClassMapOptions) -> None:
        self.spec, self.options = spec, options
        self.planes = spec.num_classes

    def layouts(self, info: RasterInfo) -> dict[str, MapLayout]:
        place, shape = info.georeference, (info.width, info.height)
        classes = self.spec.classes
        nodata, dtype = self._coding
        found = {"classes": MapLayout(*shape, dtype, place, nodata, ("class",), classes)}
        if self.options.probabilities:
            names = tuple(item.name for item in classes)
            found["probabilities"] = MapLayout(*shape, "float32", place, -1.0, names)
        if self.options.polygons:
            found["confidence"] = MapLayout(*shape, "uint8", place, 255, ("confidence",))
        return found

    @cached_property
    def _coding(self) -> tuple[int, str]:
        return class_nodata([item.value for item in self.spec.classes])

    @cached_property
    def _values(self) -> NDArray[Any]:
        """What the map holds for each class of the scores."""
        nodata, dtype = self._coding
        values = np.array([item.value for item in self.spec.classes], dtype)
        if self.spec.background is not None and not self.options.predict_background:
            values[self.spec.background] = nodata
        return values

    def render(self, values: Tensor) -> dict[str, Tensor]:
        best, index = best_class(values)
        products = {"classes": index[None]}
        if self.options.polygons:
            per_cent = (best * 100).round().clamp(0, 100)
            products["confidence"] = per_cent.to(torch.uint8)[None]
        if self.options.probabilities:
            products["probabilities"] = values
        return products

    def encode(self, product: str, pixels: NDArray[Any], layout: MapLayout) -> NDArray[Any]:
        return np.asarray(self._values[pixels]) if product == "classes" else pixels

    def finish(self, job: MapJob, name: str, folder: Path) -> list[Path]:
        written = []
        if self.options.probabilities:
            written.append(job.join("probabilities", folder / f"{name}_probabilities.tif"))
        if self.options.polygons:
            written.append(self._polygonise(job, folder / f"{name}.gpkg"))
        target = job.join("classes", folder / f"{name}.tif")
        if self.options.preview:
            from geomm.visualization.preview import draw_preview

            written.append(draw_preview(job.scene, target, self.spec, preview_of(target)))
        return [target, *written]

    def _polygonise(self, job: MapJob, target: Path) -> Path:
        from geomm.io.polygons import polygonise

        background = None if self.options.polygons_background else self.spec.background
        return polygonise(
            job.bands("classes"),
            job.bands("confidence"),
            job.layouts["classes"],
            target,
            work=job.work,
            leave_out=() if background is None else (self.spec.classes[background].value,),
            min_area_m2=self.options.min_area_m2,
        )

    def describe(self) -> Any:
        return [self.options.predict_background, self.options.probabilities, self.options.polygons]


class ValueMap(MapProducts):
    """Values of one or more bands: a finer picture, a quantity a pixel.

    Args:
      band_names: a name a band of the map.
      dtype: numpy name of the map's pixel type; whole numbers are rounded and cut to its range.
      nodata: value of pixels without data; None takes one for the dtype.
      scale: pixels of the map along an edge of a pixel of the scene.
      preview: draws the picture beside the map: from the scene's path, the map and a PNG to write.
    """

    def __init__(
        self,
        band_names: Sequence[str],
        *,
        dtype: str = "float32",
        nodata: float | None = None,
        scale: int = 1,
        preview: Any = None,
    ) -> None:
        self.band_names, self.dtype, self.scale = tuple(band_names), dtype, scale
        self.nodata = value_nodata(dtype) if nodata is None else nodata
        self.planes = len(self.band_names)
        self.preview = preview

    def layouts(self, info: RasterInfo) -> dict[str, MapLayout]:
        place = info.georeference.finer(self.scale)
        shape = (info.width * self.scale, info.height * self.scale)
        return {"values": MapLayout(*shape, self.dtype, place, self.nodata, self.band_names)}

    def render(self, values: Tensor) -> dict[str, Tensor]:
        return {"values": values}

    def encode(self, product: str, pixels: NDArray[Any], layout: MapLayout) -> NDArray[Any]:
        return to_dtype(pixels, layout.dtype, avoid=layout.nodata)

    def finish(self, job: MapJob, name: str, folder: Path) -> list[Path]:
        target = job.join("values", folder / f"{name}.tif")
        written = [target]
        if self.preview is not None:
            written.append(self.preview(job.scene, target, preview_of(target)))
        return written

    def describe(self) -> Any:
        return [self.band_names, self.dtype, self.nodata, self.scale]


class FinerScene(ValueMap):
    """The scene itself on a finer grid: its dtype, nodata, band names and colours.

    Args:
      spec: of the model; its bands are those of the map.
      preview: see ``ValueMap``.
    """

    def __init__(self, spec: RasterSpec, *, preview: Any = None) -> None:
        super().__init__(spec.band_names, scale=spec.scale, preview=preview)
        self.bands = spec.bands

    def layouts(self, info: RasterInfo) -> dict[str, MapLayout]:
        nodata = info.nodata
        if nodata is None and (info.masked or info.alpha is not None):
            nodata = value_nodata(info.dtype)
        (layout,) = super().layouts(info).values()
        return {
            "values": replace(
                layout,
                dtype=info.dtype,
                nodata=nodata,
                band_names=tuple(info.band_names[band - 1] for band in self.bands),
                colors=tuple(info.colors[band - 1] for band in self.bands),
            )
        }


def to_dtype(values: NDArray[Any], dtype: str, *, avoid: float | None = None) -> NDArray[Any]:
    """Return values in a dtype: rounded and cut to its range where it holds whole numbers.

    Args:
      values: of any real type.
      dtype: numpy name.
      avoid: nodata; a whole value that would equal it moves by one.
    """
    kind = np.dtype(dtype)
    if kind.kind not in "iu":
        return values.astype(kind, copy=False)
    limits = np.iinfo(kind)
    # float64 holds every 32-bit number; float32 would round the largest past the range.
    wide = values.astype(np.float64) if kind.itemsize > 2 else values
    whole: NDArray[Any] = np.clip(np.rint(wide), limits.min, limits.max).astype(kind)
    if avoid is not None and limits.min <= avoid <= limits.max and float(avoid).is_integer():
        at = whole == kind.type(avoid)
        whole[at] = kind.type(avoid + 1 if avoid < limits.max else avoid - 1)
    return whole


def value_nodata(dtype: str) -> float:
    """Return the nodata value of a map of values: the lowest for whole numbers, NaN for others."""
    kind = np.dtype(dtype)
    return float(np.iinfo(kind).min) if kind.kind in "iu" else float("nan")


def best_class(scores: Tensor) -> tuple[Tensor, Tensor]:
    """Return the highest of scores (K, h, w) and its index as uint8, the first where equal."""
    if scores.is_cuda:
        best, index = scores.max(0)
        return best, index.to(torch.uint8)
    # Several times faster on a CPU than a reduction that carries an index along.
    best = scores[0].clone()
    index = torch.zeros(best.shape, dtype=torch.uint8)
    for number in range(1, len(scores)):
        higher = (scores[number] > best).view(torch.uint8)
        torch.maximum(index, higher * number, out=index)
        torch.maximum(best, scores[number], out=best)
    return best, index


def class_nodata(values: Sequence[int]) -> tuple[int, str]:
    """Return the map's nodata value and dtype: 0, or 255 and down where 0 is a class's value.

    Raises:
      DataError: a class value that 16 bits do not hold.
    """
    if not all(0 <= value <= 65535 for value in values):
        raise DataError(
            f"class values {list(values)} do not fit a map of 16 bits; give values from 0 to 65535"
        )
    for highest, dtype in ((255, "uint8"), (65535, "uint16")):
        free = [value for value in (0, *range(highest, 0, -1)) if value not in values]
        if max(values) <= highest and free:
            return free[0], dtype
    raise DataError("every value of 16 bits is a class's; leave one for nodata")
