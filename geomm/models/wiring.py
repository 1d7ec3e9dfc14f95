"""Wiring: a backbone declares its stages, a head asks for some, and the numbers follow.

So any backbone goes under any head with nothing but names changed: ``in_channels``, ``in_index``,
``num_classes`` and the band count are filled in here, never in a config.
"""

from __future__ import annotations

import inspect
import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from geomm.errors import ConfigError
from geomm.models.external import build_external, is_external
from geomm.models.frameworks import FRAMEWORKS
from geomm.plugins import HEAD_KEYS
from geomm.registry import BACKBONES, MODELS, get

_LOG = logging.getLogger("geomm")


@dataclass(frozen=True)
class FeatureInfo:
    """One stage of a backbone: how many channels, and input pixels a feature pixel."""

    channels: int
    stride: int


def build_backbone(
    cfg: Mapping[str, Any] | None, *, in_channels: int, output_stride: int | None, init: str | None = None
) -> nn.Module:
    """Build a backbone for a number of bands.

    Args:
      cfg: the backbone's config; a framework's own type is wrapped in ``FrameworkBackbone``.
      in_channels: bands of the imagery.
      output_stride: the largest stride the head wants, None for the backbone's own.
      init: how its weights best start from chance under the head, None for the backbone's own way.

    Returns:
      A module with ``features: tuple[FeatureInfo, ...]``, fine to coarse, whose forward returns as
      many maps.
    """
    if not cfg:
        raise ConfigError(
            "backbone: found null, but this head sits on one; give backbone=NAME, such as resnet34"
        )
    options = {key: value for key, value in cfg.items() if key != "type"}
    cls = get(MODELS, str(cfg["type"]))
    if not hasattr(cls, "features") and cls.__module__.partition(".")[0] in FRAMEWORKS:
        wrapper = BACKBONES.get("FrameworkBackbone")
        return wrapper(type=cfg["type"], in_channels=in_channels, **options)  # type: ignore[no-any-return]
    accepted = inspect.signature(cls).parameters
    for name, wanted in (("output_stride", output_stride), ("init", init)):
        if name in accepted and options.get(name) is None:
            options[name] = wanted
    backbone = cls(in_channels=in_channels, **options)
    if not getattr(backbone, "features", None):
        raise ConfigError(
            f"backbone {cfg['type']} declares no features; set self.features to a tuple of "
            "FeatureInfo(channels, stride), one a map that forward returns"
        )
    return backbone  # type: ignore[no-any-return]


class PixelsAlone(nn.Module):
    """Stands where a backbone would, for a head that reads the pixels itself.

    Args:
      in_channels: bands.
      multiple_px: what the edges of the head's inputs must be a multiple of.
    """

    def __init__(self, in_channels: int, multiple_px: int) -> None:
        super().__init__()
        self.features = (FeatureInfo(in_channels, 1),)
        self.least_px = self.multiple_px = multiple_px

    def forward(self, inputs: Any) -> Any:
        return inputs


def build_parts(
    backbone: Mapping[str, Any] | None,
    head: Mapping[str, Any],
    *,
    spec: Any,
    build: Callable[..., nn.Module] | None = None,
) -> tuple[Any, Any]:
    """Build a backbone and a head over it; an external head has ``PixelsAlone`` under it.

    Args:
      backbone: its config, None for an external head.
      head: its config.
      spec: of the data.
      build: builds a head over features, ``build_head`` by default.

    Raises:
      ConfigError: a backbone under a head that takes none, or none under one that does.
    """
    if is_external(head, backbone):
        network = build_external(head, spec)
        return PixelsAlone(spec.in_channels, int(getattr(network, "multiple_px", 32))), network
    below: Any = build_backbone(
        backbone, in_channels=spec.in_channels, output_stride=head.get("output_stride")
    )
    return below, (build or build_head)(head, features=below.features, num_classes=spec.num_classes)


def build_head(cfg: Mapping[str, Any], *, features: Sequence[FeatureInfo], num_classes: int) -> nn.Module:
    """Build a head over the stages it asks for.

    Args:
      cfg: the head's config; ``stages`` says which maps a framework's head takes: ``last``, ``all``
        (those of stride 4 and more), or ``fine_and_last``.
      features: what the backbone declares.
      num_classes: scores a pixel.

    Returns:
      A module whose forward takes the backbone's maps and returns (B, num_classes, h, w).
    """
    options = {k: v for k, v in cfg.items() if k not in HEAD_KEYS}
    name = str(cfg["type"])
    cls = get(MODELS, name)
    if cls.__module__.partition(".")[0] != "mmseg":
        return cls(features=tuple(features), num_classes=num_classes, **options)  # type: ignore[no-any-return]
    return _framework_head(name, cls, cfg, options, tuple(features), num_classes)


def _framework_head(
    name: str,
    cls: Any,
    cfg: Mapping[str, Any],
    options: dict[str, Any],
    features: tuple[FeatureInfo, ...],
    num_classes: int,
) -> nn.Module:
    """Build one of mmseg's decode heads; its own loss stays unused, the segmentor has ours."""
    stages = str(cfg.get("stages", "last"))
    coarse = [index for index, info in enumerate(features) if info.stride >= 4] or [len(features) - 1]
    if stages == "all":
        wiring: dict[str, Any] = {
            "in_index": coarse,
            "in_channels": [features[index].channels for index in coarse],
        }
    elif stages in ("last", "fine_and_last"):
        wiring = {"in_index": len(features) - 1, "in_channels": features[-1].channels}
    else:
        raise ConfigError(f"head.stages: found {stages!r}; allowed: all, fine_and_last, last")
    if stages == "fine_and_last":
        fine = coarse[0]
        options = {"c1_channels": 48, **options, "c1_in_channels": features[fine].channels}
        if fine == len(features) - 1:
            raise ConfigError(f"head {name} needs a finer map beside the last; this backbone has one only")
    # mmseg's heads insist on a loss of their own; the segmentor's is used instead.
    unused = {"type": "mmseg.CrossEntropyLoss", "avg_non_ignore": True}
    with warnings.catch_warnings():
        # mmseg would rather have one score for two classes; the losses here want one a class.
        warnings.filterwarnings("ignore", message="For binary segmentation")
        head = cls(num_classes=num_classes, loss_decode=unused, **wiring, **options)
    initialise(head)
    if stages == "fine_and_last" and fine != 0:
        return _FineFirst(head, fine)
    return head  # type: ignore[no-any-return]


def initialise(module: Any) -> None:
    """Run a framework module's own initialisation, which its constructor leaves to the runner.

    mmengine then lists every parameter on the console and in the log file of whichever run came before
    in this process, which may be closed by now; that list is kept back.
    """
    if not hasattr(module, "init_weights"):
        return
    from mmengine.logging import MMLogger

    logger = MMLogger.get_current_instance()
    level, handlers = logger.level, logger.handlers
    logger.setLevel(logging.ERROR)
    logger.handlers = [handler for handler in handlers if not isinstance(handler, logging.FileHandler)]
    try:
        module.init_weights()
    finally:
        logger.setLevel(level)
        logger.handlers = handlers


class _FineFirst(nn.Module):
    """DeepLabV3+ reads its fine map at place 0; a backbone may have finer ones before it."""

    def __init__(self, head: Any, fine: int) -> None:
        super().__init__()
        self.head: Any = head
        self.fine = fine
        self.head.in_index = self.head.in_index - fine

    def forward(self, features: Sequence[Any]) -> Any:
        return self.head(features[self.fine :])
