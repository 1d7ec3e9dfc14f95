"""geomm from Python: what the command lines do, as functions."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geomm.errors import ConfigError, PackageError, did_you_mean

if TYPE_CHECKING:
    from geomm.chips import Exported as ExportedChips
    from geomm.engine.learner import Data
    from geomm.inference import PredictionReport
    from geomm.packaging import Package

_LOG = logging.getLogger("geomm")


def train(overrides: Sequence[str] = ()) -> Package:
    """Train as ``geomm-train`` does and return the model package.

    Args:
      overrides: the command line, such as ``["experiment=tree_crowns", "schedule.epochs=5"]``.

    Raises:
      ConfigError: every mistake in the overrides, one line each.
      DataError: the data cannot be used.
    """
    config = _resolved(overrides)
    from geomm.engine.training import train as run

    return load(run(config).package)


def _resolved(overrides: Sequence[str]) -> dict[str, Any]:
    from geomm.config import check, compose, resolve
    from geomm.config.compose import hydra_session
    from geomm.plugins import load_plugins, named_plugins

    plugins = named_plugins(overrides)
    load_plugins(plugins)
    checked = check("train", overrides, plugins)
    if checked.problems:
        raise ConfigError(checked.problems)
    for note in checked.notes:
        _LOG.info(note)
    with hydra_session():
        return resolve(compose("train", checked.overrides, plugins))


def prepare(overrides: Sequence[str] = (), **given: Any) -> Data:
    """Read, check and split data, ready to look at and to train on, in a notebook say.

    Args:
      overrides: as on the command line, such as ``["experiment=swimming_pools", "dataset.window_px=128"]``.
      given: the same as keywords: a group's choice (``task="detection"``, ``dataset="coco"``), ``work_dir``,
        ``seed``, ``plugins``; any other is an option of the dataset (``images="scenes/*.tif"``).

    Returns:
      ``show_batch()`` draws samples, ``model([…])`` builds a model with ``fit`` and ``save``.

    Raises:
      ConfigError: every mistake, one line each.
      DataError: the data cannot be used.
    """
    from geomm.config.compose import as_overrides

    texts = [*overrides, *as_overrides(given, within="dataset")]
    _resolved(texts)  # mistakes are named before torch is imported
    from geomm.engine.learner import Data

    return Data(texts, _resolved)


def load(path: str | Path) -> Package:
    """Load a model package; nothing in it is run.

    Raises:
      PackageError: the file is missing, damaged, foreign or unsafe.
    """
    from geomm.packaging import load_package
    from geomm.plugins import installed_plugins, load_plugins

    load_plugins(installed_plugins())
    return load_package(path)


def infer(config: dict[str, Any]) -> PredictionReport:
    """Run inference from a resolved ``infer`` config; what ``geomm-infer`` calls."""
    from geomm.engine.logs import log_to
    from geomm.plugins import load_plugins

    load_plugins(config["plugins"])
    with log_to():
        package = load(config["model"])
        return package.predict(config["input"], output=config["output"], **config["inference"])


def package(config: dict[str, Any]) -> str:
    """Do what a resolved ``package`` config says; what ``geomm-package`` calls.

    Returns:
      What is to be told.

    Raises:
      PackageError: the package cannot be read, or, when it is verified, is not whole.
    """
    from geomm.engine.logs import log_to
    from geomm.packaging.show import show_package
    from geomm.packaging.verify import verify_package
    from geomm.plugins import installed_plugins, load_plugins

    load_plugins([*installed_plugins(), *config["plugins"]])
    if config["command"] == "show":
        return show_package(config["model"])
    if config["command"] == "verify":
        checks = verify_package(config["model"])
        wrong = [check for check in checks if check.problem is not None]
        if wrong:
            raise PackageError("\n".join(map(str, wrong)))
        return "\n".join(map(str, checks)) + "\n"
    with log_to():
        options = {key: config[key] for key in ("format", "window_px", "batch_size", "tolerance")}
        done = load(config["model"]).export(config["output"], **options)
    return f"{done.path}\n"


def export_chips(config: dict[str, Any]) -> ExportedChips:
    """Cut chips as a resolved ``export_chips`` config says; what ``geomm-export-chips`` calls."""
    from geomm.chips import export_chips as run
    from geomm.chips.options import ChipOptions
    from geomm.engine.logs import log_to
    from geomm.plugins import load_plugins

    load_plugins(config["plugins"])
    given = {key: value for key, value in config.items() if key not in ("dataset", "output", "plugins")}
    with log_to():
        return run(config["dataset"], config["output"], ChipOptions(**given))


def available(group: str, *, task: str | None = None) -> list[str]:
    """Return the names that a config group offers, geomm's own and those of loaded plugins.

    Args:
      group: ``task``, ``dataset``, ``backbone``, ``head``, ``loss``, ``schedule``, ``experiment``, …
      task: only the heads or datasets that serve this task.
    """
    from geomm.config.compose import config_dir
    from geomm.config.fitting import fitting_options
    from geomm.plugins import installed_plugins, load_plugins
    from geomm.registry import GROUPS

    load_plugins(installed_plugins())
    groups = sorted(path.name for path in config_dir().iterdir() if path.is_dir())
    if group not in groups:
        raise ConfigError(f"unknown group {group!r}; {did_you_mean(group, groups)}")
    from hydra.core.config_store import ConfigStore

    repo = ConfigStore.instance().repo
    tasks = {path.stem for path in (config_dir() / "task").glob("*.yaml")}
    tasks |= {name.removesuffix(".yaml") for name in repo.get("task", {})}
    if task is not None and task not in tasks:
        raise ConfigError(f"unknown task {task!r}; {did_you_mean(task, tasks)}")
    own = sorted(path.stem for path in (config_dir() / group).glob("*.yaml"))
    names = fitting_options(group, task) if task else own
    stored = repo.get(group, {}) if group in GROUPS else {}
    plugins = {name.removesuffix(".yaml"): entry.node for name, entry in stored.items()}
    fitting = (name for name, node in plugins.items() if not task or task in (node.get("tasks") or [task]))
    return sorted({*names, *fitting})
