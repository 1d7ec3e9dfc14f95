"""Where sample data lies, and making it once."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from geomm.errors import ConfigError, did_you_mean
from geomm.io.cache import cache_folder

Maker = Callable[[Path], dict[str, str]]
#: Makers of sample data by name; each fills a folder and returns its files by role.
SAMPLES: dict[str, Maker] = {}
#: Roles of layers to whose features a table's rows take their distance begin with this.
LAYER = "distance_to_"


@cache
def version() -> str:
    """Return a text that changes with the code that makes samples, so that older ones are made anew."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:8]


def sample(maker: Maker) -> Maker:
    """Register a maker under its own name."""
    SAMPLES[maker.__name__] = maker
    return maker


def samples_folder() -> Path:
    """Return where samples are kept: ``$GEOMM_CACHE/samples``, by default below ``~/.cache/geomm``."""
    return cache_folder("samples")


def _remove_leftovers(target: Path) -> None:
    """Remove what a process that has died left half made."""
    for folder in target.parent.glob(f".{target.name}.*"):
        process = folder.suffix[1:]
        if process.isdigit() and not _runs(int(process)):
            shutil.rmtree(folder, ignore_errors=True)


def _runs(process: int) -> bool:
    import psutil

    return bool(psutil.pid_exists(process))


def make(name: str, folder: Path | None = None) -> dict[str, str]:
    """Make a sample unless it is there already.

    Args:
      name: of the sample.
      folder: below which it is kept, ``samples_folder()`` by default.

    Returns:
      Paths by role: ``images``, ``labels``, and others that the sample has.

    Raises:
      ConfigError: no such sample.
      DependencyError: the sample needs a package that is not installed.
    """
    if name not in SAMPLES:
        raise ConfigError(f"dataset.sample: unknown {name!r}; {did_you_mean(name, SAMPLES)}")
    target = (folder or samples_folder()) / f"{name}-{version()}"
    index = target / "index.json"
    if not index.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        # Runs of a sweep may start at once: each makes its own, and the first to finish stays.
        _remove_leftovers(target)
        temporary = target.with_name(f".{target.name}.{os.getpid()}")
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        paths = SAMPLES[name](temporary)
        relative = {role: str(Path(path).relative_to(temporary)) for role, path in paths.items()}
        (temporary / "index.json").write_text(json.dumps(relative, indent=1), encoding="utf-8")
        try:
            temporary.rename(target)
        except OSError:
            shutil.rmtree(temporary)
    roles: Mapping[str, Any] = json.loads(index.read_text(encoding="utf-8"))
    return {role: str(target / path) for role, path in roles.items()}


def sample_root(name: str) -> str:
    """Return the folder that a sample's files lie in, made if it is not there yet.

    Raises:
      ConfigError: there is no such sample, or it has no folder of files.
    """
    made = make(name)
    if "root" not in made:
        raise ConfigError(f"dataset.sample: {name} has no folder of files; it has {', '.join(made)}")
    return made["root"]
