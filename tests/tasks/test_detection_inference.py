"""A detector's task finds objects in scenes and in video through the same call."""

import csv

import geopandas
import numpy as np
import pytest
from omegaconf import OmegaConf

from geomm.config.options import inference_options
from geomm.structures import BandStatistics, RasterSpec, make_classes
from tests.inference.videos.test_predict import write_clip


@pytest.fixture
def detector():
    from geomm.config.compose import config_dir
    from geomm.tasks.detection import Detection

    statistics = BandStatistics((0.0,) * 3, (255.0,) * 3, (100.0,) * 3, (50.0,) * 3, 1)
    spec = RasterSpec((1, 2, 3), ("r", "g", "b"), "uint8", statistics, make_classes(["a", "b"]), 64)
    head = OmegaConf.to_container(OmegaConf.load(config_dir() / "head" / "retinanet.yaml"))
    head.update(object_px=None, score_threshold=0.001, max_objects=20)
    config = {"backbone": {"type": "TimmBackbone", "name": "resnet18", "pretrained": False}, "head": head}
    task = Detection()
    return task, task.build_model(config, spec).eval(), spec


def test_scenes_and_videos(detector, tmp_path):
    import rasterio

    task, model, spec = detector
    pixels = np.random.default_rng(0).integers(0, 255, (3, 90, 110)).astype(np.uint8)
    with rasterio.open(
        tmp_path / "s.tif", "w", driver="GTiff", width=110, height=90, count=3, dtype="uint8",
        crs="EPSG:32616", transform=rasterio.Affine(0.5, 0, 700000, 0, -0.5, 3700000),
    ) as target:  # fmt: skip
        target.write(pixels)
    given = {"score_threshold": 0.0, "device": "cpu", "progress": False, "on_error": "raise", "batch_size": 2}
    options = inference_options({**given, "tile_px": 64, "min_area_m2": 1.0}, "detection")
    report = task.infer(model, spec, tmp_path / "s.tif", tmp_path / "o", options, model_id="m")
    assert [path.suffix for path in report.outputs] == [".gpkg", ".qml", ".png"]
    made = geopandas.read_file(tmp_path / "o" / "s.gpkg", layer="s")
    assert set(made["class"]) <= {"a", "b"} and len(made)
    left, bottom, right, top = made.total_bounds
    assert left >= 700000 and right <= 700055 and top <= 3700000 and bottom >= 3699955

    clip = write_clip(tmp_path / "clip.mp4", 4)
    options = inference_options({**given, "detect_frames": 1}, "detection")
    report = task.infer(model, spec, clip, tmp_path / "o", options, model_id="m")
    assert [path.suffix for path in report.outputs] == [".mp4", ".csv"]
    with (tmp_path / "o" / "clip.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert rows and {int(row["frame"]) for row in rows} <= set(range(4))
