"""The options of inference, as the files of configs/inference list them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geomm.config.rules import RULES
from geomm.errors import ConfigError, Problem
from geomm.structures import RasterSpec

if TYPE_CHECKING:
    import torch
    from typing_extensions import Self


def check_options(**options: Any) -> None:
    """Raise a ConfigError where options of inference are not what the rules of configs allow."""
    rules = RULES["infer"]
    known = {f"inference.{name}": value for name, value in options.items() if f"inference.{name}" in rules}
    found = {path: rules[path].problem(value) for path, value in known.items()}
    problems = [Problem(path, text) for path, text in found.items() if text]
    if problems:
        raise ConfigError(problems)


@dataclass(frozen=True)
class InferenceOptions:
    """What holds for every task; see configs/inference/default.yaml for what each is for."""

    device: str = "auto"
    precision: str = "auto"
    threads: int | None = None
    batch_size: int | str = "auto"
    preview: bool = True
    resume: bool = True
    skip_existing: bool = False
    on_error: str = "skip"
    progress: bool = True

    def __post_init__(self) -> None:
        """Check the values by the rules that configs are checked by.

        Raises:
          ConfigError: a value that an option cannot have.
        """
        check_options(**{item.name: getattr(self, item.name) for item in fields(self)})

    def skips(self, target: Path, work: Path | None = None) -> bool:
        """Return whether an input is left alone, since its result is there and wanted as it is.

        Args:
          target: the file that is written last.
          work: folder of what a run has not finished, where the task goes on from one.
        """
        return self.skip_existing and target.is_file() and not (work is not None and work.exists())

    def resolve_device(self) -> torch.device:
        """Return the device to run on.

        Raises:
          ConfigError: no device is called so.
          GeommError: the named device is not there.
        """
        from geomm.devices import choose_device

        return choose_device(self.device, "inference.device")


@dataclass(frozen=True)
class RayOptions:
    """What of a Ray cluster works; see ``RayExecutor`` for what each is for."""

    address: str | None = None
    workers: int | None = None
    cpus: float = 1
    gpus: float = 0
    rows: int | None = None
    retries: int = 3


@dataclass(frozen=True)
class RasterOptions(InferenceOptions):
    """How scenes are mapped; see configs/inference/raster.yaml for what each is for."""

    tile_px: int | str | None = None
    overlap_px: int | str | None = None
    tta: bool = False
    reader: str = "RasterTiles"
    executor: str = "local"
    ray: RayOptions | Mapping[str, Any] = field(default_factory=RayOptions)
    assets: Sequence[str] | None = None
    stac: bool | str = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.stage("reader")

    def stage(self, kind: str) -> Any:
        """Return the class that is registered as the ``reader``, ``merger`` or ``writer`` that is named.

        Raises:
          ConfigError: there is none of that name.
        """
        from geomm.registry import MERGERS, READERS, WRITERS, get

        try:
            return get({"reader": READERS, "merger": MERGERS, "writer": WRITERS}[kind], getattr(self, kind))
        except ConfigError as error:
            raise ConfigError(f"inference.{kind}: {error}") from error

    def scenes(self, inputs: Any, spec: RasterSpec) -> Any:
        """Put in the place of STAC files the rasters of their items, with the bands that the model reads.

        Raises:
          ConfigError: ``assets`` are more or fewer than the model's bands.
          DataError: a STAC file or an item that cannot be used.
        """
        from geomm.io.stac import place_items

        names = list(self.assets or spec.band_names)
        if len(names) != len(spec.bands):
            raise ConfigError(
                f"inference.assets: found {len(names)} names, expected {len(spec.bands)}, one for each band "
                f"that the model reads ({', '.join(spec.band_names)})"
            )
        return place_items(inputs, bands=names, numbers=spec.bands)

    @property
    def chosen_tile_px(self) -> int | None:
        """Edge of tiles, pixels, None where nobody chose one."""
        return _number(self.tile_px)

    def tiling(self, spec: RasterSpec) -> tuple[int, int]:
        """Return edge and overlap of tiles, pixels: twice the training window, a quarter shared.

        Raises:
          ConfigError: the overlap does not fit the tile; of maps, or the margin not the overlap.
        """
        tile = self.chosen_tile_px or min(max(2 * spec.window_px, 256), 1024)
        overlap = _number(self.overlap_px)
        overlap = tile // 4 if overlap is None else overlap
        if not 0 <= overlap < tile:
            raise ConfigError(
                f"inference.overlap_px: found {overlap}, expected 0 to {tile - 1} for tiles of {tile} px"
            )
        return tile, overlap

    def sized_for(self, model: Any, spec: RasterSpec) -> Self:
        """Return the options with tiles of the training window's size, where the model knows no other."""
        if getattr(model, "fixed_tiles", False) and self.chosen_tile_px is None:
            return replace(self, tile_px=spec.window_px)
        return self


@dataclass(frozen=True)
class MapOptions(RasterOptions):
    """How values are mapped; see configs/inference/map.yaml for what each is for."""

    margin_px: int = 0
    merger: str = "ScoreBlend"
    writer: str = "RasterRowWriter"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.stage("merger")
        self.stage("writer")

    @property
    def chosen_tile_px(self) -> int | None:
        """Edge of tiles, pixels, None where nobody chose one."""
        return _number(self.tile_px)

    def tiling(self, spec: RasterSpec) -> tuple[int, int]:
        tile, overlap = super().tiling(spec)
        if not 0 <= 2 * self.margin_px <= overlap:
            raise ConfigError(
                f"inference.margin_px: found {self.margin_px}, expected 0 to {overlap // 2} for an "
                f"overlap of {overlap} px"
            )
        return tile, overlap


@dataclass(frozen=True)
class ClassMapOptions(MapOptions):
    """What pixel classification writes; see configs/inference/segmentation.yaml."""

    probabilities: bool = False
    polygons: bool = False
    polygons_background: bool = False
    min_area_m2: float = 0.0
    predict_background: bool = True


@dataclass(frozen=True)
class FinerOptions(MapOptions):
    """How scenes are enlarged; see configs/inference/super_resolution.yaml."""

    margin_px: int = 8


@dataclass(frozen=True)
class LabelOptions(InferenceOptions):
    """How features and pictures are classified; see configs/inference/classification.yaml."""

    features: str | None = None
    layer: str | None = None
    format: str = "auto"
    scores: bool = True
    margin: float | None = None
    margin_m: float | None = None
    tta: bool = False

    def batch(self, device: torch.device) -> int:
        """Return pictures a step: 16 on a CPU, 128 on a GPU where not given."""
        if self.batch_size != "auto":
            return int(self.batch_size)
        return 128 if device.type == "cuda" else 16


def _number(value: int | str | None) -> int | None:
    return None if value is None or value == "auto" else int(value)
