"""Ready-made chips: images and labels as files of one size, as ArcGIS exports them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from geomm.datasets.blocks import assign_blocks, merge_moments
from geomm.datasets.labels import Classes, LabelTable, make_table, recolour
from geomm.errors import DataError
from geomm.io.arcgis import Export, read_export
from geomm.io.raster import RasterInfo, RasterReader, read_info
from geomm.registry import DATASETS
from geomm.structures import IGNORE_INDEX, PixelWindow, RasterSample, RasterSpec
from geomm.transforms.compose import Compose

_LOG = logging.getLogger("geomm")
#: Paths of an image and its label.
Chip = tuple[str, str]
#: Pixels a class, and the moments of the bands.
Scan = tuple[NDArray[np.int64], NDArray[np.float64]]


@DATASETS.register_module()
class Chips:
    """Chips of ArcGIS's Classified_Tiles, or any folders ``images`` and ``labels`` of equal names.

    Chips that overlap on the map always go to the same split.

    Args:
      root: folder of the export.
      classes: None for those of the export (or what the labels hold); names; or {value: name}.
      background: whether value 0 is a class of its own: true, false, or ``auto`` for no.
      bands: 1-based numbers or names, None for all but alpha.
      window_px: edge that chips are cropped or padded to, None for their own size.
      split: ``val`` and ``test`` shares and ``seed`` (the run's).
      on_error: ``raise``, or ``skip`` to leave out chips that cannot be used, with a warning.
      augment: transforms of training chips, filled in from the task.
      seed: of every random choice.
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
        self.root, self.classes, self.background, self.bands = (
            Path(root),
            classes,
            background,
            bands,
        )
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
        export = read_export(self.root, kinds=("Classified_Tiles",))
        values = self._usable(export)
        numbers = read_info(next(iter(values))[0]).select_bands(self.bands)
        table = self._table(export, sorted(set().union(*values.values())))
        chips, scanned = self._scan(list(values), numbers, table)
        if len(chips) < len(export.pairs):
            left_out = len(export.pairs) - len(chips)
            _LOG.warning("%d of %d chips left out", left_out, len(export.pairs))
        infos = [read_info(image) for image, _ in chips]
        first = infos[0]
        window = self.window_px or max(max(info.width, info.height) for info in infos)
        per_class = np.array([counts for counts, _ in scanned])
        splits = self._assign(infos, per_class)
        self.spec = RasterSpec(
            bands=numbers,
            band_names=tuple(first.band_names[band - 1] for band in numbers),
            dtype=first.dtype,
            nodata=first.nodata,
            statistics=merge_moments(
                [m for (_, m), s in zip(scanned, splits, strict=True) if s == 0 and m[0, 0] > 0]
            ),
            classes=recolour(table.classes, export.colors),
            background=table.background,
            window_px=window,
            gsd=first.gsd or export.cell_size,
            crs=first.georeference.crs,
            map_space=export.map_space,
            class_pixels=tuple(int(n) for n in per_class[splits == 0].sum(0)),
        )
        for index, name in enumerate(("train", "val", "test")):
            augment = Compose(self.augment if name == "train" else {}, map_space=export.map_space)
            mine = [chip for chip, split in zip(chips, splits, strict=True) if split == index]
            self._datasets[name] = ChipDataset(mine, numbers, window, table, augment, self.seed)
        sizes = ", ".join(f"{len(d)} {n}" for n, d in self._datasets.items())  # type: ignore[arg-type]
        _LOG.info("%s: %d chips (%s), %d classes", self.root, len(chips), sizes, len(table.classes))
        return self.spec

    def split(self, name: str) -> Dataset[RasterSample]:
        """Return the chips of ``train``, ``val`` or ``test``."""
        return self._datasets[name]

    def _usable(self, export: Export) -> dict[Chip, set[int]]:
        """Return the chips whose files fit together, and the values in each one's label."""
        good: dict[Chip, set[int]] = {}
        for image, label in export.pairs:
            problem = _pair_problem(image, label)
            if problem is None:
                try:
                    good[str(image), str(label)] = _values(str(label))
                except DataError as error:
                    problem = f"corrupt chip: {error}"
            if problem is not None:
                self._leave_out(problem)
        if not good:
            raise DataError(f"{self.root}: none of the {len(export.pairs)} chips can be used")
        return good

    def _scan(
        self, chips: Sequence[Chip], bands: Sequence[int], table: LabelTable
    ) -> tuple[list[Chip], list[Scan]]:
        """Return the chips whose pixels can be read, and what was found in each."""
        good, found = [], []
        for chip in chips:
            try:
                found.append(_scan(*chip, bands, table))
                good.append(chip)
            except DataError as error:
                self._leave_out(f"corrupt chip: {error}")
        if not good:
            raise DataError(f"{self.root}: none of the {len(chips)} chips can be read")
        return good, found

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

    def _assign(self, infos: Sequence[RasterInfo], per_class: NDArray[np.int64]) -> NDArray[np.int8]:
        groups = _overlapping_groups(infos)
        totals = np.zeros((groups.max() + 1, per_class.shape[1]), np.int64)
        np.add.at(totals, groups, per_class)
        seed = self.split_options["seed"]
        assigned = assign_blocks(
            totals,
            val=float(self.split_options["val"]),
            test=float(self.split_options["test"]),
            seed=self.seed if seed is None else int(seed),
            what="groups of chips that do not overlap",
            cure="export a larger area",
        )
        return assigned[groups]


class ChipDataset(Dataset[RasterSample]):
    """The chips of a split; sample ``i`` is chip ``i % len``, changed by draws of (seed, i) alone."""

    def __init__(
        self,
        chips: Sequence[tuple[str, str]],
        bands: Sequence[int],
        window_px: int,
        table: LabelTable,
        augment: Compose,
        seed: int,
    ) -> None:
        self.chips, self.bands, self.window_px = list(chips), tuple(bands), window_px
        self.table, self.augment, self.seed = table, augment, seed

    def __len__(self) -> int:
        return len(self.chips)

    def __getitem__(self, index: int) -> RasterSample:
        image, label = self.chips[index % len(self.chips)]
        rng = np.random.default_rng([self.seed, 2, index])
        reader = RasterReader(image)
        info = reader.info
        size = self.window_px
        col, row = (-((size - length) // 2) for length in (info.width, info.height))
        window = PixelWindow(col, row, size, size)
        pixels, valid = reader.read(window, self.bands)
        values, known = RasterReader(label).read(window, [1])
        mask = self.table.look_up(values[0], known)
        mask[~valid] = IGNORE_INDEX
        sample = RasterSample(pixels, valid, mask, info.georeference.shifted(col, row), image)
        return self.augment(sample, rng)


def _values(label: str) -> set[int]:
    reader = RasterReader(label)
    info = reader.info
    values, valid = reader.read(PixelWindow(0, 0, info.width, info.height), [1])
    return {int(value) for value in np.unique(values[0][valid])}


def _pair_problem(image: Path, label: Path | None) -> str | None:
    if label is None or not label.is_file():
        return f"chip without a label: {image}"
    if not image.is_file():
        return f"label without an image: {label}"
    try:
        one, two = read_info(image), read_info(label)
    except DataError as error:
        return f"corrupt chip: {error}"
    if (one.width, one.height) != (two.width, two.height):
        return (
            f"label of another size: {label} is {two.width} x {two.height}, {image} "
            f"{one.width} x {one.height}"
        )
    return None


def _scan(image: str, label: str, bands: Sequence[int], table: LabelTable) -> Scan:
    """Return a chip's pixels a class, and (5, C) count, mean, squared deviations, min, max."""
    reader = RasterReader(image)
    info = reader.info
    window = PixelWindow(0, 0, info.width, info.height)
    pixels, valid = reader.read(window, bands)
    values, known = RasterReader(label).read(window, [1])
    mask = np.where(valid, table.look_up(values[0], known), IGNORE_INDEX)
    counts = np.bincount(mask.ravel(), minlength=256)[: len(table.classes)]
    inside = pixels[:, valid].astype(np.float64)
    moments = np.zeros((5, len(bands)))
    if inside.size:
        mean = inside.mean(1)
        squares = ((inside - mean[:, None]) ** 2).sum(1)
        moments[:] = [
            np.full(len(bands), inside.shape[1]),
            mean,
            squares,
            inside.min(1),
            inside.max(1),
        ]
    return counts, moments


def _overlapping_groups(infos: Sequence[RasterInfo]) -> NDArray[np.intp]:
    """Return a group number a chip: chips that share ground, directly or through others, share it.

    Chips without a place are a group each. Where everything overlaps in one chain, as with strides
    smaller than the chip, chips are grouped by cells of a few chips instead.
    """
    import shapely

    count = len(infos)
    if any(info.georeference.crs is None for info in infos) and not _placed(infos):
        return np.arange(count)
    corners = []
    for info in infos:
        a, _, c, _, e, f = info.georeference.transform
        corners.append((c, f + e * info.height, c + a * info.width, f))
    bounds = np.array(corners)
    boxes = shapely.box(*bounds.T)
    shrunk = shapely.buffer(boxes, -0.01 * float(np.abs(bounds[0, 2] - bounds[0, 0])))
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    one, two = shapely.STRtree(shrunk).query(shrunk, predicate="intersects")
    graph = coo_matrix((np.ones(len(one)), (one, two)), shape=(count, count))
    number, groups = connected_components(graph, directed=False)
    if number > 4:
        return np.asarray(groups, np.intp)
    width = max(float(np.median(bounds[:, 2] - bounds[:, 0])), 1e-9)
    for across in (4, 2, 1):
        cells = np.floor((bounds[:, :2] - bounds[:, :2].min(0)) / (across * width)).astype(int)
        _, inverse = np.unique(cells, axis=0, return_inverse=True)
        if inverse.max() > 4:
            break
    return np.asarray(inverse.ravel(), np.intp)


def _placed(infos: Sequence[RasterInfo]) -> bool:
    """Whether the chips' transforms tell them apart, as world files do without a CRS."""
    return len({info.georeference.transform for info in infos}) > len(infos) // 2
