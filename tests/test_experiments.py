"""Every shipped experiment trains some steps and maps, on the data it brings."""

import pytest

import geomm
from geomm.config.compose import config_dir
from geomm.samples import make

EXPERIMENTS = sorted(
    path.stem
    for path in (config_dir() / "experiment").glob("*.yaml")
    if "override /task" not in path.read_text(encoding="utf-8")  # other tasks have their own tests
)
SHORT = [
    "schedule.epochs=1",
    "schedule.batch_size=2",
    "dataset.windows_per_epoch=4",
    "dataset.window_px=64",
    "runtime.workers=0",
    "tracking=none",
]


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_it_trains_and_maps(name, tmp_path, monkeypatch):
    monkeypatch.setenv("GEOMM_CACHE", str(tmp_path / "cache"))
    package = geomm.train([f"experiment={name}", *SHORT, f"work_dir={tmp_path / 'run'}"])
    scene = make(name)["unseen"]
    report = package.predict(scene, output=tmp_path / "map", polygons=True, device="cpu")
    assert report.failed == []
    assert all(path.is_file() for path in report.outputs)
    assert len(report.outputs) == 3
