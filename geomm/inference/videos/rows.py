"""The rows of a video's objects: held until their tracks' numbers are settled, and written as a csv."""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geomm.inference.objects.views import scores_of
from geomm.inference.videos.tracker import FrameTracker
from geomm.io.video import Frame
from geomm.structures import Objects, RasterSpec

_FIELDS = (
    "frame", "time_s", "track", "class", "value", "confidence", "xmin", "ymin", "xmax", "ymax",
)  # fmt: skip


@dataclass(frozen=True)
class FrameRows:
    """What is written of the objects of a frame.

    Attributes:
      frame: from 0.
      time_s: since frame 0.
      boxes: (N, 4) xmin, ymin, xmax, ymax, pixels.
      labels: (N,) classes.
      scores: (N,) from 0 to 1.
      tracks: (N,) numbers from 1; 0 of what was seen too seldom or is not followed.
    """

    frame: int
    time_s: float
    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    scores: NDArray[np.float32]
    tracks: NDArray[np.int64]


class RowHold:
    """Holds frames' rows, in order, until each one's track has its number or has ended without.

    Args:
      tracker: that gives the tracks' keys. It is asked in the thread that updates it, where frames are added,
        and not where rows are written: that may be any number of frames later.
    """

    def __init__(self, tracker: FrameTracker) -> None:
        self.tracker = tracker
        # While a frame is held, ``tracks`` are keys.
        self._held: deque[FrameRows] = deque()

    def add(self, frame: Frame, objects: Objects, keys: NDArray[np.int64]) -> list[FrameRows]:
        """Take a frame's objects and the keys (N,) of their tracks; return the rows that are settled."""
        rows = FrameRows(
            frame.index,
            frame.time_s,
            objects.boxes,
            objects.labels,
            scores_of(objects),
            keys,
        )
        self._held.append(rows)
        return list(self._settled())

    def rest(self) -> list[FrameRows]:
        """Return what is still held after the last frame."""
        rows = [self._numbered(held) for held in self._held]
        self._held.clear()
        return rows

    def _settled(self) -> Iterator[FrameRows]:
        while self._held and not any(map(self.tracker.may_count, self._held[0].tracks)):
            yield self._numbered(self._held.popleft())

    def _numbered(self, held: FrameRows) -> FrameRows:
        return replace(held, tracks=self.tracker.numbers(held.tracks))


class BoxTable:
    """Writes a csv with a row an object and frame.

    Use as a context manager.

    Args:
      path: csv to write.
      spec: of the model.
    """

    def __init__(self, path: Path, spec: RasterSpec) -> None:
        self.path, self.spec = path, spec

    def __enter__(self) -> BoxTable:
        self._file = self.path.open("w", newline="", encoding="utf-8")
        self._csv = csv.writer(self._file)
        self._csv.writerow(_FIELDS)
        return self

    def __exit__(self, *error: Any) -> None:
        self._file.close()

    def write(self, rows: FrameRows) -> None:
        for box, label, score, track in zip(rows.boxes, rows.labels, rows.scores, rows.tracks, strict=True):
            item = self.spec.classes[label]
            place = [f"{value:.2f}" for value in box]
            what = (int(track) or "", item.name, item.value, f"{score:.4f}")
            self._csv.writerow([rows.frame, round(rows.time_s, 4), *what, *place])


def is_box_table(path: Path) -> bool:
    """Return whether a file is a csv that ``BoxTable`` wrote."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return next(csv.reader(file), None) == list(_FIELDS)
    except (OSError, ValueError, csv.Error):
        return False
