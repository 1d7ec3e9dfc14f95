"""Windows drawn from scenes: at random and balanced to train, complete to validate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from geomm.datasets.blocks import SPLITS, BlockScan
from geomm.datasets.maps.labels import SceneLabels
from geomm.io.raster import RasterReader
from geomm.structures import IGNORE_INDEX, PixelWindow, RasterSample

#: Makes a sample of a window that was read, drawing from a generator.
Change = Callable[[RasterSample, np.random.Generator], RasterSample]


@dataclass
class Scene:
    """A scene, its labels, and what its blocks are for.

    Attributes:
      reader: of the pixels.
      labels: of the same grid.
      scan: of its blocks.
      splits: (N,) index into ``SPLITS`` a block, -1 for none.
    """

    reader: RasterReader
    labels: SceneLabels
    scan: BlockScan
    splits: NDArray[np.int8]

    def read(self, window: PixelWindow, bands: Sequence[int], split: int) -> RasterSample:
        """Read a window; pixels of another split, or none, are unlabelled in its mask."""
        pixels, valid = self.reader.read(window, bands)
        mask = self.labels.mask(window)
        mask[~valid | (self._splits_of(window) != split)] = IGNORE_INDEX
        info = self.reader.info
        name = f"{info.path} [{window.col}, {window.row}]"
        place = info.georeference.shifted(window.col, window.row)
        return self.labels.extend(RasterSample(pixels, valid, mask, place, name), window, bands)

    def place(self, top: float, left: float, window_px: int) -> PixelWindow:
        """Return the window that begins nearest to a place, on the grid of the labels' steps."""
        info, step, (col, row) = self.reader.info, self.labels.step_px, self.labels.offset_px
        return PixelWindow(
            place(left, window_px, info.width, step, col),
            place(top, window_px, info.height, step, row),
            window_px,
            window_px,
        )

    def _splits_of(self, window: PixelWindow) -> NDArray[np.int8]:
        """Return the split (h, w) that each pixel's block belongs to."""
        scan = self.scan
        rows = np.clip((window.row + np.arange(window.height)) // scan.size, 0, scan.rows - 1)
        cols = np.clip((window.col + np.arange(window.width)) // scan.size, 0, scan.cols - 1)
        return np.asarray(self.splits[rows[:, None] * scan.cols + cols[None, :]])


class RandomWindows(Dataset[RasterSample]):
    """Training windows: a share of them around a pixel of a class drawn evenly, the rest anywhere.

    Sample ``i`` depends on the seed and ``i`` alone.

    Args:
      scenes: with blocks to train on.
      bands: 1-based numbers.
      window_px: edge of a window.
      count: windows an epoch.
      balance: share of windows drawn by class.
      finish: makes the sample of a window, its random changes included.
      seed: of all draws.
    """

    def __init__(
        self,
        scenes: Sequence[Scene],
        *,
        bands: Sequence[int],
        window_px: int,
        count: int,
        balance: float,
        finish: Change,
        seed: int,
    ) -> None:
        self.scenes, self.bands, self.window_px = list(scenes), tuple(bands), window_px
        self.count, self.balance, self.finish, self.seed = count, balance, finish, seed
        blocks = [(s, b) for s, scene in enumerate(scenes) for b in np.flatnonzero(scene.splits == 0)]
        self._blocks = np.array(blocks, dtype=np.int64).reshape(-1, 2)
        per_class = np.array([scenes[s].scan.classes[b] for s, b in blocks], dtype=np.float64)
        self._present = np.flatnonzero(per_class.sum(0) > 0)
        self._by_class = per_class / np.maximum(per_class.sum(0), 1)
        labelled = per_class.sum(1)
        self._anywhere = labelled / labelled.sum()

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> RasterSample:
        rng = np.random.default_rng([self.seed, 1, index])
        scene, window = self.choose(rng)
        return self.finish(scene.read(window, self.bands, split=0), rng)

    def choose(self, rng: np.random.Generator) -> tuple[Scene, PixelWindow]:
        """Return a scene and a window of it."""
        if rng.random() < self.balance:
            return self.around(*self._around_class(rng), rng)
        return self.around(*self._around_anything(rng), rng)

    def around(self, scene: Scene, row: int, col: int, rng: np.random.Generator) -> tuple[Scene, PixelWindow]:
        """Return a window that has a pixel anywhere but near its edge."""
        half = self.window_px / 2
        jitter = rng.uniform(-0.4, 0.4, 2) * self.window_px
        return scene, scene.place(row + jitter[0] - half, col + jitter[1] - half, self.window_px)

    def _around_class(self, rng: np.random.Generator) -> tuple[Scene, int, int]:
        return self._around(int(rng.choice(self._present)), rng)

    def _around(self, kind: int, rng: np.random.Generator) -> tuple[Scene, int, int]:
        """Return a pixel of a class."""
        number, block = self._blocks[rng.choice(len(self._blocks), p=self._by_class[:, kind])]
        scene = self.scenes[number]
        anchors = scene.scan.anchors[block, kind]
        row, col = anchors[rng.integers((anchors[:, 0] >= 0).sum())]
        return scene, int(row), int(col)

    def _around_anything(self, rng: np.random.Generator) -> tuple[Scene, int, int]:
        number, block = self._blocks[rng.choice(len(self._blocks), p=self._anywhere)]
        scene = self.scenes[number]
        info = scene.reader.info
        window = scene.scan.window(int(block), info.width, info.height)
        return (
            scene,
            window.row + int(rng.integers(window.height)),
            window.col + int(rng.integers(window.width)),
        )


def place(start: float, window_px: int, length: int, step: int = 1, offset: int = 0) -> int:
    """Return where a window begins: inside the scene, or around it where the scene is smaller.

    Args:
      start: where it would begin.
      window_px: its edge.
      length: the scene's.
      step: it begins at a multiple of this many pixels …
      offset: … from this one on.
    """
    if length <= window_px:
        begin = (length - window_px) // 2
    else:
        begin = int(np.clip(round(start), 0, length - window_px))
    begin -= (begin - offset) % step
    return begin + step if begin < 0 and begin + step + window_px <= length else begin


class BlockWindows(Dataset[RasterSample]):
    """Windows that cover the blocks of a split, each labelled pixel in exactly one of them.

    Args:
      scenes: all of them.
      bands: 1-based numbers.
      window_px: edge of a window.
      split: ``val`` or ``test``.
      finish: makes the sample of a window.
      seed: of its random choices.
      cell_px: edge of the ground that a window is for, in its middle; all of it by default.
    """

    def __init__(
        self,
        scenes: Sequence[Scene],
        *,
        bands: Sequence[int],
        window_px: int,
        split: str,
        finish: Change,
        seed: int,
        cell_px: int | None = None,
    ) -> None:
        self.cell_px = cell_px or window_px
        self.scenes, self.bands, self.window_px = list(scenes), tuple(bands), window_px
        self.finish, self.seed = finish, seed
        self.split = SPLITS.index(split)
        self._cells: list[tuple[int, PixelWindow]] = []
        for number, scene in enumerate(scenes):
            for block in np.flatnonzero(scene.splits == self.split):
                self._cells += [(number, cell) for cell in self._divide(scene, int(block))]

    def _divide(self, scene: Scene, block: int) -> list[PixelWindow]:
        """Cut a block into cells no larger than ``cell_px``, as even as possible."""
        info = scene.reader.info
        whole = scene.scan.window(block, info.width, info.height)
        down, across = -(-whole.height // self.cell_px), -(-whole.width // self.cell_px)
        tops = np.linspace(0, whole.height, down + 1).round().astype(int) + whole.row
        lefts = np.linspace(0, whole.width, across + 1).round().astype(int) + whole.col
        return [
            PixelWindow(int(left), int(top), int(right - left), int(bottom - top))
            for top, bottom in pairwise(tops)
            for left, right in pairwise(lefts)
        ]

    def __len__(self) -> int:
        return len(self._cells)

    def __getitem__(self, index: int) -> RasterSample:
        number, cell = self._cells[index % len(self._cells)]
        scene = self.scenes[number]
        half = self.window_px / 2
        window = scene.place(
            cell.row + cell.height / 2 - half, cell.col + cell.width / 2 - half, self.window_px
        )
        sample = scene.read(window, self.bands, self.split)
        assert sample.mask is not None
        outside = np.ones(sample.mask.shape, bool)
        rows, cols = cell.row - window.row, cell.col - window.col
        outside[rows : rows + cell.height, cols : cols + cell.width] = False
        sample.mask[outside] = IGNORE_INDEX
        rng = np.random.default_rng([self.seed, 3, index % len(self._cells)])
        return self.finish(sample, rng)
