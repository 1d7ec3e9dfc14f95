"""Every registry of geomm.

``MODELS``, ``DATASETS``, ``TRANSFORMS``, ``METRICS`` and ``HOOKS`` are children of mmengine's root
registries with the scope ``geomm``: a name registered here is built by the frameworks too
(``type: geomm.UNetHead`` inside an mmseg segmentor), and theirs are built here
(``type: mmdet.FocalLoss``). ``BACKBONES``, ``HEADS`` and ``LOSSES`` are views of
``MODELS`` that remember what kind of part a class is.

Nothing here imports torch.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from mmengine.registry import DATASETS as MMENGINE_DATASETS
from mmengine.registry import HOOKS as MMENGINE_HOOKS
from mmengine.registry import METRICS as MMENGINE_METRICS
from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import TRANSFORMS as MMENGINE_TRANSFORMS
from mmengine.registry import Registry

from geomm.errors import ConfigError, did_you_mean

T = TypeVar("T", bound=type)


def _child(parent: Registry, *locations: str) -> Registry:
    return Registry(parent.name, parent=parent, scope="geomm", locations=list(locations))


def _root(name: str, location: str) -> Registry:
    return Registry(f"geomm_{name}", scope="geomm", locations=[location])


class Kind:
    """A named part of a registry: the backbones among the models, say.

    Registering through it registers in the whole registry, so names stay unique across kinds.
    """

    def __init__(self, name: str, registry: Registry) -> None:
        self.name = name
        self.registry = registry
        self._names: dict[str, type] = {}

    def register_module(self, name: str | None = None) -> Callable[[T], T]:
        """Return a decorator that registers a class under its own name (or ``name``).

        Raises:
          KeyError: the name is taken.
        """

        def register(cls: T) -> T:
            self.registry.register_module(name=name, module=cls)
            self._names[name or cls.__name__] = cls
            return cls

        return register

    @property
    def names(self) -> tuple[str, ...]:
        """Registered names; importing the modules that register geomm's own first."""
        self.registry.import_from_location()
        return tuple(self._names)

    def get(self, name: str) -> type:
        """Return the class registered as ``name``, a framework's with its prefix (``mmseg.PSPHead``)."""
        return get(self.registry, name)

    def build(self, cfg: dict[str, Any], **kwargs: Any) -> Any:
        """Build the class that ``cfg['type']`` names from the rest of ``cfg`` and ``kwargs``."""
        return build(self.registry, cfg, **kwargs)


MODELS = _child(MMENGINE_MODELS, "geomm.models", "geomm.engine.averaging")
DATASETS = _child(MMENGINE_DATASETS, "geomm.datasets")
TRANSFORMS = _child(MMENGINE_TRANSFORMS, "geomm.transforms")
METRICS = _child(MMENGINE_METRICS, "geomm.metrics")
HOOKS = _child(MMENGINE_HOOKS, "geomm.engine.hooks", "geomm.engine.progress")

BACKBONES = Kind("backbone", MODELS)
HEADS = Kind("head", MODELS)
LOSSES = Kind("loss", MODELS)

TASKS = _root("task", "geomm.tasks")
READERS = _root("reader", "geomm.inference")
MERGERS = _root("merger", "geomm.inference")
WRITERS = _root("writer", "geomm.inference")
EXECUTORS = _root("executor", "geomm.inference")

#: Kinds that a user swaps by name on the command line, by config group.
GROUPS: dict[str, Kind | Registry] = {
    "task": TASKS,
    "dataset": DATASETS,
    "backbone": BACKBONES,
    "head": HEADS,
    "loss": LOSSES,
}


def get(registry: Registry, name: str) -> type:
    """Return the class registered as ``name``.

    Raises:
      ConfigError: no such name; lists the names there are and the nearest.
    """
    from geomm.models.frameworks import FRAMEWORKS, load_framework

    scope = name.partition(".")[0] if "." in name else ""
    if scope in FRAMEWORKS:
        load_framework(scope)
    found = registry.get(name)
    if found is None and scope in ("", "geomm"):
        _import_definition(registry, name.rpartition(".")[2])
        found = registry.get(name)
    if found is None:
        known = registry.parent.children.get(scope, registry) if registry.parent else registry
        prefix = f"{scope}." if known is not registry else ""
        names = [f"{prefix}{key}" for key in known.module_dict]
        kind = registry.name.removeprefix("geomm_")
        raise ConfigError(f"unknown {kind} {name!r}; {did_you_mean(name, names)}")
    return found  # type: ignore[no-any-return]


def _import_definition(registry: Registry, name: str) -> None:
    """Import the module that defines a class, found by its source: a new file needs no entry elsewhere."""
    definition = re.compile(rf"^class {re.escape(name)}\b", re.MULTILINE)
    for location in registry._locations:
        for folder in map(Path, getattr(importlib.import_module(location), "__path__", ())):
            for file in sorted(folder.rglob("*.py")):
                if file.stem != "__init__" and definition.search(file.read_text(encoding="utf-8")):
                    parts = file.relative_to(folder).with_suffix("").parts
                    importlib.import_module(".".join((location, *parts)))


def build(registry: Registry, cfg: dict[str, Any], **kwargs: Any) -> Any:
    """Build what ``cfg`` describes: the class that ``type`` names, called with the other keys.

    Args:
      registry: where ``type`` is looked up.
      cfg: plain dict with ``type``; not changed.
      kwargs: further arguments that configs do not hold (a spec, a task).

    Raises:
      ConfigError: unknown type.
    """
    arguments = {key: value for key, value in cfg.items() if key != "type"}
    return get(registry, str(cfg["type"]))(**arguments, **kwargs)
