"""Building a model from a config that anyone may have written.

A package's config names registered classes and their arguments, and that is all it may do. mmengine would
also import whatever a dotted name means and call it, run files of configs, and read weights that a part's
``init_cfg`` names, as a pickle if they are one.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from geomm.errors import ConfigError

_FORCE = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
_LOCK = threading.RLock()
#: Names of weights, and what stands in their place: the package brings its own.
_NO_WEIGHTS = {"pretrained": False, "checkpoint": None}


@contextmanager
def registered_alone() -> Iterator[None]:
    """Let configs build registered classes alone, from the frameworks' own files and tensors, for a while."""
    from mmengine.config import Config
    from mmengine.registry import registry

    def read_own(filename: Any, *args: Any, **options: Any) -> Any:
        if not _is_of_a_framework(Path(filename)):
            raise ConfigError(f"{filename}: a package runs no file; train again, so that it has all it needs")
        return read_config(filename, *args, **options)

    with _LOCK:
        import_by_name, force = registry.get_object_from_string, os.environ.get(_FORCE)
        read_config = Config.fromfile
        registry.get_object_from_string = lambda name: None
        Config.fromfile = staticmethod(read_own)
        os.environ[_FORCE] = "1"
        try:
            yield
        finally:
            registry.get_object_from_string = import_by_name
            Config.fromfile = staticmethod(read_config)
            if force is None:
                del os.environ[_FORCE]
            else:
                os.environ[_FORCE] = force


def _is_of_a_framework(file: Path) -> bool:
    from geomm.models.frameworks import FRAMEWORKS

    loaded = [sys.modules[name] for name in FRAMEWORKS if name in sys.modules]
    return any(Path(str(module.__file__)).resolve().parent in file.resolve().parents for module in loaded)


def without_weights(part: Any) -> Any:
    """Return the config of a part without what would fetch or read weights, at any depth."""
    if isinstance(part, list | tuple):
        return [without_weights(item) for item in part]
    if not isinstance(part, Mapping):
        return part
    kept = {key: without_weights(value) for key, value in part.items() if not _is_start(key, value)}
    for key, nothing in _NO_WEIGHTS.items():
        if key in kept:
            kept[key] = nothing if key != "pretrained" or isinstance(kept[key], bool) else None
    return kept


def _is_start(key: str, value: Any) -> bool:
    """Return whether an item says to start from weights: those of another model, or none of geomm's."""
    starts = value if isinstance(value, list | tuple) else [value]
    return key == "init_cfg" and any(
        isinstance(item, Mapping) and item.get("type") == "Pretrained" for item in starts
    )
