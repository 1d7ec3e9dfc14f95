"""Spatial blocks of a scene: scanned once, split so that neighbours do not leak."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geomm.datasets.maps.labels import SceneLabels
from geomm.datasets.moments import combine_moments, merge_moments, moments_of
from geomm.errors import DataError
from geomm.io.raster import RasterReader
from geomm.structures import IGNORE_INDEX, BandStatistics, PixelWindow

_LOG = logging.getLogger("geomm")
SPLITS = ("train", "val", "test")
#: Pixels remembered a class and block, to draw windows around.
_ANCHORS = 48
#: Beyond this many pixels a scene's blocks are looked at in part.
_MOST_PIXELS = 400_000_000
#: Values that are looked at together: 32 MB as float64.
_STRIP_VALUES = 4_000_000


def block_size(width: int, height: int, window_px: int) -> int:
    """Return the edge of a scene's blocks: about six across, from half to eight windows."""
    return int(np.clip(min(width, height) // 6, max(window_px // 2, 1), 8 * window_px))


@dataclass
class BlockScan:
    """What one pass over a scene found, block by block in row order.

    Attributes:
      size: edge of a block, pixels.
      rows: blocks down.
      cols: blocks across.
      valid: (N,) valid pixels.
      classes: (N, K) labelled pixels a class.
      anchors: (N, K, A, 2) row and column of pixels of each class, -1 where there are fewer.
      moments: (N, 5, C) count, mean, sum of squared deviations, min and max of the valid pixels.
    """

    size: int
    rows: int
    cols: int
    valid: NDArray[np.int64]
    classes: NDArray[np.int64]
    anchors: NDArray[np.int32]
    moments: NDArray[np.float64]

    def window(self, block: int, width: int, height: int) -> PixelWindow:
        """Return the pixels of a block, cut at the scene's edge."""
        row, col = divmod(block, self.cols)
        top, left = row * self.size, col * self.size
        return PixelWindow(left, top, min(self.size, width - left), min(self.size, height - top))

    def save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".part.npz")
        np.savez_compressed(temporary, **self.__dict__)
        temporary.replace(path)

    @classmethod
    def load(cls, path: Path) -> BlockScan:
        with np.load(path) as data:
            values: dict[str, Any] = {key: data[key] for key in data.files}
        for key in ("size", "rows", "cols"):
            values[key] = int(values[key])
        return cls(**values)


def scan_key(reader: RasterReader, labels: SceneLabels, parts: Sequence[Any]) -> str:
    """Return a fingerprint of all that a scan depends on."""
    table = labels.table
    described: list[Any] = list(parts)
    if table:
        names = [item.name for item in table.classes]
        indices = [sorted(table.index_of.items()), sorted(table.value_index.items())]
        described += [names, table.fill, indices]
    return fingerprint([reader.source.path, labels.path], described)


def fingerprint(files: Sequence[str], parts: Sequence[Any] = ()) -> str:
    """Return a short text that changes with any of the files and other parts."""
    described = [*(_stamps(file) for file in files), *parts]
    return hashlib.sha256(json.dumps(described, default=str).encode()).hexdigest()[:16]


def _stamps(path: str) -> list[Any]:
    """Return name, size and time of a file, or of all the parts of a layer of several files."""
    whole = Path(path)
    parts = [whole]
    if whole.suffix.lower() == ".shp":
        parts = sorted(p for p in whole.parent.iterdir() if p.stem == whole.stem)
    elif whole.is_dir():
        parts = sorted(whole.iterdir())
    try:
        stats = [(str(part), part.stat()) for part in parts]
    except OSError:
        return [path]
    return [[name, stat.st_size, stat.st_mtime_ns] for name, stat in stats]


def scan_scene(
    reader: RasterReader, labels: SceneLabels, *, bands: Sequence[int], size: int, seed: int
) -> BlockScan:
    """Read every block of a scene once, or the middle of each where the scene is huge.

    Args:
      reader: of the scene.
      labels: of the scene, their table made.
      bands: 1-based numbers.
      size: edge of a block, pixels.
      seed: of the choice of anchors.
    """
    info = reader.info
    rows, cols = -(-info.height // size), -(-info.width // size)
    assert labels.table is not None
    kinds = len(labels.table.classes)
    scan = BlockScan(
        size,
        rows,
        cols,
        np.zeros(rows * cols, np.int64),
        np.zeros((rows * cols, kinds), np.int64),
        np.full((rows * cols, kinds, _ANCHORS, 2), -1, np.int32),
        np.zeros((rows * cols, 5, len(bands))),
    )
    share = min(1.0, (_MOST_PIXELS / (info.width * info.height)) ** 0.5)
    if share < 1:
        _LOG.info(
            "%s is large: statistics come from the middle %.0f %% of each block",
            info.path,
            share**2 * 100,
        )
    said = time.monotonic()
    for block in range(rows * cols):
        whole = scan.window(block, info.width, info.height)
        _scan_block(scan, block, _middle(whole, share), reader, labels, bands, seed)
        if time.monotonic() - said > 15:
            said = time.monotonic()
            _LOG.info("%s: %d of %d blocks scanned", info.path, block + 1, rows * cols)
    return scan


def _middle(window: PixelWindow, share: float) -> PixelWindow:
    if share >= 1:
        return window
    width, height = max(1, int(window.width * share)), max(1, int(window.height * share))
    return PixelWindow(
        window.col + (window.width - width) // 2,
        window.row + (window.height - height) // 2,
        width,
        height,
    )


def _scan_block(
    scan: BlockScan,
    block: int,
    window: PixelWindow,
    reader: RasterReader,
    labels: SceneLabels,
    bands: Sequence[int],
    seed: int,
) -> None:
    """Scan a block strip by strip: a block of many bands would be large in float64."""
    rng = np.random.default_rng([seed, block])
    deep = max(_STRIP_VALUES // (window.width * len(bands)), 1)
    kinds = scan.classes.shape[1]
    moments = []
    # Each labelled pixel draws a lot; those with the lowest of the whole block are its anchors.
    lots: list[tuple[NDArray[Any], NDArray[Any]]] = [(np.empty(0), np.empty((0, 2), int))] * kinds
    for row in range(window.row, window.row + window.height, deep):
        strip = PixelWindow(window.col, row, window.width, min(deep, window.row + window.height - row))
        pixels, valid = reader.read(strip, bands)
        if not valid.any():
            continue
        moments.append(moments_of(pixels[:, valid]))
        mask = np.where(valid, labels.mask(strip), IGNORE_INDEX)
        for kind in np.unique(mask[mask != IGNORE_INDEX]):
            places = np.argwhere(mask == kind)
            scan.classes[block, kind] += len(places)
            draws = np.concatenate([lots[kind][0], rng.random(len(places))])
            places = np.concatenate([lots[kind][1], places + np.array([strip.row, strip.col])])
            lowest = np.argsort(draws, kind="stable")[:_ANCHORS]
            lots[kind] = draws[lowest], places[lowest]
    for kind, (_, places) in enumerate(lots):
        scan.anchors[block, kind, : len(places)] = places
    if moments:
        scan.moments[block] = combine_moments(moments)
        scan.valid[block] = int(scan.moments[block, 0, 0])


def merge_statistics(scans: Sequence[BlockScan], chosen: Sequence[NDArray[np.bool_]]) -> BandStatistics:
    """Merge the moments of the chosen blocks of every scene."""
    return merge_moments(
        [
            moments
            for scan, keep in zip(scans, chosen, strict=True)
            for moments in scan.moments[keep & (scan.valid > 0)]
        ]
    )


def assign_groups(
    groups: NDArray[np.intp],
    holds: NDArray[np.int64],
    split: Mapping[str, Any],
    *,
    seed: int,
    own: Collection[int] = (),
    what: str,
    cure: str,
) -> NDArray[np.int8]:
    """Assign things to splits by groups that stay together, as ``assign_blocks`` does blocks.

    Args:
      groups: (N,) number of each thing's group.
      holds: (N, K) what each thing holds of what is to be divided evenly.
      split: this and what follows are those of ``assign_blocks``.
      seed: see there.
      own: see there.
      what: see there.
      cure: see there.

    Returns:
      (N,) index into ``SPLITS`` a thing.
    """
    totals = np.zeros((groups.max() + 1, holds.shape[1]), np.int64)
    np.add.at(totals, groups, holds)
    return assign_blocks(totals, split, seed=seed, own=own, what=what, cure=cure)[groups]


def assign_blocks(
    classes: NDArray[np.int64],
    split: Mapping[str, Any],
    *,
    seed: int,
    own: Collection[int] = (),
    what: str = "blocks of the scenes",
    cure: str = "set a smaller dataset.split.block_px or name dataset.val_images",
) -> NDArray[np.int8]:
    """Assign blocks to splits so that each gets its share of every class's labelled pixels.

    Blocks with the rarest classes are placed first, each where it is missed most.

    Args:
      classes: (N, K) labelled pixels a block and class.
      split: ``val`` and ``test``, shares of the labelled pixels, and ``seed``, of the order of blocks.
      seed: where ``split`` has none.
      own: indices into ``SPLITS`` of those that have data of their own and get no block.
      what: the blocks are, for a message.
      cure: of too few of them, for a message.

    Returns:
      (N,) index into ``SPLITS``, -1 for blocks without a labelled pixel.

    Raises:
      DataError: too few labelled blocks to give every split one.
    """
    val, test = (0.0 if index in own else float(split[SPLITS[index]]) for index in (1, 2))
    shares = np.array([1 - val - test, val, test])
    if shares[0] <= 0:
        raise DataError(f"dataset.split: val {val:g} and test {test:g} leave nothing to train on")
    labelled = np.flatnonzero(classes.sum(1) > 0)
    wanted = int((shares > 0).sum())
    if len(labelled) < wanted:
        raise DataError(
            f"{len(labelled)} {what} hold labels, {wanted} are needed to keep training and "
            f"validation apart; {cure}"
        )
    totals = np.maximum(classes.sum(0), 1)
    parts = classes[labelled] / totals  # share of each class that a block holds
    rng = np.random.default_rng(seed if split["seed"] is None else int(split["seed"]))
    order = rng.permutation(len(labelled))
    order = order[np.argsort(-parts[order].max(1), kind="stable")]
    result = np.full(len(classes), -1, np.int8)
    got = np.zeros((3, classes.shape[1]))
    for position in order:
        missing = shares[:, None] - got
        need = (missing * parts[position]).sum(1) / np.maximum(shares, 1e-9) ** 0.5
        place = int(np.argmax(np.where(shares > 0, need, -np.inf)))
        result[labelled[position]] = place
        got[place] += parts[position]
    _give_every_split_a_block(result, labelled, shares)
    return result


def _give_every_split_a_block(
    result: NDArray[np.int8], labelled: NDArray[np.intp], shares: NDArray[np.float64]
) -> None:
    for split in np.flatnonzero(shares > 0):
        if not (result == split).any():
            counts = np.bincount(result[labelled], minlength=3)
            richest = int(counts.argmax())
            result[labelled[result[labelled] == richest][-1]] = split
