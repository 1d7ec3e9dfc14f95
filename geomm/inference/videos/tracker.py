"""Following objects from frame to frame (SORT: Bewley et al., Simple Online and Realtime Tracking, 2016).

A Kalman filter of constant velocity foretells each object's box; the boxes of the next frame are assigned to
these by the Hungarian algorithm, so that the sum of overlaps is largest. Noise is relative to the size of
the object (as Wojke et al., 2017, have it), so nothing hangs on the resolution.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geomm.structures import Objects

Array = NDArray[np.float64]

_POSITION, _VELOCITY = 1 / 20, 1 / 160
#: Box centre and size, and their velocities: the next state is what they are plus how they move.
_MOVE = np.eye(8) + np.eye(8, k=4)
_SEE = np.eye(4, 8)
_UNSEEN = 1e5


@dataclass
class _Track:
    """One object that is followed.

    Attributes:
      key: unique from the first frame on.
      label: class.
      state: (8,) centre x, y, width, height and their change a frame.
      spread: (8, 8) covariance.
      hits: frames that showed it.
      missed: frames since.
      number: counts from 1 once it was seen often enough, 0 before.
    """

    key: int
    label: int
    state: Array
    spread: Array
    hits: int = 1
    missed: int = 0
    number: int = 0

    @property
    def box(self) -> Array:
        half = np.maximum(self.state[2:4], 1e-3) / 2
        return np.concatenate([self.state[:2] - half, self.state[:2] + half])

    def predict(self) -> None:
        size = np.tile(np.maximum(self.state[2:4], 1.0), 2)
        noise = np.concatenate([_POSITION * size, _VELOCITY * size])
        self.state = _MOVE @ self.state
        self.spread = _MOVE @ self.spread @ _MOVE.T + np.diag(noise**2)

    def correct(self, seen: Array) -> None:
        size = np.tile(np.maximum(self.state[2:4], 1.0), 2)
        doubt = _SEE @ self.spread @ _SEE.T + np.diag((_POSITION * size) ** 2)
        gain = np.linalg.solve(doubt, _SEE @ self.spread).T
        self.state = self.state + gain @ (seen - _SEE @ self.state)
        self.spread = (np.eye(8) - gain @ _SEE) @ self.spread
        self.hits, self.missed = self.hits + 1, 0


class FrameTracker:
    """Tells which objects of successive frames are the same.

    Args:
      assignment_iou: a box belongs to a track if it overlaps the foretold box at least so much.
      vanish_frames: a track ends after so many frames without a box.
      detect_frames: a track counts, and gets its number, after so many frames with one.
    """

    def __init__(
        self, *, assignment_iou: float = 0.3, vanish_frames: int = 40, detect_frames: int = 10
    ) -> None:
        self.assignment_iou, self.vanish_frames = assignment_iou, vanish_frames
        self.detect_frames = detect_frames
        self._tracks: list[_Track] = []
        self._numbers: dict[int, int] = {}
        self._open: set[int] = set()
        self._next_key = 0

    def update(self, objects: Objects) -> NDArray[np.int64]:
        """Take the next frame's objects; return (N,) the key of each one's track.

        Keys are never used twice. ``number`` says which of them count.
        """
        for track in self._tracks:
            track.predict()
        boxes = objects.boxes.astype(np.float64)
        seen = np.concatenate([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], axis=1)
        keys = np.full(len(boxes), -1, np.int64)
        taken: set[int] = set()
        for at, index in self._assigned(boxes, objects.labels):
            track = self._tracks[at]
            track.correct(seen[index])
            keys[index] = track.key
            taken.add(at)
        for at, track in enumerate(self._tracks):
            track.missed += at not in taken
        for index in np.flatnonzero(keys < 0):
            keys[index] = self._begin(seen[index], int(objects.labels[index]))
        for track in self._tracks:
            if not track.number and track.hits >= self.detect_frames:
                track.number = self._numbers[track.key] = len(self._numbers) + 1
        self._tracks = [track for track in self._tracks if self._lives(track)]
        self._open = {track.key for track in self._tracks if not track.number}
        return keys

    def number(self, key: int) -> int:
        """Return the number of a track, counting from 1; 0 if it was not seen often enough (yet)."""
        return self._numbers.get(int(key), 0)

    def numbers(self, keys: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return (N,) numbers of tracks, as ``number`` does."""
        return np.array([self.number(key) for key in keys], np.int64)

    def may_count(self, key: int) -> bool:
        """Return whether a track has no number but may still get one."""
        return int(key) in self._open

    @property
    def count(self) -> int:
        """How many tracks have a number so far."""
        return len(self._numbers)

    def _lives(self, track: _Track) -> bool:
        # What was hardly seen is forgotten soon: it would only catch other objects' boxes.
        patience = self.vanish_frames if track.number else min(self.vanish_frames, track.hits)
        return track.missed <= patience

    def _begin(self, seen: Array, label: int) -> int:
        size = np.tile(np.maximum(seen[2:4], 1.0), 2)
        spread = np.diag(np.concatenate([2 * _POSITION * size, 10 * _VELOCITY * size]) ** 2)
        track = _Track(self._next_key, label, np.concatenate([seen, np.zeros(4)]), spread)
        self._tracks.append(track)
        self._next_key += 1
        return track.key

    def _assigned(self, boxes: Array, labels: NDArray[np.int64]) -> list[tuple[int, int]]:
        """Return pairs of a track's place and an object's index."""
        if not self._tracks or not len(boxes):
            return []
        from scipy.optimize import linear_sum_assignment

        foretold = np.array([track.box for track in self._tracks])
        overlaps = _overlaps(foretold, boxes)
        other = np.array([track.label for track in self._tracks])[:, None] != labels[None]
        allowed = ~other & (overlaps >= self.assignment_iou)
        rows, cols = linear_sum_assignment(np.where(allowed, 1 - overlaps, _UNSEEN))
        return [(int(r), int(c)) for r, c in zip(rows, cols, strict=True) if allowed[r, c]]


def _overlaps(one: Array, other: Array) -> Array:
    """Return (N, M) intersection over union of boxes (N, 4) and (M, 4)."""
    low = np.maximum(one[:, None, :2], other[None, :, :2])
    high = np.minimum(one[:, None, 2:], other[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(1) for boxes in (one, other)]
    union = areas[0][:, None] + areas[1][None] - shared
    return np.asarray(shared / np.maximum(union, 1e-9))
