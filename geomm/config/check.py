"""The check that needs no torch: names, keys, values and paths, every mistake at once.

The command line is checked against the config groups before Hydra sees it, because Hydra stops at
the first mistake and this must not.
"""

from __future__ import annotations

import copy
import importlib.util
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from hydra._internal.config_repository import ConfigRepository
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType, ValueType
from hydra.errors import HydraException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from geomm.config.compose import compose, hydra_session, plugin_config_dirs
from geomm.config.detected import Detected, detected_dataset, is_auto
from geomm.config.problems import rule_problems
from geomm.errors import Problem, did_you_mean

#: Launchers and sweepers that need more than geomm itself: the module, and the extra that brings it.
_NEEDS = {
    "joblib": ("hydra_plugins.hydra_joblib_launcher", "sweeps"),
    "slurm": ("hydra_plugins.hydra_submitit_launcher", "sweeps"),
    "ray": ("ray", "ray"),
    "optuna": ("optuna", "sweeps"),
}


@dataclass(frozen=True)
class Checked:
    """What the check found: the problems, the command line as Hydra is to see it, and what to tell."""

    problems: tuple[Problem, ...]
    overrides: tuple[str, ...]
    notes: tuple[str, ...] = ()


def check(root: str, overrides: Sequence[str], plugins: Sequence[str] = ()) -> Checked:
    """Check a command line against ``root``'s groups and values.

    Args:
      root: name of the root config, ``train`` or ``infer``.
      overrides: the command line, in Hydra's syntax; sweeps are checked choice by choice.
      plugins: modules already imported whose config folders count too.

    Returns:
      Every problem found, and the overrides with the additions that open mappings need.
    """
    with hydra_session():
        parsed, problems = _parse(overrides)
        groups = _Groups(root, plugins)
        chosen, values = groups.split(parsed)
        problems += groups.problems(chosen)
        base = _compose_chosen(root, [item for item in chosen if groups.exists(item)], plugins, problems)
        if base is None:
            return Checked(tuple(problems), tuple(overrides))
        if root == "train" and is_auto(base):
            return _check_detected(root, detected_dataset(parsed, base), plugins, problems)
        additions = _apply(base, values, problems)
        # Hydra's word for a group of which nothing is wanted.
        additions |= {str(item.input_line): (f"~{_key(item)}",) for item in chosen if item.value() is None}
        # What a wrong name brings with it (its own missing values) is not a mistake of its own.
        if not any(problem.path in groups.names for problem in problems):
            problems += _missing(base)
        problems += rule_problems(root, base)
        known = [item for item in chosen if groups.exists(item) and not _key(item).startswith("hydra/")]
        problems += _other_choices(root, known, values, base, plugins)
        if root == "infer" and any(problem.path == "model" for problem in problems):
            # Which options there are, the model says.
            problems = [problem for problem in problems if not problem.path.startswith("inference.")]
        final = tuple(part for text in overrides for part in additions.get(text, (text,)))
    return Checked(tuple(_unique(problems)), final)


def _check_detected(
    root: str, detected: Detected, plugins: Sequence[str], problems: Sequence[Problem]
) -> Checked:
    """Check the command line that names what ``dataset=auto`` found."""
    if detected.problem is not None:
        return Checked(tuple(_unique([*problems, detected.problem])), ())
    checked = check(root, detected.overrides, plugins)
    found = _unique([*problems, *checked.problems])
    return Checked(tuple(found), checked.overrides, (detected.note, *checked.notes))


def _unique(problems: Iterable[Problem]) -> list[Problem]:
    return list(dict.fromkeys(problems))


def _parse(overrides: Sequence[str]) -> tuple[list[Override], list[Problem]]:
    parser, parsed, problems = OverridesParser.create(), [], []
    for text in overrides:
        try:
            parsed += parser.parse_overrides([text])
        except (OverrideParseException, HydraException) as error:
            if "=" not in text:
                problems.append(Problem(text, "expected name=value, such as head=unet"))
            else:
                reason = str(error).splitlines()[-1].strip()
                name, _, value = text.partition("=")
                quoted = f"\"{name}='{value}'\""
                problems.append(Problem(text, f"cannot be read ({reason}); quote the value too: {quoted}"))
    return parsed, problems


def _choices(override: Override) -> list[Any]:
    """Return the values an override stands for: one, or every point of a sweep."""
    if override.value_type in (ValueType.CHOICE_SWEEP, ValueType.SIMPLE_CHOICE_SWEEP):
        return list(override.sweep_iterator())
    if override.is_sweep_override():
        return []  # ranges and intervals: numbers, whose bounds the sweeper knows
    return [override.value()]


def _key(override: Override) -> str:
    return str(override.key_or_group)


class _Groups:
    """The config groups of a root and the names in each."""

    def __init__(self, root: str, plugins: Sequence[str]) -> None:
        paths = plugin_config_dirs(plugins)
        search = [f"hydra.searchpath=[{','.join(paths)}]"] if paths else []
        hydra = GlobalHydra.instance().hydra
        assert hydra is not None
        loader = hydra.config_loader
        config = loader.load_configuration(root, overrides=search, run_mode=RunMode.RUN)
        search_path = copy.deepcopy(loader.get_search_path())
        for path in paths:
            search_path.append("plugin", path)
        self._repository = ConfigRepository(search_path)
        self._root_keys = {str(key) for key in config if key != "hydra"}
        self._options = {
            name: self._listed(name)
            for name in loader.list_groups("")
            if name in self._root_keys or name in ("experiment", "loss")
        }

    def _listed(self, group: str) -> list[str]:
        return list(self._repository.get_group_options(group, ObjectType.CONFIG))

    @property
    def names(self) -> set[str]:
        return set(self._options)

    def split(self, parsed: Sequence[Override]) -> tuple[list[Override], list[Override]]:
        chosen = [item for item in parsed if self._is_group(_key(item))]
        return chosen, [item for item in parsed if not self._is_group(_key(item))]

    def _is_group(self, key: str) -> bool:
        return key in self._options or key.startswith("hydra/")

    def exists(self, override: Override) -> bool:
        return not self.problems([override])

    def problems(self, chosen: Sequence[Override]) -> list[Problem]:
        found = []
        for override in chosen:
            lacking = _lacking(override)
            if lacking is not None:
                found.append(lacking)
                continue
            options = self._options.get(_key(override))
            if options is None:
                options = self._listed(_key(override))
            for value in _choices(override):
                names = [value] if isinstance(value, str) else []
                if value is not None and (not names or names[0] not in options):
                    shown = names[0] if names else value
                    found.append(
                        Problem(
                            _key(override),
                            f"unknown {shown!r}; {did_you_mean(str(shown), options)}",
                        )
                    )
        return found


def _other_choices(
    root: str,
    chosen: Sequence[Override],
    values: Sequence[Override],
    base: DictConfig,
    plugins: Sequence[str],
) -> Iterator[Problem]:
    """Yield the problems of a sweep's further choices, each beside the first choices of all others."""
    for item in values:
        for value in _choices(item)[1:]:
            other = copy.deepcopy(base)
            problem = _put(other, _key(item), value)
            yield from rule_problems(root, other) if problem is None else [problem]
    for item in chosen:
        for value in _choices(item)[1:]:
            others = [f"{_key(item)}={value}", *(_first_choice(one) for one in chosen if one is not item)]
            found: list[Problem] = []
            composed = _compose_named(root, others, plugins, found)
            if composed is not None:
                _apply(composed, values, found)
                found += [*_missing(composed), *rule_problems(root, composed)]
            yield from found


def _lacking(override: Override) -> Problem | None:
    """Return what a launcher or sweeper lacks that is not installed."""
    value = _choices(override)[0] if _key(override).startswith("hydra/") and _choices(override) else None
    module, extra = _NEEDS.get(str(value), (None, None))
    if module is None or importlib.util.find_spec(module) is not None:
        return None
    return Problem(_key(override), f"{value} is not installed: pip install 'geomm[{extra}]'")


def _first_choice(override: Override) -> str:
    choices = _choices(override)
    value = choices[0] if choices else None
    return f"~{_key(override)}" if value is None else f"{_key(override)}={value}"


def _compose_chosen(
    root: str, chosen: Sequence[Override], plugins: Sequence[str], problems: list[Problem]
) -> DictConfig | None:
    names = [_first_choice(item) for item in chosen if not _key(item).startswith("hydra/")]
    return _compose_named(root, names, plugins, problems)


def _compose_named(
    root: str, names: Sequence[str], plugins: Sequence[str], problems: list[Problem]
) -> DictConfig | None:
    try:
        return compose(root, names, plugins)
    except (HydraException, OmegaConfBaseException) as error:
        problems.append(Problem("", str(error).splitlines()[0]))
        return None


def _apply(
    base: DictConfig, values: Sequence[Override], problems: list[Problem]
) -> dict[str, tuple[str, ...]]:
    """Put the values into ``base``, noting unknown keys; return the rewritten overrides."""
    additions: dict[str, tuple[str, ...]] = {}
    for override in values:
        key = _key(override)
        if key.startswith("hydra."):
            continue
        added = override.type is not OverrideType.CHANGE
        if not added:
            problem, opens = _unknown_key(base, key)
            if problem is not None:
                problems.append(problem)
                continue
            opens = opens or _fills_open_mapping(base, key, override)
            if opens and override.input_line is not None:
                additions[override.input_line] = (f"++{override.input_line}",)
            if _replaces(base, key, override) and override.input_line is not None:
                additions[override.input_line] = (f"~{key}", f"+{override.input_line}")
        for value in _choices(override)[:1]:
            problem = _put(base, key, value)
            problems += [problem] if problem is not None else []
    return additions


def _put(base: DictConfig, key: str, value: Any) -> Problem | None:
    """Put a value into ``base``; return why it does not fit."""
    try:
        OmegaConf.update(base, key, _plain(value), merge=False, force_add=True)
    except OmegaConfBaseException as error:
        return Problem(key, str(error).splitlines()[0])
    return None


def _plain(value: Any) -> Any:
    """Turn Hydra's quoted strings and nested values into plain Python."""
    if isinstance(value, dict):
        return {_plain(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value.text if hasattr(value, "text") and hasattr(value, "quote") else value


def _unknown_key(base: DictConfig, key: str) -> tuple[Problem | None, bool]:
    """Return the problem of a key that is not there, and whether it opens a new one rightly."""
    node: Any = base
    parts = re.split(r"[.\[\]]+", key.strip("]"))
    for depth, part in enumerate(parts):
        if isinstance(node, ListConfig):
            return None, False
        if not isinstance(node, DictConfig):
            return (None, True) if node is None else (_no_key(key, parts[:depth], []), False)
        if part not in list(node):
            if _is_open(node, root=depth == 0):
                return None, True
            return _no_key(key, parts[:depth], [*map(str, node), *(["experiment"] * (depth == 0))]), False
        node = None if OmegaConf.is_missing(node, part) else node._get_node(part)
        if node is not None and not isinstance(node, DictConfig | ListConfig):
            node = node._value() if depth + 1 < len(parts) else None
        elif isinstance(node, DictConfig) and (node._is_none() or node._is_missing()):
            node = None
    return None, False


def _fills_open_mapping(base: DictConfig, key: str, override: Override) -> bool:
    """Whether a whole mapping is given (``dataset.types={zip: category}``) where one takes new keys.

    Hydra refuses the new keys, one by one allowed, when they come together.
    """
    node = OmegaConf.select(base, key, throw_on_missing=False)
    given = isinstance(override.value(), dict) if not override.is_sweep_override() else False
    return given and isinstance(node, DictConfig) and _is_open(node, root=False)


def _replaces(base: DictConfig, key: str, override: Override) -> bool:
    """Whether a mapping of classes is given where classes are: Hydra would add the old ones, or refuse."""
    given = not override.is_sweep_override() and isinstance(override.value(), dict)
    return given and key == "dataset.classes" and OmegaConf.is_config(OmegaConf.select(base, key))


def _is_open(node: DictConfig, *, root: bool) -> bool:
    """Whether a mapping takes new keys: empty ones, and those that hold named parts."""
    if root:
        return False
    children = [None if OmegaConf.is_missing(node, key) else node[key] for key in node]
    return all(child is None or (isinstance(child, DictConfig) and "type" in child) for child in children)


def _no_key(key: str, parent: Sequence[str], allowed: Sequence[str]) -> Problem:
    where = ".".join(parent)
    last = key[len(where) :].lstrip(".").split(".")[0]
    hint = did_you_mean(last, [name for name in allowed if name not in ("type", "tasks")], limit=30)
    if parent and "type" in allowed:
        hint += f" (+{key}=… passes a further argument to its constructor)"
    return Problem(key, f"unknown key {last!r}{' in ' + where if where else ''}; {hint}")


def _missing(base: DictConfig) -> list[Problem]:
    return [
        Problem(key, f"a value is required and missing; give {key}=…")
        for key in sorted(OmegaConf.missing_keys(base))
    ]


def iter_typed(node: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (path, mapping) of every mapping with a ``type`` in a plain config."""
    if isinstance(node, dict):
        if isinstance(node.get("type"), str):
            yield path, node
        for key, value in node.items():
            yield from iter_typed(value, f"{path}.{key}" if path else str(key))
    elif isinstance(node, list | tuple):
        for index, value in enumerate(node):
            yield from iter_typed(value, f"{path}[{index}]")
