"""One scene in which objects are found: all that decides what is found, and finding it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from geomm.inference.executor import Done
from geomm.inference.grid import TileGrid
from geomm.inference.maps.rows import counted
from geomm.inference.objects.candidates import Candidates, join, load
from geomm.inference.objects.merge import ObjectMerger
from geomm.inference.objects.options import ObjectOptions
from geomm.inference.objects.tiles import tile_candidates
from geomm.inference.objects.views import Detect
from geomm.inference.scene_job import SceneJob
from geomm.inference.stream import stream
from geomm.inference.tiles import Tile, TileBatch
from geomm.structures import Objects

#: Batches that may wait: with masks they are large.
_DEPTH = 2
#: Sizes of tiles are multiples of it, so that not every scene brings a size of its own.
_MULTIPLE_PX = 32
Seen = tuple[TileBatch, list[Objects]]


@dataclass(frozen=True)
class ObjectJob(SceneJob):
    """A scene in which objects are found.

    Attributes:
      options: how objects are found and merged.
      source: number of the input.
    """

    #: Mirrored pixels would hold mirrored objects, and one at the edge would lie half outside.
    mirror = False

    options: ObjectOptions
    source: int = 0

    @cached_property
    def grid(self) -> TileGrid:
        """The tiles on the scene; of a scene smaller than one, where nobody chose, one of its size."""
        longest = max(self.info.width, self.info.height)
        if self.options.chosen_tile_px is not None or longest >= self.tile_px:
            return super().grid
        size = -(-longest // _MULTIPLE_PX) * _MULTIPLE_PX
        return TileGrid(self.info.width, self.info.height, min(size, self.tile_px), 0)

    def chunk(self, row: int) -> Path:
        """Return the file of what a row of tiles found."""
        return self.work / f"row_{row:06d}.npz"

    def files(self, row: int) -> list[Path]:
        return [self.chunk(row)]

    def decisive(self) -> list[Any]:
        return [self.source, self.options.least_score, self.options.edge_px, self.grid.tile_px]

    def compute(self, rows: Sequence[int], model: Detect, device: torch.device, done: Done | None) -> None:
        """Find the objects of consecutive rows of tiles, and keep those of each row."""
        reader = self.tiles(rows, device)
        collected: list[Candidates] = []

        def predict(batch: TileBatch) -> list[Objects]:
            if batch.inputs is None or batch.valid is None:
                return []
            return model(batch.inputs, batch.valid)

        def write(seen: Seen) -> None:
            batch, objects = seen
            collected.extend(self._placed(tile, found) for tile, found in _with_objects(batch, objects))
            last = batch.tiles[-1]
            if last.col + 1 == len(self.grid.lefts):
                join(collected).save(self.chunk(last.row))
                collected.clear()

        stream(
            reader,
            predict,
            lambda batch, found: [(batch, found)],
            write,
            depth=_DEPTH,
            done=counted(done),
        )

    def _placed(self, tile: Tile, objects: Objects) -> Candidates:
        options = self.options
        return tile_candidates(
            tile,
            objects,
            self.grid,
            least_score=options.least_score,
            edge_px=options.edge_px,
            source=self.source,
        )

    def merged(self) -> Iterator[Candidates]:
        """Yield the scene's objects in chunks, each once, from the top down."""
        options = self.options
        merger = ObjectMerger(options.merge, options.iou_threshold, options.least_score)
        tops = [*self.grid.tops[1:], float("inf")]
        for row, frontier in enumerate(tops):
            yield merger.add(load(self.chunk(row)), frontier)

    def has_outlines(self) -> bool:
        """Return whether what was found has outlines beside boxes."""
        return any(load(self.chunk(row)).shapes is not None for row in range(len(self.grid.tops)))


def _with_objects(batch: TileBatch, objects: list[Objects]) -> Iterator[tuple[Tile, Objects]]:
    full = [tile for tile in batch.tiles if not tile.empty]
    return zip(full, objects, strict=True)
