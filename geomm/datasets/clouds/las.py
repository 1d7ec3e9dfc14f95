"""Folders of LAS, LAZ or COPC clouds with classification codes as labels."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from geomm.datasets.blocks import SPLITS, assign_blocks
from geomm.datasets.clouds.asprs import asprs_classes, asprs_name
from geomm.datasets.clouds.blocks import Cloud, EveryPoint, RandomBlocks
from geomm.datasets.clouds.store import PointStore, check_cloud, open_store
from geomm.errors import DataError
from geomm.io.las import LAS_ENDINGS, crs_name, same_plane
from geomm.io.paths import expand
from geomm.points import PointSample, PointSpec, expand_features, to_code
from geomm.registry import DATASETS
from geomm.samples import sample_root
from geomm.structures import IGNORE_INDEX, BandStatistics
from geomm.transforms.compose import Compose

_LOG = logging.getLogger("geomm")
#: Which split a cloud is kept for (0: divided), its points, its CRS.
Opened = tuple[int, PointStore, str | None]
Paths = str | Path | Sequence[str | Path] | None
#: Codes that say nothing: never classified, unclassified, low and high noise.
_NO_CLASS = (0, 1, 7, 18)
#: Points remembered a class, to draw blocks around.
_ANCHORS = 200_000


@DATASETS.register_module()
class LasClouds:
    """Clouds of any point format, their classification as labels.

    Args:
      root: file, glob, folder or list of clouds.
      sample: name of generated sample data to use instead (``geomm.samples``).
      classes: {code: name}, codes that share a name being one class; a list of names for the codes
        found, in order; None for ASPRS's names of the codes found. Other codes are not trained on.
      ignore: codes that are not trained on whatever ``classes`` says.
      features: dimensions beside coordinates: intensity, return_number, number_of_returns (both:
        returns), red, green, blue (all: rgb), nir, scan_angle, any extra dimension, and
        height_above_ground, which is worked out.
      block_m: edge of a block, metres.
      block_points: most points of a sample.
      blocks_per_epoch: ``auto`` for as many as hold every training point about twice, at least 32.
      balance: share of blocks drawn around a class chosen evenly.
      split: ``val`` and ``test`` shares, ``by`` (file, block, or auto: by file from five files on),
        ``block_m`` (auto), ``seed`` (the run's).
      val: clouds for validation alone; ``split.val`` is then not taken from the others.
      test: clouds for the test alone.
      on_error: ``raise``, or ``skip`` to leave out clouds that cannot be used, with a warning.
      augment: transforms of training samples, filled in from the task.
      seed: of every random choice.
    """

    def __init__(
        self,
        *,
        root: Paths = None,
        sample: str | None = None,
        classes: Mapping[int, str] | Sequence[str] | None = None,
        ignore: Sequence[int] | int = (),
        features: Sequence[str] = ("intensity", "returns", "height_above_ground"),
        block_m: float = 20.0,
        block_points: int = 8192,
        blocks_per_epoch: int | str = "auto",
        balance: float = 0.5,
        split: Mapping[str, Any] | None = None,
        val: Paths = None,
        test: Paths = None,
        on_error: str = "raise",
        augment: Mapping[str, Mapping[str, Any] | None] | None = None,
        seed: int = 0,
    ) -> None:
        self.root, self.sample, self.classes = root, sample, classes
        if isinstance(classes, Mapping):
            self.classes = {to_code("dataset.classes", code): str(name) for code, name in classes.items()}
        ignored = [ignore] if isinstance(ignore, int | str) else ignore or ()
        self.ignore = {to_code("dataset.ignore", code) for code in ignored}
        self.features = expand_features(features)
        self.block_m, self.block_points = float(block_m), int(block_points)
        self.blocks_per_epoch, self.balance, self.on_error = blocks_per_epoch, balance, on_error
        self.split_options: dict[str, Any] = {
            "val": 0.2,
            "test": 0.0,
            "by": "auto",
            "block_m": "auto",
            "seed": None,
        }
        self.split_options |= split or {}
        self.val, self.test = val, test
        self.augment, self.seed = augment or {}, seed
        self._datasets: dict[str, Dataset[PointSample]] = {}

    def prepare(self, cache: Path) -> PointSpec:
        """Read and check the clouds, settle classes and splits.

        Args:
          cache: folder in which the clouds' points are kept, sorted.

        Raises:
          DataError: clouds, classes or features that cannot be used.
        """
        opened = self._open(cache)
        names, codes = self._classes([store for _, store, _ in opened])
        clouds = self._divide(opened, codes)
        counts = np.array([_count(cloud, len(names)) for cloud in clouds])  # (cloud, split, class)
        for name, count in zip(names, counts[:, 0].sum(0), strict=True):
            if not count:
                raise DataError(
                    f"no training point of class {name!r}: its code is in validation only, or in no file; "
                    "check dataset.classes, or set a smaller dataset.split.block_m"
                )
        values = _values_of(names, codes)
        self.spec = PointSpec(
            features=self.features,
            statistics=_statistics(clouds, len(self.features)),
            classes=asprs_classes(names, values),
            codes=codes,
            block_m=self.block_m,
            block_points=self.block_points,
            class_points=tuple(int(n) for n in counts[:, 0].sum(0)),
            crs=opened[0][2],
            points_per_m2=_density(clouds),
        )
        self._make_datasets(clouds)
        self._say(len(clouds), counts)
        return self.spec

    def split(self, name: str) -> Dataset[PointSample]:
        """Return the samples of ``train``, ``val`` or ``test``."""
        return self._datasets[name]

    def _open(self, cache: Path) -> list[Opened]:
        root = self.root
        if root is None and self.sample is not None:
            root = sample_root(self.sample)
        if root is None:
            raise DataError("dataset.root: no clouds given; name a file, a glob or a folder")
        opened: list[Opened] = []
        for role, given in enumerate((root, self.val, self.test)):
            for path in expand(given, LAS_ENDINGS) if given is not None else []:
                try:
                    info = check_cloud(path, self.features)
                    store = open_store(path, self.features, cache, cell_m=max(self.block_m / 8, 0.25))
                except DataError as error:
                    if self.on_error != "skip":
                        raise
                    _LOG.warning("left out: %s", error)
                    continue
                opened.append((role, store, info.crs))
            if given is not None and all(role != item[0] for item in opened):
                raise DataError(f"none of the clouds of {given} can be read; the log says why")
        _check_crs(opened)
        return opened

    def _classes(self, stores: Sequence[PointStore]) -> tuple[list[str], dict[int, int]]:
        """Return class names and the index of each code."""
        found = sorted({int(code) for store in stores for code in np.unique(store.codes)})
        given = self.classes
        if given is None or not isinstance(given, Mapping):
            usable = [code for code in found if code not in _NO_CLASS and code not in self.ignore]
            named = [asprs_name(code) for code in usable] if given is None else list(given)
            if len(named) != len(usable):
                raise DataError(
                    f"dataset.classes: {len(named)} names for {len(usable)} codes ({usable}); give "
                    "{code: name, …}"
                )
            given = dict(zip(usable, named, strict=True))
        chosen = {code: name for code, name in given.items() if code not in self.ignore}
        if not any(code in found for code in chosen):
            raise DataError(
                f"the clouds hold classification codes {found}, none of dataset.classes "
                f"{chosen or 'at all'}; "
                "give the codes to train on as {code: name, …}"
            )
        names = list(dict.fromkeys(chosen.values()))
        if len(names) < 2:
            raise DataError(
                f"dataset.classes: {names[0]!r} alone cannot be told from anything; the clouds hold "
                f"classification codes {found}: name the others too, such as {{…, 1: other}}"
            )
        if len(names) > IGNORE_INDEX - 1:
            raise DataError(f"{len(names)} classes are more than {IGNORE_INDEX - 1}; group some of them")
        return names, {code: names.index(name) for code, name in chosen.items()}

    def _divide(self, opened: Sequence[Opened], codes: dict[int, int]) -> list[Cloud]:
        indices = np.full(256, IGNORE_INDEX, np.uint8)
        indices[list(codes)] = list(codes.values())
        options = self.split_options
        mine = [store for role, store, _ in opened if role == 0]
        by_file = options["by"] == "file" or (options["by"] == "auto" and len(mine) >= 5)
        grids = [self._squares(store, indices, max(codes.values()) + 1, whole=by_file) for store in mine]
        assigned = assign_blocks(
            np.concatenate([counts.reshape(-1, counts.shape[2]) for _, counts in grids]),
            options,
            seed=self.seed,
            own={role for role, _, _ in opened},
            what="parts of the clouds",
            cure="set a smaller dataset.split.block_m, dataset.split.by=block, or name dataset.val",
        )
        clouds, start = [], 0
        for store, (split_m, counts) in zip(mine, grids, strict=True):
            rows, cols = counts.shape[:2]
            splits = assigned[start : start + rows * cols].reshape(rows, cols).astype(np.int8)
            clouds.append(Cloud(store, indices, split_m, splits))
            start += rows * cols
        whole = [
            Cloud(store, indices, 1e9, np.full((1, 1), role, np.int8)) for role, store, _ in opened if role
        ]
        return [*clouds, *whole]

    def _squares(
        self, store: PointStore, indices: NDArray[np.uint8], classes: int, *, whole: bool
    ) -> tuple[float, NDArray[np.int64]]:
        """Return the edge of the squares that are divided, and labelled points a square and class."""
        extent = max(store.rows, store.cols) * store.cell_m
        wanted = self.split_options["block_m"]
        edge = max(extent / 6, self.block_m / 2) if wanted in (None, "auto") else float(wanted)
        edge = extent + 1 if whole else edge
        xyz, labels = store.xyz, indices[store.codes]
        place = np.floor(xyz[:, :2] / edge).astype(np.int64)
        cols, rows = place.max(0) + 1
        keep = labels != IGNORE_INDEX
        key = (place[keep, 1] * cols + place[keep, 0]) * classes + labels[keep]
        return edge, np.bincount(key, minlength=rows * cols * classes).reshape(rows, cols, classes)

    def _make_datasets(self, clouds: list[Cloud]) -> None:
        spec = self.spec
        training = [cloud for cloud in clouds if (cloud.splits == 0).any()]
        points = sum(int((cloud.split_of(cloud.store.xyz) == 0).sum()) for cloud in training)
        count = self.blocks_per_epoch
        if count == "auto":
            area = points / max(spec.points_per_m2, 1e-6)
            a_sample = min(spec.points_per_m2 * spec.block_m**2, spec.block_points)
            count = int(np.clip(2 * max(points / max(a_sample, 1), area / spec.block_m**2), 32, 4096))
        self._datasets = {
            "train": RandomBlocks(
                training,
                _anchors(training, spec.num_classes, self.seed),
                block_m=spec.block_m,
                block_points=spec.block_points,
                count=int(count),
                balance=self.balance,
                augment=Compose(self.augment),
                seed=self.seed,
                feature_names=spec.features,
            )
        }
        for index, name in enumerate(SPLITS[1:], 1):
            self._datasets[name] = EveryPoint(
                clouds,
                split=index,
                block_m=spec.block_m,
                block_points=spec.block_points,
                feature_names=spec.features,
            )

    def _say(self, files: int, counts: NDArray[np.int64]) -> None:
        spec = self.spec
        _LOG.info(
            "%d clouds, %.3g points/m2, features %s, %d classes",
            *(files, spec.points_per_m2, ", ".join(spec.features) or "none", spec.num_classes),
        )
        for index, item in enumerate(spec.classes):
            each = zip(SPLITS, counts[:, :, index].sum(0), strict=True)
            _LOG.info("  %s: %s", item.name, ", ".join(f"{n:,} points {name}" for name, n in each if n))


def _check_crs(opened: Sequence[Opened]) -> None:
    known = [(crs, store.path) for _, store, crs in opened if crs is not None]
    for crs, path in known[1:]:
        first, other = known[0]
        if not same_plane(crs, first):
            raise DataError(
                f"{path} is in {crs_name(crs)}, {other} in {crs_name(first)}; reproject them to one CRS, or "
                "train on one of them"
            )


def _values_of(names: Sequence[str], codes: Mapping[int, int]) -> list[int]:
    """Return the code that each class is written as: the first of its own."""
    return [next(code for code, index in codes.items() if index == number) for number in range(len(names))]


def _count(cloud: Cloud, classes: int) -> NDArray[np.int64]:
    """Return labelled points a split and class, (3, K)."""
    labels, split = cloud.indices[cloud.store.codes], cloud.split_of(cloud.store.xyz)
    keep = (labels != IGNORE_INDEX) & (split >= 0)
    key = split[keep].astype(np.int64) * classes + labels[keep]
    return np.bincount(key, minlength=3 * classes).reshape(3, classes)


def _anchors(clouds: Sequence[Cloud], classes: int, seed: int) -> list[NDArray[np.int64]]:
    """Return training points of each class, (n, 2) of cloud and point number."""
    rng = np.random.default_rng([seed, 7])
    found: list[list[NDArray[np.int64]]] = [[] for _ in range(classes)]
    for number, cloud in enumerate(clouds):
        labels = cloud.indices[cloud.store.codes].copy()
        labels[cloud.split_of(cloud.store.xyz) != 0] = IGNORE_INDEX
        for index in range(classes):
            points = np.flatnonzero(labels == index)
            if len(points) > _ANCHORS:
                points = rng.choice(points, _ANCHORS, replace=False)
            found[index].append(np.stack([np.full(len(points), number), points], 1))
    return [np.concatenate(parts) for parts in found]


def _statistics(clouds: Sequence[Cloud], features: int) -> BandStatistics:
    """Return statistics of the training points' features."""
    count, total, square = 0, np.zeros(features), np.zeros(features)
    low, high = np.full(features, np.inf), np.full(features, -np.inf)
    for cloud in clouds:
        for start in range(0, len(cloud.store), 1_000_000):
            part = slice(start, start + 1_000_000)
            keep = cloud.split_of(cloud.store.xyz[part]) == 0
            values = np.asarray(cloud.store.features[part], np.float64)[keep]
            if len(values):
                count += len(values)
                total, square = total + values.sum(0), square + (values**2).sum(0)
                low, high = np.minimum(low, values.min(0)), np.maximum(high, values.max(0))
    mean = total / max(count, 1)
    std = np.sqrt(np.maximum(square / max(count, 1) - mean**2, 0))
    columns = [tuple(float(value) for value in values) for values in (low, high, mean, std)]
    return BandStatistics(columns[0], columns[1], columns[2], columns[3], count)


def _density(clouds: Sequence[Cloud]) -> float:
    """Return points a square metre of the cells that hold any."""
    points = sum(len(cloud.store) for cloud in clouds)
    area = sum(float((np.diff(cloud.store.starts) > 0).sum()) * cloud.store.cell_m**2 for cloud in clouds)
    return points / area
