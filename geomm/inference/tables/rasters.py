"""Predicting a map from rasters: every pixel is a row."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from geomm.errors import ConfigError, Problem
from geomm.inference.maps.predict import predict_rasters
from geomm.inference.maps.products import ClassMap, MapProducts, ValueMap
from geomm.inference.options import ClassMapOptions
from geomm.inference.report import PredictionReport
from geomm.inference.tables.options import TabularOptions
from geomm.io.paths import RASTER_ENDINGS
from geomm.io.raster_info import RasterInfo, read_info
from geomm.io.raster_samples import band_names
from geomm.io.raster_stack import StackBand, axes_are_straight, stack_rasters
from geomm.structures import BandStatistics, RasterSpec
from geomm.transforms.table import TableSpec, X, Y

#: Edge of a tile where none is asked for: pixels are independent, so tiles need not be large nor overlap.
_TILE_PX = 512


def are_rasters(inputs: Any) -> bool:
    """Return whether inputs are rasters (files, or folders and globs that hold nothing else)."""
    items = [inputs] if isinstance(inputs, str | Path) else list(inputs)
    return all(_is_raster(str(item)) for item in items)


def _is_raster(item: str) -> bool:
    path = Path(item)
    if path.is_dir() and path.suffix.lower() != ".gdb":
        from geomm.io.tables import TABLE_ENDINGS

        endings = {file.suffix.lower() for file in path.rglob("*") if file.is_file()}
        return bool(endings & set(RASTER_ENDINGS)) and not endings & set(TABLE_ENDINGS)
    return path.suffix.lower() in RASTER_ENDINGS


def predict_stack(
    inputs: str | Path | Sequence[str | Path],
    output: str | Path,
    *,
    model: Any,
    spec: TableSpec,
    options: TabularOptions,
    model_id: str,
) -> PredictionReport:
    """Predict one map from the rasters of all variables, streamed.

    A pixel without a value of any variable is nodata.

    Args:
      inputs: the variables' rasters, named as in training: a folder, glob or list.
      output: folder for the results.
      model: a ``TableModel``.
      spec: of the model.
      options: see ``TabularOptions``.
      model_id: tells models apart.

    Raises:
      DataError: a variable has no raster.
      ConfigError: the model has variables that are no rasters.
    """
    from geomm.io.paths import expand

    share = options.check_interval(spec.kind)
    files = expand(inputs)
    given = {name: (path, band) for path in files for band, name in band_names(path, None)}
    bands = _bands(spec, given)
    grid = read_info(options.grid or next((b.path for b in bands if b.path is not None), files[0]))
    if spec.around.coordinates and not axes_are_straight(grid, spec.around.crs):
        raise ConfigError(
            [
                Problem(
                    "inference.grid",
                    f"the model knows coordinates in {spec.around.crs}, and {grid.path} is in "
                    f"{grid.georeference.crs}; give a raster in that CRS, whose rows run east",
                )
            ]
        )
    folder = Path(output)
    work = folder / ".prediction.stack"
    scene = stack_rasters(bands, grid, work, "prediction")
    raster_spec = _raster_spec(spec, bands, grid)
    chosen = replace(
        options,
        tile_px=options.tile_px or _TILE_PX,
        overlap_px=0 if options.overlap_px is None else options.overlap_px,
        rasters=None,
        # A tile is a quarter of a million rows: on a CPU, more at a time only leave its cache.
        batch_size=1
        if options.batch_size == "auto" and options.resolve_device().type == "cpu"
        else options.batch_size,
    )
    report = predict_rasters(
        scene,
        folder,
        score=pixel_score(model, spec, share),
        spec=raster_spec,
        products=_products(model, spec, raster_spec, chosen, share),
        options=chosen,
        model_id=model_id,
    )
    if not report.failed:
        shutil.rmtree(work, ignore_errors=True)
    return report


def _bands(spec: TableSpec, given: dict[str, tuple[str, int]]) -> list[StackBand]:
    """Return a band a column.

    Raises:
      ConfigError: a column that no raster can have.
      DataError: a column whose raster is not among those given.
    """
    axes = {X: 0, Y: 1} if spec.around.coordinates else {}
    resampling = {item.name: item.resampling for item in spec.around.rasters}
    for column in spec.columns:
        if (
            column.kind == "date"
            or column.name.startswith("h3_")
            or column.name in dict(spec.around.distances)
        ):
            raise ConfigError(
                [
                    Problem(
                        "input",
                        f"rasters cannot give {column.name!r}, which the model explains by; "
                        "give a table, or train on rasters and coordinates alone",
                    )
                ]
            )
    spec.check_fields(
        given, [c.name for c in spec.columns if c.name not in axes], "the folder or list of rasters"
    )
    return [
        StackBand(column.name, None, axis=axes[column.name])
        if column.name in axes
        else StackBand(column.name, *given[column.name], resampling.get(column.name, "nearest"))
        for column in spec.columns
    ]


def _raster_spec(spec: TableSpec, bands: Sequence[StackBand], grid: RasterInfo) -> RasterSpec:
    count = len(bands)
    flat = (0.0,) * count
    return RasterSpec(
        bands=tuple(range(1, count + 1)),
        band_names=tuple(band.name for band in bands),
        dtype="float32",
        statistics=BandStatistics(flat, flat, flat, flat, 0),
        classes=spec.classes,
        window_px=_TILE_PX // 2,
        nodata=float("nan"),
        crs=grid.georeference.crs,
    )


def _products(
    model: Any, spec: TableSpec, raster_spec: RasterSpec, options: TabularOptions, share: float | None
) -> MapProducts:
    if spec.classes:
        wanted = options.probabilities and model.gives_probabilities
        chosen = ClassMapOptions(probabilities=wanted, preview=options.preview)
        return ClassMap(raster_spec, chosen)
    names = [item.name for item in spec.targets]
    if share is not None:
        names += [f"{bound}_{item.name}" for bound in ("lower", "upper") for item in spec.targets]
    return ValueMap(names, preview=_preview if options.preview else None)


def _preview(scene: str, target: Path, picture: Path) -> Path:
    from geomm.visualization.table_map import draw_value_map

    return draw_value_map(target, picture)


def pixel_score(
    model: Any, spec: TableSpec, share: float | None = None
) -> Callable[[Tensor, Tensor], Tensor]:
    """Return what predicts tiles: from (B, C, h, w) and validity (B, h, w) to values (B, K, h, w).

    Args:
      model: a ``TableModel``.
      spec: of the model; band ``i`` is its column ``i``.
      share: that an interval is to hold; None for none.
    """
    encode = _TorchEncoder(spec) if hasattr(model, "score_batch") else None

    def score(inputs: Tensor, valid: Tensor) -> Tensor:
        batch, channels, height, width = inputs.shape
        # Bands lie last in memory already, so this copies nothing.
        rows = inputs.permute(0, 2, 3, 1).reshape(-1, channels)
        if encode is not None and share is None:
            numbers, indices = encode(rows)
            learnt = model.score_batch(numbers, indices)
            values = learnt if spec.classes else encode.decode(learnt)
        else:
            values = torch.from_numpy(_by_columns(model, spec, rows, valid, share)).to(inputs.device)
        return values.reshape(batch, height, width, -1).permute(0, 3, 1, 2).float()

    return score


def _by_columns(model: Any, spec: TableSpec, rows: Tensor, valid: Tensor, share: float | None) -> Any:
    """Predict rows as those of a table are; those without data are 0."""
    seen = valid.reshape(-1).cpu().numpy()
    pixels = rows.cpu().numpy()[seen]
    planes = spec.outputs * (3 if share is not None else 1)
    values = np.zeros((len(seen), planes), np.float32)
    if len(pixels):
        encoded = spec.encode({c.name: pixels[:, i].astype(np.float64) for i, c in enumerate(spec.columns)})
        learnt = model.predict_learnt(encoded)
        own = learnt if spec.classes else spec.decode(learnt)
        parts = [own] if share is None else [own, *model.interval(learnt, share)]
        values[seen] = np.concatenate(parts, axis=1)
    return values


class _TorchEncoder:
    """The preparation of numbers and whole-number categories on the model's device."""

    def __init__(self, spec: TableSpec) -> None:
        self.spec = spec
        self.numeric = [i for i, column in enumerate(spec.columns) if column.kind != "category"]
        columns = [spec.columns[i] for i in self.numeric]
        self.mean = torch.tensor([c.means[0] for c in columns], dtype=torch.float64)
        self.std = torch.tensor([c.stds[0] for c in columns], dtype=torch.float64)
        self.flags = [column.missing for column in columns]
        self.tables = [
            (i, *_value_table(column.categories))
            for i, column in enumerate(spec.columns)
            if column.kind == "category"
        ]

    def __call__(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return numbers (n, F) and categories (n, C); rows without data give something, and no NaN."""
        device = rows.device
        wide = rows.to(torch.float32 if rows.dtype != torch.float64 else torch.float64)
        own = wide if len(self.numeric) == wide.shape[1] else wide[:, self.numeric]
        scale = (1 / self.std).to(device, own.dtype)
        offset = (-self.mean / self.std).to(device, own.dtype)
        normal = torch.nan_to_num(torch.addcmul(offset, own, scale)).float()
        if any(self.flags):
            # Pixels without a value are nodata in the map, so nothing here is ever missing.
            parts = [
                torch.stack([normal[:, i], torch.zeros_like(normal[:, i])], 1) if flag else normal[:, i, None]
                for i, flag in enumerate(self.flags)
            ]
            normal = torch.cat(parts, 1)
        indices = [self._indices(wide[:, i], values, places) for i, values, places in self.tables]
        none = torch.empty((len(rows), 0), dtype=torch.int64, device=device)
        return normal, torch.stack(indices, 1) if indices else none

    def _indices(self, values: Tensor, known: Tensor, places: Tensor) -> Tensor:
        known, places = known.to(values.device), places.to(values.device)
        if not len(known):
            return torch.ones(len(values), dtype=torch.int64, device=values.device)
        at = torch.searchsorted(known, values.double().contiguous()).clamp(max=len(known) - 1)
        return torch.where(known[at] == values, places[at], 1)

    def decode(self, learnt: Tensor) -> Tensor:
        """Return learnt values in the targets' own units."""
        if all(item.transform == "none" for item in self.spec.targets):
            std = torch.tensor([item.std for item in self.spec.targets], device=learnt.device)
            mean = torch.tensor([item.mean for item in self.spec.targets], device=learnt.device)
            return learnt * std + mean
        return torch.from_numpy(self.spec.decode(learnt.cpu().numpy())).to(learnt.device)


def _value_table(categories: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Return the categories that are numbers, sorted, and the index of each."""
    pairs = []
    for index, text in enumerate(categories):
        try:
            pairs.append((float(text), index + 2))
        except ValueError:
            continue
    pairs.sort()
    values = torch.tensor([value for value, _ in pairs], dtype=torch.float64)
    return values, torch.tensor([place for _, place in pairs], dtype=torch.int64)
