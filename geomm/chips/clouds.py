"""Clouds cut into tiles, as ``.pctd`` folders."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geomm.chips.folder import Exported, prepare_folder
from geomm.chips.options import ChipOptions
from geomm.datasets.clouds.store import PointStore, open_store
from geomm.errors import DataError
from geomm.inference.progress import Progress
from geomm.io.las import LAS_ENDINGS, read_las_info
from geomm.io.paths import expand
from geomm.io.pctd import ATTRIBUTES, PctdTile, PctdWriter, write_pctd_tables
from geomm.samples import sample_root

_SPLITS = ("train", "val")


def export_clouds(dataset: Mapping[str, Any], folder: Path, options: ChipOptions) -> Exported:
    """Cut clouds into square tiles; a cloud is the unit that is kept as finished.

    Args:
      dataset: config of ``las``: ``root`` and ``sample``, and ``val`` for what is kept for validation.
      folder: of the export.
      options: how they are cut.

    Raises:
      DataError: clouds that cannot be used, or a folder with other files.
    """
    clouds = _clouds(dataset)
    names = _common_attributes([path for _, path in clouds])
    work = prepare_folder(folder, dataset, [path for _, path in clouds], options)
    if any(split == "val" for split, _ in clouds):
        options = replace(options, val_share=0.0)
    with Progress(folder.name, len(clouds), "clouds", shown=options.progress) as progress:
        for number, (split, path) in enumerate(clouds):
            part = work / f"{number:06d}.json"
            if not part.is_file():
                record = _cut_cloud(path, number, split, folder, names, options, work / "store")
                temporary = part.with_suffix(".part")
                temporary.write_text(json.dumps(record), encoding="utf-8")
                temporary.replace(part)
            progress.advance()
    parts = [json.loads((work / f"{n:06d}.json").read_text(encoding="utf-8")) for n in range(len(clouds))]
    return _write_tables(folder, parts, options)


def _clouds(dataset: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the split (``train`` is divided) and path of each cloud."""
    root = dataset.get("root")
    if root is None and dataset.get("sample"):
        root = sample_root(dataset["sample"])
    if root is None:
        raise DataError("dataset.root: no clouds given; name a file, a glob or a folder")
    given = (("train", root), ("val", dataset.get("val")))
    there = [(split, paths) for split, paths in given if paths is not None]
    return [(split, path) for split, paths in there for path in expand(paths, LAS_ENDINGS)]


def _common_attributes(paths: list[str]) -> list[str]:
    """Return the attributes that every cloud has, in the order of the format."""
    there = [set(read_las_info(path).dimensions) for path in paths]
    return [name for name in ATTRIBUTES if all(name in dimensions for dimensions in there)]


def _cut_cloud(
    path: str, number: int, split: str, folder: Path, names: list[str], options: ChipOptions, scratch: Path
) -> dict[str, Any]:
    """Write the tiles of a cloud to a data file a split; return what its part lists."""
    record: dict[str, Any] = {"points": {}}
    scratch.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=scratch) as cache:
        store = open_store(path, names, Path(cache), cell_m=max(options.tile_m / 8, 0.25))
        cells = dict(_cells(store, options, number))
        points: Counter[int] = Counter()
        for name in _SPLITS:
            mine = {cell: kept for cell, kept in cells.items() if (split if split == "val" else kept) == name}
            if not mine:
                continue
            (folder / name).mkdir(parents=True, exist_ok=True)
            file = folder / name / f"data_{number}.h5"
            with PctdWriter(file, names, options.tile_m) as writer:
                for cell in mine:
                    for tile, center in _tiles(store, cell, names, options):
                        writer.add(tile, center)
                        codes, counts = np.unique(tile.codes, return_counts=True)
                        points.update(dict(zip(codes.tolist(), counts.tolist(), strict=True)))
            record[name] = {
                "file": file.name, "tiles": writer.tiles, "centers": writer.centers,
                "limits": writer.limits, "codes": sorted(writer.codes),
            }  # fmt: skip
    record["points"] = {str(code): count for code, count in sorted(points.items())}
    return record


def _cells(store: PointStore, options: ChipOptions, number: int) -> Iterator[tuple[tuple[int, int], str]]:
    """Yield the squares of the map that a cloud may have points in, and the split of each."""
    edge = options.tile_m
    low = np.floor(np.asarray(store.origin[:2]) / edge).astype(int)
    reach = np.array([store.cols, store.rows]) * store.cell_m / store.units_m[0]
    high = np.floor((np.asarray(store.origin[:2]) + reach) / edge).astype(int)
    for col in range(low[0], high[0] + 1):
        for row in range(low[1], high[1] + 1):
            rng = np.random.default_rng([options.seed, number, col % 2**32, row % 2**32])
            yield (col, row), "val" if rng.random() < options.val_share else "train"


def _tiles(
    store: PointStore, cell: tuple[int, int], names: list[str], options: ChipOptions
) -> Iterator[tuple[PctdTile, NDArray[np.float64]]]:
    """Yield the points of a square, in tiles of no more than there may be, each with its centre."""
    origin, units = np.asarray(store.origin), np.asarray(store.units_m)
    corner = np.array(cell, np.float64) * options.tile_m
    chosen = store.in_square((corner - origin[:2]) * units[:2], options.tile_m * units[0])
    if not len(chosen):
        return
    xyz = np.asarray(store.xyz[chosen], np.float64) / units + origin
    middle = (xyz[:, 2].min() + xyz[:, 2].max()) / 2
    center = np.array([*(corner + options.tile_m / 2), middle])
    features = np.asarray(store.features[chosen])
    codes = np.asarray(store.codes[chosen])
    # Every tile is a sample of the whole square, so that all are alike.
    order = np.random.default_rng([options.seed, len(chosen)]).permutation(len(chosen))
    for part in np.array_split(order, -(-len(chosen) // options.tile_points)):
        values = {name: features[part, index] for index, name in enumerate(names)}
        yield PctdTile(xyz[part], values, codes[part]), center


def _write_tables(folder: Path, parts: list[dict[str, Any]], options: ChipOptions) -> Exported:
    points: Counter[str] = Counter()
    tiles = 0
    for part in parts:
        points.update(part["points"])
    for name in _SPLITS:
        mine = [part[name] for part in parts if name in part]
        if not mine:
            continue
        rows = [[file, start, count] for file, item in enumerate(mine) for start, count in item["tiles"]]
        limits: dict[str, list[float]] = {}
        for item in mine:
            for key, (low, high) in item["limits"].items():
                known = limits.get(key, [low, high])
                limits[key] = [min(known[0], low), max(known[1], high)]
        write_pctd_tables(
            folder / name,
            files=[item["file"] for item in mine],
            tiles=np.array(rows, np.int64),
            centers=np.array([center for item in mine for center in item["centers"]]),
            limits=limits,
            codes=sorted({code for item in mine for code in item["codes"]}),
            tile_size=options.tile_m,
            max_points=options.tile_points,
        )
        tiles += len(rows)
    codes = sorted(points, key=int)
    counts = {f"points of code {code}": points[code] for code in codes}
    return Exported(folder, tiles, counts)
