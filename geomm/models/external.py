"""Networks from elsewhere as models of a task: what ``geomm.extend`` registers, and how it is built.

An external network is a head that reads pixels (or rows) itself, so it takes no backbone. Everything
around it (samples, normalisation, loops, metrics, the package, maps) is that of geomm's own models.
"""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor, nn

from geomm.errors import ConfigError, GeommError, did_you_mean
from geomm.plugins import PART_KEYS
from geomm.registry import HEADS, MODELS, get

T = TypeVar("T", bound=type)

#: What a class must have, by task; ``loss`` may be left to geomm where it is not listed.
METHODS: dict[str, tuple[str, ...]] = {
    "segmentation": ("forward",),
    "classification": ("forward",),
    "detection": ("forward", "loss"),
    "instance_segmentation": ("forward", "loss"),
    "tabular": ("forward",),
}
#: Options that geomm itself reads beside those of the class's constructor.
_OBJECT_OPTIONS = {"score_threshold": 0.05, "max_objects": 300, "nms_iou": 0.5}


@dataclass(frozen=True)
class Extension:
    """What is known of an external network's class, kept in its attribute ``extends``.

    Attributes:
      task: that it serves.
      own_loss: whether it computes its loss itself.
      options: that geomm reads for it, with their defaults.
      open_ended: whether it takes options beyond those that its constructor names.
    """

    task: str
    own_loss: bool
    options: Mapping[str, Any] = field(default_factory=dict)
    open_ended: bool = False


def extend(task: str, *, name: str | None = None) -> Callable[[T], T]:
    """Make a class a head of a task, so that ``head=ITS_NAME`` trains and maps with it.

    The class is a ``torch.nn.Module``. Its constructor takes options by keyword; ``in_channels``,
    ``num_classes`` and ``spec`` are filled in where it names them. Its methods, by task:

    ================ ============================================ =====================================
    task             ``forward``                                  ``loss``
    ================ ============================================ =====================================
    segmentation     pixels (B, C, H, W) -> logits (B, K, h, w)   ``loss(pixels, target)``, (B, H, W)
                                                                  int64, 255 unlabelled; or ``loss=…``
    classification   pixels (B, C, H, W) -> logits (B, K)         ``loss(pixels, target)``, (B, K)
                                                                  float32; or ``loss=…``
    detection        pixels -> a dict a picture: ``boxes`` (N, 4) ``loss(pixels, targets)``, a dict a
                     float xyxy, ``labels`` (N,) from 0,          picture with ``boxes``, ``labels``
                     ``scores`` (N,)                              from 0
    tabular          numbers (B, F) float32, categories (B, S)    ``loss(scores, target)``; by default
                     int64 -> values or logits (B, outputs)       squared error or cross-entropy
    ================ ============================================ =====================================

    For ``instance_segmentation`` both dicts have ``masks`` (N, H, W) too, bool; probabilities count from 0.5.

    Pixels are float32, normalised by the training data's statistics, 0 where there is no data; their edges
    are multiples of the class's ``multiple_px`` (32 where it has none); ``fixed_tiles = True`` says that a
    network takes windows of the training size alone. A loss is a scalar or a dict of them.
    A class with the methods of arcgis.learn's ModelExtension is taken as it is.

    Args:
      task: ``segmentation``, ``classification``, ``detection``, ``instance_segmentation`` or ``tabular``
        (regression, and classification of rows).
      name: that configs use, the class's own by default.

    Raises:
      ConfigError: there is no such task, or the class lacks a method.
    """
    if task not in METHODS:
        cure = "task tabular predicts quantities" if task == "regression" else did_you_mean(task, METHODS)
        raise ConfigError(f"geomm.extend: unknown task {task!r}; {cure}")

    def register(cls: T) -> T:
        from geomm.models.model_extension import adapted, has_methods

        whole = adapted(cls, task) if has_methods(cls) else cls
        _check(whole, task)
        whole.extends = Extension(  # type: ignore[attr-defined]
            task,
            own_loss=callable(getattr(whole, "loss", None)),
            options=_OBJECT_OPTIONS if "loss" in METHODS[task] else {},
            open_ended=bool(getattr(whole, "open_ended", False)),
        )
        HEADS.register_module(name or cls.__name__)(whole)
        return cls

    return register


def _check(cls: type, task: str) -> None:
    if not issubclass(cls, nn.Module):
        raise ConfigError(
            f"geomm.extend({task!r}): {cls.__name__} is no torch.nn.Module; derive it from one, or give it "
            "the methods of arcgis.learn's ModelExtension"
        )
    for method in METHODS[task]:
        own = getattr(cls, method, None)
        if not callable(own) or own is nn.Module.forward:
            raise ConfigError(f"geomm.extend({task!r}): {cls.__name__} has no method {method!r}")


def is_external(head: Mapping[str, Any], backbone: Mapping[str, Any] | None) -> bool:
    """Say whether a head's config names an external network.

    Raises:
      ConfigError: it does, and a backbone is given that it would not use.
    """
    if getattr(get(MODELS, str(head["type"])), "extends", None) is None:
        return False
    if backbone:
        raise ConfigError(f"backbone: {head['type']} reads pixels itself and takes none; give backbone=null")
    return True


def build_external(cfg: Mapping[str, Any], spec: Any) -> Any:
    """Build an external network.

    Args:
      cfg: its head's config.
      spec: of the data; with its bands and classes the constructor's arguments are filled in.

    Raises:
      ConfigError: the constructor refuses its options.
    """
    cls: Any = get(MODELS, str(cfg["type"]))
    extension: Extension = cls.extends
    taken = inspect.signature(cls).parameters
    options = {key: value for key, value in cfg.items() if key not in PART_KEYS}
    options = {key: v for key, v in options.items() if key in taken or key not in extension.options}
    wired = {"spec": spec}
    for key in ("in_channels", "num_classes"):
        wired |= {key: getattr(spec, key)} if hasattr(spec, key) else {}
    try:
        return cls(**options, **{key: value for key, value in wired.items() if key in taken})
    except (KeyError, TypeError, ValueError) as error:
        # A value that the network does not know, or a bug of its own: the place serves who wrote it.
        place = traceback.extract_tb(error.__traceback__)[1:2]
        where = f" ({'/'.join(Path(place[0].filename).parts[-2:])}:{place[0].lineno})" if place else ""
        said = " ".join(str(error.args[0] if error.args else "").split())
        name = type(error).__name__
        raise ConfigError(f"head {cls.__name__}: its constructor raised {name}: {said}{where}") from error


def has_own_loss(network: Any, mixup: float) -> bool:
    """Say whether a head is an external network that computes its loss itself.

    Raises:
      ConfigError: it does, and mixup is asked for, which mixes targets that only geomm's losses know.
    """
    extension: Extension | None = getattr(type(network), "extends", None)
    own = extension is not None and extension.own_loss
    if own and mixup > 0:
        name = type(network).__name__
        raise ConfigError(
            f"task.mixup: {name} computes its loss itself, which cannot be mixed; give task.mixup=0"
        )
    return own


def named_losses(value: Any, network: Any) -> dict[str, Any]:
    """Return what a network's ``loss`` gave as losses by name, each beginning with ``loss``.

    Raises:
      GeommError: it is neither a tensor nor a mapping of these.
    """
    if isinstance(value, Tensor):
        return {"loss": value}
    if isinstance(value, Mapping) and value and all(isinstance(item, Tensor) for item in value.values()):
        return {key if key.startswith("loss") else f"loss_{key}": item for key, item in value.items()}
    name = type(network).__name__
    raise GeommError(
        f"head {name}: loss returned {_told(value)}, expected a scalar tensor or a dict of these"
    )


def check_scores(scores: Any, expected: tuple[int | None, ...], network: Any) -> Tensor:
    """Return a network's scores where their shape is as expected, None standing for any size.

    Raises:
      GeommError: it is another.
    """
    found = tuple(scores.shape) if isinstance(scores, Tensor) else None
    fits = found is not None and len(found) == len(expected)
    if not fits or any(e is not None and e != f for e, f in zip(expected, found or (), strict=True)):
        shape = ", ".join("any" if size is None else str(size) for size in expected)
        name = type(network).__name__
        raise GeommError(f"head {name}: forward returned {_told(scores)}, expected a tensor ({shape})")
    assert isinstance(scores, Tensor)
    return scores


def _told(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"a tensor {tuple(value.shape)}"
    return f"a {type(value).__name__}"
