"""Judging a layer of objects by one that people drew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geomm.errors import DataError
from geomm.io.raster import RasterReader
from geomm.io.vector import VectorLabels, in_scene_crs, read_layer, to_pixels
from geomm.metrics.detection import evaluate_scene
from geomm.structures import Objects


def judge_objects(
    found: str | Path,
    truth: str | Path,
    scene: str | Path,
    *,
    label_field: str | None = None,
    outlines: bool = False,
    iou: float = 0.5,
    score_threshold: float | None = None,
) -> dict[str, float]:
    """Compare the objects mapped in a scene with those that people drew in it.

    Args:
      found: a layer as inference writes it, with ``class`` and ``confidence``; it may hold no object.
      truth: a vector layer of boxes or polygons; both are put on the scene's grid.
      scene: the raster that was searched.
      label_field: the truth's attribute with the class. None takes all that was drawn as one class, and
        all that was found as of that class.
      outlines: compare the polygons, not the boxes around them.
      iou: overlap from which an object counts as found in precision, recall and F1.
      score_threshold: confidence that they count from; None takes the one of the best F1.

    Returns:
      The results of ``geomm.metrics.DetectionMetric``: ``AP50``, ``AP`` (COCO's), ``precision``,
      ``recall``, ``F1`` and the same per class.

    Raises:
      DataError: a layer or the scene cannot be read, or ``found`` lacks a field.
      MissingCRSError: a layer has no CRS while the scene has one, or the reverse.
    """
    place = RasterReader(scene).info
    frame = read_layer(found, may_be_empty=True)
    for field in ("class", "confidence"):
        if field not in frame.columns:
            raise DataError(f"{found} has no field {field!r}; expected a layer that geomm's inference wrote")
    shapes = to_pixels(in_scene_crs(frame, str(found), place).geometry.to_numpy(), place)
    drawn = VectorLabels.open(truth, place, label_field=label_field)
    if drawn.names is None:
        classes = ["object"]
        labels = np.zeros(len(shapes), np.int64), np.zeros(len(drawn.geometries), np.int64)
    else:
        names = frame["class"].astype(str).to_numpy(object), drawn.names.astype(str)
        classes = sorted({*names[0], *names[1]})
        labels = tuple(np.array([classes.index(name) for name in part], np.int64) for part in names)  # type: ignore[assignment]
    results, _ = evaluate_scene(
        Objects(_boxes(drawn.geometries), labels[1]),
        Objects(_boxes(shapes), labels[0], frame["confidence"].to_numpy(np.float32)),
        classes,
        outlines=(drawn.geometries, shapes) if outlines else None,
        iou=iou,
        score_threshold=score_threshold,
    )
    return results


def _boxes(geometries: NDArray[Any]) -> NDArray[np.float32]:
    import shapely

    return shapely.bounds(geometries).astype(np.float32).reshape(-1, 4)  # type: ignore[no-any-return]
