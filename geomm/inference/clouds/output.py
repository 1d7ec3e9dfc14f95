"""From the results of a cloud's regions to the cloud itself, written again with new codes."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geomm.errors import DataError
from geomm.inference.clouds.options import PointOptions
from geomm.inference.inputs import preview_of
from geomm.io.las import CHUNK_POINTS, LasInfo, PointChunk, read_chunks
from geomm.io.las_edit import PointCodes, code_limit, write_codes
from geomm.points import PointSpec
from geomm.structures import IGNORE_INDEX

_LOG = logging.getLogger("geomm")
#: Points of a picture.
_PREVIEW_POINTS = 400_000


#: How a point's result lies in a region's file, in the order of the cloud.
RESULT = np.dtype([("number", "<i8"), ("index", "u1"), ("confidence", "<f4")])


class RegionResult:
    """A region's result on disk, read chunk by chunk of the cloud.

    Args:
      path: of its file.
      points: of the cloud.
    """

    def __init__(self, path: Path, points: int) -> None:
        self.path = path
        numbers = np.fromfile(path, RESULT)["number"]
        self.starts = np.searchsorted(numbers, np.arange(0, points + CHUNK_POINTS, CHUNK_POINTS))

    def of_chunk(self, chunk: int) -> NDArray[Any]:
        """Return the results of the points of one chunk."""
        first, last = (int(value) for value in self.starts[chunk : chunk + 2])
        return np.fromfile(self.path, RESULT, count=last - first, offset=first * RESULT.itemsize)


def output_file(folder: Path, name: str, cloud: str) -> Path:
    """Return what a cloud's result is called."""
    return folder / f"{name}{Path(cloud).suffix.lower()}"


@dataclass
class CloudWriter:
    """Writes a cloud with its classification filled in, and a picture of it.

    Attributes:
      info: of the cloud.
      target: file to write.
      spec: of the model.
      options: which classes are written, and where.
    """

    info: LasInfo
    target: Path
    spec: PointSpec
    options: PointOptions
    _shown: list[tuple[NDArray[Any], NDArray[Any], NDArray[Any]]] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        limit = code_limit(self.info.point_format)
        written = [self.spec.classes[index].value for index in self.options.written(self.spec)]
        for values, writer, cure in (
            (written, "the model", "name the codes that it holds in inference.classes"),
            (self.options.remapped().values(), "inference.remap", "give other codes there"),
        ):
            if max(values, default=0) > limit:
                raise DataError(
                    f"{self.info.path}: point format {self.info.point_format} holds classification codes "
                    f"0 to {limit}, {writer} writes {max(values)}; convert it to format 6 or above, or {cure}"
                )
        self._boundary = _Boundary.open(self.options.boundary, self.info) if self.options.boundary else None

    def write(self, work: Path) -> list[Path]:
        """Write the cloud from the results of its regions in ``work``; return the files."""
        results = [RegionResult(file, self.info.points) for file in sorted(work.glob("result_*.bin"))]
        pieces = self._pieces(results)
        written = [write_codes(self.info.path, self.target, pieces, confidence=self.options.confidence)]
        if self.options.preview and self._shown:
            written.append(self._draw())
        return written

    def _pieces(self, results: list[RegionResult]) -> Iterator[PointCodes]:
        wanted = np.zeros(256, bool)
        wanted[self.options.written(self.spec)] = True
        values = np.array([item.value for item in self.spec.classes], np.int16)
        remap = np.arange(256, dtype=np.int16)
        for given, new in self.options.remapped().items():
            remap[given] = new
        preserved = self.options.preserved(self.spec)
        every = max(self.info.points // _PREVIEW_POINTS, 1)
        for chunk in read_chunks(self.info.path, ["classification"], chunk_points=CHUNK_POINTS):
            index, confidence = _results_of(chunk, results)
            before = chunk.values["classification"].astype(np.int16)
            old = remap[before]
            changed = wanted[index] & ~np.isin(old, preserved)
            if self._boundary is not None:
                changed &= self._boundary.holds(chunk.xyz)
            codes = np.where(changed, values[index], old).astype(np.int16)
            self._show(chunk, before, codes, every)
            yield PointCodes(codes, confidence if self.options.confidence else None)

    def _show(self, chunk: PointChunk, before: NDArray[Any], after: NDArray[Any], every: int) -> None:
        if self.options.preview:
            first = -chunk.start % every
            away = chunk.xyz[first::every] - np.asarray(self.info.mins)
            xyz = (away * np.asarray(self.info.units_m)).astype(np.float32)
            self._shown.append((xyz, before[first::every], after[first::every]))

    def _draw(self) -> Path:
        from geomm.visualization.points import draw_cloud_preview

        table = np.full(256, IGNORE_INDEX, np.uint8)
        for code, index in self.spec.codes.items():
            table[code] = index
        for index, item in enumerate(self.spec.classes):
            table[item.value] = index
        xyz, before, after = (np.concatenate(parts) for parts in zip(*self._shown, strict=True))
        path = preview_of(self.target)
        return draw_cloud_preview(xyz, table[before], table[after], self.spec, path)


def _results_of(
    chunk: PointChunk, results: list[RegionResult]
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Gather the class and confidence of a chunk's points from all regions' results."""
    index = np.full(len(chunk), IGNORE_INDEX, np.uint8)
    confidence = np.zeros(len(chunk), np.float32)
    for result in results:
        part = result.of_chunk(chunk.start // CHUNK_POINTS)
        place = part["number"] - chunk.start
        index[place], confidence[place] = part["index"], part["confidence"]
    assert (index != IGNORE_INDEX).all(), "a point without a result"
    return index, confidence


@dataclass(frozen=True)
class _Boundary:
    """Polygons in a cloud's CRS."""

    area: Any

    @classmethod
    def open(cls, path: str, info: LasInfo) -> _Boundary:
        import shapely

        from geomm.io.vector import read_layer

        frame = read_layer(path)
        if frame.crs is not None and info.crs is not None:
            frame = frame.to_crs(info.crs)
        area = shapely.union_all(shapely.make_valid(frame.geometry.values))
        if area.is_empty or not area.area:
            raise DataError(f"{path} holds no polygon; inference.boundary needs one")
        shapely.prepare(area)
        low, high = info.mins, info.maxs
        if not shapely.box(low[0], low[1], high[0], high[1]).intersects(area):
            _LOG.warning("%s lies outside of %s: all of its points keep their codes", info.path, path)
        return cls(area)

    def holds(self, xyz: NDArray[np.float64]) -> NDArray[np.bool_]:
        import shapely

        return np.asarray(shapely.contains_xy(self.area, xyz[:, 0], xyz[:, 1]), bool)
