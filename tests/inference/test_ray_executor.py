"""Ray's workers make the map that one process makes, to the byte; a lost worker's share is done again."""

import os
import signal
import sys

import numpy as np
import pytest

from geomm.errors import ConfigError, GeommError
from geomm.inference import ClassMap, ClassMapOptions, predict_rasters
from geomm.inference.executor import build_executor
from tests.inference.conftest import noise, pointwise, write_scene
from tests.inference.truth import Truth, disjoint_boxes, numbered_scene
from tests.inference.truth import run as find

ray = pytest.importorskip("ray")
SMALL = {"tile_px": 32, "overlap_px": 20, "device": "cpu", "preview": False, "progress": False}


@pytest.fixture(scope="module")
def cluster():
    """Two workers on this machine, for all tests."""
    from geomm.inference.ray_cluster import connect

    yield connect(cpus=2)
    ray.shutdown()


def options(executor, **further):
    given = {"address": None, "workers": 2, "cpus": 1, "gpus": 0, "rows": 1, "retries": 3}
    return ClassMapOptions(**SMALL, executor=executor, ray=given, probabilities=True, **further)


def predict(scene, out, spec, executor, score=pointwise, **further):
    chosen = options(executor, **further)
    products = ClassMap(spec, chosen)
    return predict_rasters(
        scene, out, score=score, spec=spec, products=products, options=chosen, model_id="m"
    )


class Mortal:
    """A model whose process dies, or whose machine lacks a file, once."""

    def __init__(self, mark, how):
        self.mark, self.how = mark, how

    def __call__(self, inputs, valid):
        try:
            os.close(os.open(self.mark, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return pointwise(inputs, valid)
        if self.how == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        raise ValueError("a mistake of the model's own")


def read(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


@pytest.mark.slow
def test_many_scenes_over_workers_are_the_same_maps(cluster, tmp_path, spec):
    scenes = [
        write_scene(tmp_path / f"s{number}.tif", noise(90 + number, 60, seed=number), nodata=7)
        for number in range(3)
    ]
    broken = tmp_path / "broken.tif"
    broken.write_bytes(scenes[0].read_bytes()[:3000])
    for executor in ("local", "ray"):
        report = predict([*scenes, broken], tmp_path / executor, spec, executor)
        assert [name for name, _ in report.failed] == [str(broken)]
        assert len(report.outputs) == 6
    assert read(tmp_path / "local") == read(tmp_path / "ray")


@pytest.mark.slow
def test_it_is_said_what_a_silent_cluster_has(cluster, tmp_path, spec, monkeypatch, caplog):
    monkeypatch.setattr("geomm.inference.ray_executor._SILENT_S", 0.01)
    scene = write_scene(tmp_path / "s.tif", noise(90, 60))
    predict(scene, tmp_path / "ray", spec, "ray")
    assert "s.tif: no answer from Ray for 0 s; " in caplog.text and " of 2 cores are free" in caplog.text
    assert (tmp_path / "ray" / "s.tif").is_file()


@pytest.mark.slow
def test_a_lost_workers_share_is_done_again(cluster, tmp_path, spec):
    scene = write_scene(tmp_path / "s.tif", noise(120, 60))
    predict(scene, tmp_path / "local", spec, "local")
    mark = tmp_path / "died"
    predict(scene, tmp_path / "ray", spec, "ray", Mortal(mark, "dies"))
    assert mark.exists()
    assert read(tmp_path / "local") == read(tmp_path / "ray")


@pytest.mark.slow
def test_a_model_that_raises_ends_the_run_and_leaves_what_is_done(cluster, tmp_path, spec):
    scene = write_scene(tmp_path / "s.tif", noise(120, 60))
    with pytest.raises(ValueError, match="a mistake of the model's own"):
        predict(scene, tmp_path / "ray", spec, "ray", Mortal(tmp_path / "raised", "raises"))
    predict(scene, tmp_path / "ray", spec, "ray", Mortal(tmp_path / "raised", "raises"))
    predict(scene, tmp_path / "local", spec, "local")
    assert read(tmp_path / "local") == read(tmp_path / "ray")


@pytest.mark.slow
def test_workers_without_the_folder_send_what_they_made(cluster, tmp_path, spec, monkeypatch):
    import geomm.inference.ray_executor as module

    scene = write_scene(tmp_path / "s.tif", noise(90, 60))
    predict(scene, tmp_path / "local", spec, "local")
    seen = module.read_mark
    monkeypatch.setattr(module, "read_mark", lambda folder: f"another machine's {seen(folder)}")
    predict(scene, tmp_path / "ray", spec, "ray")
    assert read(tmp_path / "local") == read(tmp_path / "ray")


@pytest.mark.slow
def test_objects_are_the_same_over_workers(cluster, tmp_path, spec):
    rng = np.random.default_rng(2)
    boxes = disjoint_boxes(rng, 150, 90, 12, 16)
    scene = numbered_scene(tmp_path / "s.tif", 150, 90)
    truth = Truth(boxes, np.zeros(len(boxes), int), 90)
    further = {"tile_px": 48, "overlap_px": 20, "ray": {"workers": 2, "rows": 1}, "format": "geojson"}
    for executor in ("local", "ray"):
        find(scene, tmp_path / executor, spec, truth, executor=executor, **further)
    assert read(tmp_path / "local") == read(tmp_path / "ray")


def test_without_ray_the_cure_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(GeommError, match=r"pip install 'geomm\[ray\]'"):
        build_executor(options("ray"))
    with pytest.raises(ConfigError, match="unknown 'rays'"):
        build_executor(options("rays"))


@pytest.mark.slow
def test_a_worker_larger_than_the_cluster_is_said(cluster):
    with pytest.raises(GeommError, match="a worker takes 64 cores"):
        build_executor(ClassMapOptions(**SMALL, executor="ray", ray={"cpus": 64}))
