"""Finding and following objects in videos."""

from __future__ import annotations

import csv
import logging
import os
import shutil
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geomm.errors import DataError
from geomm.inference.acceleration import automatic_batch
from geomm.inference.inputs import check_target, find_inputs, output_names
from geomm.inference.memory import reused_memory
from geomm.inference.objects.options import ObjectOptions
from geomm.inference.objects.views import Detect, accelerate_detect, scores_of
from geomm.inference.progress import Progress
from geomm.inference.report import PredictionReport, predict_each
from geomm.inference.stream import stream
from geomm.inference.videos.points import PointWriter
from geomm.inference.videos.tracker import FrameTracker
from geomm.io.frame_places import FramePlaces, read_frame_places
from geomm.io.paths import expand
from geomm.io.video import VIDEO_ENDINGS, Frame, VideoReader, VideoWriter, is_own_video
from geomm.structures import Objects, RasterSpec
from geomm.visualization.on_pictures import draw_objects

_LOG = logging.getLogger("geomm")
_ORDER = (".mp4", ".csv", ".gpkg", ".qml")
_FIELDS = (
    "frame", "time_s", "track", "class", "value", "confidence", "xmin", "ymin", "xmax", "ymax",
)  # fmt: skip


def predict_videos(
    inputs: str | Path | Sequence[str | Path],
    output: str | Path,
    *,
    detect: Detect,
    spec: RasterSpec,
    options: ObjectOptions,
    model_id: str = "",
) -> PredictionReport:
    """Find objects in every frame of videos and follow them.

    Each video gives an MP4 with the objects drawn in, of the same frames and times, and a csv with a row an
    object and frame; with ``options.footprints`` also a GeoPackage of points.

    Args:
      inputs: files, globs, folders or a list of these.
      output: folder for the results.
      detect: from raw pixels (B, C, h, w) and validity (B, h, w) bool to the objects of each.
      spec: of the model.
      options: see ``ObjectOptions``.
      model_id: not needed; taken so that scenes and videos are predicted alike.

    Raises:
      DataError: nothing matches ``inputs``; or, with ``on_error="raise"``, an input fails.
    """
    options.check()
    folder = Path(output)
    find = partial(expand, endings=VIDEO_ENDINGS)
    videos = find_inputs(inputs, folder, find=find, is_result=is_own_video, what="videos")
    places = None if options.footprints is None else read_frame_places(options.footprints)
    folder.mkdir(parents=True, exist_ok=True)
    names = output_names(videos)
    finder = _VideoFinder(folder, detect, spec, options, places)

    def predict(position: int) -> tuple[list[Path], int] | None:
        target = folder / f"{names[position]}.mp4"
        if options.skips(target):
            return None
        return finder.follow(videos[position], names[position])

    return predict_each(videos, predict, what="videos", unit="frames", on_error=options.on_error)


@dataclass(frozen=True)
class _Batch:
    """Frames in order, and their pixels for the model."""

    frames: tuple[Frame, ...]
    inputs: Tensor
    valid: Tensor


@dataclass(frozen=True)
class _Followed:
    """A frame with its objects and the keys of their tracks (-1 where nothing is followed)."""

    frame: Frame
    objects: Objects
    keys: NDArray[np.int64]
    numbers: NDArray[np.int64]


@dataclass(frozen=True)
class _VideoFinder:
    """What all videos of a call have in common."""

    folder: Path
    detect: Detect
    spec: RasterSpec
    options: ObjectOptions
    places: FramePlaces | None

    @cached_property
    def device(self) -> torch.device:
        return self.options.resolve_device()

    @cached_property
    def fast_detect(self) -> Detect:
        return accelerate_detect(self.detect, self.spec, self.options, self.device)

    def follow(self, video: str, name: str) -> tuple[list[Path], int]:
        """Follow the objects of one video; return the files written and the number of frames.

        Raises:
          DataError: it cannot be read, or its pictures do not suit the model.
        """
        reader = VideoReader(video)
        self._check(reader, self.folder / f"{name}.mp4")
        if reader.info.has_sound:
            _LOG.info("%s: its sound is left out", video)
        work = self.folder / f".{name}.work"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        try:
            made = self._run(reader, work, name)
            made.sort(key=lambda path: _ORDER.index(path.suffix))
            for path in reversed(made):  # the video last: where it is, all is there
                os.replace(path, self.folder / path.name)
        finally:
            shutil.rmtree(work, ignore_errors=True)
        return [self.folder / path.name for path in made], reader.read

    def _check(self, reader: VideoReader, target: Path) -> None:
        if max(self.spec.bands) > 3:
            raise DataError(
                f"{reader.path} has the bands red, green, blue; the model reads bands "
                f"{', '.join(map(str, self.spec.bands))} ({', '.join(self.spec.band_names)})"
            )
        if self.spec.dtype != "uint8":
            _LOG.warning("%s is uint8, the model was trained on %s", reader.path, self.spec.dtype)
        check_target(target, str(reader.path), is_result=is_own_video, what="video")

    def _batch_size(self, reader: VideoReader) -> int:
        given = self.options.batch_size
        if given != "auto":
            return int(given)
        longest = max(reader.info.width, reader.info.height)
        return automatic_batch(self.fast_detect, self.spec, longest, self.device)

    def _run(self, reader: VideoReader, work: Path, name: str) -> list[Path]:
        options, info = self.options, reader.info
        tracker = FrameTracker(
            assignment_iou=options.assignment_iou,
            vanish_frames=options.vanish_frames,
            detect_frames=options.detect_frames,
        )
        batches = _batches(reader, self.spec, self._batch_size(reader), pin=self.device.type == "cuda")

        def predict(batch: _Batch) -> list[Objects]:
            return [self._sure(found) for found in self.fast_detect(batch.inputs, batch.valid)]

        def merge(batch: _Batch, found: list[Objects]) -> Iterator[_Followed]:
            for frame, objects in zip(batch.frames, found, strict=True):
                keys = tracker.update(objects) if options.track else np.full(len(objects), -1, np.int64)
                numbers = np.array([tracker.number(key) for key in keys], np.int64)
                yield _Followed(frame, objects, keys, numbers)

        with ExitStack() as stack:
            sinks: list[Any] = [_Picture(work / f"{name}.mp4", reader, self.spec, options)]
            sinks.append(_Rows(work / f"{name}.csv", self.spec, tracker, options.detect_frames))
            if self.places is not None:
                points = PointWriter(
                    work / f"{name}.gpkg",
                    self.spec,
                    self.places,
                    tracker=tracker,
                    delay=options.detect_frames,
                    width=info.width,
                    height=info.height,
                )
                sinks.append(points)
            for sink in sinks:
                stack.enter_context(sink)
            total = info.frames or 0
            stack.enter_context(reused_memory(self.device))
            progress = stack.enter_context(
                Progress(Path(reader.path).name, total, "frames", shown=options.progress)
            )

            def write(followed: _Followed) -> None:
                for sink in sinks:
                    sink.write(followed)

            stream_frames(batches, predict, merge, write, progress)
        if options.track:
            _LOG.info("%s: %d frames, %d tracks", reader.path, reader.read, tracker.count)
        return sorted(path for path in work.iterdir() if not path.name.startswith("."))

    def _sure(self, objects: Objects) -> Objects:
        good = scores_of(objects) >= self.options.least_score
        good &= (objects.boxes[:, 2:] > objects.boxes[:, :2]).all(1)
        return objects[good]


def stream_frames(batches: Any, predict: Any, merge: Any, write: Any, progress: Progress) -> None:
    """Run the loop of inference over frames: reading, the model and writing beside each other."""
    stream(batches, predict, merge, write, depth=4, done=lambda batch: progress.advance(len(batch.frames)))


def _batches(reader: VideoReader, spec: RasterSpec, size: int, *, pin: bool) -> Iterator[_Batch]:
    waiting: list[Frame] = []
    bands = [band - 1 for band in spec.bands]
    for frame in reader:
        waiting.append(frame)
        if len(waiting) == size:
            yield _stacked(waiting, bands, pin)
            waiting = []
    if waiting:
        yield _stacked(waiting, bands, pin)


def _stacked(frames: list[Frame], bands: list[int], pin: bool) -> _Batch:
    pixels = np.stack([frame.pixels[:, :, bands].transpose(2, 0, 1) for frame in frames])
    inputs = torch.from_numpy(pixels)
    valid = torch.ones((len(frames), *inputs.shape[2:]), dtype=torch.bool)
    if pin:
        inputs, valid = inputs.pin_memory(), valid.pin_memory()
    return _Batch(tuple(frames), inputs, valid)


class _Picture:
    """Draws the objects into the frames and writes them."""

    def __init__(self, path: Path, reader: VideoReader, spec: RasterSpec, options: ObjectOptions) -> None:
        self.spec, self.options = spec, options
        self._writer = VideoWriter(path, reader.info)

    def __enter__(self) -> _Picture:
        self._writer.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._writer.__exit__(*error)

    def write(self, followed: _Followed) -> None:
        objects, frame = followed.objects, followed.frame
        pixels = frame.pixels
        if len(objects):
            pixels = draw_objects(
                pixels,
                objects.boxes,
                [self.spec.classes[label].color for label in objects.labels],
                texts=[self._text(followed, index) for index in range(len(objects))],
                outlines=self._outlines(objects),
                line_px=self.options.line_px,
            )
        self._writer.write(pixels, frame.pts)

    def _outlines(self, objects: Objects) -> list[Any] | None:
        if objects.masks is None:
            return None
        from geomm.inference.objects.tiles import outlines

        return list(outlines(objects.masks, (0, 0)))

    def _text(self, followed: _Followed, index: int) -> str:
        parts = []
        if followed.numbers[index]:
            parts.append(f"#{followed.numbers[index]}")
        if self.options.draw_labels:
            parts.append(self.spec.classes[followed.objects.labels[index]].name)
        if self.options.draw_scores:
            parts.append(f"{scores_of(followed.objects)[index]:.0%}")
        return " ".join(parts)


class _Rows:
    """Writes a row an object and frame, late enough for most to know their track's number."""

    def __init__(self, path: Path, spec: RasterSpec, tracker: FrameTracker, delay: int) -> None:
        self.path, self.spec, self.tracker, self.delay = path, spec, tracker, delay
        self._waiting: deque[_Late] = deque()

    def __enter__(self) -> _Rows:
        self._file = self.path.open("w", newline="", encoding="utf-8")
        self._csv = csv.writer(self._file)
        self._csv.writerow(_FIELDS)
        return self

    def __exit__(self, kind: Any, *error: Any) -> None:
        if kind is None:
            self._write_until(0)
        self._file.close()

    def write(self, followed: _Followed) -> None:
        objects = followed.objects
        # The pixels are let go.
        frame = (followed.frame.index, round(followed.frame.time_s, 4))
        self._waiting.append(_Late(frame, objects.boxes, objects.labels, scores_of(objects), followed.keys))
        self._write_until(self.delay)

    def _write_until(self, left: int) -> None:
        while len(self._waiting) > left:
            late = self._waiting.popleft()
            for box, label, score, key in zip(*late.objects, strict=True):
                item = self.spec.classes[label]
                number = self.tracker.number(key) or ""
                place = [f"{value:.2f}" for value in box]
                self._csv.writerow([*late.frame, number, item.name, item.value, f"{score:.4f}", *place])


class _Late:
    """Rows of a frame that wait."""

    def __init__(self, frame: tuple[int, float], *objects: NDArray[Any]) -> None:
        self.frame, self.objects = frame, objects
