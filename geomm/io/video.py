"""Video files: frames in order with their times, and new files of the same frames and times."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geomm.errors import DataError, DependencyError
from geomm.io.paths import RASTER_ENDINGS

_LOG = logging.getLogger("geomm")
VIDEO_ENDINGS = (
    ".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".wmv", ".flv",
)  # fmt: skip
#: In the files that ``VideoWriter`` writes, so that they are known again.
_MARK = "objects drawn by geomm"
_CODECS = {"libx264": {"crf": "20", "preset": "veryfast"}, "mpeg4": {"qscale": "3"}}


def is_video(path: str | Path) -> bool:
    """Return whether a path ends as video files do."""
    return Path(path).suffix.lower() in VIDEO_ENDINGS


def are_videos(inputs: str | Path | Sequence[str | Path]) -> bool:
    """Return whether inputs (files, globs, folders or a list of these) mean videos; scenes otherwise.

    A folder means videos where it holds some and no scenes.
    """
    given = [inputs] if isinstance(inputs, str | Path) else list(inputs)
    return bool(given) and all(is_video(item) or _holds_videos(Path(item)) for item in given)


def _holds_videos(folder: Path) -> bool:
    if not folder.is_dir():
        return False
    endings = {path.suffix.lower() for path in folder.rglob("*")}
    return bool(endings & set(VIDEO_ENDINGS)) and not endings & set(RASTER_ENDINGS)


@dataclass(frozen=True)
class VideoInfo:
    """What a video file says of itself.

    Attributes:
      path: as it was given.
      width: pixels.
      height: pixels.
      rate: frames a second, the mean where it varies.
      frames: how many it declares, None where it does not say.
      time_base: unit of the frames' times, seconds.
      has_sound: whether there is an audio stream.
      turns: quarter turns, counterclockwise, from the frames as they are stored to upright ones, as a phone
        notes that was held on its side; width and height are those of the upright frames.
    """

    path: str
    width: int
    height: int
    rate: Fraction
    frames: int | None
    time_base: Fraction
    has_sound: bool
    turns: int = 0


@dataclass(frozen=True)
class Frame:
    """One picture of a video.

    Attributes:
      index: from 0.
      time_s: since the first frame.
      pts: time in units of the video's time base, since the first frame.
      pixels: (H, W, 3) uint8 RGB, upright.
    """

    index: int
    time_s: float
    pts: int
    pixels: NDArray[np.uint8]


def _av() -> Any:
    try:
        import av
    except ImportError as error:
        raise DependencyError("video needs the package av (PyAV); pip install av") from error
    av.logging.set_level(None)  # what matters is raised
    return av


class VideoReader:
    """Iterates over the frames of a video, once.

    Where the file breaks off, the frames before that are what it has, and a warning says how many.

    Raises:
      DataError: it is no video, or not even its beginning can be read.
      DependencyError: PyAV is not installed.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = str(path)
        self.read, self._broken = 0, ""
        _ = self.info  # a file that is no video is told at once

    @cached_property
    def info(self) -> VideoInfo:
        with self._open() as container:
            stream = container.streams.video[0]
            rate = stream.average_rate or stream.guessed_rate or Fraction(25)
            frames = int(stream.frames) or None
            if frames is None and stream.duration is not None:
                frames = max(1, round(float(stream.duration * stream.time_base * rate)))
            base, sound = Fraction(stream.time_base), bool(container.streams.audio)
            size = int(stream.width), int(stream.height)
            first = next(self._decoded(container, stream), None)
            turns = 0 if first is None else round(first.rotation / 90) % 4
            width, height = size if turns % 2 == 0 else size[::-1]
            return VideoInfo(self.path, width, height, Fraction(rate), frames, base, sound, turns)

    def _open(self) -> Any:
        av = _av()
        try:
            container = av.open(self.path)
        except (av.error.FFmpegError, OSError, ValueError) as error:
            exists = Path(self.path).exists()
            reason = (
                f"{error.__class__.__name__}: {_first_line(error)}" if exists else "there is no such file"
            )
            cure = (
                "; a recording that broke off may lack its index: record or copy it again" if exists else ""
            )
            raise DataError(f"{self.path} cannot be opened as a video ({reason}){cure}") from error
        if not container.streams.video:
            container.close()
            raise DataError(f"{self.path} has no video stream; give a file with pictures")
        return container

    def __iter__(self) -> Iterator[Frame]:
        info, first, self.read, self._broken = self.info, None, 0, ""
        with self._open() as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            last = -1
            for frame in self._decoded(container, stream):
                pixels = np.rot90(frame.to_ndarray(format="rgb24"), info.turns)
                if pixels.shape[:2] != (info.height, info.width):
                    self._broken = f"its frames change their size to {pixels.shape[1]} x {pixels.shape[0]}"
                    break
                pts = frame.pts if frame.pts is not None else _after(last, first, info)
                first = pts if first is None else first
                last = max(pts - first, last + 1)  # times grow, whatever the file says
                yield Frame(self.read, float(last * info.time_base), last, pixels)
                self.read += 1
        self._tell(self._broken)

    def _decoded(self, container: Any, stream: Any) -> Iterator[Any]:
        """Yield the frames that can be decoded; a damaged part is passed over, as players do."""
        error = _av().error.FFmpegError
        packets = container.demux(stream)
        while True:
            try:
                packet = next(packets, None)
                if packet is None:
                    return
                yield from packet.decode()
            except error as broken:
                self._broken = _first_line(broken)

    def _tell(self, broken: str) -> None:
        if self.read == 0:
            raise DataError(f"{self.path}: no frame of the video can be read; record or copy it again")
        declared = self.info.frames
        if broken or (declared is not None and self.read < declared - 1):
            of = f" of {declared}" if declared else ""
            reason = f" ({broken})" if broken else ""
            _LOG.warning("%s breaks off: %d%s frames could be read%s", self.path, self.read, of, reason)


def _after(last: int, first: int | None, info: VideoInfo) -> int:
    """Return the time of a frame that has none: one frame after the last."""
    step = max(1, round(1 / (info.rate * info.time_base)))
    return (first or 0) + (last + step if last >= 0 else 0)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


class VideoWriter:
    """Writes frames with their times as H.264 in MP4, which browsers play.

    Use as a context manager; the file appears under its name when complete.

    Args:
      path: .mp4 to write.
      like: video whose rate and units of time are taken over.
      mark: a remark in the file by which ``is_own_video`` knows it; None leaves it out.
    """

    def __init__(self, path: Path, like: VideoInfo, *, mark: str | None = _MARK) -> None:
        self.path, self.like, self.mark = path, like, mark
        self._temporary = path.with_name(f".{path.stem}.part.mp4")

    def __enter__(self) -> VideoWriter:
        av = _av()
        self._av = av
        codec = next(name for name in _CODECS if name in av.codecs_available)
        self._container = av.open(str(self._temporary), "w", format="mp4", options={"movflags": "+faststart"})
        if self.mark is not None:
            self._container.metadata["comment"] = self.mark
        self._stream = self._container.add_stream(codec, rate=self.like.rate, options=_CODECS[codec])
        # Half the colours of a row and of a column are kept, so both must be even.
        self._shape = (self.like.height + self.like.height % 2, self.like.width + self.like.width % 2)
        self._stream.height, self._stream.width = self._shape
        self._stream.pix_fmt = "yuv420p"
        self._stream.codec_context.time_base = self.like.time_base
        return self

    def write(self, pixels: NDArray[np.uint8], pts: int) -> None:
        """Add a frame (H, W, 3) uint8 RGB at its time, in units of ``like.time_base``."""
        height, width = pixels.shape[:2]
        if (height, width) != self._shape:
            pixels = np.pad(
                pixels, ((0, self._shape[0] - height), (0, self._shape[1] - width), (0, 0)), mode="edge"
            )
        frame = self._av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
        frame.pts, frame.time_base = pts, self.like.time_base
        for packet in self._stream.encode(frame):
            self._container.mux(packet)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                for packet in self._stream.encode():
                    self._container.mux(packet)
            self._container.close()
            if kind is None:
                os.replace(self._temporary, self.path)
        finally:
            self._temporary.unlink(missing_ok=True)


def is_own_video(path: Path) -> bool:
    """Return whether a file is a video that ``VideoWriter`` wrote."""
    av = _av()
    try:
        with av.open(str(path)) as container:
            return bool(container.metadata.get("comment") == _MARK)
    except (av.error.FFmpegError, OSError, ValueError):
        return False
