"""The numbers of a video's frames where some of them cannot be decoded."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable

#: No codec shows a frame later than so many behind its turn.
_REORDERED = 16


class FrameCount:
    """Numbers the frames of a video from 0, the damaged ones that give no picture included.

    As long as all can be decoded, they are counted. From the first damage on a frame's number is the place
    of its time among those of the packets, each of which holds one frame. Where packets are something else,
    as the hidden ones of VP8, or their times are in no order, as AVI's may be, frames are counted on.

    Args:
      times: returns the times of the packets that are to be shown, rising; called at the first damage.

    Attributes:
      start: time of frame 0 as the file has it, None before the first frame.
    """

    def __init__(self, times: Callable[[], list[int]]) -> None:
        self.start: int | None = None
        self._read_times = times
        self._times: list[int] | None = None
        self._next, self._last = 0, 0

    def number(self, pts: int, *, damaged: bool) -> int | None:
        """Return the number of the next frame, None of one that comes when its turn is over.

        Args:
          pts: its time as the file has it.
          damaged: whether something could not be decoded before.
        """
        if damaged and self._times is None:
            self._times = self._usable_times()
        if self.start is None:
            self.start = self._times[0] if self._times else pts
        if self._times:
            place = bisect_left(self._times, pts)
            if self._next - _REORDERED < place < self._next:
                return None  # a decoder that lacks a key frame does not know the order of those behind it
            if place < self._next:
                self._times = []
            self._next = max(self._next, place)
        self._last = pts
        self._next += 1
        return self._next - 1

    def _usable_times(self) -> list[int]:
        times = self._read_times()
        return times if not self._next or bisect_right(times, self._last) == self._next else []
