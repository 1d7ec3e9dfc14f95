"""The table that a sweep ends with: a row a run, the best first."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

METRICS_FILE = "metrics.json"
FAILURE_FILE = "failed.json"


class LeaderboardCallback(Callback):
    """Hydra callback: writes and prints the leaderboard when a multirun ends."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        folder = Path(str(config.hydra.sweep.dir))
        rows = collect(folder)
        if rows:
            show(rows, write_csv(rows, folder / "leaderboard.csv"))


def record_failure(work_dir: str, reason: str) -> None:
    """Leave a failed run's reason where the leaderboard finds it."""
    folder = Path(work_dir)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FAILURE_FILE).write_text(json.dumps({"error": reason}), encoding="utf-8")


def collect(folder: Path) -> list[dict[str, Any]]:
    """Read every run below a sweep's folder; the best by its monitored metric comes first.

    Returns:
      A dict a run: ``run``, the swept values, ``status``, the monitored metric and its name, the
      other scalar validation metrics, seconds and the package's path.
    """
    rows, greater = [], True
    runs = [path for path in folder.iterdir() if path.is_dir() and (path / ".hydra").is_dir()]
    for run in sorted(runs, key=lambda path: (len(path.name), path.name)):
        row: dict[str, Any] = {"run": run.name, **_overrides(run)}
        if (run / METRICS_FILE).is_file():
            metrics = json.loads((run / METRICS_FILE).read_text(encoding="utf-8"))
            monitor = metrics["monitor"]
            greater = monitor["rule"] == "greater"
            scalars = {k: v for k, v in metrics["val"].items() if isinstance(v, float) and "/" not in k}
            row |= {"status": "done", "score": monitor["value"], "metric": monitor["name"]}
            row |= scalars | {
                "seconds": round(metrics["seconds"]),
                "package": str(run / "model.dlpk"),
            }
        elif (run / FAILURE_FILE).is_file():
            reason = json.loads((run / FAILURE_FILE).read_text(encoding="utf-8"))["error"]
            row |= {"status": f"failed: {reason}"}
        else:
            row |= {"status": "unfinished"}
        rows.append(row)
    return sorted(rows, key=lambda row: _rank(row.get("score"), greater))


def _rank(score: float | None, greater: bool) -> float:
    if score is None or math.isnan(score):
        return math.inf
    return -score if greater else score


def _overrides(run: Path) -> dict[str, str]:
    """Return the choices that tell a run from the others of its sweep."""
    hydra = OmegaConf.load(run / ".hydra" / "hydra.yaml")
    swept = set()
    task = [str(item) for item in OmegaConf.select(hydra, "hydra.overrides.task") or []]
    choices = dict(item.lstrip("+").split("=", 1) for item in task if "=" in item)
    for other in run.parent.iterdir():
        file = other / ".hydra" / "overrides.yaml"
        if file.is_file():
            for item in OmegaConf.load(file):
                key, _, value = str(item).lstrip("+").partition("=")
                if choices.get(key) != value:
                    swept.add(key)
    return {key: value for key, value in choices.items() if key in swept}


def write_csv(rows: list[dict[str, Any]], path: Path) -> Path:
    """Write the rows as CSV with every column that any of them has; return the path."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
    return path


def show(rows: list[dict[str, Any]], path: Path) -> None:
    """Print the leaderboard as a table on stderr."""
    from rich.console import Console
    from rich.table import Table

    hidden = {"package", "metric"}
    columns = [c for c in dict.fromkeys(k for row in rows for k in row) if c not in hidden]
    names = {str(row["metric"]) for row in rows if "metric" in row}
    table = Table(title=f"Leaderboard by {', '.join(sorted(names)) or 'nothing: no run finished'}")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(_cell(row.get(column, "")) for column in columns))
    console = Console(stderr=True)
    console.print(table)
    console.print(f"written to {path}", highlight=False)


def _cell(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)
