"""Videos read: frames in order with their times."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geomm.errors import DataError, DependencyError
from geomm.io.frame_count import FrameCount

_LOG = logging.getLogger("geomm")
#: Times fall by less where a file has them in no order.
_REORDERED, _REORDERED_S = 16, 0.5
#: Containers whose header says how long they are, as FFmpeg calls them.
_DECLARING = ("matroska,webm", "flv", "asf")


@dataclass(frozen=True)
class ColorTags:
    """What the numbers of a video's pixels mean, by the codes of ITU-T H.273; 2 where the file does not say.

    Attributes:
      matrix: from RGB to luma and chroma.
      primaries: of red, green, blue and white.
      transfer: from light to numbers.
    """

    matrix: int = 2
    primaries: int = 2
    transfer: int = 2


@dataclass(frozen=True)
class VideoInfo:
    """What a video file says of itself.

    Attributes:
      path: as it was given.
      width: pixels.
      height: pixels.
      rate: frames a second, the mean where it varies.
      frames: how many it declares to show, None where it does not say.
      time_base: unit of the frames' times, seconds.
      has_sound: whether there is an audio stream.
      turns: quarter turns, counterclockwise, from the frames as they are stored to upright ones, as a phone
        notes that was held on its side; width and height are those of the upright frames.
      duration_s: as it declares, None where it does not say; of the longest of its streams in Matroska, WebM,
        FLV and ASF, whose streams have none of their own.
      pixel_aspect: width of a pixel by its height, of the upright frames.
      colors: of the pixels as they are stored.
    """

    path: str
    width: int
    height: int
    rate: Fraction
    frames: int | None
    time_base: Fraction
    has_sound: bool
    turns: int = 0
    duration_s: float | None = None
    pixel_aspect: Fraction = Fraction(1)
    colors: ColorTags = ColorTags()


@dataclass(frozen=True)
class Frame:
    """One picture of a video.

    Attributes:
      index: from 0; frames that are damaged count too where their packets tell of them.
      time_s: since frame 0.
      pts: time in units of the video's time base, since frame 0.
      pixels: (H, W, 3) uint8 RGB, upright.
    """

    index: int
    time_s: float
    pts: int
    pixels: NDArray[np.uint8]


def load_av() -> Any:
    """Return PyAV.

    Raises:
      DependencyError: it is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise DependencyError("video needs the package av (PyAV); pip install av") from error
    av.logging.set_level(None)  # what matters is raised
    return av


class VideoReader:
    """Iterates over the frames of a video, once.

    Damaged frames are passed over. Where the file breaks off, the frames before that are what it has. A
    warning says how many could be read. Where times begin anew, as in recordings that were put together, they
    go on; frames of another size than the first are scaled to it.

    Attributes:
      path: as it was given.
      read: frames so far.

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
            rate = Fraction(stream.average_rate or stream.guessed_rate or 25)
            duration = _duration_s(container, stream)
            aspect = Fraction(stream.sample_aspect_ratio or 1)
            first = next(self._decoded(container, stream), None)
            shape = stream if first is None else first
            size = int(shape.width), int(shape.height)
            turns = 0 if first is None else round(first.rotation / 90) % 4
            width, height = size if turns % 2 == 0 else size[::-1]
            codec = stream.codec_context
            return VideoInfo(
                self.path,
                width,
                height,
                rate,
                _shown(int(stream.frames) or None, duration, rate),
                Fraction(stream.time_base),
                bool(container.streams.audio),
                turns,
                duration,
                aspect if turns % 2 == 0 else 1 / aspect,
                ColorTags(int(codec.colorspace), int(codec.color_primaries), int(codec.color_trc)),
            )

    def _open(self) -> Any:
        av = load_av()
        try:
            container = av.open(local_path(self.path))
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
        info, self.read = self.info, 0
        count = FrameCount(self._packet_times)
        size = (info.width, info.height) if info.turns % 2 == 0 else (info.height, info.width)
        end_s, scaled = 0.0, False
        with self._open() as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            last, ahead = -1, 0
            latest: int | None = None
            longest = max(_REORDERED_S, float(_REORDERED / info.rate))
            for frame in self._decoded(container, stream):
                if (frame.width, frame.height) != size and not scaled:
                    scaled = True
                    said = "%s: its frames change from %d x %d to %d x %d: these are scaled to the first"
                    _LOG.warning(said, self.path, *size, frame.width, frame.height)
                width, height = size
                pixels = frame.to_ndarray(format="rgb24", width=width, height=height)
                pts = frame.pts if frame.pts is not None else _after(last, count.start, info)
                index = count.number(pts, damaged=bool(self._broken))
                if index is None:
                    continue
                shown = pts - (count.start or 0) + ahead
                if latest is not None and float((latest - pts) * info.time_base) > longest:
                    ahead += last + _step(info) - shown
                    shown = last + _step(info)
                    said = "%s: times begin anew at frame %d, as of recordings put together: they go on there"
                    _LOG.warning(said, self.path, index)
                latest = pts
                last = max(shown, last + 1)  # times grow, whatever the file says
                end_s = float(last * info.time_base) + _length_s(frame, info)
                yield Frame(index, float(last * info.time_base), last, np.rot90(pixels, info.turns))
                self.read += 1
            exact = bool(stream.frames)
        self._tell(end_s, exact=exact)

    def _decoded(self, container: Any, stream: Any) -> Iterator[Any]:
        """Yield the frames that can be decoded; a damaged part is passed over, as players do.

        With a damaged packet goes what the decoder's threads hold at that time. So the file is then decoded
        anew, in one thread.
        """
        self._broken, given = "", 0
        for frame in self._decoded_parts(container, stream):
            if frame is None:
                break
            yield frame
            given += 1
        else:
            return
        with self._open() as again:
            stream = again.streams.video[0]
            stream.thread_type = "NONE"
            frames = (frame for frame in self._decoded_parts(again, stream) if frame is not None)
            yield from islice(frames, given, None)

    def _decoded_parts(self, container: Any, stream: Any) -> Iterator[Any]:
        """Yield the frames, and None for what cannot be decoded."""
        error = load_av().error.FFmpegError
        packets = container.demux(stream)
        while True:
            try:
                packet = next(packets, None)
                if packet is None:
                    return
                yield from packet.decode()
            except error as broken:
                self._broken = _first_line(broken)
                yield None

    def _packet_times(self) -> list[int]:
        """Return the times of the packets that are to be shown, rising, up to where the file breaks off."""
        times: list[int] = []
        with self._open() as container, suppress(load_av().error.FFmpegError):
            stream = container.streams.video[0]
            # A stream may have been cut: what it has before its first key frame was never to be seen.
            begun = bool(stream.frames)
            for packet in container.demux(stream):
                begun = begun or packet.is_keyframe
                # Those before the beginning of a clip that was trimmed without encoding are only decoded.
                if begun and packet.pts is not None and packet.size and not packet.is_discard:
                    times.append(packet.pts)
        return sorted(times)

    def _tell(self, end_s: float, *, exact: bool) -> None:
        """Warn of what could not be read.

        Args:
          end_s: where the last frame ends.
          exact: whether the file says how many frames it has.
        """
        info = self.info
        because = f" ({self._broken})" if self._broken else ""
        if self.read == 0:
            raise DataError(
                f"{self.path}: no frame of the video can be read{because}; record or copy it again"
            )
        ends_early = self._is_before_the_end(end_s) and self._is_before_the_end(self._last_packet_s())
        if not (ends_early or self._broken):
            return
        said = "breaks off" if ends_early else "is damaged"
        of = f" of {info.frames}" if info.frames and exact else ""
        _LOG.warning("%s %s: %d%s frames could be read%s", self.path, said, self.read, of, because)

    def _is_before_the_end(self, time_s: float) -> bool:
        info = self.info
        return info.duration_s is not None and time_s < info.duration_s - 1.5 / info.rate

    def _last_packet_s(self) -> float:
        """Return where the last packet ends; of all streams where these are said to end together."""
        end_s = 0.0
        with self._open() as container, suppress(load_av().error.FFmpegError):
            video = container.streams.video[0]
            for packet in container.demux() if video.duration is None else ():
                if packet.pts is not None and packet.size:
                    end_s = max(end_s, float((packet.pts + (packet.duration or 0)) * packet.time_base))
        return end_s


def local_path(path: str | Path) -> str:
    """Return a path as FFmpeg takes it for one, whatever colons its name has; addresses as they are."""
    return str(path) if "://" in str(path) else str(Path(path).absolute())


def _duration_s(container: Any, stream: Any) -> float | None:
    if stream.duration is not None:
        return float(stream.duration * stream.time_base)
    if container.duration is None or container.format.name not in _DECLARING:
        return None
    return float(container.duration) / 1e6


def _shown(stored: int | None, duration_s: float | None, rate: Fraction) -> int | None:
    """Return how many frames are shown: of a clip that was trimmed without encoding, fewer than stored."""
    if not duration_s:
        return stored
    fitting = max(1, round(duration_s * rate))
    return stored if stored is not None and stored <= fitting + 1 else fitting


def _length_s(frame: Any, info: VideoInfo) -> float:
    return float(frame.duration * info.time_base if frame.duration else 1 / info.rate)


def _after(last: int, start: int | None, info: VideoInfo) -> int:
    """Return the time of a frame that has none: one frame after the last."""
    return (start or 0) + (last + _step(info) if last >= 0 else 0)


def _step(info: VideoInfo) -> int:
    """Return the length of a frame in units of the times."""
    return max(1, round(1 / (info.rate * info.time_base)))


def _first_line(error: Exception) -> str:
    said = getattr(error, "strerror", None) or str(error)
    return (said.strip().splitlines() or [type(error).__name__])[0]
