"""Mapping rows of tiles, so that any of them can be computed anywhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geomm.inference.maps.blend import Scores
from geomm.inference.maps.job import MapJob
from geomm.inference.stream import stream
from geomm.inference.tiles import TileBatch
from geomm.io.cog import write_rows
from geomm.registry import WRITERS

Score = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class RowPiece:
    """A part of a band of rows, on its way to the writer.

    Attributes:
      row: row of tiles that finished it.
      col: first column, pixels.
      pixels: (C, h, w) on the CPU, by product; empty where nothing is valid.
      valid: (h, w) bool.
      ready: set where ``pixels`` are still being copied from the GPU.
    """

    row: int
    col: int
    pixels: dict[str, Tensor]
    valid: Tensor
    ready: torch.cuda.Event | None = None


@WRITERS.register_module()
class RasterRowWriter:
    """Collects finished parts of a row of tiles and writes each band of rows when it is whole.

    Args:
      job: what is mapped.
      keep: rows whose bands are wanted; others were only replayed.
    """

    def __init__(self, job: MapJob, keep: Sequence[int]) -> None:
        self.job = job
        self.keep = set(keep)
        self._buffers: dict[str, NDArray[Any]] = {}

    def collect(self, part: Scores) -> RowPiece | None:
        """Turn finished scores into what is written; None for rows that were only replayed.

        Called beside the model. Bytes leave the GPU rather than scores, and nothing waits for them.
        """
        if part.row not in self.keep:
            return None
        if part.values is None:
            return RowPiece(part.row, part.col, {}, part.valid)
        products = self.job.products.render(part.values)
        pixels = {name: value.to("cpu", non_blocking=True) for name, value in products.items()}
        ready = None
        if part.values.is_cuda:
            ready = torch.cuda.Event()
            ready.record()
        return RowPiece(part.row, part.col, pixels, part.valid, ready)

    def write(self, piece: RowPiece) -> None:
        """Put a part into its band of rows; the last of a band writes the band."""
        if piece.col == 0:
            self._begin(piece.row)
        if piece.ready is not None:
            piece.ready.synchronize()
        valid = piece.valid.numpy()
        height, width = valid.shape
        everywhere = bool(valid.all())
        for product, tensor in piece.pixels.items():
            pixels = self.job.products.encode(product, tensor.numpy(), self.job.layouts[product])
            place = self._buffers[product][:, :height, piece.col : piece.col + width]
            np.copyto(place, pixels, where=True if everywhere else valid)
        if piece.col + width >= self.job.map_grid.width:
            first, _ = self.job.map_grid.band(piece.row)
            for product, buffer in self._buffers.items():
                path, layout = self.job.chunk(product, piece.row), self.job.layouts[product]
                write_rows(path, first, buffer, layout)

    def _begin(self, row: int) -> None:
        _, height = self.job.map_grid.band(row)
        for product, layout in self.job.layouts.items():
            shape = (len(layout.band_names), height, layout.width)
            buffer = self._buffers.get(product)
            if buffer is None or buffer.shape != shape:
                buffer = self._buffers[product] = np.empty(shape, layout.dtype)
            buffer.fill(0 if layout.nodata is None else layout.nodata)


def map_rows(
    job: MapJob,
    rows: Sequence[int],
    score: Score,
    *,
    device: torch.device,
    done: Callable[[int], None] | None = None,
) -> None:
    """Compute and write some consecutive rows of tiles.

    The rows above that share pixels with the first are computed again, in the same order, so the
    result is the same to the bit wherever a range begins.

    Args:
      job: what is mapped.
      rows: consecutive numbers of rows of tiles.
      score: from pixels (B, C, h, w) and validity (B, h, w) to values (B, K, h, w), of finer pixels
        where the products have a scale.
      device: where scores are merged.
      done: called after each batch with the number of its tiles.
    """
    grid = job.grid
    first = grid.first_row_reaching(rows[0])
    reader = job.tiles(range(first, rows[-1] + 1), device)
    blend = job.options.stage("merger")(job.map_grid, planes=job.products.planes, device=device)
    writer = job.options.stage("writer")(job, rows)

    def predict(batch: TileBatch) -> Tensor | None:
        if batch.inputs is None or batch.valid is None:
            return None
        return score(batch.inputs, batch.valid)

    def merge(batch: TileBatch, scores: Tensor | None) -> Iterator[RowPiece]:
        for part in blend.add(batch, scores):
            piece = writer.collect(part)
            if piece is not None:
                yield piece

    with torch.inference_mode():
        stream(reader, predict, merge, writer.write, done=counted(done), depth=4)


def counted(done: Callable[[int], None] | None) -> Callable[[TileBatch], None] | None:
    """Turn what takes a number of tiles into what takes the batch of them."""
    return None if done is None else lambda batch: done(len(batch.tiles))
