"""Clouds on disk in the order of a grid, so that a block is read without the rest of its file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from geomm.errors import DataError
from geomm.io.las import LasInfo, find_dimension, read_chunks, read_las_info
from geomm.points import FEATURE_GROUPS, HEIGHT, SHAPES, file_dimensions, shape_of
from geomm.transforms.ground import LowestPoints
from geomm.transforms.shape import shape_features

#: Most cells of a store; a wider cloud has larger ones.
_MOST_CELLS = 4_000_000
#: Changes with what a store's files hold, so that older ones are made anew.
LAYOUT = 2
#: What may be asked for beside a file's own dimensions.
_WORKED_OUT = (HEIGHT, *FEATURE_GROUPS, *(f"{name}_1m" for name in SHAPES))


@dataclass(frozen=True)
class PointStore:
    """One cloud's points, sorted by cell.

    Attributes:
      path: the cloud.
      folder: of the arrays.
      origin: (3,) what local coordinates are counted from, in CRS units.
      units_m: metres a CRS unit along x, y and z.
      cell_m: edge of a cell.
      rows, cols: cells along y and x.
    """

    path: str
    folder: Path
    origin: tuple[float, float, float]
    units_m: tuple[float, float, float]
    cell_m: float
    rows: int
    cols: int

    @cached_property
    def xyz(self) -> NDArray[np.float32]:
        """(N, 3) metres from the origin; read from disk where it is looked at."""
        return np.load(self.folder / "xyz.npy", mmap_mode="r")  # type: ignore[no-any-return]

    @cached_property
    def features(self) -> NDArray[np.float32]:
        """(N, F) in the files' units."""
        return np.load(self.folder / "features.npy", mmap_mode="r")  # type: ignore[no-any-return]

    @cached_property
    def codes(self) -> NDArray[np.uint8]:
        """(N,) classification codes."""
        return np.load(self.folder / "codes.npy", mmap_mode="r")  # type: ignore[no-any-return]

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        """(rows * cols + 1,) where each cell's points start."""
        return np.load(self.folder / "starts.npy")  # type: ignore[no-any-return]

    def __len__(self) -> int:
        return int(self.starts[-1])

    def __getstate__(self) -> dict[str, Any]:
        """Leave the mapped arrays out: a loader's worker maps them itself."""
        fields = ("path", "folder", "origin", "units_m", "cell_m", "rows", "cols")
        return {name: self.__dict__[name] for name in fields}

    def in_square(self, low: ArrayLike, edge_m: float) -> NDArray[np.int64]:
        """Return the numbers of the points from ``low`` (x, y) up to but not at ``low + edge_m``."""
        first = np.floor(np.asarray(low) / self.cell_m).astype(int)
        last = np.floor((np.asarray(low) + edge_m) / self.cell_m).astype(int)
        left, right = max(first[0], 0), min(last[0], self.cols - 1)
        rows = range(max(first[1], 0), min(last[1], self.rows - 1) + 1)
        if right < left or not rows:
            return np.zeros(0, np.int64)
        runs = [
            np.arange(self.starts[row * self.cols + left], self.starts[row * self.cols + right + 1])
            for row in rows
        ]
        numbers = np.concatenate(runs)
        away = self.xyz[numbers][:, :2] - np.asarray(low, np.float32)
        found: NDArray[np.int64] = numbers[((away >= 0) & (away < edge_m)).all(1)]
        return found


def open_store(path: str, features: Sequence[str], cache: Path, *, cell_m: float) -> PointStore:
    """Return a cloud's store, made anew where the file or what is wanted has changed.

    Args:
      path: LAS, LAZ or COPC.
      features: to keep, in order.
      cache: folder of stores.
      cell_m: edge of a cell.

    Raises:
      DataError: a cloud that cannot be read, in degrees, or without a dimension.
    """
    status = Path(path).stat()
    words = [str(Path(path).resolve()), status.st_size, status.st_mtime_ns, list(features), cell_m, LAYOUT]
    key = hashlib.sha256(json.dumps(words).encode()).hexdigest()[:16]
    folder = cache / f"cloud_{key}"
    if not (folder / "store.json").is_file():
        _make_store(path, features, folder, cell_m)
    return load_store(path, folder)


def load_store(path: str, folder: Path) -> PointStore:
    """Return the store in a folder; ``path`` is what it was made of."""
    known = json.loads((folder / "store.json").read_text(encoding="utf-8"))
    triples = {name: tuple(known[name]) for name in ("origin", "units_m")}
    return PointStore(path=path, folder=folder, **{**known, **triples})


def check_cloud(path: str, features: Sequence[str]) -> LasInfo:
    """Return a cloud's header where it can be used.

    Raises:
      DataError: it is empty, in degrees, or lacks a dimension.
    """
    info = read_las_info(path)
    for name in file_dimensions(features):
        find_dimension(path, name, info.dimensions, also=_WORKED_OUT)
    info.units_m  # noqa: B018 - raises for degrees
    return info


def _make_store(path: str, features: Sequence[str], folder: Path, cell_m: float) -> None:
    info = check_cloud(path, features)
    if not info.points:
        raise DataError(f"{path} holds no points; leave it out")
    dimensions = file_dimensions(features)
    parts = [
        (
            chunk.xyz,
            np.stack([np.asarray(chunk.values[name], np.float32) for name in dimensions], 1)
            if dimensions
            else np.zeros((len(chunk), 0), np.float32),
            chunk.values["classification"].astype(np.uint8),
        )
        for chunk in read_chunks(path, [*dimensions, "classification"])
    ]
    xyz = np.concatenate([part[0] for part in parts])
    # Not the header's bounds, which some programs leave at zero.
    origin = np.floor(xyz.min(0))
    xyz = (xyz - origin) * np.asarray(info.units_m)
    values = np.concatenate([part[1] for part in parts])
    codes = np.concatenate([part[2] for part in parts])
    if not np.isfinite(values).all():
        bad = [
            name for name, column in zip(dimensions, values.T, strict=True) if not np.isfinite(column).all()
        ]
        raise DataError(
            f"{path}: {', '.join(bad)} holds values that are no numbers; leave it out of the features"
        )
    save_store(
        folder, xyz, values, codes, features, cell_m=cell_m, origin=origin.tolist(), units_m=info.units_m
    )


def save_store(
    folder: Path,
    xyz: NDArray[np.float64],
    values: NDArray[np.float32],
    codes: NDArray[np.uint8],
    features: Sequence[str],
    *,
    cell_m: float,
    origin: Sequence[float],
    units_m: Sequence[float],
) -> None:
    """Sort points by cell and write them.

    Args:
      folder: of the store.
      xyz: (N, 3) metres from the origin.
      values: (N, F) of the features that files have, in order; those worked out are added.
      codes: (N,) classification codes.
      features: to keep, in order.
      cell_m: edge of a cell; larger where there would be too many.
      origin: (3,) in CRS units.
      units_m: metres a CRS unit along x, y and z.
    """
    values = _with_worked_out(xyz, values, features)
    # Rounding may leave a point just below the origin.
    place = np.maximum(xyz[:, :2], 0)
    cell_m = max(cell_m, float(np.sqrt(place.max(0).prod() / _MOST_CELLS)), float(place.max() / 50_000))
    cols, rows = (np.floor(place.max(0) / cell_m).astype(int) + 1).tolist()
    across, up = np.floor(place / cell_m).astype(np.int64).T
    cell = up * cols + across
    order = np.argsort(cell, kind="stable")
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "xyz.npy", np.column_stack([place, xyz[:, 2]])[order].astype(np.float32))
    np.save(folder / "features.npy", values[order].astype(np.float32))
    np.save(folder / "codes.npy", codes[order])
    np.save(folder / "starts.npy", np.searchsorted(cell[order], np.arange(rows * cols + 1)))
    note = {"origin": list(origin), "units_m": list(units_m), "cell_m": cell_m, "rows": rows, "cols": cols}
    # Written last: a store without it is not there.
    (folder / "store.json").write_text(json.dumps(note), encoding="utf-8")


def _with_worked_out(
    xyz: NDArray[np.float64], values: NDArray[np.float32], features: Sequence[str]
) -> NDArray[np.float32]:
    """Return values (N, F) of all features from those that files have."""
    shapes = [name for name in features if shape_of(name) is not None]
    columns = dict(zip(file_dimensions(features), values.T, strict=True))
    columns |= dict(zip(shapes, shape_features(xyz, shapes).T, strict=True))
    if HEIGHT in features:
        lowest = LowestPoints(xyz.min(0), xyz.max(0))
        lowest.add(xyz)
        columns[HEIGHT] = lowest.surface().height_above(xyz)
    return np.stack([columns[name] for name in features], 1) if features else values
