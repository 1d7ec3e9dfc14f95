"""A cloud of any size on disk, in square regions that are predicted one after the other.

Points of a file come in any order. They are first spread over files of regions; a region is then held
in memory with the strip of its neighbours that its own blocks reach into. A block belongs to the
region that its lower left corner lies in, so each is predicted once; what it gives to points beyond
the region is handed on to the regions that come later.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geomm.errors import DataError
from geomm.io.las import LasInfo, PointChunk, read_chunks
from geomm.points import HEIGHT, PointSample, PointSpec
from geomm.transforms.ground import LowestPoints
from geomm.transforms.shape import shape_features

_LOG = logging.getLogger("geomm")
Array = NDArray[Any]
#: Smallest weight of a vote, at a block's edge: every point of a block counts.
_LEAST_WEIGHT = 0.02
#: Points of a neighbouring region that are read at a time.
_PIECE = 65_536
#: Points may lie this far outside of the header's bounds: some programs round these.
_ROUNDING_M = 0.5
#: Number of a point that is context only.
CONTEXT = -1


@dataclass(frozen=True)
class RegionGrid:
    """Where regions and blocks lie, metres from the cloud's corner.

    Attributes:
      low: (2,) of the first region's corner.
      block_m: edge of a block.
      step_m: from a block to the next.
      blocks: along the edge of a region.
      rows, cols: regions.
    """

    low: tuple[float, float]
    block_m: float
    step_m: float
    blocks: int
    rows: int
    cols: int

    @property
    def edge_m(self) -> float:
        return self.step_m * self.blocks

    @classmethod
    def cover(
        cls, extent: Sequence[float], points: int, *, block_m: float, overlap_m: float, region_points: int
    ) -> RegionGrid:
        """Return a grid over an extent (x, y) whose regions hold about ``region_points`` on average."""
        step = block_m - overlap_m
        wide = np.asarray(extent, np.float64) + block_m  # blocks begin before the first point
        area = max(float((np.asarray(extent) + 1.0).prod()), 1.0)
        edge = np.sqrt(region_points * area / max(points, 1))
        blocks = int(np.clip(edge / step, 1, 64))
        cols, rows = np.floor(wide / (step * blocks)).astype(int) + 1
        return cls((-block_m, -block_m), block_m, step, blocks, int(rows), int(cols))

    def bounds(self, position: int) -> tuple[float, float]:
        """Return where the blocks of a row or column begin and end in their region, without gaps."""
        low = np.float32(position * self.step_m)
        return float(low), float(
            max(np.float32(low + self.block_m), np.float32((position + 1) * self.step_m))
        )

    def region_of(self, xy: Array) -> NDArray[np.int64]:
        """Return the row-major number of the region that holds each point, -1 outside."""
        place = np.floor((xy - np.asarray(self.low)) / self.edge_m).astype(np.int64)
        inside = (place >= 0).all(1) & (place[:, 0] < self.cols) & (place[:, 1] < self.rows)
        return np.where(inside, place[:, 1] * self.cols + place[:, 0], -1)

    def corner(self, region: int) -> NDArray[np.float64]:
        row, col = divmod(region, self.cols)
        return np.asarray(self.low) + np.array([col, row]) * self.edge_m

    def shift(self, region: int, other: int) -> NDArray[np.float32]:
        """Return what is added to a point's place (x, y, z) in another region to have it in this one."""
        return np.array([*(self.corner(other) - self.corner(region)), 0.0], np.float32)

    def around(self, region: int, before: float, after: float) -> list[int]:
        """Return the regions, itself included, with points from ``-before`` to ``after`` of its corner."""
        row, col = divmod(region, self.cols)
        steps = range(-int(-(-before // self.edge_m)), int(after // self.edge_m) + 1)
        return [
            (row + up) * self.cols + col + right
            for up in steps
            for right in steps
            if 0 <= row + up < self.rows and 0 <= col + right < self.cols
        ]

    def beside(self, region: int) -> list[int]:
        """Return the regions that a region's blocks reach into: right, above, and above right."""
        row, col = divmod(region, self.cols)
        reach = -(-max(self.block_m - self.step_m, 1e-9) // self.edge_m)
        steps = range(int(reach) + 1)
        return [
            (row + up) * self.cols + col + right
            for up in steps
            for right in steps
            if (up or right) and row + up < self.rows and col + right < self.cols
        ]


def record_type(features: int) -> np.dtype[Any]:
    """Return how a point lies in a region's file: place in the region, features, number."""
    return np.dtype([("xyz", "<f4", 3), ("features", "<f4", features), ("number", "<i8")])


class OutOfBoundsError(DataError):
    """Points lie where the header says that there are none."""


def spread(
    info: LasInfo, others: Sequence[LasInfo], spec: PointSpec, grid: RegionGrid, folder: Path
) -> list[int]:
    """Write a cloud's points, and those around it, to the files of their regions.

    Args:
      info: the cloud.
      others: clouds beside it, whose points near its bounds are context.
      spec: of the model.
      grid: of the regions.
      folder: to write to.

    Returns:
      The regions that hold points of the cloud or are reached by blocks that do.
    """
    note = folder / "spread.json"
    if note.is_file():
        return list(json.loads(note.read_text(encoding="utf-8")))
    for old in folder.glob("region_*.bin"):
        old.unlink()
    origin, units = np.asarray(info.mins), np.asarray(info.units_m)
    reach = np.array([grid.block_m, grid.block_m])
    extent = ((np.asarray(info.maxs) - origin) * units)[:2]
    sources = [info, *others]
    surface = None
    if HEIGHT in spec.features:
        lowest = LowestPoints(-reach, extent + reach)
        for source in sources:
            for chunk in _chunks(source, (), needed=source is info):
                lowest.add((chunk.xyz - origin) * units)
        surface = lowest.surface()
    kind = record_type(len(spec.features))
    last = np.nextafter(np.float32(grid.edge_m), np.float32(0))
    own: set[int] = set()
    for source in sources:
        for chunk in _chunks(source, spec.dimensions, needed=source is info):
            local = (chunk.xyz - origin) * units
            numbers = np.arange(chunk.start, chunk.start + len(chunk))
            near = np.ones(len(local), bool)
            if source is not info:
                numbers = np.full(len(local), CONTEXT)
                near = ((local[:, :2] >= -reach) & (local[:, :2] <= extent + reach)).all(1)
            region = grid.region_of(local[:, :2])
            astray = (local[:, :2] < -_ROUNDING_M) | (local[:, :2] > extent + _ROUNDING_M)
            if source is info and astray.any():
                raise OutOfBoundsError(f"{info.path}: points lie outside of the header's bounds")
            columns: list[NDArray[np.float32]] = []
            for name in spec.features:
                if name in spec.shapes:  # worked out when all points around are there
                    columns.append(np.zeros(len(local), np.float32))
                    continue
                values = surface.height_above(local) if surface and name == HEIGHT else chunk.values[name]
                columns.append(_finite(np.asarray(values, np.float32), source.path, name))
            records = np.zeros(len(local), kind)
            records["features"] = np.stack(columns, 1) if columns else np.zeros((len(local), 0))
            records["number"] = numbers
            for part in _by_region(np.where(near, region, -1)):
                number = int(region[part[0]])
                corner = np.array([*grid.corner(number), 0.0])
                mine = records[part]
                mine["xyz"] = local[part] - corner
                # Rounded to 4 bytes a point may reach the edge, which belongs to the next region.
                np.clip(mine["xyz"][:, :2], 0, last, out=mine["xyz"][:, :2])
                with open(folder / f"region_{number}.bin", "ab") as file:
                    file.write(mine.tobytes())
                if source is info:
                    own.add(number)
    # A region before one with points has blocks that reach them.
    touched = sorted(
        region
        for region in range(grid.rows * grid.cols)
        if region in own or any(other in own for other in grid.beside(region))
    )
    note.write_text(json.dumps(touched), encoding="utf-8")
    return touched


def _chunks(source: LasInfo, dimensions: Sequence[str], *, needed: bool) -> Iterator[PointChunk]:
    """Read a cloud; one that is only context may be damaged, and then ends early."""
    try:
        yield from read_chunks(source.path, dimensions)
    except DataError as error:
        if needed:
            raise
        _LOG.warning("not used as context at the seam: %s", error)


def _finite(values: NDArray[np.float32], path: str, name: str) -> NDArray[np.float32]:
    if not np.isfinite(values).all():
        raise DataError(
            f"{path}: dimension {name!r}, which the model reads, holds values that are no numbers; "
            "fill them in"
        )
    return values


def _by_region(region: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Yield the positions of each region's points, regions without one left out."""
    order = np.argsort(region, kind="stable")
    order = order[np.searchsorted(region[order], 0) :]
    if len(order):
        yield from np.split(order, np.flatnonzero(np.diff(region[order])) + 1)


@dataclass
class Region:
    """A region in memory: its own points first, then those of its neighbours that its blocks reach.

    Attributes:
      number: of the region.
      xyz: (n, 3) float32 metres from the region's corner.
      features: (n, F) float32.
      numbers: (n,) of the points in the file, -1 for context.
      parts: of each neighbour, its number and which of its points these are.
      own: how many points are the region's.
    """

    number: int
    xyz: NDArray[np.float32]
    features: NDArray[np.float32]
    numbers: NDArray[np.int64]
    parts: list[tuple[int, NDArray[np.int64]]]
    own: int


def load_region(number: int, grid: RegionGrid, spec: PointSpec, folder: Path) -> Region:
    """Read a region and the strip around it that its blocks reach."""
    features = len(spec.features)
    records = [_read(folder, number, features)]
    xyz, parts = [records[0]["xyz"]], []
    reach = grid.edge_m - grid.step_m + grid.block_m
    for other in grid.beside(number):
        shift = grid.shift(number, other)
        found, near = _read_within(folder, other, features, -np.inf - shift, reach - shift)
        records.append(found)
        xyz.append(found["xyz"] + shift)
        parts.append((other, near))
    joined, points = np.concatenate(records), np.concatenate(xyz)
    columns = np.ascontiguousarray(joined["features"])
    if spec.shapes:
        margin = _read_margin(number, grid, spec, folder, reach)
        chosen = [spec.features.index(name) for name in spec.shapes]
        columns[:, chosen] = shape_features(points, spec.shapes, np.concatenate([points, margin]))
    return Region(number, points, columns, joined["number"].copy(), parts, len(records[0]))


def _read_margin(
    number: int, grid: RegionGrid, spec: PointSpec, folder: Path, reach: float
) -> NDArray[np.float32]:
    """Read the points (n, 3) around what a region's blocks reach that its points' features depend on."""
    margin = spec.shape_reach_m
    found: list[NDArray[np.float32]] = [np.zeros((0, 3), np.float32)]
    for other in grid.around(number, margin, reach + margin):
        shift = grid.shift(number, other)
        records, _ = _read_within(folder, other, len(spec.features), -margin - shift, reach + margin - shift)
        xyz = records["xyz"] + shift
        # The region's own points, and those that its blocks reach, are there already.
        there = (xyz[:, :2] < reach).all(1) if other == number or other in grid.beside(number) else False
        found.append(xyz[~np.broadcast_to(there, len(xyz))])
    return np.concatenate(found)


def _read(folder: Path, number: int, features: int) -> Array:
    file = folder / f"region_{number}.bin"
    kind = record_type(features)
    return np.fromfile(file, kind) if file.is_file() else np.zeros(0, kind)


def _read_within(
    folder: Path, number: int, features: int, low: NDArray[Any], high: NDArray[Any]
) -> tuple[Array, NDArray[np.int64]]:
    """Read a region's points from ``low`` up to ``high``, a piece of the file at a time; also say which."""
    kind = record_type(features)
    file = folder / f"region_{number}.bin"
    count = file.stat().st_size // kind.itemsize if file.is_file() else 0
    records: list[Array] = [np.zeros(0, kind)]
    places: list[NDArray[np.int64]] = [np.zeros(0, np.int64)]
    for start in range(0, count, _PIECE):
        piece = np.fromfile(file, kind, count=_PIECE, offset=start * kind.itemsize)
        place = piece["xyz"][:, :2]
        near = np.flatnonzero((place >= low[:2]).all(1) & (place < high[:2]).all(1))
        records.append(piece[near])
        places.append(near + start)
    return np.concatenate(records), np.concatenate(places)


@dataclass(frozen=True)
class Votes:
    """One sample of a block: which points of the region it holds, and what their votes weigh."""

    sample: PointSample
    points: NDArray[np.int64]
    weights: NDArray[np.float32]


def block_samples(region: Region, grid: RegionGrid, spec: PointSpec) -> Iterator[Votes]:
    """Yield the samples of a region's blocks that hold a point of the cloud itself.

    A block with more points than a sample holds is divided at random into samples of like size, so
    that each of its points is predicted.
    """
    overlap = grid.block_m - grid.step_m
    order = np.argsort(region.xyz[:, 1], kind="stable")
    heights = region.xyz[order, 1]
    for row in range(grid.blocks):
        bottom, top = grid.bounds(row)
        first, last = np.searchsorted(heights, np.array([bottom, top], np.float32))
        strip = order[first:last]
        across = region.xyz[strip, 0]
        for col in range(grid.blocks):
            left, right = grid.bounds(col)
            points = strip[(across >= left) & (across < right)]
            if not len(points) or (region.numbers[points] == CONTEXT).all():
                continue
            points = np.sort(points)
            corner = np.array([left, bottom], np.float32)
            yield from _divide(region, points, corner, grid.block_m, overlap, spec)


def _divide(
    region: Region,
    points: NDArray[np.int64],
    corner: NDArray[np.float32],
    block_m: float,
    overlap_m: float,
    spec: PointSpec,
) -> Iterator[Votes]:
    inside = region.xyz[points, :2] - corner
    border = np.minimum(inside, block_m - inside).min(1)
    weights = np.clip(border / max(overlap_m, 1e-6), _LEAST_WEIGHT, 1).astype(np.float32)
    floor = region.xyz[points, 2].min()
    middle = np.array([corner[0] + block_m / 2, corner[1] + block_m / 2, floor], np.float32)
    parts = -(-len(points) // spec.block_points)
    shuffled = np.random.default_rng(len(points)).permutation(len(points))
    for part in range(parts):
        chosen = shuffled[part::parts]
        mine = points[chosen]
        sample = PointSample(region.xyz[mine] - middle, region.features[mine], feature_names=spec.features)
        yield Votes(sample, mine, weights[chosen])
