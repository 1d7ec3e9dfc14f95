"""Every shipped experiment trains some steps and maps, on the data it brings."""

import pytest
import rasterio
import rasterio.windows

import geomm
from geomm.config import compose
from geomm.config.compose import config_dir, hydra_session
from geomm.config.fitting import task_name
from geomm.samples import make

EXPERIMENTS = sorted(path.stem for path in (config_dir() / "experiment").glob("*.yaml"))
#: What makes any experiment short …
SHORT = ["schedule.epochs=1", "schedule.batch_size=2", "runtime.workers=0", "tracking=none"]
OBJECTS = [
    "dataset.windows_per_epoch=4",
    "dataset.window_px=96",
    "dataset.split.val=0.05",
    "head.score_threshold=0.3",
]
#: … and what makes one of a task short.
TASK = {
    "segmentation": ["dataset.windows_per_epoch=4", "dataset.window_px=64"],
    "super_resolution": ["dataset.windows_per_epoch=4", "dataset.window_px=32", "head.num_blocks=1"],
    "detection": [*OBJECTS],
    "instance_segmentation": [*OBJECTS],
}
#: Options of the map, and how many files it has.
MAPS = {
    "segmentation": ({"polygons": True}, 3),
    "super_resolution": ({}, 2),
    "detection": ({}, 3),
    "instance_segmentation": ({}, 3),
}


def composed(name):
    with hydra_session():
        return compose("train", [f"experiment={name}"])


def of_task(*tasks):
    """Return the experiments whose run has one of these tasks."""
    return [name for name in EXPERIMENTS if task_name(composed(name)) in tasks]


def of_scenes(names):
    """Return the experiments whose windows are drawn from scenes."""
    return [name for name in names if "windows_per_epoch" in composed(name).dataset]


def corner(scene, target, edge=256):
    """Write the upper left corner of a scene: a map of it shows what a map of the whole does."""
    with rasterio.open(scene) as source:
        window = rasterio.windows.Window(0, 0, min(edge, source.width), min(edge, source.height))
        size = {"width": window.width, "height": window.height}
        with rasterio.open(target, "w", **{**source.profile, **size, "driver": "GTiff"}) as small:
            small.write(source.read(window=window))
            small.descriptions = source.descriptions
    return target


@pytest.mark.slow
@pytest.mark.parametrize("name", of_scenes(of_task(*TASK)))
def test_it_trains_and_maps(name, tmp_path, monkeypatch):
    monkeypatch.setenv("GEOMM_CACHE", str(tmp_path / "cache"))
    sample = composed(name).dataset.sample
    task = task_name(composed(name))
    package = geomm.train([f"experiment={name}", *SHORT, *TASK[task], f"work_dir={tmp_path / 'run'}"])
    options, files = MAPS[task]
    scene = corner(make(sample)["unseen"], tmp_path / "unseen.tif")
    report = package.predict(scene, output=tmp_path / "map", device="cpu", **options)
    assert report.failed == []
    assert all(path.is_file() for path in report.outputs)
    assert len(report.outputs) == files


@pytest.mark.slow
@pytest.mark.parametrize("name", of_task("tabular"))
def test_it_trains_and_predicts_rows(name, tmp_path, monkeypatch):
    monkeypatch.setenv("GEOMM_CACHE", str(tmp_path / "cache"))
    short = ["schedule.epochs=2", "runtime.workers=0", "tracking=none"]
    package = geomm.train([f"experiment={name}", *short, f"work_dir={tmp_path / 'run'}"])
    report = package.predict(make(name)["unseen"], output=tmp_path / "out", device="cpu")
    assert report.failed == [] and report.amount >= 300
    assert all(path.is_file() for path in report.outputs)


@pytest.mark.slow
@pytest.mark.parametrize("name", of_task("classification"))
def test_it_trains_and_classifies(name, tmp_path, monkeypatch):
    monkeypatch.setenv("GEOMM_CACHE", str(tmp_path / "cache"))
    short = [*SHORT, "schedule.batch_size=16", "dataset.window_px=32", "backbone.name=resnet10t"]
    package = geomm.train([f"experiment={name}", *short, f"work_dir={tmp_path / 'run'}"])
    made = make(name)
    features = {"features": made["truth"]} if "truth" in made else {}
    report = package.predict(made["unseen"], output=tmp_path / "out", device="cpu", **features)
    assert report.failed == [] and report.amount >= 48
    assert all(path.is_file() for path in report.outputs)
