"""The order of samples, the same however often a run is resumed."""

from __future__ import annotations

from collections.abc import Iterator, Sized

import numpy as np
from torch.utils.data import Sampler


class EpochSampler(Sampler[int]):
    """Yields ``epoch * len(dataset) + position`` for every position of an epoch.

    A dataset draws its random windows and augmentation from that number alone, so an epoch is the
    same in a resumed run, with any number of workers.

    Args:
      dataset: whose length is the number of samples an epoch.
      shuffle: a new order each epoch.
      seed: of the orders.
      rank: of this process.
      world_size: number of processes; each gets every ``world_size``-th sample. Shuffled, all get
        equally many, the first samples filling the last round; in order, each sample comes once.
    """

    def __init__(
        self, dataset: Sized, *, shuffle: bool, seed: int, rank: int = 0, world_size: int = 1
    ) -> None:
        self.dataset = dataset
        self.shuffle = shuffle
        self.seed = seed
        self.rank, self.world_size = rank, world_size
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        count = len(self.dataset)
        if not self.shuffle:
            return len(range(self.rank, count, self.world_size))
        return -(-count // self.world_size)

    def __iter__(self) -> Iterator[int]:
        count = len(self.dataset)
        if not self.shuffle:
            # To evaluate: a sample that came twice would count twice, and nothing waits for a process.
            return iter(range(self.rank, count, self.world_size))
        order = np.arange(count)
        np.random.default_rng([self.seed, self.epoch]).shuffle(order)
        # Processes must do the same number of training steps.
        padded = np.resize(order, len(self) * self.world_size) if count else order
        return iter((self.epoch * count + padded[self.rank :: self.world_size]).tolist())
