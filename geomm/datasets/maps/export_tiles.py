"""ArcGIS's Export_Tiles as scenes: chips without labels, or with the same ground in ``images2``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from geomm.datasets.blocks import SPLITS
from geomm.datasets.overlaps import divide_chips
from geomm.errors import DataError
from geomm.io.arcgis import kinds_of, read_export
from geomm.io.paths import RASTER_ENDINGS
from geomm.io.raster_info import RasterInfo, read_info


def tiles_as_scenes(dataset: Mapping[str, Any], *, scale: int, seed: int) -> dict[str, Any]:
    """Return arguments of ``GeoTiffScenes`` for the chips of an export, those that overlap in one split.

    Args:
      dataset: arguments of ``Chips``.
      scale: pixels of a finer chip along an edge of one of a coarser; windows are a multiple of it.
      seed: of the split where ``dataset.split`` has none.

    Raises:
      DataError: another kind of export, or too few chips to divide.
    """
    export = read_export(dataset["root"], kinds=kinds_of("super_resolution"))
    pairs = [(image, _second(image)) for image, _ in export.pairs]
    lacking = [image for image, second in pairs if second is None]
    if lacking and len(lacking) < len(pairs):
        raise DataError(
            f"{dataset['root']}: {len(lacking)} chips of {len(pairs)} are not in images2, "
            f"the first: {lacking[0]}"
        )
    infos = [read_info(image) for image, _ in pairs]
    options = {"val": 0.2, "test": 0.0, "seed": None, **(dataset.get("split") or {})}
    every = np.ones((len(infos), 1), np.int64)
    splits, _ = divide_chips(infos, every, options, seed=seed, cure="export a larger area")
    chosen: dict[str, Any] = {}
    finest = infos if lacking else [read_info(second) for _, second in pairs if second is not None]
    swapped = not lacking and finest[0].width < infos[0].width
    for index, name in enumerate(SPLITS):
        mine = [pair for pair, split in zip(pairs, splits, strict=True) if split == index]
        prefix = "" if name == "train" else f"{name}_"
        if mine:
            chosen[f"{prefix}images"] = [str(pair[int(swapped)]) for pair in mine]
            chosen[f"{prefix}labels"] = None if lacking else [str(pair[int(not swapped)]) for pair in mine]
    window = dataset.get("window_px") or _smallest(infos if swapped else finest) // scale * scale
    return {
        **chosen,
        "bands": dataset.get("bands"),
        "on_error": dataset.get("on_error", "raise"),
        "window_px": int(window),
        "split": {"val": 0.0, "test": 0.0, "seed": options["seed"]},
    }


def _second(image: Path) -> Path | None:
    """Return the chip of the second raster, of whatever ending, None where there is none."""
    root = next(parent for parent in image.parents if parent.name == "images")
    there = root.with_name("images2") / image.relative_to(root)
    alike = (there.with_name(f"{there.stem}{ending}") for ending in (image.suffix, *RASTER_ENDINGS))
    return next((path for path in alike if path.is_file()), None)


def _smallest(infos: list[RasterInfo]) -> int:
    return min(min(info.width, info.height) for info in infos)
