"""What a run leaves in its folder, and what an earlier run of the same folder had come to."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from geomm.errors import GeommError
from geomm.io.json_text import parse_metrics

CONFIG_FILE = "config.yaml"
METRICS_FILE = "metrics.json"
FAILURE_FILE = "failed.json"
PACKAGE_FILE = "model.dlpk"
LAST, BEST = "last.pth", "best.pth"
#: Where a run trains again on the validation samples too.
REFIT = "refit"
#: What says how a run is carried out, not what it is.
_HOW = ("work_dir", "resume", "runtime", "tracking")


@dataclass(frozen=True)
class Earlier:
    """What is known of a run that was begun in a folder before.

    Attributes:
      changed: paths of the config's values that are not what they were; another run if there are any.
      metrics: of the run, None where it did not come to its end.
      has_checkpoint: whether it can be gone on with.
    """

    changed: tuple[str, ...]
    metrics: dict[str, Any] | None
    has_checkpoint: bool


def write_config(folder: Path, config: Mapping[str, Any]) -> None:
    """Write a run's resolved config into its folder."""
    text = yaml.safe_dump(_plain(config), sort_keys=False, allow_unicode=True)
    (folder / CONFIG_FILE).write_text(text, encoding="utf-8")


def read_metrics(folder: Path) -> dict[str, Any] | None:
    """Return a finished run's metrics, None where there are none or they cannot be read."""
    try:
        metrics = parse_metrics((folder / METRICS_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return metrics if "monitor" in metrics else None


def read_earlier(folder: Path, config: Mapping[str, Any]) -> Earlier | None:
    """Return what is in a folder of a run with this config, None where no run was begun there."""
    try:
        before = yaml.safe_load((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError):
        return None
    if not isinstance(before, dict):
        return None
    one, two = ({k: v for k, v in _plain(each).items() if k not in _HOW} for each in (before, config))
    metrics = read_metrics(folder)
    whole = metrics is not None and not metrics.get("interrupted") and (folder / PACKAGE_FILE).is_file()
    return Earlier(
        tuple(sorted(set(_differences(one, two)))),
        metrics if whole else None,
        (folder / LAST).is_file(),
    )


def check_own(folder: Path) -> None:
    """Raise a GeommError where a run's files would take the place of others that no run wrote."""
    there = [name for name in (METRICS_FILE, PACKAGE_FILE, LAST, BEST) if (folder / name).exists()]
    config = folder / CONFIG_FILE
    if config.exists():
        try:
            known = yaml.safe_load(config.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError):
            known = None
        if isinstance(known, dict) and {"task", "schedule"} <= known.keys():
            return
        there.insert(0, CONFIG_FILE)
    if there:
        raise GeommError(
            f"work_dir={folder}: {there[0]} there is of no run by geomm; give another folder for this run"
        )


def forget_run(folder: Path) -> None:
    """Remove what an earlier run came to, so that none of it is taken for the next one's."""
    for name in (METRICS_FILE, FAILURE_FILE, PACKAGE_FILE, LAST, BEST):
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / REFIT, ignore_errors=True)


def record_failure(work_dir: str | Path, reason: str) -> None:
    """Leave a failed run's reason where the leaderboard finds it."""
    folder = Path(work_dir)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FAILURE_FILE).write_text(json.dumps({"error": reason}), encoding="utf-8")


def read_failure(folder: Path) -> str | None:
    """Return why a run failed, None where it did not."""
    try:
        return str(json.loads((folder / FAILURE_FILE).read_text(encoding="utf-8"))["error"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        return "the reason was not written whole"


def _plain(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return JSON types alone, as they come back from a file: tuples as lists, keys as text."""
    plain: dict[str, Any] = json.loads(json.dumps(config, default=list))
    return plain


def _differences(one: Any, two: Any, path: str = "") -> Iterator[str]:
    if isinstance(one, dict) and isinstance(two, dict):
        for key in {*one, *two}:
            yield from _differences(one.get(key), two.get(key), f"{path}.{key}" if path else str(key))
    elif one != two:
        yield path
