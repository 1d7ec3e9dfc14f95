"""Whole scenes with vector or raster labels: windows are drawn while training, nothing is exported."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from torch.utils.data import Dataset

from geomm.datasets.blocks import (
    SPLITS,
    BlockScan,
    assign_blocks,
    block_size,
    merge_statistics,
    scan_key,
    scan_scene,
)
from geomm.datasets.labels import (
    Classes,
    SceneLabels,
    distinct_values,
    is_vector,
    make_table,
    open_labels,
)
from geomm.datasets.windows import BlockWindows, RandomWindows, Scene
from geomm.errors import DataError
from geomm.io.paths import RASTER_ENDINGS, VECTOR_ENDINGS, expand
from geomm.io.raster import RasterReader, read_info, same_crs
from geomm.registry import DATASETS
from geomm.structures import PixelWindow, RasterSample, RasterSpec
from geomm.transforms.compose import Compose

_LOG = logging.getLogger("geomm")
Paths = str | Sequence[str] | None


@DATASETS.register_module()
class GeoTiffScenes:
    """Scenes of any band count and dtype, with features or rasters as labels.

    Args:
      images: file, glob, folder or list of scenes.
      labels: one vector layer for all scenes, or one layer or raster a scene, paired by file name.
      sample: name of generated sample data to use instead (``geomm.samples``).
      label_field: attribute with the class; without it all features are one class.
      classes: None for what the labels hold; names; or {value: name}, values that share a name
        being grouped.
      background: whether what no label covers is a class of its own: true, false, or ``auto``, which
        says yes for features of one class and no otherwise.
      bands: 1-based numbers or names, None for all but alpha.
      window_px: edge of a training window.
      windows_per_epoch: ``auto`` for as many as cover the training blocks, at least 64.
      balance: share of windows drawn around a class chosen evenly.
      split: ``val`` and ``test`` shares, ``block_px`` (auto), ``seed`` (the run's).
      all_touched: burn every pixel that a feature touches.
      val_images: scenes for validation alone; ``split.val`` is then not taken from the others.
      val_labels: their labels, ``labels`` where not given.
      on_error: ``raise``, or ``skip`` to leave out scenes that cannot be used, with a warning.
      augment: transforms of training windows, filled in from the task.
      seed: of every random choice.
    """

    def __init__(
        self,
        *,
        images: Paths = None,
        labels: Paths = None,
        sample: str | None = None,
        label_field: str | None = None,
        classes: Classes = None,
        background: bool | str = "auto",
        bands: Sequence[int | str] | None = None,
        window_px: int = 256,
        windows_per_epoch: int | str = "auto",
        balance: float = 0.5,
        split: Mapping[str, Any] | None = None,
        all_touched: bool = False,
        val_images: Paths = None,
        val_labels: Paths = None,
        on_error: str = "raise",
        augment: Mapping[str, Mapping[str, Any] | None] | None = None,
        seed: int = 0,
    ) -> None:
        self.images, self.labels, self.sample = images, labels, sample
        self.label_field, self.classes, self.background = label_field, classes, background
        self.bands, self.window_px, self.windows_per_epoch = bands, window_px, windows_per_epoch
        self.balance, self.all_touched, self.on_error = balance, all_touched, on_error
        self.split_options = {
            "val": 0.2,
            "test": 0.0,
            "block_px": "auto",
            "seed": None,
            **(split or {}),
        }
        self.val_images, self.val_labels = val_images, val_labels
        self.augment, self.seed = augment or {}, seed
        self._scenes: list[Scene] = []
        self._datasets: dict[str, Dataset[RasterSample]] = {}

    def prepare(self, cache: Path) -> RasterSpec:
        """Open, check and scan the scenes, settle the classes and the splits.

        Args:
          cache: folder in which what was scanned is kept.

        Raises:
          DataError: files, labels or classes that cannot be used.
        """
        self._use_sample()
        opened = self._open(self.images, self.labels)
        own_val = self.val_images is not None
        val = self._open(self.val_images, self.val_labels or self.labels) if own_val else []
        both = [*opened, *val]
        first = both[0][0].info
        numbers = first.select_bands(self.bands)
        for reader, _ in both[1:]:
            _check_like(reader, numbers, first.path, len(numbers) if self.bands is None else None)
        values = self._values(both)
        table = make_table(
            [labels for _, labels in both], values, classes=self.classes, background=self.background
        )
        tried = [self._scan_or_skip(*pair, numbers, cache) for pair in both]
        trained, checked = (
            sum(scan is not None for scan in part) for part in (tried[: len(opened)], tried[len(opened) :])
        )
        if not trained or (own_val and not checked):
            what = "scenes" if not trained else "scenes of dataset.val_images"
            raise DataError(f"none of the {what} can be read; the log says why")
        both = [pair for pair, scan in zip(both, tried, strict=True) if scan is not None]
        scans = [scan for scan in tried if scan is not None]
        splits = self._assign(scans, trained, own_val)
        self._scenes = [
            Scene(reader, labels, scan, assigned)
            for (reader, labels), scan, assigned in zip(both, scans, splits, strict=True)
        ]
        train_pixels = sum(scan.classes[s == 0].sum(0) for scan, s in zip(scans, splits, strict=True))
        self.spec = RasterSpec(
            bands=numbers,
            band_names=tuple(first.band_names[band - 1] for band in numbers),
            dtype=first.dtype,
            nodata=first.nodata,
            statistics=merge_statistics(scans, [s == 0 for s in splits]),
            classes=table.classes,
            background=table.background,
            window_px=self.window_px,
            gsd=first.gsd,
            crs=first.georeference.crs,
            class_pixels=tuple(int(n) for n in np.asarray(train_pixels)),
        )
        self._check_classes()
        self._make_datasets()
        self._say()
        return self.spec

    def split(self, name: str) -> Dataset[RasterSample]:
        """Return the windows of ``train``, ``val`` or ``test``."""
        return self._datasets[name]

    def _use_sample(self) -> None:
        if self.sample is None:
            if self.images is None:
                raise DataError("dataset.images: no scenes given; name a file, a glob or a folder")
            return
        from geomm.samples import make
        from geomm.samples.store import samples_folder

        made = make(self.sample, samples_folder())
        self.images = self.images or made["images"]
        self.labels = self.labels or made["labels"]

    def _open(self, images: Paths, labels: Paths) -> list[tuple[RasterReader, SceneLabels]]:
        assert images is not None
        if labels is None:
            raise DataError("dataset.labels: no labels given; name a vector layer or label rasters")
        scenes = expand(images, RASTER_ENDINGS)
        found = expand(labels, (*VECTOR_ENDINGS, *RASTER_ENDINGS))
        opened, failed = [], []
        for scene in scenes:
            try:
                reader = RasterReader(scene)
                path = _pair(scene, found)
                opened.append(
                    (
                        reader,
                        open_labels(
                            path,
                            reader.info,
                            label_field=self.label_field,
                            all_touched=self.all_touched,
                        ),
                    )
                )
            except DataError as error:
                if self.on_error != "skip":
                    raise
                failed.append(str(error))
                _LOG.warning("left out: %s", error)
        if not opened:
            raise DataError(f"none of the {len(scenes)} scenes can be used: {failed[0] if failed else ''}")
        if failed:
            _LOG.warning("%d of %d scenes left out", len(failed), len(scenes))
        return opened

    def _values(self, opened: Sequence[tuple[RasterReader, SceneLabels]]) -> list[int]:
        """Return the class values of the label rasters, looked for all over each scene."""
        values: set[int] = set()
        failed: DataError | None = None
        for reader, labels in opened:
            if labels.raster is not None:
                info = reader.info
                step = 1024
                windows = [
                    PixelWindow(col, row, min(step, info.width - col), min(step, info.height - row))
                    for row in range(0, info.height, step)
                    for col in range(0, info.width, step)
                ]
                try:
                    values |= distinct_values(labels.raster, windows)
                except DataError as error:
                    # Scanning the scene meets the damage again, and leaves it out.
                    if self.on_error != "skip":
                        raise
                    failed = error
        if failed and not values:
            raise failed
        return sorted(values)

    def _scan_or_skip(
        self, reader: RasterReader, labels: SceneLabels, bands: Sequence[int], cache: Path
    ) -> BlockScan | None:
        try:
            return self._scan(reader, labels, bands, cache)
        except DataError as error:
            if self.on_error != "skip":
                raise
            _LOG.warning("left out: %s", error)
            return None

    def _scan(
        self, reader: RasterReader, labels: SceneLabels, bands: Sequence[int], cache: Path
    ) -> BlockScan:
        wanted = self.split_options["block_px"]
        info = reader.info
        size = (
            block_size(info.width, info.height, self.window_px) if wanted in (None, "auto") else int(wanted)
        )
        key = scan_key(reader, labels, [list(bands), size, self.seed, self.label_field, self.all_touched])
        file = cache / f"scan_{key}.npz"
        if file.is_file():
            try:
                return BlockScan.load(file)
            except (OSError, ValueError, KeyError, EOFError, BadZipFile):
                _LOG.warning("%s is damaged; the scene is scanned again", file)
        scan = scan_scene(reader, labels, bands=bands, size=size, seed=self.seed)
        scan.save(file)
        return scan

    def _assign(self, scans: Sequence[BlockScan], trained: int, own_val: bool) -> list[Any]:
        classes = np.concatenate([scan.classes for scan in scans[:trained]])
        seed = self.split_options["seed"]
        assigned = assign_blocks(
            classes,
            val=0.0 if own_val else float(self.split_options["val"]),
            test=float(self.split_options["test"]),
            seed=self.seed if seed is None else int(seed),
        )
        ends = np.cumsum([len(scan.valid) for scan in scans[:trained]])
        parts = np.split(assigned, ends[:-1])
        for scan in scans[trained:]:
            parts.append(np.where(scan.classes.sum(1) > 0, 1, -1).astype(np.int8))
        return parts

    def _check_classes(self) -> None:
        assert self.spec.class_pixels is not None
        empty = [
            spec.name
            for spec, count in zip(self.spec.classes, self.spec.class_pixels, strict=True)
            if not count
        ]
        if empty:
            raise DataError(
                f"no training pixel of class {', '.join(empty)}: its labels lie on nodata, outside the "
                "scenes or in validation blocks only; label more, or set a smaller dataset.split.block_px"
            )

    def _make_datasets(self) -> None:
        spec = self.spec
        labelled = sum(int(scene.scan.classes[scene.splits == 0].sum()) for scene in self._scenes)
        count = self.windows_per_epoch
        if count == "auto":
            count = int(np.clip(labelled / spec.window_px**2 * 1.5, 64, 4096))
        self._datasets = {
            "train": RandomWindows(
                self._scenes,
                bands=spec.bands,
                window_px=spec.window_px,
                count=int(count),
                balance=self.balance,
                augment=Compose(self.augment, map_space=spec.map_space),
                seed=self.seed,
            )
        }
        for name in ("val", "test"):
            self._datasets[name] = BlockWindows(
                self._scenes, bands=spec.bands, window_px=spec.window_px, split=name
            )

    def _say(self) -> None:
        spec = self.spec
        totals = [
            sum(scene.scan.classes[scene.splits == index].sum(0) for scene in self._scenes)
            for index in range(len(SPLITS))
        ]
        _LOG.info(
            "%d scenes, %d bands of %s, %d classes",
            len(self._scenes),
            spec.in_channels,
            spec.dtype,
            spec.num_classes,
        )
        if spec.background is not None and self.background == "auto":
            _LOG.info(
                "the labels name one class, so every other pixel counts as background "
                "(dataset.background=false to leave it unlabelled)"
            )
        for index, item in enumerate(spec.classes):
            counts = [int(np.asarray(total)[index]) if np.ndim(total) else 0 for total in totals]
            _LOG.info(
                "  %s: %s",
                item.name,
                ", ".join(f"{n:,} px {s}" for s, n in zip(SPLITS, counts, strict=True) if n),
            )


def _pair(scene: str, labels: Sequence[str]) -> str:
    """Return the label file of a scene: the only one, or the one whose name is alike."""
    if len(labels) == 1:
        return labels[0]
    stem = Path(scene).stem
    stems = {Path(path).stem: path for path in labels}
    if stem in stems:
        return stems[stem]
    for suffix in ("_mask", "_label", "_labels", "_gt", "_truth"):
        if stem + suffix in stems:
            return stems[stem + suffix]
    kind = "layer" if is_vector(labels[0]) else "raster"
    raise DataError(
        f"{scene}: none of the {len(labels)} label files is named like it; expected a {kind} called {stem}"
    )


def _check_like(reader: RasterReader, bands: Sequence[int], first: str, count: int | None) -> None:
    info = reader.info
    if max(bands) > info.count or (count is not None and len(info.image_bands) != count):
        raise DataError(
            f"{info.path} has {len(info.image_bands)} bands, {first} has {count or max(bands)}; "
            "choose common ones with dataset.bands"
        )
    one, two = info.georeference.crs, read_info(first).georeference.crs
    if one and two and not same_crs(one, two):
        _LOG.info("%s is in another CRS than %s; each scene keeps its own", info.path, first)
