"""One contestant of the benchmark `detection`: `python detection.py '{"name": …}'`.

Runs with numpy, rasterio and the contestant's own library alone; prints one line of JSON.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

BOXES, CLASSES, IOU = 40, 2, 0.5


Seconds = tuple[float, float]


def now() -> Seconds:
    return time.perf_counter(), time.process_time()


def since(started: Seconds) -> Seconds:
    """Return wall and CPU seconds."""
    return time.perf_counter() - started[0], time.process_time() - started[1]


def answer(tile_px: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the boxes, classes and scores that the network gives for every tile: clear of its edges."""
    random = np.random.default_rng(0)
    corner = random.uniform(4, tile_px - 40, (BOXES, 2))
    boxes = np.concatenate([corner, corner + random.uniform(8, 30, (BOXES, 2))], axis=1).astype(np.float32)
    return boxes, random.integers(0, CLASSES, BOXES), random.uniform(0.6, 1, BOXES).astype(np.float32)


def read_scene(path: str) -> np.ndarray:
    """Return (H, W, 3) uint8; the libraries that are compared take the whole scene as an array."""
    import rasterio

    with rasterio.open(path) as source:
        return np.ascontiguousarray(source.read().transpose(1, 2, 0))


def run_geomm(task: dict[str, Any]) -> tuple[Seconds, int]:
    """Time all of it: reading, merging and a GeoPackage in map coordinates with its style."""
    # What a first call would import on its way is no part of the call.
    import geopandas  # noqa: F401
    import pyogrio
    import pyproj  # noqa: F401
    import scipy.sparse.csgraph  # noqa: F401
    import shapely  # noqa: F401

    from geomm.inference import ObjectOptions, predict_objects
    from geomm.structures import BandStatistics, Objects, RasterSpec, make_classes

    statistics = BandStatistics((0.0,) * 3, (255.0,) * 3, (120.0,) * 3, (50.0,) * 3, 1)
    classes = make_classes([f"class {number}" for number in range(CLASSES)])
    spec = RasterSpec((1, 2, 3), ("r", "g", "b"), "uint8", statistics, classes, 256)
    boxes, labels, scores = answer(task["tile_px"])
    found = Objects(boxes, labels, scores)
    options = ObjectOptions(
        tile_px=task["tile_px"],
        overlap_px=task["overlap_px"],
        batch_size=task["batch_size"],
        iou_threshold=IOU,
        device="cpu",
        preview=False,
        on_error="raise",
    )
    started = now()
    report = predict_objects(
        task["scene"],
        task["folder"],
        detect=lambda inputs, valid: [found] * len(inputs),
        spec=spec,
        options=options,
        model_id="benchmark",
    )
    seconds = since(started)
    return seconds, pyogrio.read_info(report.outputs[0], layer=0)["features"]


def run_sahi(task: dict[str, Any]) -> tuple[Seconds, int]:
    """Time reading and a sliced prediction; nothing is written."""
    from sahi.models.base import DetectionModel
    from sahi.predict import get_sliced_prediction
    from sahi.prediction import ObjectPrediction

    boxes, labels, scores = (array.tolist() for array in answer(task["tile_px"]))

    class Network(DetectionModel):
        def load_model(self) -> None:
            self.model = object()

        def perform_inference(self, image: np.ndarray) -> None:
            self._original_predictions = [(boxes, labels, scores)]

        def _create_object_prediction_list_from_original_predictions(
            self, shift_amount_list: Any = None, full_shape_list: Any = None
        ) -> None:
            self._object_prediction_list_per_image = [
                [
                    ObjectPrediction(
                        bbox=box,
                        category_id=label,
                        category_name=str(label),
                        score=score,
                        shift_amount=shift_amount_list[0],
                        full_shape=full_shape_list[0] if full_shape_list else None,
                    )
                    for box, label, score in zip(boxes, labels, scores, strict=True)
                ]
            ]

    ratio = task["overlap_px"] / task["tile_px"]
    model = Network(device="cpu", confidence_threshold=0.3)
    started = now()
    result = get_sliced_prediction(
        read_scene(task["scene"]),
        model,
        slice_height=task["tile_px"],
        slice_width=task["tile_px"],
        overlap_height_ratio=ratio,
        overlap_width_ratio=ratio,
        perform_standard_pred=False,
        postprocess_type="NMS",
        postprocess_match_metric="IOU",
        postprocess_match_threshold=IOU,
        verbose=0,
        batch_size=task["batch_size"],
    )
    return since(started), len(result.object_prediction_list)


def run_supervision(task: dict[str, Any]) -> tuple[Seconds, int]:
    """Time reading and a slicer's run; nothing is written."""
    import supervision as sv

    boxes, labels, scores = answer(task["tile_px"])

    def callback(tile: np.ndarray) -> sv.Detections:
        return sv.Detections(xyxy=boxes.copy(), confidence=scores.copy(), class_id=labels.copy())

    slicer = sv.InferenceSlicer(
        callback,
        slice_wh=task["tile_px"],
        overlap_wh=task["overlap_px"],
        overlap_filter=sv.OverlapFilter.NON_MAX_SUPPRESSION,
        iou_threshold=IOU,
        thread_workers=task["threads"],
    )
    started = now()
    found = slicer(read_scene(task["scene"]))
    return since(started), len(found)


def run_merge(task: dict[str, Any]) -> tuple[Seconds, int]:
    """Time geomm's merging alone, of as many boxes as ``count`` says, in rows of tiles."""
    from geomm.inference.objects.candidates import Candidates
    from geomm.inference.objects.merge import ObjectMerger

    tile, stride = task["tile_px"], task["tile_px"] - task["overlap_px"]
    boxes, labels, scores = answer(tile)
    side = max(1, round((task["count"] / BOXES) ** 0.5))
    rows = []
    for row in range(side):
        offsets = np.array([[col * stride, row * stride] * 2 for col in range(side)], np.float64)
        windows = np.repeat(offsets + [0, 0, tile, tile], BOXES, axis=0)
        placed = (offsets[:, None] + boxes[None]).reshape(-1, 4)
        count = len(placed)
        cut, sources = np.zeros((count, 4), bool), np.zeros(count, np.int32)
        many = np.tile(labels, side).astype(np.int32), np.tile(scores, side)
        rows.append(Candidates(placed, *many, windows, cut, sources))
    merger = ObjectMerger(task["merge"], IOU, 0.3)
    started = now()
    kept = sum(len(merger.add(found, (row + 1) * stride)) for row, found in enumerate(rows))
    kept += len(merger.finish())
    return since(started), kept


def main() -> None:
    task = json.loads(sys.argv[1])
    Path(task["folder"]).mkdir(parents=True, exist_ok=True)
    (seconds, work), objects = globals()[f"run_{task['name']}"](task)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "cpu_s": work, "objects": objects, "peak_mb": peak}))


if __name__ == "__main__":
    main()
