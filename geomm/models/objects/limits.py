"""Limits of what a detector finds: scores, objects a window, and the queries that it asks with."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

_LOG = logging.getLogger("geomm")
#: Objects a window where there is no limit.
_ALL = 1_000_000
#: Detectors whose queries are the best of the maps' cells, of which there must be as many.
_ASK_BY_CELLS = ("DINO", "DDQDETR")


def limit(cfg: dict[str, Any], head: Mapping[str, Any]) -> None:
    """Put the head's limits into ``test_cfg``, in place, where the last stage reads them.

    A detector that asks with queries finds one object a query at most.
    """
    test = cfg["test_cfg"] = dict(cfg.get("test_cfg") or {})
    last = test["rcnn"] if isinstance(test.get("rcnn"), dict) else test
    if head.get("score_threshold") is not None:
        last["score_thr"] = float(head["score_threshold"])
    # Mask2Former has its own name for the limit.
    name = "max_per_image" if "max_per_image" in last else "max_per_img"
    most = int(head.get("max_objects") or last.get(name) or _ALL)
    last[name] = min(most, _queries(cfg) or most)
    if head.get("nms_iou") is not None and isinstance(last.get("nms"), dict):
        last["nms"]["iou_threshold"] = float(head["nms_iou"])


def _queries(cfg: Mapping[str, Any]) -> int:
    """Return how many queries a detector asks with, 0 where it asks with none."""
    proposals = (cfg.get("rpn_head") or {}).get("num_proposals")
    decoded = (cfg.get("panoptic_head") or {}).get("num_queries")
    return int(cfg.get("num_queries") or proposals or decoded or 0)


def _asks_by_cells(cfg: Mapping[str, Any]) -> bool:
    return bool(cfg.get("num_queries")) and (cfg["type"] in _ASK_BY_CELLS or bool(cfg.get("as_two_stage")))


def cap_queries(cfg: dict[str, Any], strides: Sequence[int], window_px: int) -> None:
    """Let a detector whose queries are cells of its maps ask with no more than a window has, in place.

    Args:
      cfg: mmdet's.
      strides: of all maps, input pixels a map pixel.
      window_px: edge of a training window as the detector gets it.
    """
    if not _asks_by_cells(cfg):
        return
    cells, published = _cells(window_px, strides), int(cfg["num_queries"])
    if cells < published:
        _LOG.info(
            "%s asks with %d queries instead of %d: windows of %d px have no more cells",
            *(cfg["type"], cells, published, window_px),
        )
        cfg["num_queries"] = cells


def least_edge(cfg: Mapping[str, Any], strides: Sequence[int]) -> int:
    """Return the least edge of an input that has a cell for every query, pixels; 0 where any will do."""
    edge = 0
    while _asks_by_cells(cfg) and _cells(edge, strides) < int(cfg["num_queries"]):
        edge += max(strides)
    return edge


def _cells(edge_px: int, strides: Sequence[int]) -> int:
    return sum((-(-edge_px // stride)) ** 2 for stride in strides)
