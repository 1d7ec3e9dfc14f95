"""One scene in which objects are found: all that decides what is found, and finding it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from geomm.inference.candidates import Candidates, join, load
from geomm.inference.grid import TileGrid
from geomm.inference.object_merge import ObjectMerger
from geomm.inference.object_options import ObjectOptions
from geomm.inference.object_tiles import tile_candidates
from geomm.inference.object_views import Detect
from geomm.inference.rows import counted
from geomm.inference.stream import stream
from geomm.inference.tiles import RasterTiles, Tile, TileBatch
from geomm.inference.work import file_stamps, fingerprint, open_work
from geomm.io.raster import RasterInfo, RasterReader, read_info
from geomm.structures import Objects, RasterSpec

#: Batches that may wait: with masks they are large.
_DEPTH = 2
Seen = tuple[TileBatch, list[Objects]]


@dataclass(frozen=True)
class ObjectJob:
    """All that decides what is found in a scene.

    Attributes:
      scene: path of the input.
      spec: of the model.
      options: how objects are found and merged.
      batch_size: tiles a batch.
      work: hidden folder for what finished rows of tiles found.
      source: number of the input.
    """

    scene: str
    spec: RasterSpec
    options: ObjectOptions
    batch_size: int
    work: Path
    source: int = 0

    @cached_property
    def info(self) -> RasterInfo:
        return read_info(self.scene)

    @cached_property
    def grid(self) -> TileGrid:
        tile, overlap = self.options.tiling(self.spec)
        return TileGrid(self.info.width, self.info.height, tile, overlap)

    def chunk(self, row: int) -> Path:
        """Return the file of what a row of tiles found."""
        return self.work / f"row_{row:06d}.npz"

    def missing_rows(self) -> list[int]:
        """Return the rows of tiles that are not done."""
        return [row for row in range(len(self.grid.tops)) if not self.chunk(row).is_file()]

    def prepare(self, *extra: Any) -> None:
        """Make the folder of finished rows; what another run left in it is thrown away.

        Args:
          extra: what else decides what is found: the model, its device.
        """
        options = self.options
        mark = fingerprint(
            file_stamps([self.scene]),
            self.spec.to_dict(),
            [*options.tiling(self.spec), self.batch_size, self.source],
            [options.least_score, options.edge_px, options.tta, options.precision],
            torch.__version__,
            list(extra),
        )
        open_work(self.work, mark, resume=options.resume)

    def files(self, row: int) -> list[Path]:
        """Return the file of what a row of tiles found, as executors ask for it."""
        return [self.chunk(row)]

    def compute(
        self, rows: Sequence[int], model: Detect, device: torch.device, done: Callable[[int], None] | None
    ) -> None:
        """Find the objects of consecutive rows of tiles, and keep those of each row."""
        reader = RasterTiles(
            RasterReader(self.scene),
            self.grid,
            bands=self.spec.bands,
            batch_size=self.batch_size,
            rows=rows,
            pin=device.type == "cuda",
        )
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
