"""Every shipped experiment trains some steps and maps, on the data it brings."""

import pytest

import geomm
from geomm.config.compose import compose, config_dir, hydra_session
from geomm.config.rules import task_name
from geomm.samples import make

EXPERIMENTS = sorted(path.stem for path in (config_dir() / "experiment").glob("*.yaml"))


def of_task(task):
    """Return the experiments whose run has this task."""
    with hydra_session():
        return [n for n in EXPERIMENTS if task_name(compose("train", [f"experiment={n}"])) == task]


SHORT = [
    "schedule.epochs=1",
    "schedule.batch_size=2",
    "dataset.windows_per_epoch=4",
    "dataset.window_px=64",
    "runtime.workers=0",
    "tracking=none",
]


@pytest.mark.slow
@pytest.mark.parametrize("name", of_task("segmentation"))
def test_it_trains_and_maps(name, tmp_path, monkeypatch):
    monkeypatch.setenv("GEOMM_CACHE", str(tmp_path / "cache"))
    package = geomm.train([f"experiment={name}", *SHORT, f"work_dir={tmp_path / 'run'}"])
    scene = make(name)["unseen"]
    report = package.predict(scene, output=tmp_path / "map", polygons=True, device="cpu")
    assert report.failed == []
    assert all(path.is_file() for path in report.outputs)
    assert len(report.outputs) == 3


@pytest.mark.slow
@pytest.mark.parametrize("name", of_task("tabular"))
def test_it_trains_and_predicts_rows(name, tmp_path, monkeypatch):
    monkeypatch.setenv("GEOMM_CACHE", str(tmp_path / "cache"))
    short = ["schedule.epochs=2", "runtime.workers=0", "tracking=none"]
    package = geomm.train([f"experiment={name}", *short, f"work_dir={tmp_path / 'run'}"])
    report = package.predict(make(name)["unseen"], output=tmp_path / "out", device="cpu")
    assert report.failed == [] and report.amount > 300
    assert all(path.is_file() for path in report.outputs)
