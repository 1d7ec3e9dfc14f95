"""Reaching a Ray cluster, or starting one on this machine."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import Any

from geomm.errors import GeommError


def connect(address: str | None = None, *, cpus: int | None = None) -> Any:
    """Return the module ``ray``, connected to a cluster.

    Args:
      address: of a cluster, ``auto`` for the one that this machine belongs to; None for what the environment
        variable RAY_ADDRESS says, else one that is started here and ends with this process.
      cpus: cores that a cluster started here has, None for all of the machine.

    Raises:
      GeommError: Ray is not installed, or no cluster answers.
    """
    # Of its own accord Ray reports to its makers, and draws lines about itself between ours.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        raise GeommError("Ray is not installed: pip install 'geomm[ray]'") from error
    if ray.is_initialized():
        return ray
    address = address or os.environ.get("RAY_ADDRESS") or None
    options: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    if address is None:
        _let_workers_import()
        # Ray makes its workers yield to everything else; here they do what the command itself would.
        os.environ.setdefault("RAY_worker_niceness", "0")
        options |= {"address": "local", "num_cpus": cpus, "include_dashboard": False}
    else:
        options["address"] = address
    try:
        ray.init(**options)
    except (ConnectionError, RuntimeError, ValueError) as error:
        where = f"at {address!r}" if address else "on this machine"
        reason = " ".join(str(error).split())[:200]
        raise GeommError(
            f"no Ray cluster {where} ({reason}); start one with `ray start --head`, or leave the address out"
        ) from error
    return ray


def _let_workers_import() -> None:
    """Let the workers that are started here find the modules that this process finds."""
    here = [str(Path(__file__).resolve().parents[2]), *(path for path in sys.path if path)]
    before = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys([*here, *before]))
