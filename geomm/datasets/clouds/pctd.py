"""ArcGIS's ``.pctd`` exports of point clouds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from geomm.datasets.clouds.las import LasClouds, Opened
from geomm.datasets.clouds.store import LAYOUT, load_store, save_store
from geomm.errors import DataError
from geomm.io.pctd import PctdSplit, open_pctd
from geomm.points import file_dimensions
from geomm.registry import DATASETS


@DATASETS.register_module()
class PctdClouds(LasClouds):
    """The tiles of a ``.pctd`` folder, its own ``val`` kept for validation.

    Args:
      root: the folder, with ``train`` and as a rule ``val`` in it.
      classes: as of ``LasClouds``.
      ignore: codes that are not trained on.
      features: attributes beside coordinates: intensity, return_number, number_of_returns, red, green,
        blue, nir, and height_above_ground, which is worked out.
      block_m: edge of a block, in the unit of the clouds' CRS; null takes the export's tiles.
      block_points: most points of a sample.
      blocks_per_epoch: ``auto`` for as many as hold every training point about twice.
      balance: share of blocks drawn around a class chosen evenly.
      split: used where the export has no ``val``.
      augment: transforms of training samples, filled in from the task.
      seed: of every random choice.
    """

    def __init__(
        self,
        *,
        root: str | Path,
        classes: Mapping[int, str] | Sequence[str] | None = None,
        ignore: Sequence[int] | int = (),
        features: Sequence[str] = ("intensity", "returns", "height_above_ground"),
        block_m: float | None = None,
        block_points: int = 8192,
        blocks_per_epoch: int | str = "auto",
        balance: float = 0.5,
        split: Mapping[str, Any] | None = None,
        augment: Mapping[str, Mapping[str, Any] | None] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(
            root=root,
            classes=classes,
            ignore=ignore,
            features=features,
            block_m=block_m or 1.0,
            block_points=block_points,
            blocks_per_epoch=blocks_per_epoch,
            balance=balance,
            split=split,
            augment=augment,
            seed=seed,
        )
        self._own_block = block_m is None

    def _open(self, cache: Path) -> list[Opened]:
        assert self.root is not None
        found = {role: open_pctd(str(self.root), name) for role, name in ((0, "train"), (1, "val"))}
        training = found[0]
        if training is None or not len(training.tiles):
            raise DataError(f"{self.root} has no train folder with tiles; expected a .pctd export of ArcGIS")
        if self._own_block:
            self.block_m = training.tile_size
        return [
            (role, self._store(split, cache), None)
            for role, split in found.items()
            if split is not None and len(split.tiles)
        ]

    def _store(self, split: PctdSplit, cache: Path) -> Any:
        stamps = [(str(f.resolve()), f.stat().st_size, f.stat().st_mtime_ns) for f in split.files]
        words = [stamps, list(self.features), self.block_m, LAYOUT]
        folder = cache / f"pctd_{hashlib.sha256(json.dumps(words).encode()).hexdigest()[:16]}"
        if not (folder / "store.json").is_file():
            names = file_dimensions(self.features)
            tiles = list(split.read(names))
            xyz = np.concatenate([tile.xyz for tile in tiles])
            columns = [np.concatenate([tile.values[name] for tile in tiles]) for name in names]
            values = np.stack(columns, 1) if columns else np.zeros((len(xyz), 0), np.float32)
            codes = np.concatenate([tile.codes for tile in tiles])
            origin = xyz.min(0)
            save_store(
                folder,
                xyz - origin,
                values,
                codes,
                self.features,
                cell_m=self.block_m / 8,
                origin=origin.tolist(),
                units_m=(1.0, 1.0, 1.0),
            )
        return load_store(str(split.folder), folder)
