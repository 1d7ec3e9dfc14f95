"""The options of inference: those of the model's task, changed by what a caller gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from omegaconf import OmegaConf

from geomm.config.compose import compose, config_dir, hydra_session
from geomm.config.fitting import task_name
from geomm.config.problems import rule_problems
from geomm.errors import ConfigError, GeommError, Problem, did_you_mean


def inference_options(given: Mapping[str, Any], task: str) -> dict[str, Any]:
    """Return every inference option of a task, the given ones in place of the defaults.

    Raises:
      ConfigError: an option that there is not, or a value it cannot have.
    """
    with hydra_session():
        composed = compose("infer", [f"inference={options_file(task)}"]).inference
    defaults: dict[str, Any] = OmegaConf.to_container(composed)  # type: ignore[assignment]
    problems = [
        Problem(f"inference.{key}", f"unknown option; {did_you_mean(key, defaults, limit=30)}")
        for key in given
        if key not in defaults
    ]
    if problems:
        raise ConfigError(problems)
    merged = {**defaults, **given}
    problems = rule_problems("infer", OmegaConf.create({"inference": merged}))
    if problems:
        raise ConfigError(problems)
    return merged


def options_file(task: str) -> str:
    """Return the name of a task's file in the group ``inference``; ``default`` where it has none."""
    return task if (config_dir() / "inference" / f"{task}.yaml").is_file() else "default"


def with_task_options(overrides: Sequence[str]) -> list[str]:
    """Add ``inference=TASK`` to a command line, from the package that it names.

    A package that cannot be read is left for later: reading it as a whole says what is wrong.
    """
    given = [text for text in overrides if text.startswith("model=")]
    if len(given) != 1 or any(text.startswith("inference=") for text in overrides):
        return list(overrides)
    from geomm.packaging.archive import read_config

    try:
        config = read_config(given[0].partition("=")[2].strip("'\""))
    except GeommError:
        return list(overrides)
    return [*overrides, f"inference={options_file(task_name(config))}"]
