"""Wiring of mmdet's detectors: any of them over any backbone, with nothing but names given.

A detector's config is mmdet's own, without the backbone. Channels, strides, classes, anchors and the levels
of a pyramid are filled in here from what the backbone declares and what the data holds.
"""

from __future__ import annotations

import copy
import inspect
import logging
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from torch import nn

from geomm.errors import ConfigError, did_you_mean
from geomm.models.frameworks import load_framework
from geomm.models.mmcv_ops import check_operators
from geomm.models.objects.anchors import fill_anchors, object_range
from geomm.models.objects.levels import Levels, as_list, fill_neck, wanted_strides
from geomm.models.objects.limits import cap_queries, least_edge, limit
from geomm.models.objects.mask_heads import fill_mask_head
from geomm.models.objects.pyramid import Pyramid
from geomm.models.wiring import FeatureInfo, initialise
from geomm.plugins import DETECTOR_KEYS

_LOG = logging.getLogger("geomm")

#: Parts of a detector that hold its own sub-detectors.
_NOT_HEADS = ("backbone", "neck", "train_cfg", "test_cfg")


def build_detector(
    head: Mapping[str, Any],
    *,
    backbone: nn.Module,
    num_classes: int,
    object_px: Sequence[float] | None = None,
    window_px: int = 0,
) -> Any:
    """Build one of mmdet's detectors over a backbone.

    Args:
      head: the detector's config, or ``config`` with the name of one of mmdet's own and what differs.
      backbone: declares ``features``.
      num_classes: classes without background.
      object_px: edges of the small and of the large objects of the training data, where known.
      window_px: edge of the training windows, 0 where it is unknown.

    Returns:
      mmdet's detector, initialised; its ``backbone`` is a ``Pyramid``.

    Raises:
      ConfigError: there is no such detector or config, or its parts do not fit together.
      DependencyError: it needs one of mmcv's operators that this installation lacks.
    """
    load_framework("mmdet")
    from mmdet.registry import MODELS as MMDET_MODELS
    from mmengine.config import ConfigDict
    from mmengine.registry import DefaultScope

    cfg = _plain_config(head)
    pyramid = Pyramid(backbone, wanted_strides(head, cfg))
    sizes = object_range(head, object_px)
    with DefaultScope.overwrite_default_scope("mmdet"):
        try:
            levels = fill(cfg, features=pyramid.features, num_classes=num_classes, sizes=sizes)
            if window_px:
                cap_queries(cfg, levels.strides, pyramid.padded_edge(window_px))
            pyramid.least_px = max(pyramid.least_px, least_edge(cfg, levels.strides))
            limit(cfg, head)
            # mmdet builds its backbone from a config; ours is built already and takes the place.
            cfg["backbone"] = {"type": _Given, "pyramid": None}
            detector = MMDET_MODELS.build(ConfigDict(cfg))
        except (TypeError, KeyError, AssertionError, ValueError, AttributeError, IndexError) as error:
            reason = " ".join(str(error).split())[:300] or type(error).__name__
            raise ConfigError(f"head: {head['type']} cannot be built from its config ({reason})") from error
        check_operators(detector, f"head: {head['type']}")
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
        names = [known for known in names if not known.startswith("_base_")]
        beside = [known for known in names if known.partition("/")[0] == name.partition("/")[0]]
        near = did_you_mean(name, beside or names, limit=8)
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
) -> Levels:
    """Fill in a detector's config, in place.

    Args:
      cfg: mmdet's, without a backbone.
      features: what the pyramid under the neck gives, fine to coarse.
      num_classes: classes without background.
      sizes: edges of a small and of a large object, pixels, None for the published anchors.

    Returns:
      What the neck gives to the heads.
    """
    levels = fill_neck(cfg, features)
    for key, part in cfg.items():
        if key in _NOT_HEADS:
            continue
        for node in _nodes(part):
            if "type" in node:
                _fill_node(node, levels, num_classes, sizes, dense=node in as_list(part))
    if "panoptic_head" in cfg:  # of what it can give, objects are wanted
        cfg["test_cfg"] = {**(cfg.get("test_cfg") or {}), "panoptic_on": False, "instance_on": True}
    return levels


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
    fill_mask_head(node, kind, levels, num_classes)
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
