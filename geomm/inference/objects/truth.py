"""Judging a layer of objects by one that people drew."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geomm.errors import DataError
from geomm.io.object_files import objects_of_layer
from geomm.io.object_labels import Problems
from geomm.io.raster import RasterReader
from geomm.io.vector import VectorLabels, in_scene_crs, read_layer, to_pixels
from geomm.metrics.detection import evaluate_scene
from geomm.structures import NO_CLASS, Objects


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
      truth: a vector layer of boxes or polygons, cut at the scene's edge as training's are; both are put on
        the scene's grid.
      scene: the raster that was searched.
      label_field: the truth's attribute with the class, its name or its value; a feature without one is
        ignored. None takes all that was drawn as one class, and all that was found as of that class.
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
    problems = Problems(skip=True)
    drawn = objects_of_layer(VectorLabels.open(truth, place, label_field=label_field))
    drawn = drawn.in_image(place.width, place.height, problems)
    problems.sum_up(str(truth))
    if label_field is None:
        found_names, names, classes = ["object"] * len(shapes), ["object"] * len(drawn), ["object"]
    else:
        found_names = [str(name) for name in frame["class"]]
        names = drawn.named(_names_of_values(frame)).names.tolist()
        classes = sorted({*found_names, *(name for name in names if name is not None)})
    kinds = {name: number for number, name in enumerate(classes)}
    labels = np.array([NO_CLASS if name is None else kinds[name] for name in names], np.int64)
    results, _ = evaluate_scene(
        Objects(_boxes(drawn.geometries), labels, ignored=labels == NO_CLASS),
        Objects(
            _boxes(shapes),
            np.array([kinds[name] for name in found_names], np.int64),
            frame["confidence"].to_numpy(np.float32),
        ),
        classes,
        outlines=(drawn.geometries, shapes) if outlines else None,
        iou=iou,
        score_threshold=score_threshold,
    )
    return results


def _names_of_values(frame: Any) -> Mapping[str, str]:
    """Return the classes of what was found by their values as text, without the values that are names too."""
    if "value" not in frame.columns:
        return {}
    known = frame[["class", "value"]].dropna().drop_duplicates().astype(str)
    names = set(known["class"])
    return {
        value: name for value, name in zip(known["value"], known["class"], strict=True) if value not in names
    }


def _boxes(geometries: NDArray[Any]) -> NDArray[np.float32]:
    import shapely

    return shapely.bounds(geometries).astype(np.float32).reshape(-1, 4)  # type: ignore[no-any-return]
