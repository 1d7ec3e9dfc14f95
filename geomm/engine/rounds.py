"""Runs beside the run: the folds of a cross-validation, and another way of splitting."""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from geomm.engine.run_folder import read_earlier
from geomm.errors import ConfigError, Problem

_LOG = logging.getLogger("geomm")
#: From a run's config and folder to its metrics.
RunOnce = Callable[[dict[str, Any], Path], Mapping[str, Any]]


@dataclass(frozen=True)
class Round:
    """One further run: which way of splitting, which fold of it, and its folder's name."""

    way: str
    fold: int | None
    name: str


def plan_rounds(dataset: Mapping[str, Any]) -> list[Round]:
    """Return the runs that ``dataset.folds`` and ``dataset.split.beside`` ask for.

    Raises:
      ConfigError: fewer than two folds, or the same split beside itself.
    """
    folds, split = dataset.get("folds"), dataset.get("split") or {}
    way, beside = str(split.get("by", "")), split.get("beside")
    if dataset.get("fold") is not None or not (folds or beside):
        return []
    if folds is not None and (not isinstance(folds, int) or folds < 2):
        raise ConfigError([Problem("dataset.folds", f"found {folds!r}, expected 2 or more, or null")])
    if beside == way:
        message = f"found {beside!r}, which is split.by itself; name another way, or null"
        raise ConfigError([Problem("dataset.split.beside", message)])
    rounds = [Round(way, fold, f"fold_{fold + 1}") for fold in range(folds or 0)]
    if beside:
        rounds += [Round(beside, fold, f"{beside}_fold_{fold + 1}") for fold in range(folds or 0)]
        rounds += [] if folds else [Round(beside, None, f"split_by_{beside}")]
    return rounds


def run_rounds(config: Mapping[str, Any], folder: Path, run: RunOnce) -> dict[str, Any]:
    """Run the rounds of a config, each in a folder below its own.

    Returns:
      What joins the run's metrics: ``folds`` and ``beside``, each with the way, ``mean`` and ``std`` of
      every headline metric and its values; {} where no round is asked for.
    """
    rounds = plan_rounds(config["dataset"])
    found: dict[str, list[dict[str, float]]] = {}
    for item in rounds:
        scores = _scores(_metrics(config, folder / item.name, item, run))
        found.setdefault(item.way, []).append(scores)
        fold = "" if item.fold is None else f", fold {item.fold + 1} of {config['dataset']['folds']}"
        _LOG.info("split by %s%s: %s", item.way, fold, scores_text(scores))
    way = str((config["dataset"].get("split") or {}).get("by", ""))
    results = {"folds" if key == way else "beside": _summary(key, values) for key, values in found.items()}
    for summary in results.values():
        if len(summary["each"]) > 1:
            _LOG.info("split by %s, %d folds: %s", summary["by"], len(summary["each"]), spread_text(summary))
    return results


def _metrics(config: Mapping[str, Any], folder: Path, item: Round, run: RunOnce) -> Mapping[str, Any]:
    """Run a round, unless a resumed run finds that it is done as this config would have it."""
    changed = copy.deepcopy(dict(config))
    changed["work_dir"] = str(folder)
    changed["dataset"]["fold"] = item.fold
    changed["dataset"]["split"] = {**(changed["dataset"].get("split") or {}), "by": item.way, "beside": None}
    changed["dataset"]["folds"] = config["dataset"]["folds"] if item.fold is not None else None
    earlier = read_earlier(folder, changed) if config["resume"] else None
    if earlier is not None and earlier.metrics is not None and not earlier.changed:
        return earlier.metrics
    return run(changed, folder)


def _scores(metrics: Mapping[str, Any]) -> dict[str, float]:
    judged = metrics.get("test") or metrics["val"]
    return {name: float(value) for name, value in judged.items() if "/" not in name}


def _summary(way: str, each: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    names = list(each[0])
    table = np.array([[scores[name] for name in names] for scores in each])
    spread = table.std(0, ddof=1) if len(each) > 1 else np.full(len(names), math.nan)
    return {
        "by": way,
        "mean": dict(zip(names, table.mean(0).tolist(), strict=True)),
        "std": {n: v for n, v in zip(names, spread.tolist(), strict=True) if math.isfinite(v)},
        "each": [dict(scores) for scores in each],
    }


def scores_text(scores: Mapping[str, float]) -> str:
    """Return the headline metrics of one part as one line."""
    # A threshold in full: a rounded one may let nothing through.
    return ", ".join(
        f"{name} {value:{'.7g' if name == 'threshold' else '.4f'}}"
        for name, value in scores.items()
        if "/" not in name
    )


def beside_text(way: str, metrics: Mapping[str, Any]) -> str:
    """Return the errors of a run's split and of the one beside it as one line.

    Args:
      way: of the run's own split.
      metrics: of the run, those of ``run_rounds`` included.
    """
    own = metrics["folds"]["mean"] if "folds" in metrics else _scores(metrics)
    other = metrics["beside"]
    pairs = ", ".join(f"{name} {own[name]:.4f} and {value:.4f}" for name, value in other["mean"].items())
    return f"split by {way} beside {other['by']}: {pairs}"


def spread_text(summary: Mapping[str, Any]) -> str:
    """Return mean and spread of every metric as one line."""
    return ", ".join(
        f"{name} {value:.4f} ± {summary['std'][name]:.4f}"
        for name, value in summary["mean"].items()
        if name in summary["std"]
    )
