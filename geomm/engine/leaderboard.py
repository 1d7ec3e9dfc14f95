"""The tables of a folder of runs: a row a run, the best of each task first."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from geomm.engine.run_folder import CONFIG_FILE, PACKAGE_FILE, read_failure, read_metrics
from geomm.errors import DataError

#: Choices that say where and how a run was carried out.
_NOT_SWEPT = ("work_dir", "resume", "plugins")


class LeaderboardCallback(Callback):
    """Hydra callback: writes and prints the leaderboard when a multirun ends."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        folder = Path(str(config.hydra.sweep.dir))
        runs = collect(folder)
        if runs:
            show(runs, write(runs, folder))


@dataclass(frozen=True)
class Run:
    """What is known of one run.

    Attributes:
      folder: of the run.
      name: the folder's path below the one that was searched.
      task: such as ``segmentation``.
      choices: the values that tell it from the other runs of its task, by config path or group.
      status: ``done``, ``interrupted``, ``unfinished`` or ``failed: REASON``.
      metric: name of the monitored metric, empty where the run has no metrics.
      greater: whether more of it is better.
      score: its value, None where there is none.
      metrics: the scalar metrics of the validation data, those of the test data as ``test NAME``.
      seconds: of training, None where unknown.
    """

    folder: Path
    name: str
    task: str
    choices: Mapping[str, Any]
    status: str
    metric: str = ""
    greater: bool = True
    score: float | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    seconds: float | None = None

    @property
    def package(self) -> Path | None:
        """The run's package, None where there is none."""
        file = self.folder / PACKAGE_FILE
        return file if file.is_file() else None

    @property
    def figures(self) -> list[Path]:
        """The run's pictures."""
        return sorted((self.folder / "figures").glob("*.png"))


def build(folder: Path, output: Path | None = None) -> list[Path]:
    """Write and print the leaderboard of any folder of runs, a sweep's or a whole collection's.

    Args:
      folder: searched for runs at any depth.
      output: folder for ``leaderboard.csv`` and ``leaderboard.html``, ``folder`` where not given.

    Raises:
      DataError: there is no run in it.
    """
    runs = collect(folder)
    if not runs:
        raise DataError(
            f"{folder}: found no run; expected folders with {CONFIG_FILE}, as training leaves them"
        )
    written = write(runs, output or folder)
    show(runs, written)
    return written


def collect(folder: Path) -> list[Run]:
    """Read every run below a folder; by task, the best by its monitored metric first."""
    found = [(path, _read_yaml(path / CONFIG_FILE)) for path in _run_folders(folder)]
    by_task: dict[str, list[tuple[Path, dict[str, Any]]]] = {}
    for path, config in found:
        by_task.setdefault(_task(path, config), []).append((path, config))
    runs = []
    for task, members in sorted(by_task.items()):
        choices = _choices(members)
        rows = [_run(path, folder, task, chosen) for (path, _), chosen in zip(members, choices, strict=True)]
        runs += sorted(rows, key=_rank)
    return runs


def _run_folders(folder: Path) -> Iterator[Path]:
    """Yield the folders of runs; the folds and rounds inside of a run are not runs of their own."""
    for place, folders, files in os.walk(folder):
        folders.sort(key=lambda name: (len(name), name))
        if CONFIG_FILE in files and Path(place).name != ".hydra":
            folders.clear()
            yield Path(place)
        folders[:] = [name for name in folders if not name.startswith(".")]


def _run(path: Path, root: Path, task: str, choices: Mapping[str, Any]) -> Run:
    name = str(path.relative_to(root)) if path != root else path.resolve().name
    metrics, failure = read_metrics(path), read_failure(path)
    if metrics is None:
        status = "unfinished" if failure is None else f"failed: {failure}"
        return Run(path, name, task, choices, status)
    monitor = metrics["monitor"]
    scalars = {
        f"{prefix}{key}": float(value)
        for split, prefix in (("val", ""), ("test", "test "))
        for key, value in (metrics.get(split) or {}).items()
        if isinstance(value, int | float) and "/" not in key
    }
    return Run(
        path,
        name,
        task,
        choices,
        "interrupted" if metrics.get("interrupted") else "done",
        monitor["name"],
        monitor["rule"] == "greater",
        monitor["value"],
        scalars,
        metrics.get("seconds"),
    )


def _rank(run: Run) -> float:
    if run.score is None or math.isnan(run.score):
        return math.inf
    return -run.score if run.greater else run.score


def _read_yaml(file: Path) -> dict[str, Any]:
    import yaml

    try:
        data = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError):
        return {}
    return data if isinstance(data, dict) else {}


def _task(path: Path, config: Mapping[str, Any]) -> str:
    from geomm.config.fitting import task_name

    metrics = read_metrics(path) or {}
    return str(metrics.get("task") or task_name(config) or "unknown")


def _choices(members: Sequence[tuple[Path, dict[str, Any]]]) -> list[dict[str, Any]]:
    """Return for each run the values that it does not share with all others of its task."""
    hydra = [_read_yaml(path / ".hydra" / "hydra.yaml").get("hydra") or {} for path, _ in members]
    keys: dict[str, None] = {}
    for item in hydra:
        for text in (item.get("overrides") or {}).get("task") or []:
            keys[str(text).lstrip("+~").partition("=")[0]] = None
    if all(not item for item in hydra):  # trained from Python: what the configs say
        flat = [dict(_flat(config)) for _, config in members]
        keys = {key: None for values in flat for key in values}
    table = [
        {key: _value(key, config, item) for key in keys if key not in _NOT_SWEPT}
        for (_, config), item in zip(members, hydra, strict=True)
    ]
    told = [key for key in keys if len({repr(row.get(key)) for row in table}) > 1]
    return [{key: row[key] for key in told if key in row} for row in table]


def _value(key: str, config: Mapping[str, Any], hydra: Mapping[str, Any]) -> Any:
    """Return what a run has at a config path, or the name of its choice from a group."""
    chosen = ((hydra.get("runtime") or {}).get("choices") or {}).get(key)
    if chosen is not None:
        return chosen
    node: Any = config
    for part in key.split("."):
        node = node.get(part) if isinstance(node, Mapping) else None
    if isinstance(node, Mapping):
        return node.get("type") or node.get("name")
    return node


def _flat(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield from _flat(value, f"{path}.{key}" if path else str(key))
    else:
        yield path, node


def seen_from(folder: Path, target: Path) -> str:
    """Return where a file lies, seen from a folder, so that both may be moved together."""
    return Path(os.path.relpath(target.resolve(), folder.resolve())).as_posix()


def rows(runs: Sequence[Run], folder: Path) -> list[dict[str, Any]]:
    """Return the runs as flat rows: run, task, choices, status, score, metrics, files seen from a folder."""
    return [
        {
            "run": run.name,
            "task": run.task,
            **run.choices,
            "status": run.status,
            "score": run.score,
            "metric": run.metric,
            **run.metrics,
            "seconds": None if run.seconds is None else round(run.seconds),
            "config": seen_from(folder, run.folder / CONFIG_FILE),
            "package": "" if run.package is None else seen_from(folder, run.package),
            "figures": seen_from(folder, run.folder / "figures") if run.figures else "",
        }
        for run in runs
    ]


def write(runs: Sequence[Run], folder: Path) -> list[Path]:
    """Write ``leaderboard.csv`` and ``leaderboard.html``; return both."""
    from geomm.engine.leaderboard_page import write_page

    folder.mkdir(parents=True, exist_ok=True)
    table, path = rows(runs, folder), folder / "leaderboard.csv"
    columns = list(dict.fromkeys(key for row in table for key in row))
    temporary = path.with_suffix(".csv.part")
    with temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(table)
    os.replace(temporary, path)
    return [path, write_page(runs, folder / "leaderboard.html")]


def show(runs: Sequence[Run], written: Sequence[Path]) -> None:
    """Print a table for each task on stderr, and the files that were written."""
    from rich.console import Console
    from rich.table import Table

    console = Console(stderr=True)
    for task in dict.fromkeys(run.task for run in runs):
        mine = [run for run in runs if run.task == task]
        names = {run.metric for run in mine if run.metric}
        table = Table(
            title=f"Leaderboard by {', '.join(sorted(names)) or 'nothing: no run finished'}, {task}"
        )
        hidden = ("task", "score", "metric", "config", "package", "figures")
        lines = rows(mine, Path())
        columns = [c for c in dict.fromkeys(k for row in lines for k in row) if c not in hidden]
        for column in columns:
            table.add_column(column, overflow="fold")
        for row in lines:
            table.add_row(*(cell(row.get(column)) for column in columns))
        console.print(table)
    for path in written:
        console.print(f"written to {path}", highlight=False, soft_wrap=True)


def cell(value: Any) -> str:
    """Return a value as the tables show it."""
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
