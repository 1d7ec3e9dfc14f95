"""``dataset=auto``: the command line as it would be if the dataset had been named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from geomm.config.fitting import task_name
from geomm.errors import DataError, Problem
from geomm.io.detect import Found, Use, detect

#: The type that ``configs/dataset/auto.yaml`` stands for.
AUTO = "Auto"


@dataclass(frozen=True)
class Detected:
    """What became of ``dataset=auto``: a line that says so and a new command line, or a problem."""

    note: str
    overrides: tuple[str, ...] = ()
    problem: Problem | None = None


def is_auto(cfg: DictConfig) -> bool:
    """Return whether a composed config leaves it to the data which dataset it is."""
    return bool(OmegaConf.select(cfg, "dataset.type", throw_on_missing=False) == AUTO)


def detected_dataset(parsed: Sequence[Override], cfg: DictConfig) -> Detected:
    """Find out what ``dataset.root`` holds, and name it.

    Args:
      parsed: the command line.
      cfg: composed from the groups that it names.
    """
    by_key = {str(item.key_or_group): item for item in parsed}
    swept = [key for key in ("dataset", "dataset.root") if key in by_key and by_key[key].is_sweep_override()]
    if swept:
        return _problem(swept[0], "dataset=auto cannot be swept; name each dataset (dataset=chips,voc)")
    root = by_key["dataset.root"].value() if "dataset.root" in by_key else _root_of(cfg)
    if root is None:
        return _problem("dataset.root", "a value is required and missing; give dataset.root=FOLDER")
    # A task that nobody named follows from the data.
    task = task_name(cfg) if {"task", "experiment"} & set(by_key) else None
    try:
        found = detect(getattr(root, "text", str(root)))
    except DataError as error:
        return _problem("dataset.root", str(error))
    use = found.use(task)
    if use is None:
        fitting = ", ".join(found.tasks)
        return _problem(
            "task", f"{task} does not fit: {root} holds {found.what}, which is for task {fitting}"
        )
    return Detected(_note(root, found, use, task), tuple(_named(parsed, use, task)))


def _problem(path: str, message: str) -> Detected:
    return Detected("", problem=Problem(path, message))


def _root_of(cfg: DictConfig) -> Any:
    return None if OmegaConf.is_missing(cfg.dataset, "root") else cfg.dataset.get("root")


def _note(root: Any, found: Found, use: Use, task: str | None) -> str:
    chosen = task or use.tasks[0]
    others = [name for name in found.tasks if name != chosen] if task is None else []
    rest = f" (also for task {', '.join(others)})" if others else ""
    return f"{root} holds {found.what}: taken as dataset={use.dataset} task={chosen}{rest}"


def _named(parsed: Sequence[Override], use: Use, task: str | None) -> list[str]:
    """Return the command line with the dataset's name and paths in place of ``auto``."""
    named = [] if task is not None else [f"task={use.tasks[0]}"]
    named += [f"dataset={use.dataset}"]
    named += [f"dataset.{key}={_quoted(value)}" for key, value in use.options.items()]
    kept = [item for item in parsed if str(item.key_or_group) not in ("dataset", "dataset.root")]
    return [*named, *(str(item.input_line) for item in kept)]


def _quoted(value: str | list[str]) -> str:
    if isinstance(value, list):
        return f"[{','.join(map(_quoted, value))}]"
    escaped = value.replace("'", "\\'")
    return f"'{escaped}'"
