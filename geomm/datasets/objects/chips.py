"""Ready-made chips with objects, read once and divided into splits."""

from __future__ import annotations

import abc
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from geomm.datasets.blocks import SPLITS
from geomm.datasets.maps.labels import Classes, recolour
from geomm.datasets.moments import merge_moments, moments_of
from geomm.datasets.objects.chip_dataset import ObjectChip, ObjectChipDataset
from geomm.datasets.objects.chip_folder import ChipFolder, ReadLabels, tell_turned
from geomm.datasets.objects.targets import BoxTarget
from geomm.datasets.objects.windows import counts_by_class
from geomm.datasets.overlaps import divide_chips
from geomm.errors import DataError
from geomm.io.object_labels import Problems
from geomm.io.raster import RasterReader
from geomm.io.raster_info import RasterInfo, read_info
from geomm.samples import sample_root
from geomm.structures import ClassSpec, PixelWindow, RasterSample, RasterSpec
from geomm.transforms.compose import Compose

_LOG = logging.getLogger("geomm")
#: How images are divided that are too few to be shared out.
_BY_BLOCKS = "divide large images by blocks: dataset=geotiff dataset.images=… dataset.labels=…"
_CURE = " (dataset.on_error=skip leaves such out)"


class ObjectChips(abc.ABC):
    """Chips of any size with the objects in them.

    Chips that overlap on the map go to the same split, as those of ``Chips`` do.

    Args:
      root: folder of the chips.
      sample: name of made-up sample data to use instead (``geomm.samples``).
      classes: None for what the labels hold; names; or {value: name}, where values may share a name.
      bands: 1-based numbers or names, None for all but alpha.
      window_px: edge of windows cut out of chips: around objects to train on, all over a chip to judge by;
        None takes each chip as a whole.
      split: ``val`` and ``test`` shares and ``seed`` (the run's).
      min_visible: an object is ignored in a training window that shows less than this share of its area.
      empty_share: largest share of training chips without an object, None for all there are.
      map_space: False for photos and oblique imagery, where the folder itself does not say.
      on_error: ``raise``, or ``skip`` to leave out chips and objects that cannot be used, with a warning.
      augment: transforms of training chips, filled in from the task.
      seed: of every random choice.
      target: boxes or outlines, of which classes; filled in from the task.
    """

    def __init__(
        self,
        *,
        root: str | None = None,
        sample: str | None = None,
        classes: Classes = None,
        bands: Sequence[int | str] | None = None,
        window_px: int | None = None,
        split: Mapping[str, Any] | None = None,
        min_visible: float = 0.5,
        empty_share: float | None = None,
        map_space: bool = True,
        on_error: str = "raise",
        augment: Mapping[str, Mapping[str, Any] | None] | None = None,
        seed: int = 0,
        target: BoxTarget | None = None,
    ) -> None:
        self.root = Path(sample_root(sample) if root is None and sample is not None else str(root))
        self.bands, self.window_px, self.map_space = bands, window_px, map_space
        self.split_options = {"val": 0.2, "test": 0.0, "seed": None, **(split or {})}
        self.skip_errors = on_error == "skip"
        self.augment, self.seed, self.empty_share = augment or {}, seed, empty_share
        self.target = target or BoxTarget(classes=classes, min_visible=min_visible)
        self._datasets: dict[str, Dataset[RasterSample]] = {}

    @abc.abstractmethod
    def read_folder(self, problems: Problems) -> ChipFolder:
        """Return what the folder holds.

        Raises:
          DataError: it cannot be used at all.
        """

    def prepare(self, cache: Path | None) -> RasterSpec:
        """Read every label and every chip once; settle classes and splits.

        Args:
          cache: folder for what was found; unused, chips are small.

        Raises:
          DataError: no such folder, or chips or labels that cannot be used.
        """
        problems = Problems(self.skip_errors)
        folder = self.read_folder(problems)
        chips, bands = self._usable(folder, problems)
        classes, index_of, labels = self.target.settle_classes(
            [chip.labels for chip in chips], problems, names=folder.names, by_value=folder.by_value
        )
        for chip, known in zip(chips, labels, strict=True):
            chip.labels = known
        problems.sum_up(str(self.root))
        parts, counts = self._assign(chips, index_of, len(classes))
        parts["train"] = self._thin_out(parts["train"])
        self.spec = self._describe(
            folder, parts["train"], bands, recolour(classes, folder.colors), counts["train"]
        )
        for name, mine in parts.items():
            self._datasets[name] = self._dataset(name, mine, index_of, folder.map_space)
        said = ", ".join(
            f"{len(mine)} {name} with {int(counts[name].sum())} objects"
            for name, mine in parts.items()
            if mine
        )
        _LOG.info("%s: %d chips (%s), %d classes", self.root, len(chips), said, len(classes))
        return self.spec

    def split(self, name: str) -> Dataset[RasterSample]:
        """Return the chips of ``train``, ``val`` or ``test``."""
        return self._datasets[name]

    def _usable(self, folder: ChipFolder, problems: Problems) -> tuple[list[ObjectChip], tuple[int, ...]]:
        """Return the chips whose pixels and labels can be read, and the bands they are read by."""
        first: RasterInfo | None = None
        bands: tuple[int, ...] = ()
        chips = []
        for image, read in folder.chips:
            try:
                info = read_info(image)
                if first is not None and self.bands is None and len(info.image_bands) != len(bands):
                    raise DataError(
                        f"{image} has {len(info.image_bands)} bands, {first.path} {len(bands)}; choose "
                        "common ones with dataset.bands"
                    )
                wanted = bands or info.select_bands(self.bands)
                chip = self._read_chip(info, read, wanted, problems)
            except DataError as error:
                problems.tell("chip that cannot be used", str(error).removesuffix(_CURE))
                continue
            first, bands = first or info, wanted
            chips.append(chip)
        if not chips:
            raise DataError(f"{self.root}: none of the {len(folder.chips)} chips can be used")
        return chips, bands

    def _read_chip(
        self, info: RasterInfo, read: ReadLabels, bands: Sequence[int], problems: Problems
    ) -> ObjectChip:
        labels = read(info)
        labels.check_size(info.width, info.height, info.path)
        tell_turned(info, problems)
        labels = labels.in_image(info.width, info.height, problems)
        pixels, valid = RasterReader(info.path).read(PixelWindow(0, 0, info.width, info.height), bands)
        moments = moments_of(pixels[:, valid]) if valid.any() else np.zeros((5, len(bands)))
        return ObjectChip(info.path, labels if self.target.masks else labels.as_boxes(), moments)

    def _assign(
        self, chips: Sequence[ObjectChip], index_of: Mapping[str, int], classes: int
    ) -> tuple[dict[str, list[ObjectChip]], dict[str, NDArray[np.int64]]]:
        """Divide the chips, hide in each what a later split shows too; return also the objects a class."""
        counts = counts_by_class([chip.labels for chip in chips], index_of, classes)
        splits, covered = divide_chips(
            [read_info(chip.image) for chip in chips],
            # Chips without objects are divided too.
            np.column_stack([counts, np.ones(len(chips), np.int64)]),
            self.split_options,
            seed=self.seed,
            cure=f"give more chips, or {_BY_BLOCKS}",
        )
        for number, windows in covered.items():
            chips[number].hidden = windows
        parts = {
            name: [chip for chip, split in zip(chips, splits, strict=True) if split == index]
            for index, name in enumerate(SPLITS)
        }
        per_split = {name: counts[splits == index].sum(0) for index, name in enumerate(SPLITS)}
        return parts, per_split

    def _thin_out(self, chips: Sequence[ObjectChip]) -> list[ObjectChip]:
        """Leave out training chips without objects beyond their share."""
        empty = [number for number, chip in enumerate(chips) if not len(chip.labels)]
        if self.empty_share is None or self.empty_share >= 1 or not empty:
            return list(chips)
        most = round((len(chips) - len(empty)) * self.empty_share / (1 - self.empty_share))
        order = np.random.default_rng([self.seed, 4]).permutation(len(empty))
        dropped = {empty[position] for position in order[most:]}
        if dropped:
            _LOG.info("%d of %d training chips without objects left out", len(dropped), len(empty))
        return [chip for number, chip in enumerate(chips) if number not in dropped]

    def _describe(
        self,
        folder: ChipFolder,
        train: Sequence[ObjectChip],
        bands: Sequence[int],
        classes: tuple[ClassSpec, ...],
        counts: NDArray[np.int64],
    ) -> RasterSpec:
        infos = [read_info(chip.image) for chip in train]
        missing = [item.name for item, count in zip(classes, counts, strict=True) if not count]
        if missing:
            raise DataError(
                f"no training object of class {', '.join(missing)}: its chips are all for validation; give "
                f"more, or another dataset.split.seed, or {_BY_BLOCKS}"
            )
        info = infos[0]
        return RasterSpec(
            bands=tuple(bands),
            band_names=tuple(info.band_names[band - 1] for band in bands),
            dtype=info.dtype,
            nodata=info.nodata,
            statistics=merge_moments([chip.moments for chip in train if chip.moments[0, 0] > 0]),
            classes=classes,
            window_px=self.window_px or max(max(i.width, i.height) for i in infos),
            gsd=info.gsd or folder.cell_size,
            crs=info.georeference.crs,
            map_space=folder.map_space,
            class_pixels=tuple(int(n) for n in counts),
            object_px=self.target.object_px,
        )

    def _dataset(
        self, name: str, chips: Sequence[ObjectChip], index_of: Mapping[str, int], map_space: bool
    ) -> ObjectChipDataset:
        training = name == "train"
        augment = Compose(self.augment if training else {}, map_space=map_space)
        return ObjectChipDataset(
            chips,
            self.spec.bands,
            window_px=self.window_px,
            cell_px=self.target.cell_px(self.window_px) if self.window_px else None,
            index_of=index_of,
            masks=self.target.masks,
            finish=self.target.finish(augment, training=training),
            training=training,
            seed=self.seed,
        )
