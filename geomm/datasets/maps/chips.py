"""Ready-made chips: images and labels as files of one size, as ArcGIS exports them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from geomm.datasets.blocks import SPLITS
from geomm.datasets.maps.chip_labels import CHIP_LABELS, ChipLabels
from geomm.datasets.maps.labels import Classes, LabelTable, make_table, recolour
from geomm.datasets.moments import merge_moments, moments_of
from geomm.datasets.overlaps import divide_chips
from geomm.errors import DataError
from geomm.io.arcgis import Export, read_export
from geomm.io.raster import RasterReader
from geomm.io.raster_info import RasterInfo, read_info
from geomm.structures import IGNORE_INDEX, PixelWindow, RasterSample, RasterSpec
from geomm.transforms.compose import Compose

_LOG = logging.getLogger("geomm")
#: Paths of an image and its label.
ChipPaths = tuple[str, str]


@dataclass
class Chip:
    """A chip and what was found in it.

    Attributes:
      image: path.
      label: path.
      labelled: (K,) labelled pixels a class.
      moments: (5, C) of its valid pixels.
      hidden: pixels that a chip of another split is judged by, not trained on here.
    """

    image: str
    label: str
    labelled: NDArray[np.int64]
    moments: NDArray[np.float64]
    hidden: list[PixelWindow] = field(default_factory=list)


class PixelChips:
    """Chips of ArcGIS's Classified_Tiles, or any folders ``images`` and ``labels`` of equal names.

    What ``Chips`` is where pixels are classified; its arguments are described there.
    """

    def __init__(
        self,
        *,
        root: str,
        classes: Classes = None,
        background: bool | str = "auto",
        bands: Sequence[int | str] | None = None,
        window_px: int | None = None,
        split: Mapping[str, Any] | None = None,
        on_error: str = "raise",
        augment: Mapping[str, Mapping[str, Any] | None] | None = None,
        seed: int = 0,
    ) -> None:
        self.root, self.classes = Path(root), classes
        self.background, self.bands = background, bands
        self.window_px, self.on_error = window_px, on_error
        self.split_options = {"val": 0.2, "test": 0.0, "seed": None, **(split or {})}
        self.augment, self.seed = augment or {}, seed
        self._datasets: dict[str, Dataset[RasterSample]] = {}

    def prepare(self, cache: Path) -> RasterSpec:
        """Read the export's description and every chip once; settle classes and splits.

        Args:
          cache: folder for what was found; unused, chips are small.

        Raises:
          DataError: no such folder, another kind of export, chips that cannot be used.
        """
        export = read_export(self.root, kinds=tuple(CHIP_LABELS))
        self._labels = CHIP_LABELS[export.kind]
        values = self._usable(export)
        bands = read_info(next(iter(values))[0]).select_bands(self.bands)
        table = self._table(export, sorted(set().union(*values.values())))
        chips = self._scan(list(values), bands, table)
        if len(chips) < len(export.pairs):
            left_out = len(export.pairs) - len(chips)
            _LOG.warning("%d of %d chips left out", left_out, len(export.pairs))
        parts = self._assign(chips, bands, table)
        largest = max(max(info.width, info.height) for info in (read_info(c.image) for c in chips))
        window = self.window_px or largest
        self.spec = self._describe(export, parts["train"], bands, table, window)
        for name, mine in parts.items():
            augment = Compose(self.augment if name == "train" else {}, map_space=export.map_space)
            self._datasets[name] = ChipDataset(mine, bands, window, self._labels, table, augment, self.seed)
        sizes = ", ".join(f"{len(mine)} {name}" for name, mine in parts.items())
        _LOG.info("%s: %d chips (%s), %d classes", self.root, len(chips), sizes, len(table.classes))
        return self.spec

    def split(self, name: str) -> Dataset[RasterSample]:
        """Return the chips of ``train``, ``val`` or ``test``."""
        return self._datasets[name]

    def _usable(self, export: Export) -> dict[ChipPaths, set[int]]:
        """Return the chips whose files fit together, and the values in each one's label."""
        good: dict[ChipPaths, set[int]] = {}
        first: RasterInfo | None = None
        for image, label in export.pairs:
            try:
                problem = self._problem(image, label, first)
                if problem is None:
                    good[str(image), str(label)] = self._labels.values(str(label))
                    first = first or read_info(image)
            except DataError as error:
                problem = f"corrupt chip: {error}"
            if problem is not None:
                self._leave_out(problem)
        if not good:
            raise DataError(f"{self.root}: none of the {len(export.pairs)} chips can be used")
        return good

    def _problem(self, image: Path, label: Path | None, first: RasterInfo | None) -> str | None:
        if label is None or not label.is_file():
            return f"chip without a label: {image}"
        if not image.is_file():
            return f"label without an image: {label}"
        info = read_info(image)
        if first is not None and self.bands is None and len(info.image_bands) != len(first.image_bands):
            return (
                f"chip of other bands: {image} has {len(info.image_bands)}, {first.path} has "
                f"{len(first.image_bands)}; choose common ones with dataset.bands"
            )
        return self._labels.problem(label, info)

    def _scan(self, paths: Sequence[ChipPaths], bands: Sequence[int], table: LabelTable) -> list[Chip]:
        """Return the chips whose pixels can be read, with what was found in each."""
        chips = []
        for image, label in paths:
            chip = Chip(image, label, np.zeros(len(table.classes), np.int64), np.zeros((5, len(bands))))
            try:
                sample = read_chip(chip, self._labels, table, bands)
            except DataError as error:
                self._leave_out(f"corrupt chip: {error}")
                continue
            chip.labelled = _count(sample, table)
            if sample.valid.any():
                chip.moments = moments_of(sample.image[:, sample.valid])
            chips.append(chip)
        if not chips:
            raise DataError(f"{self.root}: none of the {len(paths)} chips can be read")
        return chips

    def _leave_out(self, problem: str) -> None:
        if self.on_error != "skip":
            raise DataError(f"{problem} (dataset.on_error=skip leaves such chips out)")
        _LOG.warning("left out: %s", problem)

    def _table(self, export: Export, values: Sequence[int]) -> LabelTable:
        classes = self.classes
        if classes is None and export.classes:
            # The export describes more chips than may be here: classes without a pixel are kept out.
            classes = {value: name for value, name in export.classes.items() if value in values}
            missing = [name for value, name in export.classes.items() if value not in values]
            if missing:
                _LOG.warning("no pixel of class %s in these chips", ", ".join(missing))
        return make_table([], values, classes=classes, background=self.background is True)

    def _assign(
        self, chips: Sequence[Chip], bands: Sequence[int], table: LabelTable
    ) -> dict[str, list[Chip]]:
        """Divide the chips, and hide in each what a chip of a later split shows too."""
        splits, covered = divide_chips(
            [read_info(chip.image) for chip in chips],
            np.array([chip.labelled for chip in chips]),
            self.split_options,
            seed=self.seed,
            cure="export a larger area",
        )
        for number, windows in covered.items():
            chip = chips[number]
            chip.hidden = windows
            chip.labelled = _count(read_chip(chip, self._labels, table, bands), table)
        return {
            name: [
                chip
                for chip, split in zip(chips, splits, strict=True)
                if split == index and not (chip.hidden and chip.labelled.sum() == 0)
            ]
            for index, name in enumerate(SPLITS)
        }

    def _describe(
        self,
        export: Export,
        train: Sequence[Chip],
        bands: Sequence[int],
        table: LabelTable,
        window_px: int,
    ) -> RasterSpec:
        info = read_info(train[0].image)
        return RasterSpec(
            bands=tuple(bands),
            band_names=tuple(info.band_names[band - 1] for band in bands),
            dtype=info.dtype,
            nodata=info.nodata,
            statistics=merge_moments([c.moments for c in train if c.moments[0, 0] > 0]),
            classes=recolour(table.classes, export.colors),
            background=table.background,
            window_px=window_px,
            gsd=info.gsd or export.cell_size,
            crs=info.georeference.crs,
            map_space=export.map_space,
            class_pixels=tuple(int(n) for n in np.sum([chip.labelled for chip in train], 0)),
        )


class ChipDataset(Dataset[RasterSample]):
    """The chips of a split; sample ``i`` is chip ``i % len``, changed by draws of (seed, i) alone."""

    def __init__(
        self,
        chips: Sequence[Chip],
        bands: Sequence[int],
        window_px: int,
        labels: ChipLabels,
        table: LabelTable,
        augment: Compose,
        seed: int,
    ) -> None:
        self.chips, self.bands, self.window_px = list(chips), tuple(bands), window_px
        self.labels, self.table, self.augment, self.seed = labels, table, augment, seed

    def __len__(self) -> int:
        return len(self.chips)

    def __getitem__(self, index: int) -> RasterSample:
        chip = self.chips[index % len(self.chips)]
        rng = np.random.default_rng([self.seed, 2, index])
        sample = read_chip(chip, self.labels, self.table, self.bands, window_px=self.window_px)
        return self.augment(sample, rng)


def read_chip(
    chip: Chip,
    labels: ChipLabels,
    table: LabelTable,
    bands: Sequence[int],
    *,
    window_px: int | None = None,
) -> RasterSample:
    """Read a chip, cut or padded around its middle to ``window_px`` where that is given.

    Raises:
      DataError: the image or the label is damaged.
    """
    reader = RasterReader(chip.image)
    info = reader.info
    width, height = (window_px, window_px) if window_px else (info.width, info.height)
    window = PixelWindow(-((width - info.width) // 2), -((height - info.height) // 2), width, height)
    pixels, valid = reader.read(window, bands)
    mask = labels.mask(chip.label, window, table)
    for hidden in chip.hidden:
        top, left = max(hidden.row - window.row, 0), max(hidden.col - window.col, 0)
        bottom = max(hidden.row + hidden.height - window.row, 0)
        right = max(hidden.col + hidden.width - window.col, 0)
        mask[top:bottom, left:right] = IGNORE_INDEX
    mask[~valid] = IGNORE_INDEX
    place = info.georeference.shifted(window.col, window.row)
    return RasterSample(pixels, valid, mask, place, chip.image)


def _count(sample: RasterSample, table: LabelTable) -> NDArray[np.int64]:
    """Return the labelled pixels (K,) a class."""
    assert sample.mask is not None
    return np.bincount(sample.mask.ravel(), minlength=256)[: len(table.classes)].astype(np.int64)
