"""The folder of a run that begins: it is made, and what an earlier run left there goes or is gone on with."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process

from geomm.engine.distributed import gathered, in_turns
from geomm.engine.run_folder import (
    LAST,
    METRICS_FILE,
    check_own,
    forget_run,
    read_earlier,
    read_metrics,
    write_config,
)
from geomm.engine.runner import check_same_model
from geomm.structures import FittedAtOnce

_LOG = logging.getLogger("geomm")


def prepare_folder(folder: Path, config: dict[str, Any]) -> None:
    """Make a run's folder, with its config in it; that of an earlier run's results stays until they go.

    Raises:
      GeommError: files that no run wrote are there under the names of a run's.
    """
    check_own(folder)
    gathered(None)  # before the first process writes
    if is_main_process():
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / METRICS_FILE).is_file():
            write_config(folder, config)
    gathered(None)  # the others find the folder


def begin(folder: Path, config: dict[str, Any], model: Any) -> None:
    """Let the folder be this run's: what an earlier one came to goes, unless it is gone on with.

    Called when data and model are there, so that a mistake in them costs no earlier result.

    Raises:
      GeommError: the run that is to be gone on with was of another model.
    """

    def settle() -> None:
        if not is_main_process():
            return
        if not (config["resume"] and (folder / LAST).is_file()):
            _tell_what_goes(folder)
            forget_run(folder)
        else:
            if not isinstance(model, FittedAtOnce):
                check_same_model(model, folder / LAST)
            earlier = read_earlier(folder, config)
            if earlier is not None and earlier.changed:  # more epochs, say: this run has no result yet
                (folder / METRICS_FILE).unlink(missing_ok=True)
        write_config(folder, config)

    in_turns(settle)


def _tell_what_goes(folder: Path) -> None:
    """Say of a run that comes to its end here what it had come to."""
    metrics = read_metrics(folder)
    if metrics is not None:
        monitor = metrics["monitor"]
        _LOG.warning(
            "%s holds an earlier run (%s %s), whose place this one takes; resume=true would go on with it",
            *(folder, monitor["name"], monitor["value"]),
        )
