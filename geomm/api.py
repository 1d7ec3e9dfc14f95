"""geomm from Python: what the command lines do, as functions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geomm.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from geomm.engine.learner import Data
    from geomm.inference import PredictionReport
    from geomm.packaging import Package
    from geomm.packaging.export import Exported


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


def export(config: dict[str, Any]) -> Exported:
    """Export from a resolved ``export`` config; what ``geomm-export`` calls."""
    from geomm.engine.logs import log_to
    from geomm.plugins import load_plugins

    load_plugins(config["plugins"])
    with log_to():
        package = load(config["model"])
        options = {key: config[key] for key in ("format", "window_px", "batch_size", "tolerance")}
        return package.export(config["output"], **options)


def available(group: str, *, task: str | None = None) -> list[str]:
    """Return the names that a config group offers, geomm's own and those of loaded plugins.

    Args:
      group: ``task``, ``dataset``, ``backbone``, ``head``, ``loss``, ``schedule``, ``experiment``, …
      task: only the heads or datasets that serve this task.
    """
    from geomm.config.compose import config_dir
    from geomm.config.rules import fitting_options
    from geomm.plugins import installed_plugins, load_plugins
    from geomm.registry import GROUPS

    load_plugins(installed_plugins())
    groups = sorted(path.name for path in config_dir().iterdir() if path.is_dir())
    if group not in groups:
        raise ConfigError(f"unknown group {group!r}; {did_you_mean(group, groups)}")
    own = sorted(path.stem for path in (config_dir() / group).glob("*.yaml"))
    names = fitting_options(group, task) if task else own
    from hydra.core.config_store import ConfigStore

    stored = ConfigStore.instance().repo.get(group, {}) if group in GROUPS else {}
    return sorted({*names, *(name.removesuffix(".yaml") for name in stored)})
