"""Whole scenes with vector or raster labels: windows are drawn while training, nothing is exported."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray
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
from geomm.datasets.maps.labels import Classes, LabelTable
from geomm.datasets.maps.scene_files import OpenScene, Paths, check_alike
from geomm.datasets.maps.targets import MaskTarget, SceneTarget
from geomm.datasets.maps.windows import BlockWindows, Scene
from geomm.datasets.same_ground import blocks_on_same_ground
from geomm.errors import DataError
from geomm.io.stac import place_items
from geomm.registry import DATASETS
from geomm.structures import RasterSample, RasterSpec
from geomm.transforms.compose import Compose

_LOG = logging.getLogger("geomm")


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
      min_visible: of objects, for the task's target: the share of its area that a training window must
        show of an object that it teaches.
      empty_share: of objects, for the task's target: share of training windows without one.
      val_images: scenes for validation alone; ``split.val`` is then not taken from the others.
      val_labels: their labels, ``labels`` where not given.
      test_images: scenes for the test alone; ``split.test`` is then not taken from the others.
      test_labels: their labels, ``labels`` where not given.
      on_error: ``raise``, or ``skip`` to leave out scenes that cannot be used, with a warning.
      augment: transforms of training windows, filled in from the task.
      seed: of every random choice.
      target: what windows are to teach, filled in from the task; a class for every pixel by default.
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
        min_visible: float = 0.5,
        empty_share: float = 0.1,
        val_images: Paths = None,
        val_labels: Paths = None,
        test_images: Paths = None,
        test_labels: Paths = None,
        on_error: str = "raise",
        augment: Mapping[str, Mapping[str, Any] | None] | None = None,
        seed: int = 0,
        target: SceneTarget | None = None,
    ) -> None:
        self.images, self.labels, self.sample = images, labels, sample
        self.target = target or MaskTarget(
            label_field=label_field, classes=classes, background=background, all_touched=all_touched
        )
        self.target.check_window(window_px)
        self.background = background
        self.bands, self.window_px, self.windows_per_epoch = bands, window_px, windows_per_epoch
        self.balance, self.skip_errors = balance, on_error == "skip"
        self._scan_options = [label_field, all_touched, self.target.unit]
        self.split_options = {
            "val": 0.2,
            "test": 0.0,
            "block_px": "auto",
            "seed": None,
            **(split or {}),
        }
        self.val_images, self.val_labels = val_images, val_labels
        self.test_images, self.test_labels = test_images, test_labels
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
        opened, bands, table = self.open_scenes(cache)
        self._scenes = self._assign(*self._scan_all(opened, bands, cache))
        spec = self._describe(bands, table)
        _check_classes(spec, self.target.unit)
        self._make_datasets(spec)
        self._say(spec)
        self.spec = self.target.describe(spec)
        return self.spec

    def open_scenes(self, cache: Path) -> tuple[list[OpenScene], tuple[int, ...], LabelTable]:
        """Open and check the scenes with their labels; return them, the bands to read, and the classes.

        Args:
          cache: folder in which the values of label rasters are kept.

        Raises:
          DataError: files, labels or classes that cannot be used.
        """
        opened = self._open()
        bands = opened[0].reader.info.select_bands(self.bands)
        check_alike(opened, bands, all_bands=self.bands is None)
        return opened, bands, self.target.settle(opened, cache, skip_errors=self.skip_errors)

    def split(self, name: str) -> Dataset[RasterSample]:
        """Return the windows of ``train``, ``val`` or ``test``."""
        return self._datasets[name]

    def _open(self) -> list[OpenScene]:
        """Open all scenes, those to train on first."""
        images, labels = self.images, self.labels
        if self.sample is not None:
            from geomm.samples import make

            made = make(self.sample)
            images = images or made["images"]
            labels = labels or (made["labels"] if self.target.labelled else None)
        if images is None:
            raise DataError("dataset.images: no scenes given; name a file, a glob or a folder")
        roles = (
            (images, labels),
            (self.val_images, self.val_labels or labels),
            (self.test_images, self.test_labels or labels),
        )
        return [
            scene
            for role, (scenes, their_labels) in enumerate(roles)
            if scenes is not None
            for scene in self.target.open(
                place_items(scenes, bands=self.bands), their_labels, skip_errors=self.skip_errors, role=role
            )
        ]

    def _scan_all(
        self, opened: Sequence[OpenScene], bands: Sequence[int], cache: Path
    ) -> tuple[list[OpenScene], list[BlockScan]]:
        """Scan each scene, leaving out damaged ones where the user says so."""
        kept, scans = [], []
        for scene in opened:
            try:
                scans.append(self._scan(scene, bands, cache))
                kept.append(scene)
            except DataError as error:
                if not self.skip_errors:
                    raise
                _LOG.warning("left out: %s", error)
        for role in sorted({scene.role for scene in opened} - {scene.role for scene in kept}):
            what = f"scenes of dataset.{SPLITS[role]}_images" if role else "scenes"
            raise DataError(f"none of the {what} can be read; the log says why")
        return kept, scans

    def _scan(self, scene: OpenScene, bands: Sequence[int], cache: Path) -> BlockScan:
        reader, labels, info = scene.reader, scene.labels, scene.reader.info
        wanted = self.split_options["block_px"]
        automatic = wanted in (None, "auto")
        size = block_size(info.width, info.height, self.window_px) if automatic else int(wanted)
        key = scan_key(reader, labels, [list(bands), size, self.seed, *self._scan_options])
        file = cache / f"scan_{key}.npz"
        if file.is_file():
            try:
                return BlockScan.load(file)
            except (OSError, ValueError, KeyError, EOFError, BadZipFile):
                _LOG.warning("%s is damaged; the scene is scanned again", file)
        scan = scan_scene(reader, labels, bands=bands, size=size, seed=self.seed)
        scan.save(file)
        return scan

    def _assign(self, opened: Sequence[OpenScene], scans: Sequence[BlockScan]) -> list[Scene]:
        """Divide the blocks of the scenes to train on; those of the others are for one split each."""
        pairs = zip(opened, scans, strict=True)
        infos, divided = zip(*[(s.reader.info, scan) for s, scan in pairs if s.role == 0], strict=True)
        classes = np.concatenate([scan.classes for scan in divided])
        owner, shared = blocks_on_same_ground(infos, divided)
        together = np.zeros_like(classes)
        np.add.at(together, owner, classes)  # ground that several scenes show goes to one split
        own = {scene.role for scene in opened}
        assigned = assign_blocks(together, self.split_options, seed=self.seed, own=own)[owner]
        assigned[classes.sum(1) == 0] = -1
        _keep_apart(assigned, shared)
        parts = iter(np.split(assigned, np.cumsum([len(scan.valid) for scan in divided])[:-1]))
        return [
            Scene(
                scene.reader,
                scene.labels,
                scan,
                next(parts)
                if scene.role == 0
                else np.where(scan.classes.sum(1) > 0, scene.role, -1).astype(np.int8),
            )
            for scene, scan in zip(opened, scans, strict=True)
        ]

    def _describe(self, bands: Sequence[int], table: LabelTable) -> RasterSpec:
        scenes = self._scenes
        first = scenes[0].reader.info
        pixels = np.sum([scene.scan.classes[scene.splits == 0].sum(0) for scene in scenes], 0)
        return RasterSpec(
            bands=tuple(bands),
            band_names=tuple(first.band_names[band - 1] for band in bands),
            dtype=first.dtype,
            nodata=first.nodata,
            statistics=merge_statistics(
                [scene.scan for scene in scenes], [scene.splits == 0 for scene in scenes]
            ),
            classes=table.classes,
            background=table.background,
            window_px=self.window_px,
            gsd=first.gsd,
            crs=first.georeference.crs,
            class_pixels=tuple(int(n) for n in pixels),
        )

    def _make_datasets(self, spec: RasterSpec) -> None:
        labelled = sum(int(scene.scan.classes[scene.splits == 0].sum()) for scene in self._scenes)
        count = self.windows_per_epoch
        if count == "auto":
            count = int(np.clip(labelled / spec.window_px**2 * 1.5, 64, 4096))
        self._datasets = {
            "train": self.target.train_windows(
                self._scenes,
                bands=spec.bands,
                window_px=spec.window_px,
                count=int(count),
                balance=self.balance,
                finish=self.target.finish(Compose(self.augment, map_space=spec.map_space), training=True),
                seed=self.seed,
            )
        }
        for name in ("val", "test"):
            self._datasets[name] = BlockWindows(
                self._scenes,
                bands=spec.bands,
                window_px=spec.window_px,
                cell_px=self.target.cell_px(spec.window_px),
                split=name,
                finish=self.target.finish(Compose({}), training=False),
                seed=self.seed,
            )

    def _say(self, spec: RasterSpec) -> None:
        totals = [
            sum(scene.scan.classes[scene.splits == index].sum(0) for scene in self._scenes)
            for index in range(len(SPLITS))
        ]
        named = self.target.describe(spec).num_classes or spec.num_classes
        _LOG.info(
            "%d scenes, %d bands of %s, %d classes",
            len(self._scenes),
            spec.in_channels,
            spec.dtype,
            named,
        )
        if spec.background is not None and self.background == "auto":
            _LOG.info(
                "the labels name one class, so every other pixel counts as background "
                "(dataset.background=false to leave it unlabelled)"
            )
        for index, item in enumerate(spec.classes):
            # Beside objects, what is none of them is counted in pixels.
            unit = self.target.unit if index < named else "px"
            counts = [int(np.asarray(total)[index]) if np.ndim(total) else 0 for total in totals]
            _LOG.info(
                "  %s: %s",
                item.name,
                ", ".join(f"{n:,} {unit} {s}" for s, n in zip(SPLITS, counts, strict=True) if n),
            )


def _keep_apart(splits: NDArray[np.int8], shared: NDArray[np.intp]) -> None:
    """Leave out, in place, training blocks that show ground of another split in another scene.

    Args:
      splits: (N,) index into ``SPLITS``, -1 for none.
      shared: (P, 2) blocks that have ground in common.
    """
    one, two = splits[shared.T]
    first, second = shared[(one != two) & (one >= 0) & (two >= 0)].T
    # Of validation and test the later one goes.
    lost = np.unique(np.where(splits[first] == 0, first, second))
    if len(lost):
        splits[lost] = -1
        _LOG.info("%d blocks left out: in another scene part of their ground is of another split", len(lost))


def _check_classes(spec: RasterSpec, unit: str) -> None:
    """Check that every class can be learnt.

    Raises:
      DataError: a class has nothing to train on.
    """
    assert spec.class_pixels is not None
    empty = [item.name for item, count in zip(spec.classes, spec.class_pixels, strict=True) if not count]
    if empty:
        raise DataError(
            f"no training {unit.replace('px', 'pixel')} of class {', '.join(empty)}: its labels lie on "
            "nodata, outside the scenes or in validation blocks only; label more, or set a smaller "
            "dataset.split.block_px"
        )
