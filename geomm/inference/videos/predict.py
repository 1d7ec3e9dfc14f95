"""Finding and following objects in videos."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
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
from geomm.inference.videos.drawing import DrawnVideo
from geomm.inference.videos.places import VideoPlaces
from geomm.inference.videos.points import PointWriter, is_point_layer, is_point_style
from geomm.inference.videos.rows import BoxTable, FrameRows, RowHold, is_box_table
from geomm.inference.videos.tracker import FrameTracker
from geomm.io.frame_places import FramePlaces
from geomm.io.video import Frame, VideoReader
from geomm.io.video_files import find_videos
from geomm.io.video_writer import is_own_video
from geomm.structures import Objects, RasterSpec

_LOG = logging.getLogger("geomm")
#: What is written of a video, in this order: its ending, how it is known again, and what it is.
_RESULTS = {
    ".mp4": (is_own_video, "video"),
    ".csv": (is_box_table, "csv of objects"),
    ".gpkg": (is_point_layer, "layer of points"),
    ".qml": (is_point_style, "style of points"),
}
_ORDER = tuple(_RESULTS)
_WITH_PLACES = (".gpkg", ".qml")


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
      DataError: nothing matches ``inputs``, or ``options.footprints`` does not tell the videos apart; or,
        with ``on_error="raise"``, an input fails.
    """
    folder = Path(output)
    videos = find_inputs(inputs, folder, find=find_videos, is_result=is_own_video, what="videos")
    names = output_names(videos)
    places = None if options.footprints is None else VideoPlaces(options.footprints, videos, names)
    folder.mkdir(parents=True, exist_ok=True)
    finder = _VideoFinder(folder, detect, spec, options, places)

    def predict(position: int) -> tuple[list[Path], int] | None:
        target = folder / f"{names[position]}.mp4"
        check_target(target, videos[position], is_result=is_own_video, what="video")
        if options.skips(target):
            return None
        return finder.follow(position, videos[position], names[position])

    return predict_each(videos, predict, what="videos", unit="frames", on_error=options.on_error)


@dataclass(frozen=True)
class _Batch:
    """Frames in order, and their pixels for the model."""

    frames: tuple[Frame, ...]
    inputs: Tensor
    valid: Tensor


@dataclass(frozen=True)
class _Followed:
    """A frame with its objects and their tracks' numbers so far, and the rows that are settled by it."""

    frame: Frame
    objects: Objects
    tracks: NDArray[np.int64]
    settled: list[FrameRows]


@dataclass(frozen=True)
class _VideoFinder:
    """What all videos of a call have in common."""

    folder: Path
    detect: Detect
    spec: RasterSpec
    options: ObjectOptions
    places: VideoPlaces | None

    @cached_property
    def device(self) -> torch.device:
        return self.options.resolve_device()

    @cached_property
    def fast_detect(self) -> Detect:
        return accelerate_detect(self.detect, self.spec, self.options, self.device)

    def follow(self, position: int, video: str, name: str) -> tuple[list[Path], int]:
        """Follow the objects of one video; return the files written and the number of frames.

        Raises:
          DataError: it cannot be read, its pictures do not suit the model, its frames have no places, or a
            file is in the way that is no earlier result.
        """
        reader = VideoReader(video)
        self._check(reader, name)
        places = None if self.places is None else self.places.of(position)
        if reader.info.has_sound:
            _LOG.info("%s: its sound is left out", video)
        work = self.folder / f".{name}.work"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        try:
            made = self._run(reader, work, name, places)
            made.sort(key=lambda path: _ORDER.index(path.suffix))
            self._clear(name, {path.suffix for path in made})
            for path in reversed(made):  # the video last: where it is, all is there
                os.replace(path, self.folder / path.name)
        finally:
            shutil.rmtree(work, ignore_errors=True)
        return [self.folder / path.name for path in made], reader.read

    def _check(self, reader: VideoReader, name: str) -> None:
        if max(self.spec.bands) > 3:
            raise DataError(
                f"{reader.path} has the bands red, green, blue; the model reads bands "
                f"{', '.join(map(str, self.spec.bands))} ({', '.join(self.spec.band_names)})"
            )
        if self.spec.dtype != "uint8":
            _LOG.warning("%s is uint8, the model was trained on %s", reader.path, self.spec.dtype)
        sources = [reader.path, *([] if self.places is None else map(str, self.places.files))]
        for ending, (is_result, what) in _RESULTS.items():
            if self.places is not None or ending not in _WITH_PLACES:
                check_target(self.folder / f"{name}{ending}", sources, is_result=is_result, what=what)

    def _clear(self, name: str, made: set[str]) -> None:
        """Remove what an earlier run wrote and this one does not: it would be of other objects."""
        for ending, (is_result, _) in _RESULTS.items():
            file = self.folder / f"{name}{ending}"
            if ending not in made and file.is_file() and is_result(file):
                file.unlink()

    def _batch_size(self, reader: VideoReader) -> int:
        given = self.options.batch_size
        if given != "auto":
            return int(given)
        longest = max(reader.info.width, reader.info.height)
        return automatic_batch(self.fast_detect, self.spec, longest, self.device)

    def _run(self, reader: VideoReader, work: Path, name: str, places: FramePlaces | None) -> list[Path]:
        options, info = self.options, reader.info
        tracker = FrameTracker(
            assignment_iou=options.assignment_iou,
            vanish_frames=options.vanish_frames,
            detect_frames=options.detect_frames,
        )
        hold = RowHold(tracker)
        batches = _batches(reader, self.spec, self._batch_size(reader), pin=self.device.type == "cuda")

        def predict(batch: _Batch) -> list[Objects]:
            return [self._sure(found) for found in self.fast_detect(batch.inputs, batch.valid)]

        def merge(batch: _Batch, found: list[Objects]) -> Iterator[_Followed]:
            for frame, objects in zip(batch.frames, found, strict=True):
                keys: NDArray[np.int64] = np.full(len(objects), -1, np.int64)
                if options.track:
                    keys = tracker.update(objects, frame.index)
                settled = hold.add(frame, objects, keys)
                yield _Followed(frame, objects, tracker.numbers(keys), settled)

        tables: list[BoxTable | PointWriter] = [BoxTable(work / f"{name}.csv", self.spec)]
        if places is not None:
            tables.append(PointWriter(work / f"{name}.gpkg", self.spec, places, info))

        def write_rows(settled: list[FrameRows]) -> None:
            for rows in settled:
                for table in tables:
                    table.write(rows)

        with ExitStack() as stack:
            drawn = stack.enter_context(DrawnVideo(work / f"{name}.mp4", info, self.spec, options))
            for table in tables:
                stack.enter_context(table)
            stack.enter_context(reused_memory(self.device))
            progress = stack.enter_context(
                Progress(Path(reader.path).name, info.frames, "frames", shown=options.progress)
            )

            def write(followed: _Followed) -> None:
                drawn.write(followed.frame, followed.objects, followed.tracks)
                write_rows(followed.settled)

            stream_frames(batches, predict, merge, write, progress)
            write_rows(hold.rest())
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
