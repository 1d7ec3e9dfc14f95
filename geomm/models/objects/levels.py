"""Levels of a detector: the maps that its neck reads from a backbone and those that it gives to heads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from geomm.errors import ConfigError
from geomm.models.wiring import FeatureInfo

#: Strides that a detector's neck asks for by the number of its inputs, in mmdet's own configs.
_STRIDES = {1: (32,), 2: (8, 16), 3: (8, 16, 32), 4: (4, 8, 16, 32)}
#: Necks that read the coarsest map alone and give one.
_OF_ONE_MAP = ("DilatedEncoder", "CTResNetNeck")


@dataclass(frozen=True)
class Levels:
    """What the heads get: the levels, fine to coarse, and how many of them come from the backbone."""

    features: tuple[FeatureInfo, ...]
    from_backbone: int

    @property
    def channels(self) -> list[int]:
        return [info.channels for info in self.features]

    @property
    def strides(self) -> list[int]:
        return [info.stride for info in self.features]


def as_list(value: Any) -> list[Any]:
    """Return what a config gives once or several times as a list, empty for None."""
    return [] if value is None else list(value) if isinstance(value, list | tuple) else [value]


def wanted_strides(head: Mapping[str, Any], cfg: Mapping[str, Any]) -> tuple[int, ...]:
    """Return the strides of the maps that a detector reads, input pixels a map pixel, fine to coarse.

    Args:
      head: its config; ``strides`` says them.
      cfg: mmdet's config, whose neck, or head without one, has a channel count for each map.
    """
    if head.get("strides"):
        return tuple(int(stride) for stride in head["strides"])
    necks = as_list(cfg.get("neck"))
    if necks and _kind(necks[0]) in _OF_ONE_MAP:
        return _STRIDES[1]
    channels = (necks[0] if necks else cfg.get("panoptic_head") or {}).get("in_channels")
    count = len(channels) if isinstance(channels, list | tuple) else (4 if "roi_head" in cfg else 3)
    return _STRIDES.get(count, _STRIDES[4])


def _kind(node: Mapping[str, Any]) -> str:
    return str(node["type"]).rpartition(".")[2]


def fill_neck(cfg: dict[str, Any], features: Sequence[FeatureInfo]) -> Levels:
    """Fill in the neck of a detector's config, in place; return what it gives to the heads.

    Args:
      cfg: mmdet's.
      features: of the maps under the neck, fine to coarse.

    Raises:
      ConfigError: the neck takes another number of maps.
    """
    count = len(features)
    if not cfg.get("neck"):
        return Levels(tuple(features), count)
    neck = as_list(cfg["neck"])[0]
    channels = [info.channels for info in features]
    kind = _kind(neck)
    if kind == "SSDNeck":
        return _fill_ssd_neck(neck, features)
    if kind in _OF_ONE_MAP:
        return _fill_neck_of_one_map(neck, features[-1])
    if kind == "YOLOV3Neck":
        if count != len(neck["out_channels"]):
            raise ConfigError(
                f"head.strides: found {count} of them, expected {len(neck['out_channels'])}: YOLOv3 has a "
                "grid with anchors of its own for each"
            )
        neck["num_scales"], neck["in_channels"] = count, channels[::-1]
        out = list(neck["out_channels"])
        return Levels(tuple(map(FeatureInfo, out[::-1], (info.stride for info in features))), count)
    neck["in_channels"] = channels
    start = int(neck.get("start_level", 0))
    strides = [info.stride for info in features][start:]
    own = len(strides)
    wanted = int(neck.get("num_outs") or own)
    while len(strides) < wanted:
        strides.append(strides[-1] * 2)
    out_channels = int(neck["out_channels"])
    return Levels(tuple(FeatureInfo(out_channels, stride) for stride in strides[:wanted]), min(own, wanted))


def _fill_ssd_neck(neck: dict[str, Any], features: Sequence[FeatureInfo]) -> Levels:
    """``out_channels`` lists the extra levels' channels; mmdet wants those of all levels."""
    channels = [info.channels for info in features]
    steps = [int(step) for step in neck["level_strides"]]
    extra = list(neck["out_channels"])[-len(steps) :]
    neck["in_channels"], neck["out_channels"] = tuple(channels), (*channels, *extra)
    strides = [info.stride for info in features]
    for step in steps:
        strides.append(strides[-1] * step)
    return Levels(tuple(map(FeatureInfo, [*channels, *extra], strides)), len(features))


def _fill_neck_of_one_map(neck: dict[str, Any], coarsest: FeatureInfo) -> Levels:
    """CenterNet's neck doubles the map's edges with each of its filters, YOLOF's leaves them."""
    neck["in_channels"] = coarsest.channels
    if "num_deconv_filters" not in neck:
        return Levels((FeatureInfo(int(neck["out_channels"]), coarsest.stride),), 1)
    filters = list(neck["num_deconv_filters"])
    return Levels((FeatureInfo(int(filters[-1]), max(1, coarsest.stride // 2 ** len(filters))),), 1)
