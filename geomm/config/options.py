"""The options of inference: the config group's defaults, changed by what a caller gives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from geomm.config.compose import config_dir
from geomm.config.rules import rule_problems
from geomm.errors import ConfigError, Problem, did_you_mean


def inference_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return every inference option, the given ones in place of the defaults.

    Raises:
      ConfigError: an option that there is not, or a value it cannot have.
    """
    defaults = OmegaConf.load(config_dir() / "inference" / "default.yaml")
    assert isinstance(defaults, DictConfig)
    known = [str(key) for key in defaults]
    problems = [
        Problem(f"inference.{key}", f"unknown option; {did_you_mean(key, known, limit=30)}")
        for key in given
        if key not in known
    ]
    if problems:
        raise ConfigError(problems)
    merged = {**{str(k): v for k, v in OmegaConf.to_container(defaults).items()}, **given}  # type: ignore[union-attr]
    problems = rule_problems("infer", OmegaConf.create({"inference": merged}))
    if problems:
        raise ConfigError(problems)
    return merged
