"""Estimators of scikit-learn's kind by dotted name, and keeping them without a pickle."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from geomm.errors import ConfigError, DependencyError, PackageError, Problem, did_you_mean

#: Packages whose classes a model package may name: installed code, none of the package's own.
TRUSTED = ("sklearn.", "xgboost.", "lightgbm.")
#: Containers that these keep their settings in, which only hold what they are given.
HARMLESS = ("collections.OrderedDict",)


def find_class(name: str, path: str = "head.estimator") -> type:
    """Return the class that a dotted name means.

    Raises:
      ConfigError: there is no such class, or it does not fit and predict.
      DependencyError: its package is not installed.
    """
    module, _, last = name.rpartition(".")
    if not module:
        raise ConfigError(
            [
                Problem(
                    path,
                    f"found {name!r}, expected a dotted name like sklearn.ensemble.RandomForestRegressor",
                )
            ]
        )
    try:
        found = importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        if getattr(error, "name", None) == package:
            raise DependencyError(
                f"{path}={name}: {package} is not installed; pip install {package}"
            ) from error
        raise ConfigError([Problem(path, f"there is no module {module!r} ({error})")]) from error
    cls = getattr(found, last, None)
    if not inspect.isclass(cls):
        names = [key for key, item in vars(found).items() if inspect.isclass(item)]
        raise ConfigError([Problem(path, f"{module} has no class {last!r}; {did_you_mean(last, names)}")])
    return cls


def build_estimator(name: str, kwargs: Mapping[str, Any], *, seed: int | None, path: str = "head") -> Any:
    """Build an estimator, and those that its arguments name as ``{estimator: …, kwargs: {…}}``.

    Args:
      name: dotted.
      kwargs: of its constructor.
      seed: for ``random_state``, where it has one that is not given.
      path: in the config, for messages.

    Raises:
      ConfigError: no such class, or an argument that it does not have.
    """
    cls = find_class(name, f"{path}.estimator")
    arguments = {k: _nested(v, seed, f"{path}.kwargs.{k}") for k, v in kwargs.items()}
    allowed = inspect.signature(cls).parameters
    open_ended = any(item.kind is item.VAR_KEYWORD for item in allowed.values())
    wrong = [key for key in arguments if key not in allowed and not open_ended]
    if wrong:
        raise ConfigError(
            [
                Problem(f"{path}.kwargs.{key}", f"{name} has no such argument; {did_you_mean(key, allowed)}")
                for key in wrong
            ]
        )
    if seed is not None and "random_state" in allowed and "random_state" not in arguments:
        arguments["random_state"] = seed
    try:
        return cls(**arguments)
    except TypeError as error:
        raise ConfigError([Problem(f"{path}.kwargs", f"{name}: {error}")]) from error


def _nested(value: Any, seed: int | None, path: str) -> Any:
    if isinstance(value, Mapping) and "estimator" in value and set(value) <= {"estimator", "kwargs"}:
        return build_estimator(value["estimator"], value.get("kwargs") or {}, seed=seed, path=path)
    if isinstance(value, Mapping):
        return {key: _nested(item, seed, f"{path}.{key}") for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_nested(item, seed, f"{path}[{index}]") for index, item in enumerate(value)]
    return value


def dump_estimator(estimator: Any) -> bytes:
    """Return a fitted estimator in skops' format, which holds no code.

    Raises:
      PackageError: it has parts that would not be read back.
    """
    from skops.io import dumps

    content: bytes = dumps(estimator)
    check_types(content, "the estimator")
    return content


def load_estimator(content: bytes, what: str) -> Any:
    """Return the estimator that ``dump_estimator`` wrote.

    Raises:
      PackageError: it is damaged, or holds types that are not of installed, known packages.
    """
    from skops.io import loads

    trusted = check_types(content, what)
    try:
        return loads(content, trusted=trusted)
    except Exception as error:  # whatever a damaged file leads to
        raise PackageError(f"{what} cannot be read ({type(error).__name__}: {error})") from error


def check_types(content: bytes, what: str) -> list[str]:
    """Return the types of an estimator beside those that skops trusts by itself.

    Raises:
      PackageError: one is neither a class of scikit-learn, XGBoost or LightGBM.
    """
    from skops.io import get_untrusted_types

    try:
        types = list(get_untrusted_types(data=content))
    except Exception as error:  # whatever a damaged file leads to
        raise PackageError(f"{what} cannot be read ({type(error).__name__}: {error})") from error
    foreign = [
        name
        for name in types
        if name not in HARMLESS and (not name.startswith(TRUSTED) or not _is_class(name))
    ]
    if foreign:
        raise PackageError(
            f"{what} holds {', '.join(foreign)}, which could run code when it is loaded; geomm reads "
            "classes of scikit-learn, XGBoost and LightGBM only"
        )
    return types


def _is_class(name: str) -> bool:
    module, _, last = name.rpartition(".")
    try:
        return inspect.isclass(getattr(importlib.import_module(module), last, None))
    except ImportError:
        return False
