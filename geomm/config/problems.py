"""What is wrong with the values of a composed config: alone, as paths, and together."""

from __future__ import annotations

import difflib
import glob
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from geomm.config.fitting import fitting_options, task_name
from geomm.config.processes import process_count
from geomm.config.rules import PATHS, RULES, Choice
from geomm.errors import DataError, Problem, did_you_mean
from geomm.io.paths import file_in_the_way, is_connection


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


def _folder_problems(cfg: DictConfig) -> list[Problem]:
    """A file where the folder of a run or an export is to be."""
    problems = []
    for path in ("work_dir", "output"):
        value = _select(cfg, path)[1]
        file = file_in_the_way(Path(value)) if isinstance(value, str) else None
        if file is not None:
            problems.append(Problem(path, f"{str(file)!r} is a file; name a folder"))
    return problems


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
        _folder_problems,
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
    "package": (_output_problems, _folder_problems),
    "export_chips": (_class_problems, _source_problems, _chip_format_problems),
}
