"""One contestant of the benchmark `ray`: `python ray_map.py '{"scene": …, "workers": 2}'`, 0 for no Ray."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import torch


def start_all(workers: int) -> None:
    """Let every worker's process start and import what it needs: one alone could do all of a small scene."""
    from geomm.inference.ray_cluster import connect

    ray = connect(cpus=workers)

    def start() -> None:
        import geomm.inference.ray_executor  # noqa: F401

        time.sleep(5)

    ray.get([ray.remote(start).remote() for _ in range(workers)])


def main(task: dict[str, Any]) -> None:
    from inference import raster_spec, segmentor

    from geomm.inference import ClassMap, ClassMapOptions, predict_rasters

    torch.manual_seed(0)
    torch.set_num_threads(1)
    model, spec = segmentor().eval(), raster_spec()
    workers = task["workers"]
    options = ClassMapOptions(
        tile_px=task["tile_px"],
        device="cpu",
        threads=1,
        preview=False,
        progress=False,
        on_error="raise",
        executor="ray" if workers else "local",
        ray={"workers": workers} if workers else None,
    )

    def run(scene: str, folder: str) -> None:
        predict_rasters(
            scene,
            Path(task["folder"]) / folder,
            score=model.predict_scores,
            spec=spec,
            products=ClassMap(spec, options),
            options=options,
            model_id="benchmark",
        )

    if workers:
        start_all(workers)
    run(task["small"], "warm")
    started = time.perf_counter()
    run(task["scene"], "timed")
    print(json.dumps({"seconds": time.perf_counter() - started}))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
