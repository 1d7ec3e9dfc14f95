"""Sweeps that go on where they were: the same command in the same folder trains what is not yet trained."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from geomm.engine.logs import log_to
from geomm.engine.run_folder import FAILURE_FILE, forget_run, read_earlier, record_failure
from geomm.errors import ConfigError, GeommError, Problem

_LOG = logging.getLogger("geomm")
#: What Hydra writes into a sweep's folder when it starts.
SWEEP_FILE = "multirun.yaml"


def check_same_sweep(overrides: Sequence[str]) -> None:
    """Check that a sweep's folder is empty or of the same sweep: numbers of runs mean nothing in another.

    Args:
      overrides: the command line.

    Raises:
      ConfigError: another sweep was begun in ``work_dir``.
    """
    given = {_key(text): text for text in overrides}
    folder = given.get("work_dir", "").partition("=")[2].strip("'\"")
    file = Path(folder) / SWEEP_FILE
    if not folder or not file.is_file():
        return
    from omegaconf import OmegaConf

    before = OmegaConf.select(OmegaConf.load(file), "hydra.overrides.task") or []
    old = {_plain(text) for text in before}
    new = {_plain(text) for text in overrides if not _key(text).startswith("hydra")}
    if old != new:
        other = ", ".join(sorted(old ^ new))
        message = (
            f"{folder!r} holds another sweep (not in both: {other}); give another work_dir, or type the same "
            "choices to go on with that sweep"
        )
        raise ConfigError([Problem("work_dir", message)])


def _key(text: str) -> str:
    return str(text).lstrip("+~").partition("=")[0]


def _plain(text: Any) -> str:
    return str(text).lstrip("+")


def train_once(config: dict[str, Any]) -> float:
    """Train one run of a sweep unless that is done, go on with it if it was begun; return its score.

    A mistake in the run's own choices is kept beside it and gives NaN, so that the other runs go on.
    """
    folder = Path(config["work_dir"])
    earlier = read_earlier(folder, config)
    if earlier is not None and not earlier.changed and earlier.metrics is not None:
        monitor = earlier.metrics["monitor"]
        with log_to():
            _LOG.info("%s is done: %s %s, not trained again", folder, monitor["name"], monitor["value"])
        return math.nan if monitor["value"] is None else float(monitor["value"])
    if earlier is not None and earlier.changed:
        with log_to():
            _LOG.warning(
                "%s was trained with another %s; training it anew", folder, ", ".join(earlier.changed)
            )
        forget_run(folder)
        earlier = None
    resume = config["resume"] or (earlier is not None and earlier.has_checkpoint)
    (folder / FAILURE_FILE).unlink(missing_ok=True)
    from geomm.engine.training import train

    try:
        return train({**config, "resume": resume}).score
    except GeommError as error:
        record_failure(folder, str(error))
        with log_to():
            _LOG.error("error: %s", error)
        return math.nan
