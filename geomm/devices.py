"""The device that an option of a config names."""

from __future__ import annotations

import torch

from geomm.config.processes import local_rank, process_count
from geomm.errors import ConfigError, GeommError, Problem


def choose_device(name: str, option: str) -> torch.device:
    """Return a device.

    Args:
      name: ``auto``, ``cpu``, ``cuda`` or, of several GPUs, ``cuda:1``; of several processes on one machine
        each has its own GPU by the first two.
      option: that holds the name, for errors.

    Raises:
      ConfigError: no device is called so.
      GeommError: the device is not there.
    """
    if name in ("auto", "cuda") and torch.cuda.is_available():
        return torch.device("cuda", local_rank()) if process_count() > 1 else torch.device("cuda")
    if name == "auto":
        return torch.device("cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError([Problem(option, f"found {name!r}, expected auto, cpu or cuda")]) from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise GeommError(f"{option}={name}: torch sees no GPU; use {option}=cpu or auto")
    return device
