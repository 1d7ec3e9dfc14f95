"""Videos written: frames at the times of another video's."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from geomm.io.video import VideoInfo, load_av, local_path

#: In the files that ``VideoWriter`` writes, so that they are known again.
_MARK = "objects drawn by geomm"
#: FFmpeg's number of the range that luma of videos has, 16 to 235.
_LIMITED = 1
_BT709 = 1
#: The matrices that pixels can be written by, codes of ITU-T H.273, and swscale's numbers of them; 2, where a
#: file does not say, is read and written as BT.601.
_MATRICES = {1: 1, 2: 5, 4: 4, 5: 5, 6: 5, 7: 7}
_CODECS = {"libx264": {"crf": "20", "preset": "veryfast"}, "mpeg4": {"qscale": "3"}}
#: Of a second in units of time: MPEG-4 Part 2 has no more (ISO/IEC 14496-2, vop_time_increment_resolution).
_FINEST = {"mpeg4": 65535}


class VideoWriter:
    """Writes frames with their times as H.264 in MP4, which browsers play; as MPEG-4 without libx264.

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
        av = load_av()
        self._av = av
        codec = next(name for name in _CODECS if name in av.codecs_available)
        target, options = local_path(self._temporary), {"movflags": "+faststart"}
        self._container = av.open(target, "w", format="mp4", options=options)
        if self.mark is not None:
            self._container.metadata["comment"] = self.mark
        self._stream = self._container.add_stream(codec, rate=self.like.rate, options=_CODECS[codec])
        # Half the colours of a row and of a column are kept, so both must be even.
        self._shape = (self.like.height + self.like.height % 2, self.like.width + self.like.width % 2)
        self._stream.height, self._stream.width = self._shape
        self._stream.pix_fmt = "yuv420p"
        codec_context = self._stream.codec_context
        self._time_base = _time_base(self.like.time_base, _FINEST.get(codec))
        codec_context.time_base = self._time_base
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
        frame.pts = round(pts * self.like.time_base / self._time_base)
        frame.time_base = self._time_base
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


def _time_base(wanted: Fraction, finest: int | None) -> Fraction:
    return wanted if finest is None or wanted.denominator <= finest else Fraction(1, finest)


def is_own_video(path: Path) -> bool:
    """Return whether a file is a video that ``VideoWriter`` wrote."""
    av = load_av()
    try:
        with av.open(local_path(path)) as container:
            return bool(container.metadata.get("comment") == _MARK)
    except (av.error.FFmpegError, OSError, ValueError):
        return False
