"""Video files: frames in order with their times, and new files of the same frames and times."""

from __future__ import annotations

import glob
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geomm.errors import DataError, DependencyError
from geomm.io.frame_count import FrameCount
from geomm.io.paths import RASTER_ENDINGS, expand, is_connection

_LOG = logging.getLogger("geomm")
VIDEO_ENDINGS = (
    ".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".wmv", ".flv",
)  # fmt: skip
#: In the files that ``VideoWriter`` writes, so that they are known again.
_MARK = "objects drawn by geomm"
#: FFmpeg's number of the range that luma of videos has, 16 to 235.
_LIMITED = 1
_BT709 = 1
#: The matrices that pixels can be written by, codes of ITU-T H.273, and swscale's numbers of them; 2, where a
#: file does not say, is read and written as BT.601.
_MATRICES = {1: 1, 2: 5, 4: 4, 5: 5, 6: 5, 7: 7}
_CODECS = {"libx264": {"crf": "20", "preset": "veryfast"}, "mpeg4": {"qscale": "3"}}


def is_video(path: str | Path) -> bool:
    """Return whether a path ends as video files do."""
    return Path(path).suffix.lower() in VIDEO_ENDINGS


def are_videos(inputs: str | Path | Sequence[str | Path]) -> bool:
    """Return whether inputs (files, globs, folders or a list of these) mean videos; scenes otherwise.

    A folder means videos where it holds some and no scenes; where it holds both, a warning names the videos.
    What is neither, such as a csv, decides nothing.

    Raises:
      DataError: videos and scenes are named together.
    """
    given = [inputs] if isinstance(inputs, str | Path) else list(inputs)
    named = [match for item in given for match in _matches(str(item))]
    videos = [item for item in named if is_video(item) or _is_folder_of_videos(item)]
    scenes = [item for item in named if item not in videos and _may_be_scene(item)]
    if videos and scenes:
        raise DataError(
            f"the input is {_some(videos)} and {_some(scenes)}: videos and scenes; "
            f"give one kind at a time, such as *{Path(videos[0]).suffix or '.mp4'}"
        )
    return bool(videos)


def find_videos(inputs: str | Path | Sequence[str | Path]) -> list[str]:
    """Return the videos that inputs (files, globs, folders or a list of these) mean, sorted, each once.

    What is named itself counts whatever its ending; of folders and globs, what ends as videos do.

    Raises:
      DataError: nothing matches.
    """
    given = [inputs] if isinstance(inputs, str | Path) else list(inputs)
    found = []
    for item in map(str, given):
        matches = _matches(item)
        if matches == [item]:
            found += expand(item, VIDEO_ENDINGS)
            continue
        for match in matches:
            found += [path for path in _files(match, VIDEO_ENDINGS) or [match] if is_video(path)]
    if not found:
        raise DataError(f"{', '.join(map(str, given))}: no match ends in {', '.join(VIDEO_ENDINGS)}")
    return list(dict.fromkeys(found))


def _matches(item: str) -> list[str]:
    if is_connection(item) or Path(item).exists():
        return [item]
    return sorted(glob.glob(item, recursive=True)) or [item]


def _is_folder_of_videos(item: str) -> bool:
    videos = [path for path in _files(item, VIDEO_ENDINGS) if is_video(path)]
    scenes = _files(item, RASTER_ENDINGS) if videos else []
    if scenes:
        _LOG.warning(
            "%s holds scenes too (%s): its videos are left out (%s); name them themselves to follow "
            "objects there, such as input='%s'",
            item, _some(scenes), _some(videos), Path(videos[0]).parent / f"*{Path(videos[0]).suffix}",
        )  # fmt: skip
    return bool(videos) and not scenes


def _may_be_scene(item: str) -> bool:
    return (
        is_connection(item)
        or Path(item).suffix.lower() in RASTER_ENDINGS
        or bool(_files(item, RASTER_ENDINGS))
    )


def _files(folder: str, endings: tuple[str, ...]) -> list[str]:
    try:
        return expand(folder, endings) if Path(folder).is_dir() else []
    except DataError:
        return []


def _some(paths: Sequence[str]) -> str:
    names = ", ".join(Path(path).name for path in paths[:3])
    return names if len(paths) <= 3 else f"{names} and {len(paths) - 3} more"


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
      duration_s: as it declares, None where it does not say.
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


def _av() -> Any:
    try:
        import av
    except ImportError as error:
        raise DependencyError("video needs the package av (PyAV); pip install av") from error
    av.logging.set_level(None)  # what matters is raised
    return av


class VideoReader:
    """Iterates over the frames of a video, once.

    Damaged frames are passed over. Where the file breaks off, the frames before that are what it has. A
    warning says how many could be read.

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
            duration = None if stream.duration is None else float(stream.duration * stream.time_base)
            size = int(stream.width), int(stream.height)
            aspect = Fraction(stream.sample_aspect_ratio or 1)
            first = next(self._decoded(container, stream), None)
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
        info, self.read = self.info, 0
        count = FrameCount(self._packet_times)
        end_s, cut = 0.0, ""
        with self._open() as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            last = -1
            for frame in self._decoded(container, stream):
                pixels = np.rot90(frame.to_ndarray(format="rgb24"), info.turns)
                if pixels.shape[:2] != (info.height, info.width):
                    cut = f"its frames change their size to {pixels.shape[1]} x {pixels.shape[0]}"
                    break
                pts = frame.pts if frame.pts is not None else _after(last, count.start, info)
                index = count.number(pts, damaged=bool(self._broken))
                if index is None:
                    continue
                last = max(pts - (count.start or 0), last + 1)  # times grow, whatever the file says
                end_s = float(last * info.time_base) + _length_s(frame, info)
                yield Frame(index, float(last * info.time_base), last, pixels)
                self.read += 1
            estimated = not stream.frames
        self._tell(end_s, cut, estimated=estimated)

    def _decoded(self, container: Any, stream: Any) -> Iterator[Any]:
        """Yield the frames that can be decoded; a damaged part is passed over, as players do."""
        error = _av().error.FFmpegError
        self._broken = ""
        packets = container.demux(stream)
        while True:
            try:
                packet = next(packets, None)
                if packet is None:
                    return
                yield from packet.decode()
            except error as broken:
                self._broken = _first_line(broken)

    def _packet_times(self) -> list[int]:
        """Return the times of the packets that are to be shown, rising, up to where the file breaks off."""
        times: list[int] = []
        with self._open() as container, suppress(_av().error.FFmpegError):
            stream = container.streams.video[0]
            # A stream may have been cut: what it has before its first key frame was never to be seen.
            begun = bool(stream.frames)
            for packet in container.demux(stream):
                begun = begun or packet.is_keyframe
                # Those before the beginning of a clip that was trimmed without encoding are only decoded.
                if begun and packet.pts is not None and packet.size and not packet.is_discard:
                    times.append(packet.pts)
        return sorted(times)

    def _tell(self, end_s: float, cut: str, *, estimated: bool) -> None:
        """Warn of what could not be read.

        Args:
          end_s: where the last frame ends.
          cut: what cut the reading short.
          estimated: whether the number of frames is by their rate, as of streams, where packets get lost
            without a trace.
        """
        info, reason = self.info, cut or self._broken
        if self.read == 0:
            raise DataError(f"{self.path}: no frame of the video can be read; record or copy it again")
        ends_early = info.duration_s is not None and end_s < info.duration_s - 1.5 / info.rate
        few = estimated and info.frames is not None and self.read < info.frames - 1
        if not (ends_early or few or reason):
            return
        said = "breaks off" if ends_early or cut else "is damaged"
        of = f" of {info.frames}" if info.frames else ""
        because = f" ({reason})" if reason else ""
        _LOG.warning("%s %s: %d%s frames could be read%s", self.path, said, self.read, of, because)


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
    step = max(1, round(1 / (info.rate * info.time_base)))
    return (start or 0) + (last + step if last >= 0 else 0)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


class VideoWriter:
    """Writes frames with their times as H.264 in MP4, which browsers play.

    Use as a context manager; the file appears under its name when complete.

    Args:
      path: .mp4 to write.
      like: video whose rate, units of time, shape of pixels and colours are taken over.
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
        codec_context = self._stream.codec_context
        codec_context.time_base = self.like.time_base
        codec_context.sample_aspect_ratio = self.like.pixel_aspect
        codec_context.color_range = _LIMITED
        codec_context.colorspace = self._matrix = self._known_matrix()
        codec_context.color_primaries = self.like.colors.primaries
        codec_context.color_trc = self.like.colors.transfer
        return self

    def _known_matrix(self) -> int:
        """Return the matrix that the pixels are written by: its own, or BT.709 for one that is not known."""
        matrix = self.like.colors.matrix
        return matrix if matrix in _MATRICES else _BT709

    def write(self, pixels: NDArray[np.uint8], pts: int) -> None:
        """Add a frame (H, W, 3) uint8 RGB at its time, in units of ``like.time_base``."""
        height, width = pixels.shape[:2]
        if (height, width) != self._shape:
            pixels = np.pad(
                pixels, ((0, self._shape[0] - height), (0, self._shape[1] - width), (0, 0)), mode="edge"
            )
        frame = self._av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
        frame = frame.reformat(
            format="yuv420p", dst_colorspace=_MATRICES[self._matrix], dst_color_range=_LIMITED
        )
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
