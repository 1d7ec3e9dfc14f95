"""Samples of point clouds: blocks drawn while training, and all points of set blocks to evaluate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch.utils.data import Dataset

from geomm.datasets.clouds.store import PointStore
from geomm.points import PointSample
from geomm.structures import IGNORE_INDEX
from geomm.transforms.compose import Compose


@dataclass(frozen=True)
class Cloud:
    """One cloud of a source and how its ground is divided.

    Attributes:
      store: its points.
      indices: (256,) uint8, classification code to class index, ``IGNORE_INDEX`` for none.
      split_m: edge of the squares that are divided among the splits.
      splits: (rows, cols) int8 of those squares: 0 train, 1 val, 2 test, -1 none.
    """

    store: PointStore
    indices: NDArray[np.uint8]
    split_m: float
    splits: NDArray[np.int8]

    def split_of(self, xyz: NDArray[np.float32]) -> NDArray[np.int8]:
        """Return which split each point (n, 3) belongs to."""
        rows, cols = self.splits.shape
        place = np.floor(xyz[:, :2] / self.split_m).astype(int)
        found: NDArray[np.int8] = self.splits[
            np.clip(place[:, 1], 0, rows - 1), np.clip(place[:, 0], 0, cols - 1)
        ]
        return found

    def sample(
        self, numbers: NDArray[np.int64], middle: ArrayLike, names: tuple[str, ...], *, split: int
    ) -> PointSample:
        """Return points as a sample around the block's middle (x, y), its lowest point at height 0.

        Points of another split are there without their label: what lies around a point is seen in the
        map too.
        """
        place = np.asarray(middle, np.float64)
        xyz = np.asarray(self.store.xyz[numbers], np.float32)
        xyz = xyz - np.array([*place, xyz[:, 2].min() if len(xyz) else 0], np.float32)
        where = f"{self.store.path.rpartition('/')[2]} at {place[0]:.0f}, {place[1]:.0f} m"
        labels = self.indices[self.store.codes[numbers]]
        labels[self.split_of(self.store.xyz[numbers]) != split] = IGNORE_INDEX
        return PointSample(
            xyz, np.asarray(self.store.features[numbers]), labels, numbers, where, feature_names=names
        )


class RandomBlocks(Dataset[PointSample]):
    """Blocks around random training points; sample ``i`` follows from (seed, i) alone.

    Args:
      clouds: to draw from.
      anchors: a class's points to draw around, (n, 2) int64 of cloud and point number, a class.
      block_m: edge of a block.
      block_points: most points of a sample.
      count: samples an epoch.
      balance: share of blocks drawn around a class chosen evenly; the others around any point.
      augment: changes made to a sample.
      seed: of every draw.
      feature_names: of the features.
    """

    def __init__(
        self,
        clouds: Sequence[Cloud],
        anchors: Sequence[NDArray[np.int64]],
        *,
        block_m: float,
        block_points: int,
        count: int,
        balance: float,
        augment: Compose,
        seed: int,
        feature_names: tuple[str, ...],
    ) -> None:
        self.clouds, self.anchors = list(clouds), list(anchors)
        self.block_m, self.block_points = block_m, block_points
        self.count, self.balance, self.augment, self.seed = count, balance, augment, seed
        self.feature_names = feature_names
        sizes = np.array([len(cloud.store) for cloud in self.clouds], np.float64)
        self._shares = sizes / sizes.sum()

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> PointSample:
        rng = np.random.default_rng([self.seed, 41, index])
        for _ in range(100):
            cloud, point = self._draw(rng)
            if cloud.split_of(point[None])[0] == 0:
                break
        middle = point[:2] + rng.uniform(-0.35, 0.35, 2) * self.block_m
        numbers = cloud.store.in_square(middle - self.block_m / 2, self.block_m)
        sample = cloud.sample(numbers, middle, self.feature_names, split=0)
        # The order is random too: representative points and equal distances follow it.
        sample = sample.take(rng.permutation(len(sample))[: self.block_points])
        return self.augment(sample, rng)  # type: ignore[arg-type, return-value]

    def _draw(self, rng: np.random.Generator) -> tuple[Cloud, NDArray[np.float32]]:
        if rng.random() < self.balance:
            anchors = self.anchors[rng.integers(len(self.anchors))]
            number, point = anchors[rng.integers(len(anchors))]
            return self.clouds[number], np.asarray(self.clouds[number].store.xyz[point])
        cloud = self.clouds[rng.choice(len(self.clouds), p=self._shares)]
        return cloud, np.asarray(cloud.store.xyz[rng.integers(len(cloud.store))])


class EveryPoint(Dataset[PointSample]):
    """All labelled points of one split, each once, in blocks side by side.

    A block with more points than a sample holds is divided at random into samples of like size.

    Args:
      clouds: to read.
      split: 1 for validation, 2 for the test.
      block_m: edge of a block.
      block_points: most points of a sample.
      feature_names: of the features.
    """

    def __init__(
        self,
        clouds: Sequence[Cloud],
        *,
        split: int,
        block_m: float,
        block_points: int,
        feature_names: tuple[str, ...],
    ) -> None:
        self.clouds, self.block_m, self.feature_names = list(clouds), block_m, feature_names
        self.split, self.block_points = split, block_points
        self._parts: list[tuple[int, float, float, int, int]] = []
        for index, cloud in enumerate(self.clouds):
            if not (cloud.splits == split).any():
                continue
            store = cloud.store
            for y in np.arange(0, store.rows * store.cell_m, block_m):
                for x in np.arange(0, store.cols * store.cell_m, block_m):
                    numbers = store.in_square((x, y), block_m)
                    counted = cloud.split_of(store.xyz[numbers]) == split
                    if (cloud.indices[store.codes[numbers[counted]]] != IGNORE_INDEX).any():
                        parts = -(-len(numbers) // block_points)
                        self._parts += [(index, float(x), float(y), part, parts) for part in range(parts)]

    def __len__(self) -> int:
        return len(self._parts)

    def __getitem__(self, index: int) -> PointSample:
        number, x, y, part, parts = self._parts[index]
        cloud = self.clouds[number]
        numbers = cloud.store.in_square((x, y), self.block_m)
        chosen = np.random.default_rng(len(numbers)).permutation(len(numbers))[part::parts]
        middle = (x + self.block_m / 2, y + self.block_m / 2)
        return cloud.sample(numbers[chosen], middle, self.feature_names, split=self.split)
