"""What single values a config may hold, beyond what its files already show."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

from geomm.errors import did_you_mean


@dataclass(frozen=True)
class Number:
    """A number between two bounds, or one of a few words."""

    low: float
    high: float = float("inf")
    whole: bool = False
    words: tuple[str, ...] = ()
    optional: bool = False
    above: bool = False  # the lower bound itself is not allowed

    def problem(self, value: Any) -> str | None:
        if (value is None and self.optional) or (isinstance(value, str) and value in self.words):
            return None
        kind = "a whole number" if self.whole else "a number"
        number = isinstance(value, Integral if self.whole else Real)
        if not isinstance(value, bool) and number and self.low <= value <= self.high:
            if not (self.above and value == self.low):
                return None
        low = f"{'above' if self.above else 'from'} {self.low:g}"
        bounds = low if self.high == float("inf") else f"{low} to {self.high:g}"
        words = "".join(f", or {word}" for word in self.words)
        null = ", or null" if self.optional else ""
        return f"found {value!r}, expected {kind} {bounds}{words}{null}"


@dataclass(frozen=True)
class Choice:
    """One of a few words."""

    words: tuple[Any, ...]

    def problem(self, value: Any) -> str | None:
        if value in self.words:
            return None
        spelt = {None: "null", True: "true", False: "false"}
        words = [str(spelt.get(word, word)) for word in self.words]
        same = [word for word in words if word.lower() == str(value).lower()]
        return f"found {value!r}; {did_you_mean(same[0] if same else str(value), words)}"


@dataclass(frozen=True)
class Flag:
    """true or false."""

    def problem(self, value: Any) -> str | None:
        return None if isinstance(value, bool) else f"found {value!r}, expected true or false"


@dataclass(frozen=True)
class Span:
    """Two numbers above 0, the smaller first, or one of a few words."""

    unit: str
    words: tuple[str, ...] = ()

    def problem(self, value: Any) -> str | None:
        if value is None or (isinstance(value, str) and value in self.words):
            return None
        if isinstance(value, list | tuple) and len(value) == 2:
            numbers = all(isinstance(edge, Real) and not isinstance(edge, bool) for edge in value)
            if numbers and 0 < value[0] <= value[1]:
                return None
        return (
            f"found {value!r}, expected {', '.join((*self.words, 'null'))} or [small, large] in {self.unit}"
        )


Rule = Number | Choice | Flag | Span

RULES: dict[str, dict[str, Rule]] = {
    "train": {
        "seed": Number(0, 2**32 - 1, whole=True),
        "resume": Flag(),
        "schedule.policy": Choice(("one_cycle", "constant", "cosine")),
        "schedule.epochs": Number(0, whole=True),
        "schedule.batch_size": Number(1, whole=True, words=("auto",)),
        "schedule.lr": Number(0, words=("auto",), above=True),
        "schedule.warmup": Number(0, 1),
        "schedule.clip_grad_norm": Number(0, above=True, optional=True),
        "schedule.ema": Number(0, 0.999999, above=True, optional=True),
        "schedule.accumulate": Number(1, whole=True),
        "schedule.patience": Number(1, whole=True, optional=True),
        "schedule.val_interval": Number(1, whole=True),
        "schedule.refit": Choice(("auto", True, False)),
        "runtime.workers": Number(0, 256, whole=True, words=("auto",)),
        "runtime.threads": Number(1, 1024, whole=True, optional=True),
        "runtime.amp": Choice(("auto", "fp16", "bf16", False)),  # YAML reads off as false
        "runtime.deterministic": Flag(),
        "runtime.plain_progress": Flag(),
        "runtime.shard": Flag(),
        "task.monitor_rule": Choice(("greater", "less")),
        "task.mixup": Number(0),
        "task.oversample": Number(0, 1),
        "task.multi_label": Choice((None, True, False)),
        "backbone.init": Choice((None, "open", "timm")),
        "head.backbone_init": Choice((None, "open", "timm")),
        "task.iou": Number(0, 1, above=True),
        "task.score_threshold": Number(0, 1, optional=True),
        "head.score_threshold": Number(0, 1, optional=True),
        "head.object_px": Span("pixels", words=("auto",)),
        "head.max_objects": Number(1, whole=True, optional=True),
        "head.nms_iou": Number(0, 1, optional=True),
        "head.pool": Choice(("average", "max", "both")),
        "loss.label_smoothing": Number(0, 1),
        "dataset.margin": Number(0, 10),
        "dataset.margin_m": Number(0, optional=True),
        "dataset.blackout": Flag(),
        "dataset.from_above": Choice(("auto", True, False)),
        "head.scale": Number(2, 8, whole=True),
        "head.residual": Flag(),
        "task.neighbours": Choice(("auto", "workers", "device")),
        "head.members": Number(1, 1024, whole=True, words=("auto",)),
        "head.sampling": Choice(("random", "farthest")),
        "head.dropout": Number(0, 1),
        "dataset.block_m": Number(0, above=True, optional=True),
        "dataset.block_points": Number(16, whole=True),
        "dataset.blocks_per_epoch": Number(1, whole=True, words=("auto",)),
        "dataset.split.block_px": Number(1, whole=True, words=("auto",), optional=True),
        "dataset.split.block_m": Number(0, words=("auto",), above=True, optional=True),
        "dataset.window_px": Number(1, 16384, whole=True, optional=True),
        "dataset.windows_per_epoch": Number(1, whole=True, words=("auto",)),
        "dataset.all_touched": Flag(),
        "dataset.balance": Number(0, 1),
        "dataset.background": Choice(("auto", True, False)),
        "dataset.on_error": Choice(("raise", "skip")),
        "dataset.min_visible": Number(0, 1),
        "dataset.empty_share": Number(0, 1, optional=True),
        "dataset.map_space": Flag(),
        "dataset.split.val": Number(0, 1),
        "dataset.split.test": Number(0, 1),
        "dataset.malformed": Choice(("repair", "refuse")),
        "dataset.window_tokens": Number(8, 4096, whole=True),
        "head.decoder": Choice(("crf", "linear")),
        "head.word_dropout": Number(0, 1),
        "dataset.split.beside": Choice(("random", "column", "block", "time", None)),
        "dataset.kind": Choice(("auto", "regression", "classification")),
        "dataset.transform": Choice(("none", "log", "log1p", "sqrt")),
        "dataset.raster_resampling": Choice(("nearest", "bilinear")),
        "dataset.folds": Number(2, 1000, whole=True, optional=True),
        "dataset.fold": Number(0, 999, whole=True, optional=True),
        "dataset.h3": Number(0, 15, whole=True, optional=True),
        "dataset.most_categories": Number(1, whole=True),
        "dataset.text_limit": Number(1, whole=True),
    },
    "infer": {
        "inference.precision": Choice(("auto", "bf16", "fp16", "fp32")),
        "inference.threads": Number(1, 1024, whole=True, optional=True),
        "inference.resume": Flag(),
        "inference.skip_existing": Flag(),
        "inference.block_m": Number(0, words=("auto",), above=True, optional=True),
        "inference.overlap_m": Number(0, words=("auto",), optional=True),
        "inference.region_points": Number(1, whole=True),
        "inference.confidence": Flag(),
        "inference.neighbours": Flag(),
        "inference.ray.workers": Number(1, whole=True, optional=True),
        "inference.ray.cpus": Number(0, above=True),
        "inference.ray.gpus": Number(0),
        "inference.ray.rows": Number(1, whole=True, optional=True),
        "inference.ray.retries": Number(0, whole=True),
        "inference.stac": Choice(("auto", True, False)),
        "inference.tile_px": Number(1, 65536, whole=True, words=("auto",), optional=True),
        "inference.overlap_px": Number(0, 65536, whole=True, words=("auto",), optional=True),
        "inference.margin_px": Number(0, 32768, whole=True),
        "inference.batch_size": Number(1, whole=True, words=("auto",)),
        "inference.probabilities": Flag(),
        "inference.polygons": Flag(),
        "inference.polygons_background": Flag(),
        "inference.preview": Flag(),
        "inference.predict_background": Flag(),
        "inference.progress": Flag(),
        "inference.on_error": Choice(("raise", "skip")),
        "inference.min_confidence": Number(0, 1),
        "inference.min_likeness": Number(0, 100),
        "inference.seconds_between": Number(0),
        "inference.keep_unlocated": Flag(),
        "inference.interval": Number(0, 1, optional=True, above=True),
        "inference.unseen": Choice(("warn", "raise")),
        "inference.scores": Flag(),
        "inference.margin": Number(0, 10, optional=True),
        "inference.margin_m": Number(0, optional=True),
        "inference.format": Choice(("auto", "csv", "parquet", "gpkg", "geojson", "fgb", "shp")),
        "inference.tta": Flag(),
        "inference.score_threshold": Number(0, 1, optional=True),
        "inference.merge": Choice(("nms", "soft", "wbf")),
        "inference.iou_threshold": Number(0, 1),
        "inference.edge_px": Number(0, 1024),
        "inference.one_layer": Choice(("auto", True, False)),
        "inference.min_area_m2": Number(0),
        "inference.track": Flag(),
        "inference.assignment_iou": Number(0, 1, above=True),
        "inference.vanish_frames": Number(0, whole=True),
        "inference.detect_frames": Number(1, whole=True),
        "inference.draw_labels": Flag(),
        "inference.draw_scores": Flag(),
        "inference.line_px": Number(1, 100, whole=True, optional=True),
    },
    "leaderboard": {},
    "package": {
        "command": Choice(("show", "verify", "export")),
        "format": Choice(("onnx", "torchscript", "litert")),
        "window_px": Number(1, 16384, whole=True, optional=True),
        "batch_size": Number(1, 4096, whole=True),
        "tolerance": Number(0, above=True),
    },
}

RULES["export_chips"] = {
    "format": Choice(
        (
            "Classified_Tiles", "PASCAL_VOC_rectangles", "KITTI_rectangles", "RCNN_Masks", "Labeled_Tiles",
            "MultiLabeled_Tiles", "Imagenet", "Export_Tiles", "coco", "yolo", "pctd",
        )
    ),
    "tile_px": Number(8, 16384, whole=True, optional=True),
    "stride_px": Number(1, 16384, whole=True, optional=True),
    "image_format": Choice(("tiff", "png", "jpeg")),
    "jpeg_quality": Number(1, 100, whole=True),
    "min_overlap": Number(0, 1),
    "max_nodata": Number(0, 1),
    "keep_empty": Flag(),
    "map_space": Flag(),
    "tile_m": Number(0, above=True),
    "tile_points": Number(16, whole=True),
    "val_share": Number(0, 1),
    "seed": Number(0, 2**32 - 1, whole=True),
    "overwrite": Flag(),
    "progress": Flag(),
    **{key: rule for key, rule in RULES["train"].items() if key.startswith("dataset.")},
}  # fmt: skip

#: Inputs that must be there before anything starts.
PATHS: dict[str, tuple[str, ...]] = {
    "train": (
        "dataset.images",
        "dataset.labels",
        "head.checkpoint",
        "dataset.val_images",
        "dataset.val_labels",
        "dataset.test_images",
        "dataset.test_labels",
        "dataset.rasters",
        "dataset.distances",
        "dataset.root",
        "dataset.annotations",
        "dataset.path",
        "dataset.val_path",
        "dataset.test_path",
        "dataset.val",
        "dataset.test",
    ),
    "infer": (
        "model",
        "input",
        "inference.truth",
        "inference.boundary",
        "inference.footprints",
        "inference.features",
        "inference.rasters",
        "inference.distances",
    ),
    "leaderboard": ("runs",),
    "package": ("model",),
}
PATHS["export_chips"] = tuple(path for path in PATHS["train"] if path.startswith("dataset."))
