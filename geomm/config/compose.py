"""Composing the config groups into one run with Hydra, and turning the result into plain Python."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf

from geomm.errors import ConfigError, Problem

_TUPLE_MARK = "__tuple__"


def config_dir() -> Path:
    """Return the folder of geomm's own config groups: in the wheel, or beside the package."""
    package = Path(__file__).resolve().parent.parent
    for folder in (package / "configs", package.parent / "configs"):
        if (folder / "train.yaml").is_file():
            return folder
    raise ConfigError(f"geomm's configs are not beside {package}; install geomm again")


def register_resolvers() -> None:
    """Give configs ``${tuple:1,2,3}``, since YAML has no tuples and some layers insist on them."""
    OmegaConf.register_new_resolver("tuple", lambda *items: {_TUPLE_MARK: list(items)}, replace=True)


def plugin_config_dirs(modules: Sequence[str]) -> list[str]:
    """Return Hydra search paths of the plugin packages that bring a ``configs`` folder."""
    found = []
    for module in modules:
        package = module.partition(".")[0]
        spec = importlib.util.find_spec(package)
        for location in (spec.submodule_search_locations or []) if spec else []:
            if (Path(location) / "configs").is_dir():
                found.append(f"file://{Path(location) / 'configs'}")
    return found


@contextmanager
def hydra_session() -> Iterator[None]:
    """Hydra's global state with geomm's config folder, whatever a caller had initialised."""
    register_resolvers()
    before = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(config_dir=str(config_dir()), version_base="1.3"):
            yield
    finally:
        GlobalHydra.instance().clear()
        if before is not None:
            GlobalHydra.instance().hydra = before


def compose(root: str, overrides: Sequence[str], plugins: Sequence[str] = ()) -> DictConfig:
    """Compose ``root`` (``train`` or ``infer``) with overrides in Hydra's syntax.

    Args:
      root: name of the root config.
      overrides: such as ``["head=unet", "schedule.epochs=3"]``.
      plugins: modules whose packages may bring config groups of their own.
    """
    paths = plugin_config_dirs(plugins)
    search = [f"hydra.searchpath=[{','.join(paths)}]"] if paths else []
    return hydra_compose(root, overrides=[*overrides, *search], return_hydra_config=False)


def as_overrides(given: Mapping[str, Any], *, within: str) -> list[str]:
    """Return keywords as overrides in Hydra's syntax.

    Args:
      given: choices of groups, values of the root, and options of one group.
      within: the group whose options all others are.
    """
    root = {path.name for path in config_dir().iterdir() if path.is_dir()}
    root |= {"work_dir", "seed", "resume", "plugins"}
    texts = []
    for key, value in given.items():
        choice = key in root and isinstance(value, str) and (config_dir() / key).is_dir()
        text = value if choice else written(value)
        texts.append(f"{key if key in root else f'{within}.{key}'}={text}")
    return sorted(texts, key=lambda text: text.partition("=")[0] not in root)


def _key(value: Any) -> str:
    """Return a mapping's key as Hydra reads it: never in quotes."""
    return re.sub(r"([\\()\[\]{}:=,'\" \t])", r"\\\1", str(value))


def written(value: Any) -> str:
    """Return a value as Hydra reads it on a command line."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{_key(k)}:{written(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(written, value)) + "]"
    # A backslash means one, but before a quotation mark and at the end.
    text = re.sub(r"(\\*)('|$)", lambda found: found[1] * 2 + ("\\'" if found[2] else ""), str(value))
    return f"'{text}'"


def resolve(cfg: DictConfig) -> dict[str, Any]:
    """Return the composed root as plain dicts, lists and tuples, every interpolation resolved.

    Raises:
      ConfigError: a value is missing (``???``) or an interpolation points nowhere.
    """
    from omegaconf.errors import OmegaConfBaseException

    try:
        plain = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        where = str(getattr(error, "full_key", None) or "")
        raise ConfigError([Problem(where, str(error).splitlines()[0])]) from error
    return _with_tuples(plain)  # type: ignore[no-any-return]


def _with_tuples(node: Any) -> Any:
    if isinstance(node, dict):
        if set(node) == {_TUPLE_MARK}:
            return tuple(_with_tuples(item) for item in node[_TUPLE_MARK])
        return {key: _with_tuples(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_with_tuples(item) for item in node]
    return node
