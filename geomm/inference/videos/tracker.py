"""Following objects from frame to frame (SORT: Bewley et al., Simple Online and Realtime Tracking, 2016).

The package ``trackers`` follows the boxes of each class: a Kalman filter of constant velocity foretells them,
the Hungarian algorithm assigns those of the next frame. Here tracks get keys from their first box on, and
numbers once they count.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geomm.errors import DependencyError
from geomm.inference.options import check_options
from geomm.structures import Objects


@dataclass
class _Track:
    """What is known of an object that is followed.

    Attributes:
      key: unique from the first frame on.
      hits: frames that showed it.
      number: counts from 1 once it was seen often enough, 0 before.
    """

    key: int
    hits: int = 0
    number: int = 0


class FrameTracker:
    """Tells which objects of successive frames are the same.

    Args:
      assignment_iou: a box belongs to a track if it overlaps the foretold box at least so much.
      vanish_frames: a track ends after so many frames without a box; what was hardly seen, after as many
        as it was seen in, as it would only catch other objects' boxes.
      detect_frames: a track counts, and gets its number, after so many frames with one.

    Raises:
      ConfigError: a setting is out of its range.
      DependencyError: the package ``trackers`` is not installed.
    """

    def __init__(
        self, *, assignment_iou: float = 0.3, vanish_frames: int = 40, detect_frames: int = 10
    ) -> None:
        check_options(assignment_iou=assignment_iou, vanish_frames=vanish_frames, detect_frames=detect_frames)
        self.assignment_iou, self.vanish_frames = assignment_iou, vanish_frames
        self.detect_frames = detect_frames
        self._classes: dict[int, _ClassTracker] = {}
        self._numbers: dict[int, int] = {}
        self._open: set[int] = set()
        self._next_key, self._next_frame = 0, 0

    def update(self, objects: Objects, frame: int | None = None) -> NDArray[np.int64]:
        """Take the next frame's objects; return (N,) the key of each one's track.

        Keys are never used twice. ``number`` says which of them count.

        Args:
          objects: of the frame.
          frame: its number, rising; numbers left out, as those of damaged frames, are frames without a box.
            None for the number after the last.
        """
        nothing = objects[np.zeros(len(objects), bool)]
        missed = 0 if frame is None or not self._classes else frame - self._next_frame
        for _ in range(min(missed, self.vanish_frames + 1)):
            self._follow(nothing)
        self._next_frame = (self._next_frame if frame is None else frame) + 1
        return self._follow(objects)

    def _follow(self, objects: Objects) -> NDArray[np.int64]:
        keys = np.full(len(objects), -1, np.int64)
        for label in sorted({*self._classes, *objects.labels.tolist()}):
            if label not in self._classes:
                self._classes[label] = _ClassTracker(self.assignment_iou, self.vanish_frames)
            mine = np.flatnonzero(objects.labels == label)
            tracks = self._classes[label].follow(objects.boxes[mine].astype(np.float64))
            for track in tracks:
                if track.hits == 0:
                    track.key, self._next_key = self._next_key, self._next_key + 1
                track.hits += 1
                if not track.number and track.hits >= self.detect_frames:
                    track.number = self._numbers[track.key] = len(self._numbers) + 1
            keys[mine] = [track.key for track in tracks]
        alive = [track for tracker in self._classes.values() for track in tracker.forget()]
        self._open = {track.key for track in alive if not track.number}
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


class _ClassTracker:
    """Follows the objects of one class.

    The library numbers a track from its second box on; which is its first follows from the order in which
    it begins tracks, that of the boxes that belong to none.
    """

    def __init__(self, assignment_iou: float, vanish_frames: int) -> None:
        try:
            from supervision import Detections
            from trackers import SORTTracker
        except ImportError as error:
            raise DependencyError(
                "following objects needs the package trackers; pip install geomm[video], or set "
                "inference.track=false"
            ) from error
        self._pack = Detections
        self._sort: Any = SORTTracker(
            lost_track_buffer=vanish_frames,
            frame_rate=30,  # at which the buffer is counted in frames
            minimum_consecutive_frames=1,
            minimum_iou_threshold=assignment_iou,
        )
        self._tracks: dict[Any, _Track] = {}

    def follow(self, boxes: NDArray[np.float64]) -> list[_Track]:
        """Return the track of each of the next frame's boxes (N, 4); new ones have no hits yet."""
        numbers = self._sort.update(self._pack(xyxy=boxes)).tracker_id
        begun = [tracklet for tracklet in self._sort.tracks if tracklet not in self._tracks]
        self._tracks.update({tracklet: _Track(-1) for tracklet in begun})
        numbered = {tracklet.tracker_id: track for tracklet, track in self._tracks.items()}
        new = iter(begun)
        return [self._tracks[next(new)] if number < 0 else numbered[number] for number in numbers]

    def forget(self) -> list[_Track]:
        """Forget the tracks that have ended; return the others."""
        self._sort.tracks = [tracklet for tracklet in self._sort.tracks if self._lives(tracklet)]
        self._tracks = {tracklet: self._tracks[tracklet] for tracklet in self._sort.tracks}
        return list(self._tracks.values())

    def _lives(self, tracklet: Any) -> bool:
        track = self._tracks[tracklet]
        return bool(track.number) or bool(tracklet.time_since_update <= track.hits)
