"""Classifying any number of clouds of any size: each complete or not at all."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from geomm.errors import ConfigError, DataError
from geomm.inference.clouds.neighbours import Neighbours
from geomm.inference.clouds.options import PointOptions
from geomm.inference.clouds.output import RESULT, CloudWriter, output_file
from geomm.inference.clouds.regions import (
    OutOfBoundsError,
    Region,
    RegionGrid,
    Votes,
    block_samples,
    load_region,
    spread,
)
from geomm.inference.inputs import check_preview, check_target, find_inputs, output_names, preview_of
from geomm.inference.memory import reused_memory
from geomm.inference.progress import Progress
from geomm.inference.report import PredictionReport, predict_each
from geomm.inference.stream import stream
from geomm.inference.work import file_stamps, fingerprint, open_work
from geomm.io.las import LAS_ENDINGS, LasInfo, find_dimension, measure_bounds, read_placed_info
from geomm.io.las_edit import written_by_geomm
from geomm.io.paths import expand
from geomm.points import PointSpec

_LOG = logging.getLogger("geomm")
Collate = Callable[[Sequence[Any]], dict[str, Any]]
Score = Callable[[Mapping[str, Any]], Tensor]

__all__ = ["PointOptions", "predict_clouds"]


def predict_clouds(
    inputs: str | Path | Sequence[str | Path],
    output: str | Path,
    *,
    collate: Collate,
    score: Score,
    spec: PointSpec,
    options: PointOptions,
    model_id: str,
) -> PredictionReport:
    """Write clouds again with their classification filled in.

    Args:
      inputs: files, globs, folders or a list of these.
      output: folder for the results.
      collate: from samples to a batch.
      score: from a batch to class probabilities (N, K).
      spec: of the model.
      options: see ``PointOptions``.
      model_id: tells models apart, so that a run is only resumed with its own.

    Raises:
      DataError: nothing matches ``inputs``; or, with ``on_error="raise"``, an input fails.
      ConfigError: an option that does not hold.
    """
    reach_m, _ = options.blocks(spec)
    options.written(spec)
    options.preserved(spec)
    options.remapped()
    folder = Path(output)
    find = partial(expand, endings=LAS_ENDINGS)
    clouds = find_inputs(inputs, folder, find=find, is_result=written_by_geomm, what="clouds")
    names = output_names([cloud.replace(".copc.", ".") for cloud in clouds])
    folder.mkdir(parents=True, exist_ok=True)
    runner = _Runner(folder, collate, score, spec, options, model_id)
    beside = Neighbours(clouds, spec.dimensions) if options.neighbours else None
    device = options.resolve_device()

    def predict(position: int) -> tuple[list[Path], int] | None:
        cloud = clouds[position]
        target = output_file(folder, names[position], cloud)
        check_target(target, cloud, is_result=written_by_geomm, what="cloud")
        if options.skips(target):
            return None
        if options.preview:
            check_preview(preview_of(target), cloud)
        with reused_memory(device):
            return runner.classify(cloud, target, beside.near(cloud, reach_m) if beside else [])

    return predict_each(clouds, predict, what="clouds", unit="points", on_error=options.on_error)


@dataclass(frozen=True)
class _Batch:
    """Samples of one region, ready for the model."""

    region: Region
    votes: list[Votes]
    data: dict[str, Any] | None
    last: bool


@dataclass
class _Sums:
    """Votes of a region's points so far."""

    scores: NDArray[np.float32]
    region: int


@dataclass(frozen=True)
class _Runner:
    """What all clouds of a call have in common."""

    folder: Path
    collate: Collate
    score: Score
    spec: PointSpec
    options: PointOptions
    model_id: str

    def classify(self, cloud: str, target: Path, others: Sequence[LasInfo]) -> tuple[list[Path], int]:
        """Classify one cloud; return the files written and its points."""
        info = read_placed_info(cloud)
        for name in self.spec.dimensions:
            find_dimension(cloud, name, info.dimensions)
        work = target.with_name(f".{target.name}.work")
        self._prepare_work(work, cloud, others)
        writer = CloudWriter(info, target, self.spec, self.options)
        try:
            if info.points:
                self._predict(info, others, work)
            written = writer.write(work)
        except (DataError, ConfigError):
            shutil.rmtree(work, ignore_errors=True)
            raise
        shutil.rmtree(work)
        return written, info.points

    def _prepare_work(self, work: Path, cloud: str, others: Sequence[LasInfo]) -> None:
        """Make the folder of finished regions; what another run left in it is thrown away."""
        block = [*self.options.blocks(self.spec), self.options.region_points, self.options.precision]
        stamps = file_stamps([cloud, *(other.path for other in others)])
        open_work(work, fingerprint(self.model_id, stamps, block), resume=self.options.resume)

    def _divide(self, info: LasInfo, others: Sequence[LasInfo], work: Path) -> tuple[RegionGrid, list[int]]:
        """Write the points to the files of their regions; return the grid and the regions to predict."""
        measured = work / "bounds.json"
        if measured.is_file():  # an earlier run found points outside of the header's bounds
            info = replace(info, **json.loads(measured.read_text(encoding="utf-8")))
        block_m, overlap_m = self.options.blocks(self.spec)
        grid = RegionGrid.cover(
            ((np.asarray(info.maxs) - np.asarray(info.mins)) * np.asarray(info.units_m))[:2],
            info.points,
            block_m=block_m,
            overlap_m=overlap_m,
            region_points=self.options.region_points,
        )
        try:
            return grid, spread(info, others, self.spec, grid, work)
        except OutOfBoundsError:
            info = measure_bounds(info)
            note = json.dumps({"mins": info.mins, "maxs": info.maxs})
            measured.write_text(note, encoding="utf-8")
            return self._divide(info, others, work)

    def _predict(self, info: LasInfo, others: Sequence[LasInfo], work: Path) -> None:
        grid, regions = self._divide(info, others, work)
        left = [number for number in regions if not (work / f"result_{number}.bin").is_file()]
        if len(left) < len(regions):
            _LOG.info("%s: going on, %d of %d regions are left", info.path, len(left), len(regions))
        merger = _Merger(work, self.spec.num_classes, set(regions))
        with Progress(Path(info.path).name, len(left), "regions", shown=self.options.progress) as progress:
            stream(
                self._batches(left, grid, work),
                lambda batch: None if batch.data is None else self.score(batch.data),
                merger.merge,
                merger.save,
                done=lambda batch: progress.advance(int(batch.last)),
            )

    def _batches(self, regions: Sequence[int], grid: RegionGrid, work: Path) -> Iterator[_Batch]:
        """Yield batches; a region's last one says so. Neighbours are searched here, beside the model."""
        size = self.options.batch_size
        most = (4 if self.options.resolve_device().type == "cuda" else 1) if size == "auto" else int(size)
        for number in regions:
            region = load_region(number, grid, self.spec, work)
            waiting: list[Votes] = []
            points = 0
            for votes in block_samples(region, grid, self.spec):
                if waiting and points + len(votes.points) > most * self.spec.block_points:
                    yield _Batch(region, waiting, self.collate([item.sample for item in waiting]), False)
                    waiting, points = [], 0
                waiting.append(votes)
                points += len(votes.points)
            data = self.collate([item.sample for item in waiting]) if waiting else None
            yield _Batch(region, waiting, data, True)


@dataclass
class _Merger:
    """Adds up votes, hands on those of later regions' points, and settles what is finished.

    Attributes:
      work: folder of results and of votes handed on.
      classes: K.
      wanted: regions that are predicted; others need no votes.
    """

    work: Path
    classes: int
    wanted: set[int]
    _sums: _Sums | None = field(default=None, init=False)

    def merge(self, batch: _Batch, scores: Tensor | None) -> Iterator[tuple[int, NDArray[Any]]]:
        """Add a batch's votes; yield the region's result after its last one."""
        region = batch.region
        if self._sums is None or self._sums.region != region.number:
            self._sums = self._begin(region)
        sums = self._sums.scores
        if scores is not None:
            values, start = scores.cpu().numpy(), 0
            for votes in batch.votes:
                stop = start + len(votes.points)
                # A sample holds each point once, so that plain addition counts every vote.
                sums[votes.points] += values[start:stop] * votes.weights[:, None]
                start = stop
        if batch.last:
            self._hand_on(region, sums)
            yield region.number, _settle(region.numbers[: region.own], sums[: region.own])
            self._sums = None

    def save(self, piece: tuple[int, NDArray[Any]]) -> None:
        """Write a region's result; it appears only when complete."""
        number, result = piece
        temporary = self.work / f"result_{number}.part"
        result.tofile(temporary)
        temporary.replace(self.work / f"result_{number}.bin")

    def _begin(self, region: Region) -> _Sums:
        sums = np.zeros((len(region.xyz), self.classes), np.float32)
        # By name, so that sums are the same to the bit however often a run is resumed.
        for file in sorted(self.work.glob(f"votes_*_to_{region.number}.npz")):
            with np.load(file) as found:
                sums[found["points"]] += found["scores"]
        return _Sums(sums, region.number)

    def _hand_on(self, region: Region, sums: NDArray[np.float32]) -> None:
        start = region.own
        for other, points in region.parts:
            scores = sums[start : start + len(points)]
            voted = scores.any(1)
            if voted.any() and other in self.wanted:
                name = f"votes_{region.number}_to_{other}"
                temporary = self.work / f"{name}.part.npz"
                np.savez(temporary, points=points[voted], scores=scores[voted])
                temporary.replace(self.work / f"{name}.npz")
            start += len(points)


def _settle(numbers: NDArray[np.int64], sums: NDArray[np.float32]) -> NDArray[Any]:
    """Return number, class index and confidence of a region's own points, in the file's order."""
    own = np.flatnonzero(numbers >= 0)
    own = own[np.argsort(numbers[own], kind="stable")]
    votes = sums[own]
    total = votes.sum(1)
    assert (total > 0).all(), "a point without a vote"
    result = np.zeros(len(own), RESULT)
    result["number"], result["index"] = numbers[own], votes.argmax(1)
    result["confidence"] = votes.max(1, initial=0) / total
    return result
