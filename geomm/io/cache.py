"""Where files lie that can be made again."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder(name: str) -> Path:
    """Return the folder of a kind: ``$GEOMM_CACHE/NAME``, by default below ``~/.cache/geomm``."""
    root = os.environ.get("GEOMM_CACHE") or Path(os.environ.get("XDG_CACHE_HOME", "~/.cache"), "geomm")
    return Path(root).expanduser() / name
