"""Cutting a dataset into chips: streaming, and going on where a run was stopped."""

from __future__ import annotations

import json
import logging
import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from geomm.chips.clouds import export_clouds
from geomm.chips.folder import Exported, prepare_folder
from geomm.chips.formats import CHIP_FORMATS, ChipFormat
from geomm.chips.images import check_holds, check_nodata, write_chip
from geomm.chips.options import CLOUD_FORMATS, ChipOptions
from geomm.chips.side_files import Totals, write_side_files
from geomm.chips.sources import Cut, Source, Unit, open_source
from geomm.datasets.moments import combine_moments, moments_of
from geomm.errors import DataError
from geomm.inference.progress import Progress

_LOG = logging.getLogger("geomm")
_THREADS = min(4, os.cpu_count() or 1)


def export_chips(dataset: Mapping[str, Any], output: str | Path, options: ChipOptions) -> Exported:
    """Cut scenes and labels into chips.

    Run again after an interruption it goes on with the unit that was not finished; the result is the same.

    Args:
      dataset: config of ``geotiff``, ``footprints`` or ``las``.
      output: folder, new or empty, or one that this export was writing.
      options: how they are cut and written.

    Raises:
      DataError: scenes or labels that cannot be used, or a folder with other files.
    """
    started = time.monotonic()
    folder = Path(output)
    if options.format in CLOUD_FORMATS:
        exported = export_clouds(dataset, folder, options)
    else:
        exported = _export_images(dataset, folder, options)
    counts = ", ".join(f"{count:,} {name}" for name, count in exported.counts.items())
    left_out = ", ".join(f"{count:,} {why}" for why, count in exported.left_out.items() if count)
    _LOG.info(
        "%s: %s chips as %s%s%s, %.0f s",
        folder,
        f"{exported.chips:,}",
        options.format,
        f": {counts}" if counts else "",
        f" (left out: {left_out})" if left_out else "",
        time.monotonic() - started,
    )
    return exported


def _export_images(dataset: Mapping[str, Any], folder: Path, options: ChipOptions) -> Exported:
    with TemporaryDirectory(prefix="geomm_") as cache:
        source = open_source(dataset, options, Path(cache))
    dtype = str(np.result_type(*(info.dtype for info in source.scenes)))
    check_holds(options.image_format, dtype, len(source.bands))
    for info in source.seconds:
        check_holds(options.image_format, info.dtype, len(info.image_bands))
    for info in (*source.scenes, *source.seconds):
        check_nodata(options.nodata, info)
    chip_format = CHIP_FORMATS[options.format](source, options)
    work = prepare_folder(folder, dataset, source.files, options)
    parts = [work / f"{number:06d}.json" for number in range(len(source.units))]
    _cut_units(source, parts, folder, chip_format, options)
    totals = write_side_files(folder, parts, source, chip_format, options)
    left_out: Counter[str] = Counter()
    for part in parts:
        left_out.update(json.loads(part.read_text(encoding="utf-8"))["left_out"])
    if not totals.chips:
        why = ", ".join(f"{count} {name}" for name, count in left_out.items())
        raise DataError(f"{folder}: no chip shows anything ({why}); check the labels, or keep_empty=true")
    return Exported(folder, totals.chips, _counts(totals, source, chip_format), left_out)


def _counts(totals: Totals, source: Source, chip_format: ChipFormat) -> dict[str, int]:
    of_features = chip_format.counts == "features"
    return {
        item.name: totals.sizes[index].count if of_features else totals.images.get(index, 0)
        for index, item in enumerate(source.classes)
        if index in totals.sizes
    }


def _cut_units(
    source: Source, parts: Sequence[Path], folder: Path, chip_format: ChipFormat, options: ChipOptions
) -> None:
    """Cut what is not finished yet; chips are numbered through all units."""
    first = 0
    total = sum(unit.count for unit in source.units)
    with (
        Progress(folder.name, total, "tiles", shown=options.progress) as progress,
        ThreadPoolExecutor(_THREADS) as pool,
    ):
        for unit, part in zip(source.units, parts, strict=True):
            if part.is_file():
                first += len(json.loads(part.read_text(encoding="utf-8"))["chips"])
            else:
                record = _cut_unit(unit, first, source, folder, chip_format, options, pool)
                first += len(record["chips"])
                temporary = part.with_suffix(".part")
                temporary.write_text(json.dumps(record), encoding="utf-8")
                temporary.replace(part)
            progress.advance(unit.count)


def _cut_unit(
    unit: Unit,
    first: int,
    source: Source,
    folder: Path,
    chip_format: ChipFormat,
    options: ChipOptions,
    pool: ThreadPoolExecutor,
) -> dict[str, Any]:
    """Cut and write the chips of a unit; return what its part lists."""
    left_out: Counter[str] = Counter()
    chips: list[dict[str, Any]] = []
    moments: list[Any] = []
    waiting: list[Future[dict[str, Any]]] = []
    writer = _Writer(source, folder, chip_format, options)

    def collect(most: int) -> None:
        while len(waiting) > most:
            chips.append(waiting.pop(0).result())

    for cut, sizes in _kept(unit, chip_format, options, left_out):
        stem = f"{first + len(chips) + len(waiting):09d}"
        moments.append(moments_of(cut.pixels[:, cut.valid]))
        waiting.append(pool.submit(writer.write, cut, sizes, stem))
        collect(2 * _THREADS)
    collect(0)
    merged = combine_moments(moments).tolist() if moments else None
    return {"chips": chips, "moments": merged, "left_out": dict(left_out)}


def _kept(
    unit: Unit, chip_format: ChipFormat, options: ChipOptions, left_out: Counter[str]
) -> Iterator[tuple[Cut, dict[int, list[float]]]]:
    """Yield the chips that are worth keeping, with what they show; count the others."""
    for cut in unit.cut():
        if not cut.valid.any() or 1 - cut.valid.mean() > options.max_nodata:
            left_out["without data"] += 1
            continue
        sizes = chip_format.sizes(cut)
        if sizes is None and not (options.keep_empty and chip_format.may_be_empty):
            left_out["without labels"] += 1
            continue
        yield cut, sizes or {}


@dataclass(frozen=True)
class _Writer:
    source: Source
    folder: Path
    chip_format: ChipFormat
    options: ChipOptions

    def write(self, cut: Cut, sizes: dict[int, list[float]], stem: str) -> dict[str, Any]:
        """Write a chip and its label; return its record."""
        info, options = cut.info, self.options
        names = [info.band_names[band - 1] for band in self.source.bands]
        image = self.chip_format.image(cut, stem)
        write_chip(
            self.folder / image, cut.pixels, cut.valid, cut.place, options, nodata=self._nodata(info.nodata),
            band_names=names,
        )  # fmt: skip
        height, width = cut.valid.shape
        record: dict[str, Any] = {"image": image, "size": [width, height], "gsd": info.gsd, "sizes": sizes}
        if cut.second is not None:
            record["image2"] = f"images2/{stem}{options.ending}"
            pixels, valid, place, nodata = cut.second
            write_chip(
                self.folder / record["image2"], pixels, valid, place, options, nodata=self._nodata(nodata),
                band_names=[f"band_{number + 1}" for number in range(len(pixels))],
            )  # fmt: skip
        return {**record, **self.chip_format.write_label(cut, self.folder, stem)}

    def _nodata(self, own: float | None) -> float | None:
        return own if self.options.nodata is None else self.options.nodata
