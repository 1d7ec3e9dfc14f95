"""The second check: every named type exists and takes the arguments it is given.

It imports torch and the one framework that the config names, and reads no data.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from geomm.config.check import iter_typed
from geomm.errors import ConfigError, Problem, did_you_mean
from geomm.plugins import OWN_KEYS, WIRED
from geomm.registry import DATASETS, HOOKS, METRICS, MODELS, TASKS, TRANSFORMS, get

#: Where in the config a type is looked up in which registry; the first prefix that fits counts.
_REGISTRIES = {
    "task.metrics.": METRICS,
    "task.": TRANSFORMS,
    "task": TASKS,
    "dataset": DATASETS,
    "backbone": MODELS,
    "head": MODELS,
    "loss": MODELS,
    "hooks.": HOOKS,
}
#: Keys that mmcv reads from a layer's config beside the layer's arguments, by what the config is called.
_LAYER_KEYS = {"norm_cfg": {"requires_grad"}}


def check_arguments(config: Mapping[str, Any]) -> None:
    """Check every type of a resolved config.

    Raises:
      ConfigError: unknown types and unknown or missing arguments, all of them, one line each.
    """
    problems: list[Problem] = []
    for path, node in iter_typed(config):
        framework = _framework_around(path, config)
        problems += _check_part(path, node, framework) if framework else _check(path, node)
    problems += [*_check_optimizer(config), *_check_published(config)]
    if problems:
        raise ConfigError(problems)


def _check_published(config: Mapping[str, Any]) -> Iterator[Problem]:
    """A config that mmdet does not bring."""
    head = config.get("head") or {}
    if head.get("config") and str(head.get("type", "")).startswith("mmdet."):
        from geomm.models.objects.wiring import complete_head

        try:
            complete_head(head)
        except ConfigError as error:
            yield from error.problems


def _check(path: str, node: Mapping[str, Any]) -> Iterator[Problem]:
    registry = next((r for prefix, r in _REGISTRIES.items() if _under(path, prefix)), None)
    if registry is None:
        return
    try:
        cls = get(registry, node["type"])
    except ConfigError as error:
        yield Problem(f"{path}.type", _detector_hint(path, node) or str(error))
        return
    yield from signature_problems(path, cls, node)


def _detector_hint(path: str, node: Mapping[str, Any]) -> str:
    """Return what mmdet's detectors are called where a head names none of them; else nothing."""
    name = str(node["type"])
    if path != "head" or not name.startswith("mmdet."):
        return ""
    from mmdet.models.detectors import BaseDetector
    from mmdet.registry import MODELS as PARTS

    found = [f"mmdet.{key}" for key, cls in PARTS.module_dict.items() if _is_a(cls, BaseDetector)]
    return f"unknown detector {name!r}; {did_you_mean(name, found)}"


def _is_a(cls: Any, base: type) -> bool:
    return inspect.isclass(cls) and issubclass(cls, base)


def _framework_around(path: str, config: Mapping[str, Any]) -> str | None:
    """Return the framework whose detector a part belongs to: its parts have no prefix, as in its configs."""
    if not path.startswith("head."):
        return None
    scope = str((config.get("head") or {}).get("type", "")).partition(".")[0]
    return scope if scope == "mmdet" else None


def _check_part(path: str, node: Mapping[str, Any], scope: str) -> Iterator[Problem]:
    """Check a part of a framework's detector: a model, or a tool such as an assigner."""
    from mmengine.registry import MODELS as ROOT_MODELS
    from mmengine.registry import TASK_UTILS as ROOT_TASK_UTILS

    from geomm.models.frameworks import load_framework

    if path.rpartition(".")[2] in ("nms", "init_cfg", "roi_layer"):
        return  # operators, and ways to initialise: in other registries
    load_framework(scope)
    registries = [root.children[scope] for root in (ROOT_MODELS, ROOT_TASK_UTILS)]
    name = str(node["type"])
    cls = next((found for registry in registries if (found := registry.get(name)) is not None), None)
    if cls is None:
        names = [key for registry in registries for key in registry.module_dict]
        yield Problem(f"{path}.type", f"{scope} has no part {name!r}; {did_you_mean(name, names)}")
        return
    yield from signature_problems(path, cls, node)


def _under(path: str, prefix: str) -> bool:
    return path.startswith(prefix) if prefix.endswith(".") else path.split(".")[0] == prefix


def signature_problems(path: str, cls: type, node: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield the arguments of ``node`` that ``cls`` does not take, and those it lacks."""
    allowed, required, open_ended = constructor_arguments(cls)
    open_ended = open_ended or bool(getattr(getattr(cls, "extends", None), "open_ended", False))
    given = {str(key) for key in node} - OWN_KEYS - _LAYER_KEYS.get(path.rpartition(".")[2], set())
    if not open_ended:
        for name in sorted(given - allowed):
            options = allowed - WIRED
            yield Problem(
                f"{path}.{name}",
                f"{node['type']} has no argument {name!r}; {did_you_mean(name, options, limit=30)}",
            )
    framework = not cls.__module__.startswith("geomm.")
    for name in sorted(required - set(map(str, node)) - WIRED):
        if not (framework and path.split(".")[0] in ("head", "backbone")):
            yield Problem(f"{path}.{name}", f"{node['type']} needs {name!r}; give {path}.{name}=…")


def constructor_arguments(cls: type) -> tuple[set[str], set[str], bool]:
    """Return a class's argument names, the required ones, and whether it takes any other.

    A constructor that passes ``**kwargs`` on is followed to its base classes.
    """
    allowed: set[str] = set()
    required: set[str] = set()
    first = True
    for base in inspect.getmro(cls):
        if "__init__" not in vars(base):
            continue
        open_ended = False
        for name, parameter in list(inspect.signature(base.__init__).parameters.items())[1:]:  # type: ignore[misc]
            if parameter.kind is parameter.VAR_KEYWORD:
                open_ended = True
            elif parameter.kind is not parameter.VAR_POSITIONAL:
                allowed.add(name)
                if parameter.default is parameter.empty and first:
                    required.add(name)
        first = False
        if not open_ended or base.__module__.startswith("torch.nn"):
            return allowed, required, False
    return allowed, required, True


def _check_optimizer(config: Mapping[str, Any]) -> Iterator[Problem]:
    optimizer = (config.get("schedule") or {}).get("optimizer")
    if not isinstance(optimizer, Mapping):
        return
    from mmengine.optim import OPTIMIZERS

    name = str(optimizer.get("type"))
    cls = OPTIMIZERS.get(name)
    if cls is None:
        names = [key for key in OPTIMIZERS.module_dict if key[0].isupper()]
        yield Problem(
            "schedule.optimizer.type",
            f"unknown optimizer {name!r}; {did_you_mean(name, names, limit=30)}",
        )
        return
    allowed, _, open_ended = constructor_arguments(cls)
    for key in sorted(set(map(str, optimizer)) - allowed - {"type"}):
        if not open_ended:
            yield Problem(
                f"schedule.optimizer.{key}",
                f"{name} has no argument {key!r}; {did_you_mean(key, allowed - {'params'}, limit=30)}",
            )
