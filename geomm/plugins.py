"""Plugins: modules of the user's own that register classes with geomm's decorators.

They are named on the command line (``plugins=[my_module]``) or found by the entry-point group
``geomm.plugins``. A class that a plugin registers can be named in its group at once
(``head=MyHead``); a package that brings a ``configs`` folder adds its files to the groups.
"""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Sequence
from importlib.metadata import entry_points
from types import ModuleType
from typing import Any

from geomm.errors import ConfigError, GeommError, did_you_mean
from geomm.registry import GROUPS, Kind

ENTRY_POINT_GROUP = "geomm.plugins"
#: Constructor arguments that geomm fills in while building, and that no config holds.
WIRED = frozenset(
    {
        "augment",
        "channels",
        "features",
        "in_channels",
        "in_chans",
        "in_index",
        "num_classes",
        "out_channels",
        "scale",
        "seed",
        "spec",
        "target",
        "task",
        "upscale",
        "upscale_factor",
    }
)
#: Keys of a part's config that geomm reads itself, beside the arguments of its type: of any part, of a head
#: over maps, of a detector, of a network that enlarges.
PART_KEYS = ("type", "tasks")
HEAD_KEYS = (*PART_KEYS, "stages", "output_stride")
DETECTOR_KEYS = (
    *(*PART_KEYS, "config", "strides", "backbone_init", "object_px"),
    *("score_threshold", "max_objects", "nms_iou", "checkpoint"),
)
ENLARGER_KEYS = (*PART_KEYS, "scale", "residual", "multiple_px", "checkpoint", "adversarial")
#: All of them, with a backbone's and a loss's.
OWN_KEYS = frozenset({*HEAD_KEYS, *DETECTOR_KEYS, *ENLARGER_KEYS, "name", "share"})


def installed_plugins() -> tuple[str, ...]:
    """Return the modules that installed packages name as plugins."""
    return tuple(point.value.partition(":")[0] for point in entry_points(group=ENTRY_POINT_GROUP))


def named_plugins(overrides: Sequence[str]) -> list[str]:
    """Return the modules that ``plugins=[…]`` on a command line and installed packages name."""
    named: list[str] = []
    for text in overrides:
        if text.startswith(("plugins=", "+plugins=")):
            items = text.partition("=")[2].strip().strip("[]").split(",")
            named += [item.strip().strip("'\"") for item in items if item.strip()]
    return list(dict.fromkeys([*installed_plugins(), *named]))


def load_plugins(modules: Sequence[str]) -> None:
    """Import plugin modules, from the working directory too, and name their classes in Hydra.

    Raises:
      ConfigError: a module cannot be found.
      GeommError: a module fails while it is imported.
    """
    if modules and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    before = {group: set(_names(group)) for group in GROUPS} if modules else {}
    for module in modules:
        _register_definitions(_import(module))
    for group, known in before.items():
        for name in _names(group):
            if name not in known:
                _name_in_hydra(group, name)


def _import(module: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module and error.name != module.partition(".")[0]:
            raise GeommError(f"plugin {module!r} needs {error.name!r}: pip install it") from error
        beside = [p[:-3] for p in os.listdir() if p.endswith(".py")]
        raise ConfigError(
            f"plugins: no module {module!r} on the path or in {os.getcwd()}; {did_you_mean(module, beside)}"
        ) from error


def _register_definitions(module: ModuleType) -> None:
    """Register a module's classes with the methods of arcgis.learn's ModelExtension, as they are."""
    classes = [item for item in vars(module).values() if inspect.isclass(item)]
    own = [item for item in classes if item.__module__ == module.__name__ and hasattr(item, "on_batch_begin")]
    if not own:
        return
    from geomm.models.external import extend
    from geomm.models.model_extension import has_methods, task_of

    for item in own:
        if has_methods(item) and not inspect.isabstract(item) and item.__name__ not in _names("head"):
            extend(task_of(item))(item)


def _names(group: str) -> list[str]:
    registry = GROUPS[group]
    return list(registry._names if isinstance(registry, Kind) else registry.module_dict)


def _name_in_hydra(group: str, name: str) -> None:
    from hydra.core.config_store import ConfigStore

    registry = GROUPS[group]
    cls = registry._names[name] if isinstance(registry, Kind) else registry.module_dict[name]
    node = {**_extension_node(cls), "type": name, **default_options(cls)}
    ConfigStore.instance().store(group=group, name=name, node=node, provider="plugin")


def _extension_node(cls: Any) -> dict[str, Any]:
    """Return what the config of an external network has beside its options: it brings its own backbone."""
    extension = getattr(cls, "extends", None)
    if extension is None:
        return {}
    unused = ["backbone", *(["loss"] if extension.own_loss else [])]
    return {
        "defaults": [{f"override /{group}@_global_.{group}": None} for group in unused],
        "tasks": [extension.task],
        **extension.options,
    }


def default_options(cls: type) -> dict[str, Any]:
    """Return a class's options as a config would list them: defaults, ``???`` where there is none."""
    plain = (type(None), bool, int, float, str, list, dict)
    options: dict[str, Any] = {}
    for name, parameter in inspect.signature(cls).parameters.items():
        if name in WIRED or parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            continue
        if parameter.default is parameter.empty:
            options[name] = "???"
        elif isinstance(parameter.default, plain):
            options[name] = parameter.default
        elif isinstance(parameter.default, tuple):
            options[name] = list(parameter.default)
    return options
