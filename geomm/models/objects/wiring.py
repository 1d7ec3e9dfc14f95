"""Wiring of mmdet's detectors: any of them over any backbone, with nothing but names given.

A detector's config is mmdet's own, without the backbone. Channels, strides, classes, anchors and the levels
of a pyramid are filled in here from what the backbone declares and what the data holds.
"""

from __future__ import annotations

import copy
import inspect
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from torch import nn

from geomm.errors import ConfigError, did_you_mean
from geomm.models.frameworks import load_framework
from geomm.models.objects.anchors import fill_anchors, object_range
from geomm.models.objects.pyramid import Pyramid
from geomm.models.wiring import FeatureInfo, initialise
from geomm.plugins import DETECTOR_KEYS

_LOG = logging.getLogger("geomm")

#: Strides that a detector's neck asks for by the number of its inputs, in mmdet's own configs.
_STRIDES = {1: (32,), 2: (8, 16), 3: (8, 16, 32), 4: (4, 8, 16, 32)}
#: Objects a window where there is no limit.
_ALL = 1_000_000
#: Parts of a detector that hold its own sub-detectors.
_NOT_HEADS = ("backbone", "neck", "train_cfg", "test_cfg")


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


def build_detector(
    head: Mapping[str, Any],
    *,
    backbone: nn.Module,
    num_classes: int,
    object_px: Sequence[float] | None = None,
) -> Any:
    """Build one of mmdet's detectors over a backbone.

    Args:
      head: the detector's config, or ``config`` with the name of one of mmdet's own and what differs.
      backbone: declares ``features``.
      num_classes: classes without background.
      object_px: edges of the small and of the large objects of the training data, where known.

    Returns:
      mmdet's detector, initialised; its ``backbone`` is a ``Pyramid``.

    Raises:
      ConfigError: there is no such detector or config, or its parts do not fit together.
    """
    load_framework("mmdet")
    from mmdet.registry import MODELS as MMDET_MODELS
    from mmengine.config import ConfigDict
    from mmengine.registry import DefaultScope

    cfg = _plain_config(head)
    pyramid = Pyramid(backbone, _wanted_strides(head, cfg))
    sizes = object_range(head, object_px)
    with DefaultScope.overwrite_default_scope("mmdet"):
        try:
            fill(cfg, features=pyramid.features, num_classes=num_classes, sizes=sizes)
            _limit(cfg, head)
            # mmdet builds its backbone from a config; ours is built already and takes the place.
            cfg["backbone"] = {"type": _Given, "pyramid": None}
            detector = MMDET_MODELS.build(ConfigDict(cfg))
        except (TypeError, KeyError, AssertionError, ValueError, AttributeError, IndexError) as error:
            reason = " ".join(str(error).split())[:300] or type(error).__name__
            raise ConfigError(f"head: {head['type']} cannot be built from its config ({reason})") from error
        detector.backbone = pyramid
        initialise(detector)
    return detector


class _Given(nn.Module):
    """Stands where the backbone will be."""

    def __init__(self, pyramid: None) -> None:
        super().__init__()


def _plain_config(head: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of the detector's own config: a published one, changed by what the head gives."""
    cfg = _published(str(head["config"])) if head.get("config") else {}
    given = {key: copy.deepcopy(value) for key, value in head.items() if key not in DETECTOR_KEYS}
    given = {key: value for key, value in given.items() if value != {}}
    cfg = dict(_merged(cfg, given))
    cfg["type"] = str(head["type"]).removeprefix("mmdet.")
    return cfg


def complete_head(head: Mapping[str, Any]) -> dict[str, Any]:
    """Return a detector's config with all that ``config`` names in it, so that it needs no file.

    Raises:
      ConfigError: there is no such config.
    """
    if not head.get("config"):
        return dict(head)
    load_framework("mmdet")
    own = {key: value for key, value in head.items() if key in DETECTOR_KEYS}
    return {**own, **_plain_config(head), "type": head["type"], "config": None}


def _merged(base: Any, change: Any) -> Any:
    if not (isinstance(base, dict) and isinstance(change, Mapping)):
        return change
    return {**base, **{key: _merged(base.get(key), value) for key, value in change.items()}}


def published_folder() -> Path:
    """Return the folder of configs that mmdet brings."""
    import mmdet

    return Path(mmdet.__file__).parent / ".mim" / "configs"


def _published(name: str) -> dict[str, Any]:
    """Return the model of one of mmdet's configs, without its backbone and preprocessing.

    Raises:
      ConfigError: there is no such config.
    """
    from mmengine.config import Config

    file = Path(name) if Path(name).is_file() else published_folder() / f"{name.removesuffix('.py')}.py"
    if not file.is_file():
        folder = published_folder()
        names = [str(path.relative_to(folder).with_suffix("")) for path in folder.glob("*/*.py")]
        near = did_you_mean(name, [n for n in names if not n.startswith("_base_")], limit=8)
        raise ConfigError(f"head.config: mmdet has no config {name!r}; {near}")
    model = Config.fromfile(str(file)).get("model")
    if model is None:
        raise ConfigError(f"head.config: {file} holds no model")
    # Through JSON-like types: Config's dicts pretend to have every attribute.
    plain: dict[str, Any] = copy.deepcopy(model.to_dict())
    for key in ("backbone", "data_preprocessor", "init_cfg", "pretrained"):
        plain.pop(key, None)
    for node in _nodes(plain):
        if node.get("type") == "SyncBN":  # batches of one machine; torch's own works without a process group
            node["type"] = "BN"
    return plain


def _wanted_strides(head: Mapping[str, Any], cfg: Mapping[str, Any]) -> tuple[int, ...]:
    if head.get("strides"):
        return tuple(int(stride) for stride in head["strides"])
    necks = _as_list(cfg.get("neck"))
    channels = necks[0].get("in_channels") if necks else None
    count = len(channels) if isinstance(channels, list | tuple) else (4 if "roi_head" in cfg else 3)
    return _STRIDES.get(count, _STRIDES[4])


def _as_list(value: Any) -> list[Any]:
    return [] if value is None else list(value) if isinstance(value, list | tuple) else [value]


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """Yield every mapping of a config, the outer ones first."""
    if isinstance(tree, dict):
        yield tree
        for value in list(tree.values()):
            yield from _nodes(value)
    elif isinstance(tree, list | tuple):
        for value in tree:
            yield from _nodes(value)


def fill(
    cfg: dict[str, Any],
    *,
    features: Sequence[FeatureInfo],
    num_classes: int,
    sizes: tuple[float, float] | None,
) -> None:
    """Fill in a detector's config, in place.

    Args:
      cfg: mmdet's, without a backbone.
      features: what the pyramid under the neck gives, fine to coarse.
      num_classes: classes without background.
      sizes: edges of a small and of a large object, pixels, None for the published anchors.
    """
    levels = _fill_neck(cfg, features)
    for key, part in cfg.items():
        if key in _NOT_HEADS:
            continue
        for node in _nodes(part):
            if "type" in node:
                _fill_node(node, levels, num_classes, sizes, dense=node in _as_list(part))


def _fill_neck(cfg: dict[str, Any], features: Sequence[FeatureInfo]) -> Levels:
    """Fill in the neck; return what it gives to the heads."""
    count = len(features)
    if not cfg.get("neck"):
        return Levels(tuple(features), count)
    neck = _as_list(cfg["neck"])[0]
    channels = [info.channels for info in features]
    kind = str(neck["type"]).rpartition(".")[2]
    if kind == "SSDNeck":
        return _fill_ssd_neck(neck, features)
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


def _fill_node(
    node: dict[str, Any],
    levels: Levels,
    num_classes: int,
    sizes: tuple[float, float] | None,
    *,
    dense: bool,
) -> None:
    """Fill in one part of a detector by what its constructor takes.

    Args:
      node: its config.
      levels: what the neck gives.
      num_classes: classes without background.
      sizes: of objects, pixels.
      dense: whether it reads the neck's maps itself, and is not a part of such a head.
    """
    kind = str(node["type"]).rpartition(".")[2]
    cls = _find(str(node["type"]))
    if cls is None:
        return
    names = _arguments(cls)
    one_width = levels.channels[0]
    if "num_classes" in names and kind != "RPNHead" and "RPN" not in kind:
        node["num_classes"] = num_classes
    coarse_first = kind in ("YOLOV3Head",)
    if kind in ("SSDHead", "YOLOV3Head"):
        node["in_channels"] = levels.channels[::-1] if coarse_first else tuple(levels.channels)
    elif "in_channels" in names and (dense or "roi_feat_size" in names or kind.endswith("MaskHead")):
        node["in_channels"] = one_width
    if "featmap_strides" in names:
        if coarse_first:
            node["featmap_strides"] = levels.strides[::-1]
        else:  # regions of interest are read from the backbone's own levels
            node["featmap_strides"] = levels.strides[: levels.from_backbone]
            node["out_channels"] = one_width
    if dense and "strides" in names:
        node["strides"] = levels.strides
    if "regress_ranges" in names:
        node["regress_ranges"] = _regress_ranges(levels.strides)
    for key in ("anchor_generator", "prior_generator"):
        generator = node.get(key)
        if isinstance(generator, dict) and "type" in generator:
            fill_anchors(generator, levels.strides[::-1] if coarse_first else levels.strides, sizes)


def _find(name: str) -> Any:
    """Return the class of a part: mmdet's, or geomm's by its prefix; None for what is no model."""
    from mmdet.registry import MODELS as MMDET_MODELS

    return MMDET_MODELS.get(name)


def _arguments(cls: Any) -> set[str]:
    """Return the argument names of a class, followed to the bases that its ``**kwargs`` go to."""
    names: set[str] = set()
    for base in inspect.getmro(cls):
        if "__init__" not in vars(base) or not base.__module__.startswith(("mmdet", "geomm", "mmcv")):
            continue
        parameters = inspect.signature(vars(base)["__init__"]).parameters.values()
        names |= {p.name for p in parameters}
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break
    return names


def _regress_ranges(strides: Sequence[int]) -> list[tuple[float, float]]:
    """Return the distances from centre to edge that each level learns, pixels (Tian et al., 2019)."""
    bounds = [-1.0, *(8.0 * stride for stride in strides[:-1]), 1e8]
    return list(pairwise(bounds))


def _limit(cfg: dict[str, Any], head: Mapping[str, Any]) -> None:
    """Put the head's limits into ``test_cfg``, where the last stage reads them."""
    test = cfg.setdefault("test_cfg", {})
    last = test["rcnn"] if isinstance(test.get("rcnn"), dict) else test
    if head.get("score_threshold") is not None:
        last["score_thr"] = float(head["score_threshold"])
    if head.get("max_objects") is not None or "max_per_img" not in last:
        most = int(head.get("max_objects") or _ALL)
        # A detector that asks with queries finds one object a query at most.
        last["max_per_img"] = min(most, int(cfg.get("num_queries") or most))
    if head.get("nms_iou") is not None and isinstance(last.get("nms"), dict):
        last["nms"]["iou_threshold"] = float(head["nms_iou"])
