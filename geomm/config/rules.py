"""What values a config may hold, beyond what its files already show."""

from __future__ import annotations

import difflib
import glob
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from geomm.config.processes import process_count
from geomm.errors import DataError, Problem, did_you_mean
from geomm.io.paths import is_connection


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


Rule = Number | Choice | Flag

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


def rule_problems(root: str, cfg: DictConfig) -> list[Problem]:
    """Return what is wrong with the values of a composed config, without reading any data."""
    problems = []
    for path, rule in RULES[root].items():
        found, value = _select(cfg, path)
        message = rule.problem(value) if found else None
        if message is not None:
            problems.append(Problem(path, message))
    for path in PATHS[root]:
        problems += _path_problems(path, _select(cfg, path)[1])
    for check in _CHECKS.get(root, ()):
        problems += check(cfg)
    return problems


def _select(cfg: DictConfig, path: str) -> tuple[bool, Any]:
    """Return whether a value stands at ``path`` (and is not ``???``), and the plain value."""
    node: Any = cfg
    *parents, last = path.split(".")
    try:
        for part in parents:
            node = node.get(part) if isinstance(node, DictConfig) else None
        if not isinstance(node, DictConfig) or last not in list(node) or OmegaConf.is_missing(node, last):
            return False, None
        value = node[last]
    except OmegaConfBaseException:
        return False, None
    return True, OmegaConf.to_container(value) if OmegaConf.is_config(value) else value


def _path_problems(path: str, value: Any) -> list[Problem]:
    problems = []
    items = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else [value]
    for item in items:
        if not isinstance(item, str) or is_connection(item):
            continue
        if glob.has_magic(item) and not Path(item).exists():
            if next(glob.iglob(item, recursive=True), None) is None:
                problems.append(Problem(path, f"no file matches {item!r} in {Path.cwd()}"))
        elif not Path(item).exists():
            problems.append(Problem(path, f"{item!r} does not exist{_nearest(item)}"))
    return problems


def _nearest(item: str) -> str:
    folder = Path(item).parent
    if not folder.is_dir():
        return f"; there is no folder {str(folder)!r}"
    names = [entry.name for entry in folder.iterdir() if not entry.name.startswith(".")]
    near = difflib.get_close_matches(Path(item).name, names, n=1)
    return f"; did you mean {str(folder / near[0])!r}?" if near else f" in {str(folder.resolve())!r}"


def _class_problems(cfg: DictConfig) -> list[Problem]:
    classes = _select(cfg, "dataset.classes")[1]
    if isinstance(classes, Mapping):
        names = [str(name) for name in classes.values()]
        if all(isinstance(name, str) for name in classes.values()) is False:
            return [Problem("dataset.classes", f"found {classes!r}, expected {{value: name, …}}")]
        # Several values may share one name: that groups them.
        return []
    if not isinstance(classes, list):
        return []
    names = [str(name) for name in classes]
    return [
        Problem("dataset.classes", f"{name!r} is named {count} times; name every class once")
        for name, count in Counter(names).items()
        if count > 1
    ]


def _task_problems(cfg: DictConfig) -> list[Problem]:
    """A head that does not serve the task, a dataset that does not feed it."""
    problems = []
    task = task_name(cfg)
    for group, verb in (("head", "serves"), ("dataset", "feeds"), ("loss", "serves")):
        tasks = _select(cfg, f"{group}.tasks")[1]
        if tasks and task and task not in tasks:
            kind = _select(cfg, f"{group}.type")[1]
            fitting = fitting_options(group, task)
            problems.append(
                Problem(
                    group,
                    f"{kind} {verb} task {', '.join(tasks)}, not {task}; "
                    f"give task={'|'.join(tasks)}, or for task={task} choose "
                    f"{group}={'|'.join(fitting) or 'another'}",
                )
            )
    return problems


def _export_problems(cfg: DictConfig) -> list[Problem]:
    """An ArcGIS export of a kind that is for other tasks."""
    from geomm.io.arcgis import TASKS_OF_KIND, export_kind

    root, task = _select(cfg, "dataset.root")[1], task_name(cfg)
    if _select(cfg, "dataset.type")[1] != "Chips" or not isinstance(root, str) or not Path(root).is_dir():
        return []
    try:
        kind = export_kind(root)
    except DataError as error:
        return [Problem("dataset.root", str(error))]
    tasks = TASKS_OF_KIND.get(kind, ())
    if task in tasks or not task:
        return []
    use = f"which is for task {', '.join(tasks)}" if tasks else f"expected {', '.join(TASKS_OF_KIND)}"
    return [Problem("dataset.root", f"{root} is an export of {kind}, {use}; task={task} cannot read it")]


def task_name(cfg: Mapping[str, Any] | DictConfig) -> str:
    """Return the task's name as heads and datasets list it: ``PointCloud`` is ``point_cloud``."""
    kind = str(cfg.get("task", {}).get("type", ""))
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", kind).lower()


def fitting_options(group: str, task: str) -> list[str]:
    """Return geomm's own files of a group that name ``task`` among their tasks."""
    from geomm.config.compose import config_dir

    found = []
    for file in sorted((config_dir() / group).glob("*.yaml")):
        node = OmegaConf.load(file)
        if isinstance(node, DictConfig) and task in (node.get("tasks") or [task]):
            found.append(file.stem)
    return found


def _source_problems(cfg: DictConfig) -> list[Problem]:
    """A dataset that is neither a sample nor given files."""
    sampled, sample = _select(cfg, "dataset.sample")
    given = {key: _select(cfg, key) for key in ("dataset.images", "dataset.path", "dataset.root")}
    known = {key: value for key, (found, value) in given.items() if found}
    if not (sampled and known) or sample is not None or any(v is not None for v in known.values()):
        return []
    key = next(iter(known))
    message = f"a value is required and missing; give {key}=… (a file, glob or folder)"
    return [Problem(key, message)]


def _text_problems(cfg: DictConfig) -> list[Problem]:
    """A format or tag scheme that there is not; their own modules are too heavy to ask here."""
    choices = {
        "dataset.format": ("auto", "conll", "iob", "tokens_csv", "jsonl", "columns_csv", "docbin"),
        "dataset.scheme": (
            "auto", "io", "iob", "iob1", "iob2", "bio", "biluo", "bilou", "lbiou", "bioes", "iobes", "bmewo",
        ),
    }  # fmt: skip
    problems = []
    if _select(cfg, "dataset.type")[1] != "TextDocuments":
        return []
    for path, words in choices.items():
        value = _select(cfg, path)[1]
        if isinstance(value, str) and value.lower() not in words:
            hint = did_you_mean(value.lower(), words)
            problems.append(Problem(path, f"found {value!r}; {hint}"))
    return problems


#: Ways of splitting by the type of the dataset.
_SPLITS_BY = {
    "LasClouds": ("auto", "file", "block"),
    "Table": ("random", "column", "block", "time"),
}


def _split_problems(cfg: DictConfig) -> list[Problem]:
    """A way of splitting that the dataset does not have."""
    words = _SPLITS_BY.get(str(_select(cfg, "dataset.type")[1]))
    value = _select(cfg, "dataset.split.by")[1]
    message = Choice(words).problem(value) if words and value is not None else None
    return [Problem("dataset.split.by", message)] if message else []


def _table_problems(cfg: DictConfig) -> list[Problem]:
    """A table that is neither a sample nor given a path, or a fold that there is not."""
    if _select(cfg, "dataset.type")[1] != "Table":
        return []
    fold, folds = (_select(cfg, f"dataset.{name}")[1] for name in ("fold", "folds"))
    if isinstance(fold, int) and not (isinstance(folds, int) and fold < folds):
        span = "dataset.folds to say of how many" if folds is None else f"0 to {folds - 1}"
        return [Problem("dataset.fold", f"found {fold}, expected {span}")]
    if _select(cfg, "dataset.sample")[1] is not None or _select(cfg, "dataset.path")[1] is not None:
        return []
    return [
        Problem("dataset.path", "a value is required and missing; give dataset.path=… or dataset.sample=…")
    ]


def _shard_problems(cfg: DictConfig) -> list[Problem]:
    """A model to be divided over processes that there are not, or that something wants to copy whole."""
    if _select(cfg, "runtime.shard")[1] is not True:
        return []
    problems = []
    if process_count() == 1:
        message = (
            "true divides the model over processes and found one; torchrun is required (torchrun "
            "--nproc-per-node 4 tools/train.py …), or runtime.shard=false"
        )
        problems.append(Problem("runtime.shard", message))
    copied = "copies the model, which runtime.shard=true divides; leave one of them out"
    if _select(cfg, "schedule.ema")[1] is not None:
        problems.append(Problem("schedule.ema", f"a moving average {copied}"))
    hooks = _select(cfg, "hooks")[1] or {}
    for name, hook in hooks.items() if isinstance(hooks, Mapping) else ():
        if isinstance(hook, Mapping) and str(hook.get("type")).rpartition(".")[2] == "EMAHook":
            problems.append(Problem(f"hooks.{name}", f"EMAHook {copied}"))
    return problems


def _refit_problems(cfg: DictConfig) -> list[Problem]:
    """To train again on the validation samples too is asked of a task that cannot."""
    task = str(_select(cfg, "task.type")[1])
    if _select(cfg, "schedule.refit")[1] is not True or task == "Tabular":
        return []
    message = f"true is for task=tabular, found task.type {task}; leave it at auto, or false"
    return [Problem("schedule.refit", message)]


def _output_problems(cfg: DictConfig) -> list[Problem]:
    """An export without a folder for it."""
    if _select(cfg, "command")[1] != "export" or _select(cfg, "output")[1] is not None:
        return []
    return [Problem("output", "a value is required and missing; give output=FOLDER")]


_OF_FEATURES = ("Labeled_Tiles", "MultiLabeled_Tiles", "Imagenet")
#: What a dataset can be cut into, by its type.
_FORMATS_OF = {
    "GeoTiffScenes": (
        "Classified_Tiles", "PASCAL_VOC_rectangles", "KITTI_rectangles", "RCNN_Masks", "coco", "yolo",
        "Export_Tiles", *_OF_FEATURES,
    ),
    "Footprints": _OF_FEATURES,
    "LasClouds": ("pctd",),
}  # fmt: skip


def _chip_format_problems(cfg: DictConfig) -> list[Problem]:
    """A dataset that cannot be cut, or not into this format."""
    found, kind = _select(cfg, "format")[1], str(_select(cfg, "dataset.type")[1])
    formats = _FORMATS_OF.get(kind)
    if formats is None:
        return [Problem("dataset", f"{kind} cannot be cut into chips; choose dataset=geotiff|footprints|las")]
    if found not in formats and any(found in known for known in _FORMATS_OF.values()):
        return [Problem("format", f"{found} cannot be cut from {kind}; allowed: {', '.join(formats)}")]
    if kind == "GeoTiffScenes" and _select(cfg, "tile_px") == (True, None):
        return [Problem("tile_px", "null is the size of features: give a number, or dataset=footprints")]
    return []


_CHECKS: dict[str, tuple[Callable[[DictConfig], list[Problem]], ...]] = {
    "train": (
        _class_problems,
        _task_problems,
        _export_problems,
        _source_problems,
        _split_problems,
        _text_problems,
        _table_problems,
        _shard_problems,
        _refit_problems,
    ),
    "package": (_output_problems,),
    "export_chips": (_class_problems, _source_problems, _chip_format_problems),
}
