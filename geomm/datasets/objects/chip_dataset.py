"""Samples of ready-made chips with objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from geomm.datasets.maps.windows import Change, place
from geomm.datasets.objects.windows import cut_objects
from geomm.io.object_labels import ObjectLabels
from geomm.io.raster import RasterReader
from geomm.io.raster_info import RasterInfo, read_info
from geomm.structures import IGNORE_INDEX, PixelWindow, RasterSample


@dataclass
class ObjectChip:
    """A chip and what was found in it.

    Attributes:
      image: path.
      labels: its objects, in its pixels.
      moments: (5, C) of its valid pixels.
      hidden: pixels that a chip of another split is judged by, not trained on here.
    """

    image: str
    labels: ObjectLabels
    moments: NDArray[np.float64]
    hidden: list[PixelWindow] = field(default_factory=list)


class ObjectChipDataset(Dataset[RasterSample]):
    """The chips of a split; sample ``i`` is chip ``i % len``, changed by draws of (seed, i) alone.

    Args:
      chips: of the split.
      bands: 1-based numbers.
      window_px: edge of windows cut out of the chips, None for whole chips.
      cell_px: edge of the ground that a window is judged by.
      index_of: class index by name.
      masks: whether samples carry masks.
      finish: makes the sample of a window.
      training: windows lie around objects, one a chip; otherwise they cover the chips.
      seed: of the random choices.
    """

    def __init__(
        self,
        chips: Sequence[ObjectChip],
        bands: Sequence[int],
        *,
        window_px: int | None,
        cell_px: int | None,
        index_of: Mapping[str, int],
        masks: bool,
        finish: Change,
        training: bool,
        seed: int,
    ) -> None:
        self.chips, self.bands, self.window_px = list(chips), tuple(bands), window_px
        self.index_of, self.masks, self.finish, self.training = index_of, masks, finish, training
        self.seed = seed
        self._cells: list[tuple[ObjectChip, PixelWindow]] = []
        for chip in chips:
            info = read_info(chip.image)
            whole = PixelWindow(0, 0, info.width, info.height)
            cells = [whole] if training or cell_px is None else _divide(whole, cell_px)
            self._cells += [(chip, cell) for cell in cells]

    def __len__(self) -> int:
        return len(self._cells)

    def __getitem__(self, index: int) -> RasterSample:
        chip, cell = self._cells[index % len(self._cells)]
        rng = np.random.default_rng([self.seed, 2, index])
        reader = RasterReader(chip.image)
        window = self._window(chip, cell, reader.info, rng)
        pixels, valid = reader.read(window, self.bands)
        mask = np.where(valid, 0, IGNORE_INDEX).astype(np.uint8)
        for hidden in chip.hidden:
            mask[_within(hidden, window)] = IGNORE_INDEX
        other = np.ones(mask.shape, bool)
        other[_within(cell, window)] = False
        mask[other] = IGNORE_INDEX
        where = reader.info.georeference.shifted(window.col, window.row)
        cut = cut_objects(chip.labels, window, self.index_of, masks=self.masks)
        name = chip.image if self.window_px is None else f"{chip.image} [{window.col}, {window.row}]"
        return self.finish(RasterSample(pixels, valid, mask, where, name, {"cut": cut}), rng)

    def _window(
        self, chip: ObjectChip, cell: PixelWindow, info: RasterInfo, rng: np.random.Generator
    ) -> PixelWindow:
        if self.window_px is None:
            return cell
        middle = np.array([cell.col + cell.width / 2, cell.row + cell.height / 2])
        if self.training:
            boxes = chip.labels.boxes
            middle = rng.uniform([0, 0], [info.width, info.height])
            if len(boxes):
                box = boxes[rng.integers(len(boxes))]
                middle = (box[:2] + box[2:]) / 2 + rng.uniform(-0.4, 0.4, 2) * self.window_px
        left, top = middle - self.window_px / 2
        edge = self.window_px
        return PixelWindow(place(left, edge, info.width), place(top, edge, info.height), edge, edge)


def _within(part: PixelWindow, window: PixelWindow) -> tuple[slice, slice]:
    """Return rows and columns of a window's array that a part of the image covers."""
    top, left = max(part.row - window.row, 0), max(part.col - window.col, 0)
    bottom = max(part.row + part.height - window.row, 0)
    right = max(part.col + part.width - window.col, 0)
    return slice(top, bottom), slice(left, right)


def _divide(whole: PixelWindow, cell_px: int) -> list[PixelWindow]:
    """Cut a chip into cells no larger than ``cell_px``, as even as possible."""
    tops = np.linspace(0, whole.height, -(-whole.height // cell_px) + 1).round().astype(int)
    lefts = np.linspace(0, whole.width, -(-whole.width // cell_px) + 1).round().astype(int)
    return [
        PixelWindow(int(left), int(top), int(right - left), int(bottom - top))
        for top, bottom in pairwise(tops)
        for left, right in pairwise(lefts)
    ]
