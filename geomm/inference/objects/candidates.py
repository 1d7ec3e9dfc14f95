"""Objects on their way from the tiles to the map, as arrays."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Sides of a box, in the order of its numbers.
LEFT, TOP, RIGHT, BOTTOM = range(4)


@dataclass(frozen=True)
class Candidates:
    """Objects that tiles saw, each knowing the tile.

    Attributes:
      boxes: (N, 4) float64 xmin, ymin, xmax, ymax, pixels of the whole scene.
      labels: (N,) int32 index into the spec's classes.
      scores: (N,) float32, 0 to 1.
      windows: (N, 4) float64, the tile that saw it, as a box.
      cut: (N, 4) bool, sides of the box at which the tile ends and another goes on.
      sources: (N,) int32, number of the input.
      shapes: (N,) shapely polygons in pixels of the scene, None where boxes are all there is.
    """

    boxes: NDArray[np.float64]
    labels: NDArray[np.int32]
    scores: NDArray[np.float32]
    windows: NDArray[np.float64]
    cut: NDArray[np.bool_]
    sources: NDArray[np.int32]
    shapes: NDArray[np.object_] | None = None

    @classmethod
    def none(cls) -> Candidates:
        return cls(
            np.empty((0, 4)),
            np.empty(0, np.int32),
            np.empty(0, np.float32),
            np.empty((0, 4)),
            np.empty((0, 4), bool),
            np.empty(0, np.int32),
        )

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, chosen: Any) -> Candidates:
        """Return those that a slice, a mask (N,) bool or indices choose."""
        values = (getattr(self, item.name) for item in fields(self))
        return Candidates(*(None if value is None else value[chosen] for value in values))  # type: ignore[arg-type]

    @property
    def is_cut(self) -> NDArray[np.bool_]:
        """(N,) bool: at any side."""
        return np.asarray(self.cut.any(1))

    def with_shapes(self) -> Candidates:
        """Return the same, each box its own shape where there is no other."""
        if self.shapes is not None:
            return self
        import shapely

        return replace(self, shapes=np.asarray(shapely.box(*self.boxes.T), dtype=object).reshape(-1))

    def order(self) -> NDArray[np.intp]:
        """Return indices by falling score; equal ones by place, so that it never hangs on who came first."""
        xmin, ymin, xmax, ymax = self.boxes.T
        return np.asarray(np.lexsort((ymax, xmax, xmin, ymin, self.labels, -self.scores)))

    def save(self, path: Path) -> None:
        """Write to a file that appears when it is complete; ``load`` reads it back."""
        values = {item.name: getattr(self, item.name) for item in fields(self) if item.name != "shapes"}
        if self.shapes is not None:
            import shapely

            texts = shapely.to_wkb(self.shapes).tolist()
            values["shape_ends"] = np.cumsum([len(text) for text in texts], dtype=np.int64)
            values["shape_bytes"] = np.frombuffer(b"".join(texts), np.uint8)
        temporary = path.with_suffix(".part")
        with temporary.open("wb") as file:
            np.savez(file, **values)
        os.replace(temporary, path)


def load(path: Path) -> Candidates:
    """Read what ``Candidates.save`` wrote."""
    with np.load(path, allow_pickle=False) as stored:
        names = [item.name for item in fields(Candidates) if item.name != "shapes"]
        shapes = None
        if "shape_ends" in stored:
            import shapely

            ends = stored["shape_ends"].tolist()
            blob = stored["shape_bytes"].tobytes()
            parts = [blob[first:last] for first, last in zip([0, *ends], ends, strict=False)]
            shapes = np.empty(len(parts), dtype=object)
            shapes[:] = shapely.from_wkb(parts) if parts else []
        columns: list[Any] = [*(stored[name] for name in names), shapes]
        return Candidates(*columns)


def join(parts: Sequence[Candidates]) -> Candidates:
    """Return all of several in one; where any has shapes, all get them."""
    parts = [part for part in parts if len(part)]
    if not parts:
        return Candidates.none()
    if any(part.shapes is not None for part in parts):
        parts = [part.with_shapes() for part in parts]
    if len(parts) == 1:
        return parts[0]
    columns: list[Any] = [[getattr(part, item.name) for part in parts] for item in fields(Candidates)]
    joined: list[Any] = [None if column[0] is None else np.concatenate(column) for column in columns]
    return Candidates(*joined)
